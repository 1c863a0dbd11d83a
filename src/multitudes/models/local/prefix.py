"""Keys and values of conversations, found again by content.

An entry holds the keys and values of one token sequence. A new sequence reuses the longest prefix it shares with any
entry, token for token: a conversation's next turn, a second run of the same persona, a redraw and a side branch are
all the same look-up. Nothing has to be opened or closed; what is not used is forgotten first.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

BLOCK = 16  # tokens per index step; the match itself is exact to the token
_EVICTED_KNOWN = 100_000


@dataclass(slots=True, eq=False)
class Entry:
    """Keys and values of one sequence.

    Attributes:
        ids: The tokens, int32.
        kv: (layers, 2, kv_heads, capacity, d_head); the first ``len(ids)`` slots are filled.
        salt: What it was computed under, such as an edit of the residual stream; sequences meet only under one salt.
        blocks: Index keys of the full blocks.
    """

    ids: Any
    kv: Any
    salt: bytes = b""
    blocks: list[bytes] = field(default_factory=list)

    @property
    def n_bytes(self) -> int:
        """Memory of the keys and values."""
        return int(self.kv.numel() * self.kv.element_size())


class Match(NamedTuple):
    """The longest known prefix of a sequence: ``entry`` may be longer than the ``n`` tokens that agree."""

    entry: Entry | None
    n: int


def block_keys(ids: Sequence[int], salt: bytes = b"") -> list[bytes]:
    """One chained key per full block of ``BLOCK`` tokens, under ``salt``."""
    array = np.asarray(ids, dtype=np.int32)
    keys, key = [], salt
    for start in range(0, len(array) - BLOCK + 1, BLOCK):
        key = hashlib.blake2b(key + array[start : start + BLOCK].tobytes(), digest_size=16).digest()
        keys.append(key)
    return keys


class PrefixCache:
    """Entries within a memory budget, least recently used out first.

    Attributes:
        evictions: Entries that were dropped for room.
        recomputed_tokens: Tokens that had been known, were dropped and had to be computed again.
    """

    def __init__(self, budget_bytes: int) -> None:
        self._budget = budget_bytes
        self._entries: OrderedDict[int, Entry] = OrderedDict()
        self._index: dict[bytes, list[Entry]] = {}  # entries that hold a block, the newest last
        self._evicted: OrderedDict[bytes, None] = OrderedDict()
        self._bytes = 0
        self.evictions = 0
        self.recomputed_tokens = 0

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def n_bytes(self) -> int:
        """Memory of all entries."""
        return self._bytes

    def match(self, ids: Sequence[int], *, limit: int, salt: bytes = b"") -> Match:
        """The longest known prefix of ``ids`` under ``salt``, at most ``limit`` tokens."""
        keys = block_keys(ids[:limit], salt)
        for i in range(len(keys) - 1, -1, -1):
            owners = self._index.get(keys[i])
            if not owners:
                continue
            entry = owners[-1]
            array = np.asarray(ids[:limit], dtype=np.int32)
            m = min(len(array), len(entry.ids))
            differs = np.flatnonzero(array[:m] != entry.ids[:m])
            n = int(differs[0]) if len(differs) else m
            if n < (i + 1) * BLOCK:  # a hash collision; astronomically rare and not worth more than this line
                continue
            self._entries.move_to_end(id(entry))
            self._count_recomputed(keys[i + 1 :])
            return Match(entry, n)
        self._count_recomputed(keys)
        return Match(None, 0)

    def _count_recomputed(self, keys: list[bytes]) -> None:
        self.recomputed_tokens += BLOCK * sum(k in self._evicted for k in keys)

    def knows(self, key: bytes) -> bool:
        """Whether a block is known."""
        return key in self._index

    def add(self, entry: Entry) -> None:
        """Keep ``entry`` and make room for it. An entry larger than the whole budget is not kept."""
        if entry.n_bytes > self._budget:
            return
        entry.blocks = block_keys(entry.ids, entry.salt)
        if entry.blocks:
            for known in [e for e in self._index.get(entry.blocks[-1], ()) if np.array_equal(e.ids, entry.ids)]:
                self.discard(known)
        for key in entry.blocks:
            self._index.setdefault(key, []).append(entry)
            self._evicted.pop(key, None)
        self._entries[id(entry)] = entry
        self._bytes += entry.n_bytes
        while self._bytes > self._budget:
            self._drop(next(iter(self._entries.values())))
            self.evictions += 1

    def take(self, entry: Entry) -> bool:
        """Take ``entry`` out so that its memory can be extended in place; False if somebody else already did."""
        known = id(entry) in self._entries
        self.discard(entry)
        return known

    def discard(self, entry: Entry | None) -> None:
        """Forget ``entry``, if it is known, without counting it as evicted."""
        if entry is not None and id(entry) in self._entries:
            self._drop(entry, forget=False)

    def clear(self) -> None:
        """Forget everything."""
        self._entries.clear()
        self._index.clear()
        self._bytes = 0

    def _drop(self, entry: Entry, *, forget: bool = True) -> None:
        del self._entries[id(entry)]
        self._bytes -= entry.n_bytes
        for key in entry.blocks:
            owners = self._index[key]
            owners.remove(entry)
            if not owners:
                del self._index[key]
                if forget:
                    self._evicted[key] = None
        while len(self._evicted) > _EVICTED_KNOWN:
            self._evicted.popitem(last=False)
