"""croissant.json: a data set version as MLCommons Croissant 1.0 describes one, for tools that load data by it.

http://docs.mlcommons.org/croissant/docs/croissant-spec.html
"""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from curate.contract import Contract
from curate.manifest import DatasetManifest
from curate.publish.card import COLUMNS
from curate.publish.pages import one_line
from curate.record import SPLITS

CROISSANT = "croissant.json"
CONFORMS_TO = ["http://mlcommons.org/croissant/1.0", "http://mlcommons.org/croissant/RAI/1.0"]
CONTEXT: dict[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "sc": "https://schema.org/",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "dct": "http://purl.org/dc/terms/",
    "conformsTo": "dct:conformsTo",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "examples": {"@id": "cr:examples", "@type": "@json"},
    **{
        name: f"cr:{name}"
        for name in (
            *("citeAs", "column", "equivalentProperty", "extract", "field", "fileObject", "fileProperty", "fileSet"),
            *("format", "includes", "isLiveDataset", "jsonPath", "key", "md5", "parentField", "path", "recordSet"),
            *("references", "regex", "repeated", "replace", "samplingRate", "separator", "source", "subField"),
            "transform",
        )
    },
}
"""The specification's own @context, whole: readers warn of any other."""


def write_croissant(folder: Path, manifest: DatasetManifest, contract: Contract) -> None:
    """Write croissant.json: files with their hashes, and the columns of each split. A contract's words in it are text.

    Args:
        folder: holds train, validation and test.parquet.
        manifest: of the version.
        contract: documents the fields.
    """
    described = {field.name: one_line(field.description) for field in (*COLUMNS, *contract.fields)}
    about = {
        "description": contract.purpose,
        "license": contract.properties.get("license", ""),
        "creditText": contract.properties.get("attribution", ""),
        "rai:dataUseCases": contract.usage,
        "rai:dataLimitations": contract.limitations,
    }
    document = {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": CONFORMS_TO,
        "name": manifest.name,
        "version": manifest.version,
        **{key: one_line(words) for key, words in about.items() if words},
        **({"keywords": [one_line(tag) for tag in contract.tags]} if contract.tags else {}),
        "distribution": [_file(folder / f"{split}.parquet", manifest) for split in SPLITS],
        "recordSet": [_record_set(folder, split, described) for split in SPLITS],
    }
    text = json.dumps(document, indent=2, ensure_ascii=False)
    (folder / CROISSANT).write_text(text + "\n", encoding="utf-8")


def _file(path: Path, manifest: DatasetManifest) -> dict[str, Any]:
    return {
        "@type": "cr:FileObject",
        "@id": path.name,
        "name": path.name,
        "contentUrl": path.name,
        "contentSize": f"{path.stat().st_size} B",
        "encodingFormat": "application/x-parquet",
        "sha256": manifest.files[path.name],
    }


def _record_set(folder: Path, split: str, described: dict[str, str]) -> dict[str, Any]:
    schema = pq.read_schema(folder / f"{split}.parquet")
    return {
        "@type": "cr:RecordSet",
        "@id": split,
        "name": split,
        "key": {"@id": f"{split}/id"},
        "field": [_field(column, split, [column.name], "", described) for column in schema],
    }


def _field(field: pa.Field, split: str, path: list[str], json_path: str, described: dict[str, str]) -> dict[str, Any]:
    """A column, or a part of one.

    Args:
        field: of the Parquet file.
        split: whose file that is.
        path: the names that lead to it, the column's first.
        json_path: leads to it within a value of the column; "" where it is the column itself.
        described: what each field is, by its dotted name.
    """
    told: dict[str, Any] = {"@type": "cr:Field", "@id": "/".join([split, *path]), "name": path[-1]}
    if words := described.get(".".join(path)):
        told["description"] = words
    inner, within = field.type, json_path or "$"
    if pa.types.is_list(inner):
        told["repeated"] = True
        inner, within = inner.value_type, f"{within}[*]"
    if pa.types.is_struct(inner):
        # A list within (`source.places`) is left out: mlcroissant reads no path into one that is null.
        told["subField"] = [
            _field(each, split, [*path, each.name], f"{within}.{each.name}", described)
            for each in inner
            if not pa.types.is_list(each.type)
        ]
        return told
    source: dict[str, Any] = {"fileObject": {"@id": f"{split}.parquet"}, "extract": {"column": path[0]}}
    if json_path:
        source["transform"] = {"jsonPath": within}
    return told | {"dataType": _data_type(inner), "source": source}


def _data_type(type_: pa.DataType) -> str:
    if pa.types.is_boolean(type_):
        return "sc:Boolean"
    if pa.types.is_integer(type_):
        return "sc:Integer"
    return "sc:Float" if pa.types.is_floating(type_) else "sc:Text"
