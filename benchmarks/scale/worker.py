"""The steps of one worker: duplicates and conflicts, splits and publishing, of rows that no process has all of.

A worker holds the rows of its files. Rows are numbered through all files, so everybody knows who holds one. Besides,
each worker owns a range of the hashes of prompts, of the keys of bands, of the rarest shingles of crowded rows, and of
ids. What is similar is told to one place, which has neither texts nor signatures: it joins clusters and says who goes.
"""

import resource
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import xxhash

from benchmarks.scale.buckets import (
    COUNTER_BITS,
    KEY_BITS,
    KEY_BYTES,
    at_home,
    band_keys,
    in_range,
    pack,
    pairs_of,
    prefix_pairs,
    unpack,
)
from benchmarks.scale.network import Array, Network
from benchmarks.scale.place import Place, verdict_of
from benchmarks.scale.rounds import Rounds
from benchmarks.scale.splits import deal_splits
from benchmarks.scale.travel import Travel
from curate.arrow import do_without_pandas
from curate.record import PLACES, SCHEMA, SOURCE, SPLITS, TURN
from curate.sets.bands import bands_for
from curate.sets.buckets import LARGE
from curate.sets.duplicates import Duplicates
from curate.sets.keys import compared_text, fixed, hexadecimal
from curate.sets.similarity import Side
from curate.stage import evidence_json
from curate.text.words import shingle_sets

PROMPT = np.dtype([("prompt", "<u8", 2), ("answer", "<u8", 2), ("form", "<u8"), ("row", "<u4")])
SAME_PROMPT = np.dtype([("row", "<u4"), ("first", "<u4"), ("rows", "<u4"), ("answers", "<u4")])
JOIN = np.dtype([("row", "<u4"), ("head", "<u4"), ("first", "<u4"), ("conflict", "?")])
EDGE = np.dtype([("one", "<u4"), ("other", "<u4"), ("similarity", "<f8")])
NAMED = np.dtype([("id", "<u8", 2), ("chars", "<u4")])
NOBODY = np.uint32(0xFFFFFFFF)


@dataclass(frozen=True)
class Given:
    """What a worker begins with."""

    files: Sequence[Path]
    begins: Array
    """The number of the first row of each worker, and how many rows there are."""
    begins_of_files: Array
    names_of_files: Sequence[str]
    settings: Duplicates


@dataclass(frozen=True)
class Told:
    """What a worker tells in the end; none of it is counted."""

    reason: list[str | None]
    evidence: list[str | None]
    cluster: list[str]
    split: list[str | None]
    published: dict[str, list[str]]
    """By split: ids of the rows that this worker publishes, in their order."""
    sent: dict[str, dict[int, int]]
    received: dict[str, dict[int, int]]
    stayed: dict[str, int]
    processor: dict[str, float]
    counts: dict[str, int]
    peak_mib: float


def records(file: Path) -> pa.Table:
    """The texts of a file, each cut in two at a space, as records of a question and an answer."""
    table = pq.read_table(file)
    texts = table["text"].to_pylist()
    cuts = [max(text.find(" ", len(text) // 3), 1) for text in texts]
    said = [part for text, at in zip(texts, cuts, strict=True) for part in (text[:at], text[at:])]
    rows = len(texts)
    turns = pa.StructArray.from_arrays(
        [
            pa.array(["user", "assistant"] * rows),
            pa.array(said),
            pa.nulls(2 * rows, pa.string()),
            pa.nulls(2 * rows, pa.bool_()),
        ],
        fields=list(TURN),
    )
    source = [pa.repeat("drop", rows), pa.repeat(file.name, rows), pa.array(range(rows)), pa.nulls(rows, PLACES)]
    columns = {
        "id": pa.array([xxhash.xxh3_128_hexdigest(text.encode()) for text in texts]),
        "turns": pa.ListArray.from_arrays(np.arange(0, 2 * rows + 1, 2, dtype=np.int32), turns),
        "source": pa.StructArray.from_arrays(source, fields=list(SOURCE)),
    }
    return pa.table([columns.get(field.name, pa.nulls(rows, field.type)) for field in SCHEMA], schema=SCHEMA)


def work(network: Network, given: Given) -> Told:
    """All steps, in their order."""
    do_without_pandas()
    return Worker(network, given).work()


class Worker:
    """What a worker has, and its steps; they are the same for all, and so exchanges meet."""

    def __init__(self, network: Network, given: Given) -> None:
        self.network, self.given = network, given
        self.threshold = given.settings.threshold
        self.begin = int(given.begins[network.number])
        self.counts: dict[str, int] = {}

    def holder(self, rows: Array) -> Array:
        """Who holds each row."""
        return np.searchsorted(self.given.begins, rows, "right") - 1

    def owner(self, hashes: Array, bits: int = 64) -> Array:
        """Who owns each hash of that many bits: every worker has a range of them, all of one size."""
        return in_range(hashes, bits, self.network.size)

    def work(self) -> Told:
        step = self.network.step
        with step("sign"):
            self._sign()
        with step("prompts"):
            joins, same = self._prompts()
        with step("bands"):
            pairs, crowded = self._bands()
        with step("crowded rows"):
            pairs = np.unique(np.concatenate([pairs, self._crowded(crowded)]))
        self.counts["pairs proposed"] = len(pairs)
        firsts, seconds = (pairs >> np.uint64(32)).astype(np.int64), (pairs & np.uint64(NOBODY)).astype(np.int64)
        travel = Travel(self.network, self.texts, self.begin, self.holder, self.given.settings)
        similarity = travel.similarities(firsts, seconds, self.signatures, self.network.step)
        similar = similarity >= self.threshold
        edges = np.empty(similar.sum(), EDGE)
        edges["one"], edges["other"], edges["similarity"] = firsts[similar], seconds[similar], similarity[similar]
        self.counts |= {"pairs similar": len(edges), **travel.counts}
        with step("one place"):
            place = Place(self.network, self.holder, self._named)
            told = place.decide(edges, joins)
        with step("rounds"):
            rounds = Rounds(self.network, self.holder, self._named, self.begin, len(self.ids))
            rounds.decide(edges, joins)
            rounds.require_same(told)
            self.counts |= {f"{name}, rounds": number for name, number in rounds.rounds.items()}
        reason, evidence, cluster = self._verdict(told, same)
        with step("splits"):
            kept = np.array([each is None for each in reason], np.bool_)
            split = deal_splits(self.network, place, told, kept, self.ids, self.begin)
        with step("publish"):
            published = self._publish(kept, split, cluster)
        self.counts["kept"] = int(kept.sum())
        network = self.network
        return Told(
            *(reason, evidence, cluster, split, published),
            *({kind: dict(to) for kind, to in each.items()} for each in (network.sent, network.received)),
            *(dict(network.stayed), network.processor, self.counts),
            resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        )

    def _sign(self) -> None:
        """Read the rows, and make what they are compared by: nothing moves."""
        tables = [records(file) for file in self.given.files]
        self.records = pa.concat_tables(tables).combine_chunks()
        self.keys = pa.concat_tables(map(self.given.settings.keys_of, tables)).combine_chunks()
        self.texts: pa.Array = compared_text(self.records, self.given.settings)
        self.signatures = fixed(self.keys["signature"], np.uint32)
        self.ids = hexadecimal(self.keys["id"], 32)

    def _named(self, rows: Array) -> Array:
        """What puts rows of this worker in order of priority."""
        out = np.empty(len(rows), NAMED)
        out["id"] = self.ids[rows - self.begin]
        out["chars"] = self.keys["chars"].to_numpy()[rows - self.begin]
        return out

    def _prompts(self) -> tuple[Array, dict[int, tuple[int, int]]]:
        """Rows of one prompt meet at who owns its hash: which are equal, and which contradict each other.

        Returns:
            For the one place, by who owned the prompts: which rows share a prompt. Of rows held here: rows and answers
            of their group, where it is a conflict.
        """
        mine = np.empty(len(self.ids), PROMPT)
        mine["prompt"], mine["answer"] = fixed(self.keys["prompt"], np.uint64), fixed(self.keys["answer"], np.uint64)
        mine["form"], mine["row"] = self.keys["form"].to_numpy(), self.begin + np.arange(len(mine))
        met = np.concatenate(self.network.route("prompts", mine, self.owner(mine["prompt"][:, 0])))
        met = met[np.lexsort((met["row"], met["form"], met["answer"][:, 0], met["prompt"][:, 0]))]
        new_prompt, new_answer = np.ones(len(met), np.bool_), np.ones(len(met), np.bool_)
        new_prompt[1:] = (met["prompt"][1:] != met["prompt"][:-1]).any(axis=1)
        new_answer[1:] = new_prompt[1:] | (met["answer"][1:] != met["answer"][:-1]).any(axis=1)
        new_content = new_answer.copy()
        new_content[1:] |= met["form"][1:] != met["form"][:-1]
        begins = np.flatnonzero(new_prompt)
        group = np.cumsum(new_prompt) - 1
        sizes = np.diff(np.append(begins, len(met)))
        shared = np.flatnonzero(sizes[group] > 1)
        same, joins = np.empty(len(shared), SAME_PROMPT), np.empty(len(shared), JOIN)
        firsts = met["row"][np.flatnonzero(new_content)][np.cumsum(new_content) - 1] if len(met) else met["row"]
        same["row"], same["first"], same["rows"] = met["row"][shared], firsts[shared], sizes[group[shared]]
        same["answers"] = np.bincount(group[new_answer], minlength=len(begins))[group[shared]]
        joins["row"], joins["first"], joins["conflict"] = same["row"], same["first"], same["answers"] > 1
        joins["head"] = met["row"][begins[group[shared]]]
        back = np.concatenate(self.network.route("rows of one prompt", same, self.holder(same["row"].astype(np.int64))))
        self.firsts = np.ones(len(self.ids), np.bool_)
        self.firsts[back["row"][back["row"] != back["first"]] - self.begin] = False
        torn = back[back["answers"] > 1]
        return joins, dict(
            zip(torn["row"].tolist(), zip(torn["rows"].tolist(), torn["answers"].tolist(), strict=True), strict=True)
        )

    def _bands(self) -> tuple[Array, Array]:
        """Rows with the same values in a band meet at who owns the hash of these.

        Returns:
            The pairs to be compared here, as one number each, the row that is held here first; which rows held here are
            crowded.
        """
        rows = np.flatnonzero(self.firsts)
        keys = band_keys(self.signatures[rows], bands_for(self.threshold)).ravel()
        numbers = np.tile((self.begin + rows).astype(np.uint32), len(keys) // max(len(rows), 1))
        met = unpack(np.concatenate(self.network.route("bands", pack(keys, numbers), self.owner(keys, KEY_BITS))))
        pairs, crowded, every = pairs_of(*met, LARGE)
        self.counts["pairs proposed, by each band anew"] = every
        self._bands_asked(keys, numbers, pairs)
        here = np.unique(self._brought_home("pairs proposed", pairs))
        told = np.concatenate(self.network.route("crowded rows", crowded, self.holder(crowded.astype(np.int64))))
        return here, np.unique(told).astype(np.int64)

    def _bands_asked(self, keys: Array, numbers: Array, pairs: Array) -> None:
        """The same in two steps: keys alone, then the rows of those that somebody else has too."""
        owner = self.owner(keys, KEY_BITS)
        bare = np.ascontiguousarray(keys[:, None].view(np.uint8)[:, :KEY_BYTES])
        met = [unpack(each)[0] for each in self.network.route("(instead) keys of bands", bare, owner)]
        _, inverse, counts = np.unique(np.concatenate(met), return_inverse=True, return_counts=True)
        shared = np.split(counts[inverse] > 1, np.cumsum([len(each) for each in met])[:-1])
        told = self.network.exchange("(instead) which are shared", [np.packbits(each).tobytes() for each in shared])
        order = np.argsort(owner, kind="stable")
        cuts = np.searchsorted(owner[order], np.arange(self.network.size + 1))
        wanted = np.zeros(len(keys), np.bool_)
        for worker, bits in enumerate(told):
            places = order[cuts[worker] : cuts[worker + 1]]
            wanted[places] = np.unpackbits(np.frombuffer(bits, np.uint8), count=len(places)).astype(np.bool_)
        entries = pack(keys[wanted], numbers[wanted])
        again = unpack(np.concatenate(self.network.route("(instead) bands that are shared", entries, owner[wanted])))
        if not np.array_equal(pairs_of(*again, LARGE)[0], pairs):
            raise SystemExit("Bands in two steps have proposed other pairs.")

    def _crowded(self, crowded: Array) -> Array:
        """Crowded rows meet at who owns one of their rarest shingles: the prefix filter, its counts taken together."""
        from curate.sets.prefix_filter import COUNTERS, WEAK, prefixes

        offsets, values = shingle_sets(
            self.texts.take(pa.array(crowded - self.begin)), self.given.settings.shingle_words
        )
        side = Side(self.signatures[:0], offsets[:-1], offsets[1:], values)
        counters, here = np.unique(values & np.uint64(COUNTERS - 1), return_counts=True)
        tally = np.stack([counters, here], axis=1).astype(np.uint32)
        owner = self.owner(counters, COUNTER_BITS)
        met = self.network.route("crowded: counts", tally, owner)
        every = np.concatenate(met)
        sums = np.bincount(every[:, 0], every[:, 1], COUNTERS) if len(every) else np.zeros(COUNTERS)
        counts = np.zeros(COUNTERS, np.uint32)
        counts[counters] = self.network.reply(
            "crowded: counts, back", owner, [sums[each[:, 0]].astype(np.uint32) for each in met]
        )
        entries = prefixes(side, np.arange(len(crowded)), counts, self.threshold)
        weak = (entries & np.uint64(WEAK)).astype(np.uint32)
        places = (entries & np.uint64(WEAK - 1)).astype(np.int64)
        rows = crowded[places].astype(np.uint32) if len(places) else np.zeros(0, np.uint32)
        packed = np.stack([(entries >> np.uint64(32)).astype(np.uint32), rows | weak], axis=1)
        owner = self.owner(entries >> np.uint64(32), 32)
        pairs = prefix_pairs(np.concatenate(self.network.route("crowded: prefixes", packed, owner)), WEAK)
        self.counts["rows crowded"] = len(crowded)
        return self._brought_home("crowded: pairs proposed", pairs)

    def _brought_home(self, kind: str, pairs: Array) -> Array:
        """The pairs that are to be compared here."""
        pairs = at_home(pairs)
        return np.concatenate(self.network.route(kind, pairs, self.holder((pairs >> np.uint64(32)).astype(np.int64))))

    def _verdict(
        self, told: Array, same: dict[int, tuple[int, int]]
    ) -> tuple[list[str | None], list[str | None], list[str]]:
        """In the words of `curate.sets.judgement`, of the rows held here."""
        cluster: list[str] = self.keys["id"].to_pylist()
        reason: list[str | None] = [None] * len(cluster)
        evidence: list[str | None] = [None] * len(cluster)
        for each in told:
            at = int(each["row"]) - self.begin
            cluster[at] = "{:016x}{:016x}".format(*each["cluster"].tolist())
            reason[at], by = verdict_of(each)
            seen: dict[str, Any] | None = None
            if reason[at] == "conflict":
                seen = dict(zip(("rows", "answers"), same[int(each["row"])], strict=True))
            elif reason[at] is not None:
                file = int(np.searchsorted(self.given.begins_of_files, by, "right")) - 1
                where = (self.given.names_of_files[file], by - int(self.given.begins_of_files[file]))
                kept = "{:016x}{:016x}".format(*each["kept"].tolist())
                seen = {"kept": kept, "version": None, "file": where[0], "row": where[1]}
                seen["similarity"] = round(float(each["similarity"]), 6)
            evidence[at] = None if seen is None else evidence_json(seen | {"cluster": cluster[at]})
        return reason, evidence, cluster

    def _publish(self, kept: Array, split: list[str | None], cluster: list[str]) -> dict[str, list[str]]:
        """Rows that stay move once, to who owns their ids; what is quarantined stands as it was read."""
        table = self.records.append_column("cluster", pa.array(cluster)).append_column(
            "split", pa.array(split, pa.string())
        )
        owner = np.where(kept, self.owner(self.ids[:, 0]), -1)
        parcels = []
        for worker in range(self.network.size):
            sink = pa.BufferOutputStream()
            options = pa.ipc.IpcWriteOptions(compression="zstd")
            with pa.ipc.new_stream(sink, table.schema, options=options) as writer:
                writer.write_table(table.filter(pa.array(owner == worker)))
            parcels.append(sink.getvalue().to_pybytes())
        self.counts["bytes of rows published, as they are"] = table.filter(pa.array(kept)).nbytes
        met = pa.concat_tables([pa.ipc.open_stream(each).read_all() for each in self.network.exchange("rows", parcels)])
        return {name: met["id"].filter(pc.equal(met["split"], name)).sort().to_pylist() for name in SPLITS}
