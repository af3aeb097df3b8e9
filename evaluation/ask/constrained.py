"""Constrained decoding: only tokens that the answer's JSON Schema allows.

The schema becomes a grammar (llguidance) of JSON in the form that targets have (`target_form`): their keys' order, and
what they write between values, commonly one space behind each comma and colon and none elsewhere, so that there is no
white space to run in circles in. The token that ends an answer is allowed where the value is complete and nowhere else.

Not every keyword of JSON Schema can be held to while a text is being written; those that are not are named by
`Constraint.relaxed`, and whether an answer fits the schema is still for the scorecard to say. No grammar library knows
`if`; where its conditions are about fields of few values, the schema is rewritten as one alternative for each case.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import product
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from curate.errors import AssayError
from curate.json_schema import validator_of
from curate.rows.renderer import Renderer
from evaluation.ask.forbidden import Forbidden, forbidden
from evaluation.ask.target_form import TargetForm

if TYPE_CHECKING:
    from llguidance import LLMatcher

CASES = 256
"""The most combinations of values that a schema is rewritten for."""
CONDITION = frozenset({"if", "then", "else"})


class Constraint:
    """A JSON Schema as a grammar over a model's tokens. Made once; gives each answer a matcher of its own.

    Args:
        schema: of the answer.
        renderer: knows the tokenizer, and the token that ends an answer.
        targets: JSON texts that the model learns to write; their form is the grammar's. Without any: the schema's order
            of keys, and one space behind each comma and colon.

    Raises:
        AssayError: no grammar can be made of the schema.
    """

    relaxed: tuple[str, ...]
    """What of the schema answers are not held to: keywords such as `uniqueItems`, what targets spell as the grammar
    could not (`/share: maximum`), or the library's words."""
    reordered: tuple[str, ...]
    """Places where the schema names keys in another order than targets write them."""
    grammar: str
    """In llguidance's words; decides, with the tokenizer, which answers can be given."""

    def __init__(self, schema: Mapping[str, Any], renderer: Renderer, targets: Iterable[str] = ()) -> None:
        from llguidance import LLExecutor, LLMatcher, LLTokenizer

        form = TargetForm.of(by_case(schema), targets)
        tokenizer = LLTokenizer(
            renderer.tokenizer.to_str(), eos_token=renderer.stop_token_id, slices=LLTokenizer.json_slices()
        )
        self._tokenizer = renderer.tokenizer
        self.grammar = LLMatcher.grammar_from_json_schema(json.dumps(form.grammar_schema), overrides=form.options)
        self._start = LLMatcher(tokenizer, self.grammar, log_level=0)
        if self._start.is_error():
            raise AssayError(
                f"The target schema cannot be held to while answers are generated: {self._start.get_error()}",
                remedy="Say it otherwise in target.schema.json, or ask without `constrained`.",
            )
        unknown = {name for told in self._start.get_grammar_warnings() for name in _keywords(told)}
        self.relaxed = (*sorted(unknown), *form.widened)
        self.reordered = form.reordered
        self._executor = LLExecutor()
        self._vocabulary = tokenizer.vocab_size

    def matcher(self) -> "LLMatcher":
        """The grammar at the beginning of an answer."""
        return self._start.deep_copy()

    def forbids(self, answer: str) -> Forbidden | None:
        """What of an answer cannot be said; None where all of it can."""
        return forbidden(answer, self.matcher(), self._tokenizer)

    def allowed(self, matchers: Sequence["LLMatcher | None"], width: int) -> npt.NDArray[np.bool_]:
        """Which tokens may come next.

        Args:
            matchers: of answers that have not ended; None where anything may come.
            width: of the model's logits, which may be more than the tokenizer has tokens.

        Returns:
            An array of shape (matchers, width), with at least one token in each row.
        """
        bits = np.zeros((len(matchers), -(-max(width, self._vocabulary) // 32)), np.int32)
        bits[[row for row, matcher in enumerate(matchers) if matcher is None]] = -1
        places = [(matcher, row) for row, matcher in enumerate(matchers) if matcher is not None]
        self._executor.unsafe_compute_mask_ptr(places, bits.ctypes.data, bits.shape[1] * 4, len(bits))
        return np.unpackbits(bits.view(np.uint8), axis=1, count=width, bitorder="little").view(np.bool_)

    def ends(self, matcher: "LLMatcher", token: int) -> bool:
        """Tell a matcher the token that was chosen; whether nothing but the stop token can follow.

        Raises:
            AssayError: the answer has become more than the grammar can follow.
        """
        if not matcher.consume_token(token):
            raise AssayError(
                f"An answer can no longer be held to the target schema: {matcher.get_error()}",
                remedy="Simplify target.schema.json, or ask without `constrained`.",
            )
        return matcher.is_stopped()


def by_case(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """An object's schema without `if`, `then` and `else`, where what they ask about has few values; else as it is.

    Conditions stand beside `properties` or in `allOf`. They are decided for each combination of values of the fields
    they ask about, all of which must be required and enumerated; combinations with which they come out alike share an
    alternative (`anyOf`). The schema allows the same objects as before.
    """
    parts = [{key: value for key, value in schema.items() if key != "allOf"}, *schema.get("allOf", [])]
    if not all(isinstance(part, dict) for part in parts):
        return schema
    conditions = [part for part in parts if "if" in part]
    asked = [part["if"] for part in conditions]
    if not all(isinstance(each, dict) and each.keys() <= {"properties", "required"} for each in asked):
        return schema
    names = sorted({name for each in asked for name in [*each.get("properties", {}), *each.get("required", [])]})
    of_names = [_enumerated(schema, name) for name in names]
    references = re.search(r'"\$(ref|dynamicRef)":', json.dumps(schema))
    if not names or not 0 < prod(map(len, of_names)) <= CASES or references:
        return schema

    draft = {key: schema[key] for key in ("$schema",) if key in schema}
    validators = [validator_of(draft | each) for each in asked]
    cases: dict[tuple[Any, ...], list[Any]] = {}
    for first, *others in product(*of_names):
        held = dict(zip(names, [first, *others], strict=True))
        outcomes = tuple("then" if each.is_valid(held) else "else" for each in validators)
        cases.setdefault((outcomes, json.dumps(others)), []).append(first)
    whole, *rest = [{key: value for key, value in part.items() if key not in CONDITION} for part in parts]
    alternatives = []
    for (outcomes, others), firsts in cases.items():
        values = dict(zip(names, [firsts, *([each] for each in json.loads(others))], strict=True))
        case = {"properties": {name: {"enum": allowed} for name, allowed in values.items()}}
        follows = [each[outcome] for each, outcome in zip(conditions, outcomes, strict=True) if outcome in each]
        alternatives.append(whole | {"allOf": [*rest, case, *follows]})
    return {"anyOf": alternatives}


def _enumerated(schema: Mapping[str, Any], name: str) -> list[Any]:
    """The values of a field that is always there and of an enumeration; none where it is not."""
    field = schema.get("properties", {}).get(name)
    if name not in schema.get("required", []) or not isinstance(field, dict):
        return []
    if "const" in field:
        return [field["const"]]
    return list(field["enum"]) if "enum" in field else [False, True] if field.get("type") == "boolean" else []


def _keywords(warning: str) -> list[str]:
    """The keywords of a warning such as `Unimplemented keys: ["if", "then"] (3 times)`; else what it says."""
    if warning.startswith("Unimplemented keys"):
        return re.findall(r'"([^"]+)"', warning)
    return ["oneOf"] if warning.startswith("oneOf") else [warning]
