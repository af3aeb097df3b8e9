"""Refused: a candidate that is not published, because of what a run found, stays to be looked at in the store's
`failed/NAME`, in place of the one before.

It holds what the version would have held but for its manifest and card, and refused.json: why it is none. No later run
reads it.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from curate.errors import SetAsideError
from curate.manifest import DatasetManifest
from curate.publish.rejected import Rejected
from curate.shared import replace_folder
from curate.store import Draft, Store

REFUSED = "refused.json"
MOST = 20
"""Ids of rows that refused.json holds of a rule."""


@dataclass(frozen=True)
class Broken:
    """A rule that a candidate does not keep."""

    rule: str
    column: str | None
    expected: str
    observed: str
    rows: Sequence[str] = ()
    """Ids of some rows that break it, where it is one about single rows."""


class RefusedError(SetAsideError):
    """A candidate is not published; where it lies is part of the message.

    Args:
        broken: the rules that it does not keep.
    """

    def __init__(self, message: str, remedy: str = "", broken: Sequence[Broken] = ()) -> None:
        super().__init__(message, remedy)
        self.broken = broken


def candidate(store: Store, name: str) -> Path:
    """Where the last refused candidate of a data set lies."""
    return store.failed / name


def keep(
    refusal: RefusedError, draft: Draft, manifest: Mapping[str, Any], store: Store, where: str, rejected: Rejected
) -> None:
    """Move a candidate aside, with a report that says why it is refused, and tell the ledger.

    Args:
        refusal: why it is not published.
        draft: holds its rows, its quarantine and, where the gate was asked, its Data Docs.
        manifest: what it would have said, but for its files and version.
        store: where it would have been published.
        where: the drop lies, for the ledger.
        rejected: its rejected rows, for the report.
    """
    from curate.publish.report import Beside, write_report

    content = draft.content(manifest)
    published = DatasetManifest.model_validate(content)
    told = {
        "name": published.name,
        "version": published.version,
        "drop": published.drop.sha256,
        "why": refusal.why,
        "message": refusal.message,
        "remedy": refusal.remedy,
        "counts": published.counts.content(),
        "failed": [asdict(each) | {"rows": list(each.rows[:MOST])} for each in refusal.broken],
    }
    write_report(draft.folder, published, Beside(refused=refusal.message, rejected=rejected))
    text = json.dumps(told, indent=2, ensure_ascii=False)
    (draft.folder / REFUSED).write_bytes(text.encode("utf-8", "backslashreplace") + b"\n")
    replace_folder(draft.folder, candidate(store, published.name))
    rules = [each.rule for each in refusal.broken]
    tell(store, published.name, published.drop.sha256, where, refusal.why, rules=rules, counts=told["counts"])


def tell(store: Store, name: str, drop: str, where: str, why: str, **more: Any) -> None:
    """Tell the ledger that nothing was published of a drop.

    Args:
        store: whose ledger.
        name: of the data set.
        drop: its content hash.
        where: it lies.
        why: in a word.
        more: what is known beside it.
    """
    store.record({"event": "refused", "name": name, "drop": drop, "where": where, "why": why, **more})
