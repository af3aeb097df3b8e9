"""Splits by sizes of clusters: the one place deals kinds, and of rows alone learns only how their hashes lie."""

import numpy as np
import xxhash

from benchmarks.scale.network import Array, Network
from benchmarks.scale.place import Place
from curate.record import SPLITS
from curate.sets.deal import MILLION, Kinds, deal, give_each, improve, rounded_up
from curate.sets.split import Split

BINS = 12
"""Bits of a hash by which rows alone are counted."""
DEALT = np.dtype([("row", "<u4"), ("split", "u1")])


def deal_splits(network: Network, place: Place, told: Array, kept: Array, ids: Array, begin: int) -> list[str | None]:
    """The split of each row held here, as `curate.sets.split.assign` deals rows without groups and labels."""
    alone = kept.copy()
    alone[told["row"].astype(np.int64) - begin] = False
    hashes = hashed(ids[alone])
    counted = _to_first(
        network, "splits: rows alone, counted", np.bincount(_bin(hashes), minlength=1 << BINS).astype("<u4")
    )
    size, least, dealt, cuts = np.zeros(0, np.int64), np.zeros(0, np.uint64), np.zeros((0, 3), np.int64), [0, 0]
    if network.number == 0:
        size, least, members, root = _clusters(place)
        every = counted.reshape(-1, 1 << BINS).sum(axis=0, dtype=np.int64)
        every += np.bincount(_bin(least[size == 1]), minlength=1 << BINS)
        kinds, dealt = _dealt(size, int(every.sum()))
        ends = np.cumsum(every)
        cuts = np.cumsum(dealt[kinds == 1].sum(axis=0))[:2].tolist()
        bins = np.searchsorted(ends, cuts, "right").astype("<u4")
        wanted = bins.tobytes()
    else:
        wanted = b""
    bins = np.frombuffer(network.exchange("splits: bins", [wanted] * network.size)[0], "<u4")
    near = _to_first(network, "splits: rows alone near a border", hashes[np.isin(_bin(hashes), bins)])
    borders = b""
    if network.number == 0:
        near = np.sort(np.concatenate([near, least[(size == 1) & np.isin(_bin(least), bins)]]))
        borders = np.array(
            [_border(near, int(b), int(cut), ends) for b, cut in zip(bins, cuts, strict=True)], "<u8"
        ).tobytes()
    limits = np.frombuffer(network.exchange("splits: borders", [borders] * network.size)[0], "<u8")
    out = np.zeros(0, DEALT)
    to = np.zeros(0, np.int64)
    if network.number == 0:
        of_cluster = np.searchsorted(limits, least, "right")
        for kind in np.flatnonzero(kinds > 1).tolist():
            alike = np.flatnonzero(size == kinds[kind])
            of_cluster[alike[np.argsort(least[alike])]] = np.repeat(np.arange(3), dealt[kind])
        out = np.empty(len(members), DEALT)
        out["row"], out["split"] = place.verdicts["row"][members], of_cluster[root]
        to = place.holder(out["row"].astype(np.int64))
    back = np.concatenate(network.route("splits: of clusters", out, to))
    split = np.full(len(kept), -1)
    split[alone] = np.searchsorted(limits, hashes, "right")
    split[back["row"].astype(np.int64) - begin] = back["split"]
    return [SPLITS[each] if each >= 0 else None for each in split.tolist()]


def hashed(ids: Array) -> Array:
    """By which the components are ordered: the hash of an id as it is written."""
    names = ("{:016x}{:016x}".format(*each).encode() for each in ids.tolist())
    return np.fromiter(map(xxhash.xxh3_64_intdigest, names), np.uint64, len(ids))


def _bin(hashes: Array) -> Array:
    return (hashes >> np.uint64(64 - BINS)).astype(np.int64)


def _to_first(network: Network, kind: str, values: Array) -> Array:
    parcels = [values.tobytes(), *[b""] * (network.size - 1)]
    return np.frombuffer(b"".join(network.exchange(kind, parcels)), values.dtype)


def _clusters(place: Place) -> tuple[Array, Array, Array, Array]:
    """Of clusters with rows that stay: how many, the hash of the least id; the rows, and the cluster of each."""
    members = np.flatnonzero(place.verdicts["reason"] == 0)
    _, root, size = np.unique(place.root[members], return_inverse=True, return_counts=True)
    ids = place.ids[members]
    order = np.lexsort((ids[:, 1], ids[:, 0], root))
    first = np.searchsorted(root[order], np.arange(len(size)))
    return size, hashed(ids[order[first]]), members, root


def _dealt(size: Array, alone: int) -> tuple[Array, Array]:
    """The sizes of clusters, falling, and how many of each size every split is given."""
    sizes = np.concatenate([size[size > 1], np.ones(min(alone, 1), np.int64)])
    kinds, copies = np.unique(sizes, return_counts=True)
    kinds, copies = kinds[::-1].copy(), copies[::-1].copy()
    copies[kinds == 1] = alone
    nobody = np.zeros(0, np.int64)
    table = Kinds(2, 2 * np.arange(len(kinds)), np.tile([0, 1], len(kinds)), np.repeat(kinds, 2), copies, kinds, nobody)
    ratios, rows = Split().millionths(), int((kinds * copies).sum())
    held = np.zeros((len(SPLITS), 2), np.int64)
    open_to = (ratios > 0) & (kinds[:, None] * MILLION <= rounded_up(ratios * rows))
    open_to[:, 0] = True
    dealt = deal(table, held, ratios, open_to)
    improve(table, dealt, held, ratios[:, None] * table.in_all(), open_to)
    give_each(table, dealt, held, ratios > 0, open_to)
    return kinds, dealt


def _border(near: Array, number: int, cut: int, ends: Array) -> int:
    """The hash of the row alone that stands at `cut` of all of them, in the order of their hashes."""
    if number >= len(ends):
        return (1 << 64) - 1  # there is none: all come before
    inside = near[_bin(near) == number]
    return int(inside[cut - (int(ends[number - 1]) if number else 0)])
