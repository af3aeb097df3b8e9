"""Data Docs: a page about the set contract and how the set stands to it, that stands alone.

Great Expectations puts each expectation into words and shows the rows that break it; the page around them is ours
(templates/report). Its own pages load scripts, styles, fonts and a tracking image from the network, stamp the time into
links, and put failing values into the page unescaped: rows are hostile, so here every text is escaped, and a content
security policy forbids scripts.
"""

from collections.abc import Callable, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from curate.contract import Contract
from curate.publish.finding import Finding

HTML_FILTERS = (
    "attributes_dict_to_html_string",
    "render_markdown",
    "render_string_template",
    "render_styling",
    "render_styling_from_string_template",
)
"""Filters of Great Expectations' templates that give HTML; they escape what they put into it, markdown included."""


def write_docs(
    told: Sequence[tuple[dict[str, Any], Finding, Any]], columns: Sequence[Finding], contract: Contract, folder: Path
) -> None:
    """Write index.html: every rule of the set contract, what it expects and what was found.

    Args:
        told: each rule that the contract states, in order, what was found of it, and Great Expectations' own result,
            ExpectationValidationResult, which holds plain numbers rather than NumPy's; None where the rule is ours.
        columns: what was found of the rules that follow from what is said of columns.
        contract: the contract.
        folder: made if it is not there. The same results give the same bytes.
    """
    from great_expectations.render.renderer.content_block.validation_results_table_content_block import (
        ValidationResultsTableContentBlockRenderer,
    )

    rules = []
    for rule, finding, result in told:
        expected: Any = finding.expected
        if result is not None:
            table: Any = ValidationResultsTableContentBlockRenderer.render([result], include_column_name=False)
            _, expected, _ = table.to_json_dict()["table"][0]  # status; sentence and rows that break it; observed value
        rules.append(
            rule["meta"]
            | {"column": finding.column, "success": finding.success, "warning": finding.warning}
            | {"expected": expected, "observed": finding.observed}
        )
    page = _environment().get_template("data_docs.html.jinja").render(contract=contract, rules=rules, columns=columns)
    lines = (line.strip() for line in page.splitlines())
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "index.html").write_text("\n".join(line for line in lines if line) + "\n", encoding="utf-8")


def _environment() -> Any:
    """Great Expectations' Jinja environment, with our page among its templates and every text escaped."""
    from great_expectations.render.view.view import DefaultJinjaPageView
    from jinja2 import ChoiceLoader, DictLoader, pass_context
    from jinja2.runtime import Context
    from markupsafe import Markup, escape

    class EscapingView(DefaultJinjaPageView):
        @pass_context
        def render_content_block(self, context: Context, block: Any, *args: Any, **kwargs: Any) -> Any:
            if isinstance(block, list):  # the parent puts a list's bare strings into spans as they are
                block = [escape(part) if isinstance(part, str) else part for part in block]
            html = super().render_content_block(context, block, *args, **kwargs)
            # Of a list or a block the parent makes HTML; a text it gives back as it is, to be escaped.
            return Markup(html) if isinstance(block, list | dict) else html  # noqa: S704

    def safe(html_filter: Callable[..., str]) -> Callable[..., Markup]:
        return lambda *args, **kwargs: Markup(html_filter(*args, **kwargs))  # noqa: S704

    env: Any = EscapingView().env
    report = files("templates") / "report"
    ours = {name: (report / name).read_text(encoding="utf-8") for name in ("style.css", "data_docs.html.jinja")}
    env.loader = ChoiceLoader([DictLoader(ours), env.loader])
    env.autoescape = True
    env.filters.update({name: safe(env.filters[name]) for name in HTML_FILTERS})
    return env
