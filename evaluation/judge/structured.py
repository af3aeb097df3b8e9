"""One structured answer judged: its form, and each of its fields against what is expected."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from evaluation.judge.accepted import NOTHING, Accepted
from evaluation.judge.fields import RIGHT, WRONG, Compared, Field, at, compare, equal, fields_of, label_of
from evaluation.judge.form import ABSENT, Class, Flag, Form, form_of, validator_of
from evaluation.judge.values import Tallies, all_of, counted, omitted, right
from evaluation.settings import FieldRule


@dataclass(frozen=True, slots=True)
class Judgement:
    """What is to be said of one output. Its content is that of the output as it is, strictly read."""

    form: Class
    detail: str
    """What is wrong in form, in words; "" where nothing is."""
    flags: frozenset[Flag]
    parses: bool
    """Whether it is strict JSON and nothing else."""
    extracts: bool
    """Whether it is, or holds within other text, a JSON object or array."""
    schema_valid: bool
    extracted_valid: bool
    """Whether it, or what is found within it, fits the schema."""
    whole_match: bool
    """Equal to what is expected, or to what is accepted in its place."""
    rules_match: bool
    """Every field matches by its rule, and no key is missing or invented."""
    extracted_match: bool
    """What is found within it is equal to what is expected or accepted."""
    missing_keys: tuple[str, ...]
    """Keys of the expected object, by path, that the output, an object, lacks."""
    invented_keys: tuple[str, ...]
    """Keys of the output, by path, that the expected object does not have."""
    fields: tuple[Compared, ...]
    """In the order of the judge's fields; all wrong where the output is not an object."""
    given: tuple[str | None, ...]
    """Labels of the fields that are classes; None for no such label, `"true"` in place of `true` among them."""
    values: tuple[Tallies, ...]
    """What became of the values at the paths of each field; all omitted where the output is not an object."""

    @property
    def wrong_but_valid(self) -> bool:
        """What no check of form catches."""
        return self.schema_valid and not self.whole_match


class Judge:
    """Judges outputs that should be answers of one schema.

    Args:
        schema: JSON Schema of the answer.
        rules: of the fields, by path.

    Raises:
        AssayError: the schema is none, or a rule names a field that it does not have.
    """

    def __init__(self, schema: Mapping[str, Any], rules: Mapping[str, FieldRule] | None = None) -> None:
        self.validator = validator_of(schema)
        self.fields = fields_of(schema, rules or {})
        self.classes = tuple(number for number, field in enumerate(self.fields) if field.rule.kind == "class")
        self._tallied = any(field.items for field in self.fields)
        self._right = (RIGHT,) * len(self.fields)
        self._wrong = (WRONG,) * len(self.fields)
        self._no_labels = (None,) * len(self.classes)
        self._held: dict[int, tuple[tuple[Tallies, ...], Any]] = {}
        self._known: dict[tuple[str, bool, int], tuple[Judgement, Any]] = {}

    def __call__(self, output: str, expected: Any, cut_off: bool = False, accepted: Accepted = NOTHING) -> Judgement:
        """Judge an output; any text whatever gives a judgement.

        Systems that are asked the same rows often say the same: what is said to one expected value, the same object, is
        judged once.

        Args:
            output: the generated text.
            expected: the right answer as a Python value, which does not change.
            cut_off: whether the generator stopped the output at its limit of tokens.
            accepted: what is right beside the expected value, always the same for one.
        """
        key = output, cut_off, id(expected)
        known = self._known.get(key)
        if known is None:  # with the value itself, so that no other can come to have its id
            known = self._known[key] = (
                self.judge(form_of(output, self.validator, cut_off), expected, accepted),
                expected,
            )
        return known[0]

    def judge(self, form: Form, expected: Any, accepted: Accepted = NOTHING) -> Judgement:
        """Judge the content of an output whose form is known."""
        value = accepted.settled(form.value, expected)
        whole = form.parses and equal(value, expected)
        compared: tuple[Compared, ...] = self._wrong
        given: tuple[str | None, ...] = self._no_labels
        missing: tuple[str, ...] = ()
        invented: tuple[str, ...] = ()
        if isinstance(value, dict):
            given = tuple([label_of(at(value, self.fields[number].path)) for number in self.classes])
            if whole and not self._tallied:
                compared = self._right
            else:
                compared = tuple([self._compared(each, value, expected, accepted) for each in self.fields])
                missing, invented = _keys(expected, value), _keys(value, expected)
                given = tuple(
                    [
                        None if label == right and not compared[number].exact else label
                        for label, right, number in zip(
                            given, self.expected_labels(expected), self.classes, strict=True
                        )
                    ]
                )
        elif self._tallied:
            compared = tuple(
                [replace(WRONG, items=compare(e, ABSENT, at(expected, e.path)).items) for e in self.fields]
            )
        found = accepted.settled(form.extracted, expected)
        rules = bool(compared) and not missing + invented and all(each.match for each in compared)
        return Judgement(
            form.kind,
            form.detail,
            form.flags,
            form.parses,
            form.extracted is not ABSENT,
            form.valid,
            form.extracted_valid,
            whole,
            whole or rules,
            whole or (not form.parses and form.extracted is not ABSENT and equal(found, expected)),
            missing,
            invented,
            compared,
            given,
            self._values(value, expected, accepted, whole, compared),
        )

    def _values(
        self, value: Any, expected: Any, accepted: Accepted, whole: bool, compared: Sequence[Compared]
    ) -> tuple[Tallies, ...]:
        """What became of the values of each field; of several accepted ones, by whatever of them most are right."""
        if not isinstance(value, dict):
            return tuple([all_of(each, at(expected, each.path), omitted) for each in self.fields])
        known = self._held.get(id(expected))
        if known is None:  # with the value itself, as above
            held = tuple([all_of(each, at(expected, each.path), right) for each in self.fields])
            known = self._held[id(expected)] = held, expected
        if whole:
            return known[0]
        found = []
        for field, all_right, by_rule in zip(self.fields, known[0], compared, strict=True):
            given, wanted = at(value, field.path), at(expected, field.path)
            others = accepted.values.get(field.path)
            if others:
                ways = [counted(field, given, each) for each in (wanted, *others)]
                found.append(max(ways, key=lambda way: sum(each.right for each in way)))
            else:
                found.append(all_right if by_rule.exact else counted(field, given, wanted, by_rule.match))
        return tuple(found)

    @staticmethod
    def _compared(field: Field, value: Any, expected: Any, accepted: Accepted) -> Compared:
        """A field by whatever of what is accepted is most like it."""
        given, wanted = at(value, field.path), at(expected, field.path)
        others = [compare(field, given, each) for each in accepted.values.get(field.path, ())]
        # What is equal to one of them has become the expected value.
        return max([compare(field, given, wanted), *others], key=lambda each: (each.exact, each.match, each.score))

    def expected_labels(self, expected: Any) -> tuple[str | None, ...]:
        """The right labels of the fields that are classes; None where the field is not there."""
        return tuple(label_of(at(expected, self.fields[number].path)) for number in self.classes)


def _keys(one: Any, other: Any, within: str = "") -> tuple[str, ...]:
    """Paths of keys that `one` has and `other` has not, of objects that both have."""
    if not isinstance(one, dict) or not isinstance(other, dict):
        return ()
    found: list[str] = []
    for key in sorted(one):
        found += _keys(one[key], other[key], f"{within}{key}.") if key in other else [within + key]
    return tuple(found)
