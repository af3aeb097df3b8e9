"""The contract: what one record and a whole set must satisfy, written in the Open Data Contract Standard (ODCS) 3.1.

A contract is a folder with `contract.yaml` and, where the answer's schema is to say more than ODCS can,
`target.schema.json`. Of the two schema objects of contract.yaml, `record` documents the fields of a row and `set` those
of the flattened whole. The JSON Schema of a row and of its answer, and what the set is held to, are derived from them,
so none can disagree with what is documented.
"""

from collections.abc import Collection
from dataclasses import dataclass, field, replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from curate.errors import AssayError
from curate.expectations import GIVEN, filled
from curate.hashing import digest, file_digest, files_digest
from curate.odcs import COMMON_FILE, FILE, common, read_document, schema_object, wrong
from curate.record import SPLITS
from curate.row_schema import TARGET_FILE, put_in_order, row_schema_of, target_schema_of
from curate.service_levels import Stated, complete, service_levels
from curate.set_rules import ColumnRule, column_rules_of, expectations_of, fill_values, leave_out

APART = frozenset({"team", "roles", "support", "price", "slaProperties"})
"""Keys that are no part of what a contract is known by: who answers for the data and how it is served changes no row,
nor what a row must be."""
PRICE, LEVEL = ("priceAmount", "priceCurrency", "priceUnit"), ("property", "value", "unit")
"""What is told of a price and of a service level."""


@dataclass(frozen=True)
class Field:
    """One documented field, for the data set card."""

    name: str
    """Dotted where nested, e.g. `target.category`."""
    type: str
    """ODCS logical type."""
    nullable: bool
    description: str
    derivation: str
    """How it is derived from the sources; empty where it is taken as it is."""
    logic: str
    """The derivation as a formula, where there is one."""


@dataclass(frozen=True)
class Contract:
    """A loaded contract; make one with `Contract.load`."""

    name: str
    version: str
    purpose: str
    limitations: str
    usage: str
    tags: tuple[str, ...]
    properties: dict[str, str]
    """ODCS `customProperties`, e.g. {"license": "cc-by-4.0", "attribution": "..."}."""
    fields: tuple[Field, ...]
    target_schema: dict[str, Any] | None
    """JSON Schema of the answer, or None where the answer is plain text."""
    row_schema: dict[str, Any]
    """JSON Schema (2020-12) of a record as JSON, its target parsed and its turns' roles joined in `roles`."""
    expectations: tuple[dict[str, Any], ...]
    """Configurations of expectations: {"type", "kwargs", "meta": {"name", "dimension", "description"}}; `meta` has
    `severity: warning` too where a rule is only told of. All are Great Expectations' but those of the type
    `expectations.DRIFT`."""
    columns: tuple[ColumnRule, ...]
    """What the set is held to besides: what properties say of their columns by keywords."""
    service_levels: dict[str, Stated]
    """What a drop is held to, by property; see `curate.service_levels`."""
    document: dict[str, Any]
    """contract.yaml, merged with what is common to all contracts: full ODCS. A setting of the recipe stands in it by
    its name."""
    sha256: str
    """Hash of what is said of the data: the merged document without APART, the recipe's numbers in their places, and
    target.schema.json as it stands."""
    target_file: bytes | None = field(compare=False, repr=False)
    """target.schema.json as it stands; None where there is none."""

    @property
    def answerable(self) -> str:
        """Who answers for the data, where to ask, what it costs and what is promised, in a sentence each."""
        document, team = self.document, self.document.get("team", {})
        members = team if isinstance(team, list) else team.get("members", [])
        named = [f"{each.get('name', each['username'])} ({each.get('role', 'member')})" for each in members]
        name = team.get("name", "") if isinstance(team, dict) else ""
        asked = [each.get("url", each["channel"]) for each in document.get("support", [])]
        roles = [f"{each['role']} ({each.get('access', 'no access said')})" for each in document.get("roles", [])]
        price = " ".join(str(document["price"][key]) for key in PRICE if key in document.get("price", {}))
        levels = [
            " ".join(str(each[key]) for key in LEVEL if key in each) for each in document.get("slaProperties", [])
        ]
        told = {
            "Team": ", ".join([*([name] if name else []), *named]),
            "Support": ", ".join(asked),
            "Roles": ", ".join(roles),
            "Price": price,
            "Service levels": ", ".join(levels),
        }
        return " ".join(f"{what}: {said}." for what, said in told.items() if said)

    @staticmethod
    def load(name_or_path: str | Path, max_tokens: int | None = None) -> "Contract":
        """Read a contract. With its recipe: `Recipe.held_to`.

        Args:
            name_or_path: a folder that holds contract.yaml, or the name of a packaged contract, e.g. "licences".
            max_tokens: the recipe's `fit.max_tokens`, for rules that name it; without it they cannot be asked.

        Raises:
            AssayError: there is no such contract, or it is wrong; names the file, the key and what was expected.
        """
        folder = Path(name_or_path)
        if not (folder / FILE).is_file():
            folder = Path(str(files("data_contracts"))) / name_or_path
        if not (folder / FILE).is_file():
            packaged = sorted(path.parent.name for path in Path(str(files("data_contracts"))).glob(f"*/{FILE}"))
            raise AssayError(
                f"{name_or_path}: no such contract: no {FILE} in that folder.",
                remedy=f"Name a folder that holds one, or one of: {', '.join(packaged)}.",
            )
        return _loaded(folder, common(), {} if max_tokens is None else {GIVEN[0]: max_tokens})

    @staticmethod
    def as_published(folder: Path, max_tokens: int | None = None) -> "Contract":
        """Read the contract that lies in a published version: it is whole, whatever is common to all by now.

        Args:
            folder: of it.
            max_tokens: as of `load`: of the recipe that the version was made by.

        Raises:
            AssayError: there is none that can be read.
        """
        return _loaded(folder, {}, {} if max_tokens is None else {GIVEN[0]: max_tokens})

    def write(self, folder: Path) -> None:
        """Write the whole contract as a folder, for `as_published`."""
        folder.mkdir()
        text = yaml.safe_dump(self.document, sort_keys=False, allow_unicode=True, width=110)
        (folder / FILE).write_text(text, encoding="utf-8")
        if self.target_file is not None:
            (folder / TARGET_FILE).write_bytes(self.target_file)

    def of_splits(self, held: Collection[str], shares: bool) -> "Contract":
        """The contract without the common rules about splits that hold no rows: whether they are to is the recipe's
        to say. A rule that the contract states itself stands.

        Args:
            held: the splits that hold rows.
            shares: whether the common rules say something about the shares of these.
        """
        if {*SPLITS} <= {*held} and shares:
            return self
        shared = {*held} if shares and len({*held}) > 1 else set()
        absent = {f"{split}_share" for split in {*SPLITS} - shared}
        absent |= {"splits_present"} if {*SPLITS} - {*held} else set()
        theirs = _common_rules()
        kept = (rule for rule in self.expectations if rule["meta"]["name"] not in absent or rule not in theirs)
        return replace(self, expectations=tuple(kept))

    def of_any_set(self) -> "Contract":
        """The contract without what it says of its own set, for one that is curated otherwise than it was written for:
        what is said of each row holds, and what holds of every set."""
        theirs = {item["name"] for item in schema_object(common(), "set")["properties"]}
        names = {rule["meta"]["name"] for rule in _common_rules()}
        kept = (rule for rule in self.expectations if rule["meta"]["name"] in names)
        columns = (rule for rule in self.columns if rule.column in theirs)
        return replace(self, expectations=tuple(kept), columns=tuple(columns))


def _loaded(folder: Path, base: dict[str, Any], given: dict[str, int]) -> Contract:
    """The contract in a folder, merged into `base`."""
    file, target = folder / FILE, folder / TARGET_FILE
    document = read_document(file, base)
    record, whole = (schema_object(document, name) for name in ("record", "set"))
    put_in_order(record, file)
    target_schema = target_schema_of(target, record)
    row_schema = row_schema_of(document["name"], record, target_schema, file)
    fill_values(whole, row_schema, file)
    without = leave_out(whole, _common_rules(), file)
    expectations = expectations_of(whole, given, file)
    columns = column_rules_of(whole, record, [*expectations, *without], file)
    levels = _service_levels(document, whole, file)
    about = document.get("description", {})
    return Contract(
        name=document["name"],
        version=document["version"],
        purpose=about.get("purpose", ""),
        limitations=about.get("limitations", ""),
        usage=about.get("usage", ""),
        tags=tuple(document.get("tags", [])),
        properties={item["property"]: str(item["value"]) for item in document.get("customProperties", [])},
        fields=tuple(_fields(record["properties"])),
        target_schema=target_schema,
        row_schema=row_schema,
        expectations=(*expectations, *complete(levels)),
        columns=tuple(columns),
        service_levels=levels,
        document=document,
        sha256=_known_by(document, target, given),
        target_file=target.read_bytes() if target.is_file() else None,
    )


def _common_rules() -> list[dict[str, Any]]:
    return expectations_of(schema_object(common(), "set"), {}, Path(COMMON_FILE))


def _known_by(document: dict[str, Any], target: Path, given: dict[str, int]) -> str:
    said = {key: value for key, value in document.items() if key not in APART}
    hashes = {FILE: digest(filled(said, given))}
    if target.is_file():  # by its bytes: prompts may list its keys in their order
        hashes[TARGET_FILE] = file_digest(target)
    return files_digest(hashes.items())


def _service_levels(document: dict[str, Any], whole: dict[str, Any], file: Path) -> dict[str, Stated]:
    try:
        levels = service_levels(document.get("slaProperties", []))
    except ValueError as error:
        name, problem = error.args
        raise wrong(file, f"slaProperties.{name}", problem) from None
    known = [item["name"] for item in whole["properties"]]
    for name, stated in levels.items():
        if unknown := [column for column in stated.columns if column not in known]:
            raise wrong(file, f"slaProperties.{name}.element", f"{unknown[0]!r} is no column of `schema.set`")
    return levels


def _fields(properties: list[dict[str, Any]], prefix: str = "") -> list[Field]:
    """The properties and those nested in them, outer before inner."""
    fields: list[Field] = []
    for item in properties:
        name = prefix + item["name"]
        about = [item.get(key, "") for key in ("description", "transformDescription", "transformLogic")]
        fields.append(Field(name, item.get("logicalType", ""), not item.get("required", False), *about))
        inner = item.get("properties") or item.get("items", {}).get("properties", [])
        fields += _fields(inner, f"{name}.")
    return fields
