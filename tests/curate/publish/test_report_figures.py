"""The report's figures: those that Great Expectations has too are the same, and those of a parent are the parent's."""

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from curate.manifest import DatasetManifest
from curate.publish.bars import by_value, nearest_quantiles
from curate.publish.flat import flatten
from curate.publish.since_parent import since_parent
from curate.record import SPLITS
from tests.project import Project, make_rows


class Tables(HTMLParser):
    """The rows of all tables of a page: lists of the texts of their cells."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.lines: list[list[str]] = []
        self.open = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "tr":
            self.lines.append([])
        elif tag in ("td", "th"):
            self.lines[-1].append("")
            self.open = True

    def handle_endtag(self, tag: str) -> None:
        self.open = self.open and tag not in ("td", "th")

    def handle_data(self, data: str) -> None:
        if self.open:
            self.lines[-1][-1] += data.strip()


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    project = Project(tmp_path_factory.mktemp("project"))
    project.add("a.jsonl", make_rows(200))
    return project


@pytest.fixture(scope="module")
def version(project: Project) -> Path:
    return project.curate().folder


@pytest.fixture(scope="module")
def judged(version: Path) -> Any:
    """Gives what Great Expectations observes of the published rows, by an expectation and its arguments."""
    import great_expectations as gx

    tables = {split: pq.read_table(version / f"{split}.parquet") for split in SPLITS}
    whole = pa.concat_tables(
        [table.append_column("split", pa.array([split] * table.num_rows)) for split, table in tables.items()]
    )
    context = gx.get_context(mode="ephemeral")
    asset = context.data_sources.add_pandas("report").add_dataframe_asset("rows")
    frame = flatten([whole]).to_pandas()
    batch = asset.add_batch_definition_whole_dataframe("set").get_batch({"dataframe": frame})

    def observe(kind: str, **arguments: Any) -> Any:
        result = batch.validate(getattr(gx.expectations, kind)(**arguments), result_format="COMPLETE").result
        return result.get("observed_value", result)

    return observe


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_great_expectations_and_the_report_have_the_same_figures(version: Path, judged: Any) -> None:
    manifest = DatasetManifest.read(version)
    page = (version / "report.html").read_text(encoding="utf-8")
    lines = Tables(page).lines
    rows = judged("ExpectTableRowCountToBeBetween", min_value=0)
    assert rows == manifest.counts.kept
    assert f"<dt>Kept</dt><dd>{rows:,}<small>" in page
    for split in SPLITS:
        share = judged("ExpectColumnMeanToBeBetween", column=f"is_{split}", min_value=0)
        assert round(share * rows) == manifest.counts.splits[split]
        assert f"<dt>{split.capitalize()}</dt><dd>{manifest.counts.splits[split]:,}<small>{100 * share:.1f}%" in page
    # Values of a column, and how often each occurs in all and in each split.
    tables = {split: pq.read_table(version / f"{split}.parquet", columns=["label", "language"]) for split in SPLITS}
    for column in ("label", "language"):
        bars = {bar["name"]: bar for bar in by_value(tables, column)}
        assert judged("ExpectColumnUniqueValueCountToBeBetween", column=column, min_value=0) == len(bars)
        for value, bar in bars.items():
            unlike = judged("ExpectColumnValuesToBeInSet", column=column, value_set=[value])
            assert unlike["element_count"] - unlike["unexpected_count"] == bar["rows"]
            [line] = [line for line in lines if line[0] == value and line[-1] == str(bar["rows"]) and len(line) == 6]
            for at, split in enumerate(SPLITS):
                kept = {"row_condition": f'split == "{split}"', "condition_parser": "pandas"}
                unlike = judged("ExpectColumnValuesToBeInSet", column=column, value_set=[value], **kept)
                share = (unlike["element_count"] - unlike["unexpected_count"]) / unlike["element_count"]
                assert bar["shares"][split] == pytest.approx(share)
                assert line[2 + at] == f"{100 * share:.1f}%"
    assert judged("ExpectColumnUniqueValueCountToBeBetween", column="cluster", min_value=0) == manifest.counts.clusters
    # Lengths, of each split.
    for split in SPLITS:
        tokens = pq.read_table(version / f"{split}.parquet", columns=["tokens"])["tokens"]
        kept = {"row_condition": f'split == "{split}"', "condition_parser": "pandas"}
        ours = nearest_quantiles(tokens)
        for kind, own in (("Min", ours[0]), ("Max", ours[-1])):
            assert judged(f"ExpectColumn{kind}ToBeBetween", column="tokens", min_value=0, **kept) == own
        ranges = {"quantiles": [0.1, 0.5, 0.9], "value_ranges": [[None, None]] * 3}
        theirs = judged("ExpectColumnQuantileValuesToBeBetween", column="tokens", quantile_ranges=ranges, **kept)
        assert theirs["values"] == ours[1:4]
        assert [split, *(f"{length:,}" for length in ours)] in lines


def test_the_contracts_own_rules_stand_in_the_report_as_they_were_observed(version: Path) -> None:
    from curate.contract import Contract
    from curate.publish.gate import check_set

    tables = [
        pq.read_table(version / f"{split}.parquet").append_column(
            "split", pa.array([split] * pq.read_metadata(version / f"{split}.parquet").num_rows)
        )
        for split in SPLITS
    ]
    contract = Contract.load(version.parents[3] / "contract")
    found = check_set(tables, contract, version.parent / "docs").findings
    rules = {rule.name: rule for rule in DatasetManifest.read(version).gate.rules}
    assert {each.name: (each.observed, each.expected) for each in found} == {
        name: (rules[name].observed, rules[name].expected) for name in (each.name for each in found)
    }


def test_the_version_before_is_beside_the_next(project: Project, version: Path) -> None:
    before = DatasetManifest.read(version)
    project.add("b.jsonl", make_rows(150, seed=1))
    folder = project.curate().folder
    manifest = DatasetManifest.read(folder)
    assert manifest.index.compared_with == [before.version]
    splits, labels, reasons = since_parent(manifest, before)
    assert [line["name"] for line in splits["lines"]] == [*SPLITS]
    for line in splits["lines"]:
        assert line["rows"] == [before.counts.splits[line["name"]], manifest.counts.splits[line["name"]]]
    assert sum(line["rows"][1] for line in labels["lines"]) <= manifest.counts.kept
    told = {line["name"]: line["rows"] for line in reasons["lines"]}
    for number, of in enumerate((before, manifest)):
        for stage in of.stages:
            for reason, rows in stage.reasons.items():
                assert told[f"{stage.name}: {reason}"][number] == rows
    moved = [abs(line["points"]) for line in reasons["lines"]]
    assert moved == sorted(moved, reverse=True)
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert '<h2 id="parent">' in page
    assert before.version in page
    for line in splits["lines"]:
        was, is_ = line["rows"]
        assert any(
            cells[0] == line["name"] and cells[1::2][:2] == [f"{was:,}", f"{is_:,}"] for cells in Tables(page).lines
        )
    assert '<h2 id="parent">' not in (version / "report.html").read_text(encoding="utf-8")


def test_languages_are_told_before_and_after(version: Path) -> None:
    manifest = DatasetManifest.read(version)
    told = next(stage.counters for stage in manifest.stages if stage.name == "language")
    page = (version / "report.html").read_text(encoding="utf-8")
    section = page[page.index('id="balance"') : page.index('id="clusters"')]
    lines = Tables(section).lines
    most = max((code for code in told if code != "mixed"), key=lambda code: told[code])
    [line] = [line for line in lines if line[0] == most]
    assert line[2] == f"{told[most]:,}"
    assert "(none)" not in re.sub("<[^>]+>", "", section[section.index(">Language<") : section.index(">Characters<")])
