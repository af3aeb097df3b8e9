"""The contract that a version carries: the one that it was held to, on which readers of the data rely.

It lies in the version's folder and only tells of it; what the version is known by is its hash, in the manifest.
"""

from pathlib import Path

from curate.contract import Contract
from curate.contract_change import contract_change
from curate.errors import AssayError
from curate.odcs import FILE
from curate.row_schema import TARGET_FILE
from curate.store import MANIFEST, Store, verified

FOLDER = "contract"
"""Of a version, with contract.yaml and, where the answer has one, target.schema.json."""


def carried(version: Path, max_tokens: int | None = None) -> Contract | None:
    """The contract of a published version; None of one that was published before versions carried theirs.

    Args:
        version: its folder.
        max_tokens: see `Contract.as_published`.

    Raises:
        AssayError: it is not as it was published.
    """
    folder = version / FOLDER
    if not folder.is_dir():
        return None
    for name in (FILE, TARGET_FILE):
        if (folder / name).exists():
            verified(version, f"{FOLDER}/{name}")
    return Contract.as_published(folder, max_tokens)


def require_no_looser(contract: Contract, name: str, store: Store) -> None:
    """See to it that a contract keeps what the last version of the data set was published with, or has a new version.

    Args:
        contract: loaded without a recipe.
        name: of the data set.
        store: where its versions are.

    Raises:
        AssayError: it is looser than the contract of the same version that the last version carries.
    """
    events = [event for event, problem in store.ledger_lines() if not problem]  # `assay check --all` tells of others
    published = (
        each["version"] for each in reversed(events) if (each.get("event"), each.get("name")) == ("datasets", name)
    )
    now = store.instead("datasets", name)
    folders = (store.root / "datasets" / name / now.get(version, version) for version in published)
    last = next((folder for folder in folders if (folder / MANIFEST).is_file()), None)
    before = None if last is None else carried(last)
    if last is None or before is None or (before.name, before.version) != (contract.name, contract.version):
        return
    change = contract_change(before, contract)
    if change.breaking:
        told = "\n".join(f"  {each.key}: {each.said}" for each in change.breaking)
        raise AssayError(
            f"The contract {contract.name} {contract.version} is looser than the one of that version which "
            f"{name}/{last.name} was published with:\n{told}",
            remedy=f"Who reads the data relies on the old one: take that back, or raise the contract's version to "
            f"{change.version_asked}.",
        )
