"""Other answers than the expected one that are right too: values of a key, and keys that may be left out."""

import json
from collections.abc import Iterable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

from curate.errors import AssayError
from evaluation.judge.fields import Field, at, equal
from evaluation.judge.form import ABSENT
from evaluation.settings import EvaluationSettings

Path = tuple[str, ...]


@dataclass(frozen=True)
class Accepted:
    """What is right beside a row's target; what is trained is the target."""

    values: Mapping[Path, Sequence[Any]] = field(default_factory=dict)
    """By path: values that are as good as the target's."""
    optional: frozenset[Path] = frozenset()
    """Paths of keys that may be left out."""

    @staticmethod
    def of(values: Any, optional: Any, fields: Sequence[Field], where: str) -> "Accepted":
        """What a row says.

        Args:
            values: an object of lists by path (`unit`, `party.city`), or its JSON text; None for nothing.
            optional: a list of paths, or its JSON text; None for none.
            fields: of the answer: a path names one of them, or an object that holds some.
            where: names the row in errors.

        Raises:
            AssayError: it is something else.
        """
        values, optional = _read(values, where) or {}, _read(optional, where) or []
        if not isinstance(values, dict) or not all(isinstance(each, list) for each in values.values()):
            raise _wrong(where, "`accepted` is no object of lists", 'Give {"unit": ["C", "celsius"]}, or null.')
        if not isinstance(optional, list) or not all(isinstance(each, str) for each in optional):
            raise _wrong(where, "`optional` is no list of paths", 'Give ["unit", "party.city"], or null.')
        known = {each.path[:length] for each in fields for length in range(1, len(each.path) + 1)}
        paths = {path: tuple(path.split(".")) for path in [*values, *optional]}
        if unknown := sorted(path for path, parts in paths.items() if parts not in known):
            named = ", ".join(each.name for each in fields)
            raise _wrong(where, f"the target schema has no {unknown[0]!r}, which is accepted", f"Its fields: {named}.")
        by_path = {paths[path]: each for path, each in values.items()}
        return Accepted(by_path, frozenset(paths[path] for path in optional))

    def settled(self, value: Any, expected: Any) -> Any:
        """An output with what is accepted replaced by what is expected: the expected value where all of it is right."""
        if not isinstance(value, dict) or not (self.values or self.optional):
            return value
        value = deepcopy(value)
        for path in sorted({*self.values, *self.optional}):
            holder = at(value, path[:-1])
            if not isinstance(holder, dict):
                continue
            given, wanted = at(value, path), at(expected, path)
            if given is ABSENT:
                right = path in self.optional
            else:
                right = any(equal(given, each) for each in self.values.get(path, ()))
            if right and wanted is not ABSENT:
                holder[path[-1]] = wanted
            elif right:
                holder.pop(path[-1], None)
        return value


NOTHING = Accepted()


def accepted_of(
    rows: Sequence[Mapping[str, Any]],
    fields: Sequence[Field],
    settings: EvaluationSettings,
    others: Iterable[Mapping[str, Any]] = (),
) -> list[Accepted]:
    """What is right beside each row's target.

    Args:
        rows: with `id` and, where the recipe names keys of it, `meta`.
        fields: of the answer.
        settings: of the recipe; name the keys.
        others: rows that are not asked, with `meta`: a key that one of them has may be missing in those that are.

    Raises:
        AssayError: no row has a key of `meta` that the recipe names, or one does not say what it should.
    """
    if not names_meta(settings):
        return [NOTHING] * len(rows)
    metas = [_meta(row) for row in rows]
    for name in ("accepted", "optional"):
        key = getattr(settings, name)
        if key is not None and not any(key in meta for meta in chain(metas, map(_meta, others))):
            raise AssayError(
                f"evaluation.{name}: no row that is asked has {key!r} in its `meta`.",
                remedy=f"Fill it in the recipe's record.meta, or leave the key out. There are: "
                f"{', '.join(sorted(set().union(*metas))) or 'none'}.",
            )
    values, optional = ([key and meta.get(key) for meta in metas] for key in (settings.accepted, settings.optional))
    return [
        Accepted.of(its, may_lack, fields, f"Row {row['id']}")
        for row, its, may_lack in zip(rows, values, optional, strict=True)
    ]


def names_meta(settings: EvaluationSettings) -> bool:
    """Whether what is right beside a target stands in `meta`."""
    return settings.accepted is not None or settings.optional is not None


def _meta(row: Mapping[str, Any]) -> dict[str, Any]:
    return {each["key"]: each["value"] for each in row["meta"] or ()}


def _read(value: Any, where: str) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        raise _wrong(where, "what is accepted is no JSON", "Write it by `| tojson` in the recipe.") from None


def _wrong(where: str, what: str, remedy: str) -> AssayError:
    return AssayError(f"{where}: {what}.", remedy=remedy)
