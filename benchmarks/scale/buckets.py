"""Who meets whom: keys of bands, the pairs of those that share one, and those of the prefix filter."""

import numpy as np

from benchmarks.scale.network import Array

KEY_BITS, KEY_BYTES = 48, 6
"""Of a band's key. Of 32 bits, as one process has them, a billion rows would share seven each by chance."""
COUNTER_BITS = 22
"""The counters of `curate.sets.prefix_filter` are 2^22."""


def in_range(hashes: Array, bits: int, size: int) -> Array:
    """Which of `size` even ranges each hash of that many bits is in."""
    leading = (hashes >> np.uint64(max(bits - 32, 0))) if bits > 32 else hashes << np.uint64(32 - bits)
    return (leading.astype(np.uint64) * np.uint64(size) >> np.uint64(32)).astype(np.int64)


def _scrambled(value: Array) -> Array:
    """MurmurHash3's 64-bit finalizer."""
    value = (value ^ (value >> np.uint64(33))) * np.uint64(0xFF51AFD7ED558CCD)
    value = (value ^ (value >> np.uint64(33))) * np.uint64(0xC4CEB9FE1A85EC53)
    return value ^ (value >> np.uint64(33))


def band_keys(signatures: Array, bands: int) -> Array:
    """The keys of `curate.sets.bands`, KEY_BITS of them: shape (bands, rows)."""
    values = signatures.reshape(len(signatures), bands, -1).astype(np.uint64)
    keys = np.broadcast_to(np.arange(bands, dtype=np.uint64), values.shape[:2])
    for at in range(values.shape[2]):
        keys = _scrambled(keys ^ values[:, :, at])
    return np.ascontiguousarray((keys >> np.uint64(64 - KEY_BITS)).T)


def at_home(pairs: Array) -> Array:
    """Pairs with the row first that the other one travels to: by a hash, so that all are home to as many."""
    one, other = pairs >> np.uint64(32), pairs & np.uint64(0xFFFFFFFF)
    return np.where(_scrambled(one) < _scrambled(other), pairs, other << np.uint64(32) | one)


def pack(keys: Array, rows: Array) -> Array:
    """Keys and rows as they travel: KEY_BYTES and four bytes each."""
    out = np.empty((len(keys), KEY_BYTES + 4), np.uint8)
    out[:, :KEY_BYTES] = keys.astype("<u8")[:, None].view(np.uint8)[:, :KEY_BYTES]
    out[:, KEY_BYTES:] = rows.astype("<u4")[:, None].view(np.uint8)
    return out


def unpack(entries: Array) -> tuple[Array, Array]:
    """Keys and rows (none where only keys have travelled)."""
    keys = np.zeros((len(entries), 8), np.uint8)
    keys[:, :KEY_BYTES] = entries[:, :KEY_BYTES]
    rows = np.ascontiguousarray(entries[:, KEY_BYTES:]).view("<u4").ravel()
    return keys.view("<u8").ravel(), rows


def pairs_of(keys: Array, rows: Array, largest: int) -> tuple[Array, Array, int]:
    """Pairs of rows that share a key of at most `largest` rows, the lesser first, as one ascending number each; the
    rows of the keys that more have; how many pairs there are if each counts once for every key that it shares."""
    order = np.lexsort((rows, keys))
    keys, rows = keys[order], rows[order]
    begins = np.flatnonzero(np.append(True, keys[1:] != keys[:-1])) if len(keys) else np.zeros(0, np.int64)
    sizes = np.diff(np.append(begins, len(keys)))
    found = [np.zeros(0, np.uint64)]
    for size in np.unique(sizes[(sizes > 1) & (sizes <= largest)]).tolist():
        members = rows[begins[sizes == size][:, None] + np.arange(size)].astype(np.uint64)
        one, other = np.triu_indices(size, 1)
        found.append((members[:, one] << np.uint64(32) | members[:, other]).ravel())
    every = np.concatenate(found)
    return np.unique(every), np.unique(rows[np.repeat(sizes > largest, sizes)]), len(every)


def prefix_pairs(entries: Array, weak: int) -> Array:
    """Pairs of rows that share a rare shingle, unless both are weak in it: as `pairs_of` gives them.

    Args:
        entries: 32 bits of the shingle, and the row with the bit `weak`.
    """
    order = np.lexsort((entries[:, 1], entries[:, 0]))
    shingles, rows = entries[order, 0], entries[order, 1].astype(np.int64)
    begins = np.flatnonzero(np.append(True, shingles[1:] != shingles[:-1])) if len(order) else np.zeros(0, np.int64)
    ends = np.append(begins[1:], len(rows))
    found = [np.zeros(0, np.int64)]
    for begin, end in zip(begins[ends - begins > 1].tolist(), ends[ends - begins > 1].tolist(), strict=True):
        strong = int(np.searchsorted(rows[begin:end], weak))
        members = rows[begin:end] & (weak - 1)
        for at in range(strong):
            one, others = members[at], members[at + 1 :]
            others = others[others != one]
            found.append(np.minimum(one, others) << 32 | np.maximum(one, others))
    return np.unique(np.concatenate(found)).astype(np.uint64)
