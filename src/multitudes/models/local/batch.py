"""What happens to a batch: share prefixes, prefill what is new, decode together. Synchronous; runs in one thread."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch

from multitudes.models.base import Internals, Sampling
from multitudes.models.edit import Edit
from multitudes.models.local import sampling
from multitudes.models.local.editing import Plan
from multitudes.models.local.prefix import Entry, PrefixCache, block_keys
from multitudes.models.local.runner import HOLE, Runner, SlotCache

PAD_SHARE = 0.15  # of the tokens fed in one prefill, at most this much is padding
PREFILL_TOKENS = 4096  # fed in one forward pass at most; bounds the memory of activations
LOGIT_BYTES = 64 << 20  # of the vocabulary-wide output at one time: 341 rows of 49,152 tokens
DROP_SHARE = 0.25  # finished rows leave a decoding batch once they make up this share
GROWTH = 96  # slots that a kept entry is made longer than needed, so that its next turn fits


@dataclass(slots=True, eq=False)
class Row:
    """One sequence on its way through a batch.

    Attributes:
        ids: Context tokens; sampled tokens are appended.
        wanted: Positions whose next-token logits are needed; None for the last one only.
        keep: Whether its keys and values are kept for later.
        passing: A prefix that is needed in this batch only; it never takes over memory of what is kept.
        n_context: Number of context tokens.
        n_cached: Context tokens that were there when the row was computed.
        n_shared: Those of them that were computed in the same batch, on behalf of this row among others.
        entry: Its keys and values.
        hidden: Last hidden states (len(wanted), d_model), in the order of ``wanted``.
        edit: Change to the residual stream under which the row is computed; what is kept of it is kept apart.
    """

    ids: list[int]
    wanted: list[int] | None = None
    keep: bool = True
    passing: bool = False
    n_context: int = 0
    n_cached: int = 0
    n_shared: int = 0
    entry: Entry | None = None
    hidden: Any = None
    edit: Edit | None = None

    @property
    def salt(self) -> bytes:
        """Keeps rows under different edits apart."""
        return b"" if self.edit is None else self.edit.fingerprint.encode()


@dataclass(slots=True, eq=False)
class Generation:
    """A row that is to be continued.

    Attributes:
        uniforms: One per step; see ``sampling``.
        watch: Blocks whose residual stream is summed over the tokens that are fed back.
        finish: Why it ended.
        logprobs: Raw log-probability of each sampled token, nats.
        bad_step: Step at which the logits were not finite.
        seen: What was read inside, where anything was edited or watched.
    """

    row: Row
    sampling: Sampling
    uniforms: Any
    watch: tuple[int, ...] = ()
    sampled: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    near_ties: int = 0
    finish: str = "length"
    bad_step: int | None = None
    seen: Internals | None = None


class Seconds(NamedTuple):
    """Wall time of a batcher so far."""

    prefill: float
    decode: float
    forward: float


class Batcher:
    """Runs batches of rows on one ``Runner``.

    Args:
        runner: The model.
        kv_budget_bytes: Memory for keys and values that are kept between calls.
        batch_size: Rows that decode together, at most.
    """

    def __init__(self, runner: Runner, *, kv_budget_bytes: int, batch_size: int) -> None:
        self.runner, self.batch_size = runner, batch_size
        self.prefixes = PrefixCache(kv_budget_bytes)
        self._workspace = torch.zeros(0, dtype=runner.dtype, device=runner.device)
        self._spoiled = False  # numbers that are not finite were written to the workspace
        self.prefill_s = self.decode_s = self.forward_s = 0.0
        self.prefill_tokens = self.decode_tokens = 0

    # --- prefill --------------------------------------------------------------------------------------------

    def prefill(self, rows: Sequence[Row]) -> None:
        """Compute what is new of each row: its ``entry`` (where kept) and ``hidden`` at the wanted positions."""
        start = time.perf_counter()
        passing = not any(row.keep for row in rows)
        levels = [list(rows)]
        while shared := self._shared_prefixes(levels[-1], passing=passing):
            levels.append(shared)
        for level in reversed(levels):
            self._prefill_all(level)
        for prefix in (r for level in levels[1:] for r in level):
            first = next(r for r in rows if r.salt == prefix.salt and r.ids[: len(prefix.ids)] == prefix.ids)
            first.n_shared += len(prefix.ids) - prefix.n_cached
            if passing:
                self.prefixes.discard(prefix.entry)
        self.prefill_s += time.perf_counter() - start

    def _shared_prefixes(self, rows: Sequence[Row], *, passing: bool) -> list[Row]:
        """What at least two rows begin with and nobody has computed yet: the longest such prefix of each row."""
        keys = [block_keys(row.ids[: _limit(row)], row.salt) for row in rows]
        count = Counter(k for row_keys in keys for k in row_keys)
        sharing: dict[bytes, list[Row]] = {}
        for row, row_keys in zip(rows, keys, strict=True):
            deepest = next((k for k in reversed(row_keys) if count[k] > 1), None)
            if deepest is not None and not self.prefixes.knows(deepest):
                sharing.setdefault(deepest, []).append(row)
        return [Row(_common_prefix(group), passing=passing, edit=group[0].edit) for group in sharing.values()]

    def _prefill_all(self, rows: Sequence[Row]) -> None:
        matches = {}
        for row in rows:
            match = self.prefixes.match(row.ids, limit=_limit(row), salt=row.salt)
            cuts = range(match.n + PREFILL_TOKENS, _limit(row), PREFILL_TOKENS)
            for cut in cuts:  # one long row must not become one large forward pass
                part = Row(row.ids[:cut], n_cached=match.n, edit=row.edit)
                self._prefill_group([part], [match.entry])
                match = self.prefixes.match(row.ids, limit=_limit(row), salt=row.salt)
            row.n_context, row.n_cached = len(row.ids), match.n
            matches[id(row)] = match.entry
        order = sorted(rows, key=lambda r: (len(r.ids) - r.n_cached, r.n_cached))
        for group in _groups(order, self.batch_size):
            self._prefill_group(group, [matches[id(r)] for r in group])

    def _prefill_group(self, rows: Sequence[Row], bases: Sequence[Entry | None]) -> None:
        runner = self.runner
        known = max(r.n_cached for r in rows)
        fresh = max(len(r.ids) - r.n_cached for r in rows)
        cache = self.empty_slots(len(rows), known + fresh)
        ids = torch.zeros((len(rows), fresh), dtype=torch.long)
        positions = torch.full((len(rows), fresh), HOLE, dtype=torch.long)
        for i, (row, base) in enumerate(zip(rows, bases, strict=True)):
            n = len(row.ids) - row.n_cached
            if base is not None:
                cache.kv[:, :, i, :, : row.n_cached] = base.kv[:, :, :, : row.n_cached]
                cache.positions[i, : row.n_cached] = torch.arange(row.n_cached)
            ids[i, fresh - n :] = torch.tensor(row.ids[row.n_cached :])
            positions[i, fresh - n :] = torch.arange(row.n_cached, len(row.ids))
            self.prefill_tokens += n
        cache.used = known
        positions = positions.to(runner.device)
        around = None
        if any(row.edit is not None for row in rows):
            around = Plan(runner, [row.edit for row in rows]).attached(positions, count=False)
        tick = time.perf_counter()
        hidden = runner.hidden(ids.to(runner.device), positions, cache, around=around)
        self.forward_s += time.perf_counter() - tick
        for i, (row, base) in enumerate(zip(rows, bases, strict=True)):
            n = len(row.ids) - row.n_cached
            wanted = [len(row.ids) - 1] if row.wanted is None else row.wanted
            row.hidden = hidden[i, [fresh - n + w - row.n_cached for w in wanted]]
            sound = bool(torch.isfinite(row.hidden).all())
            self._spoiled |= not sound
            if row.wanted is None or row.keep:
                new = cache.kv[:, :, i, :, known + fresh - n : known + fresh]
                own = row.keep and not row.passing
                row.entry = self._extended(base, row.n_cached, row.ids, new, own=own, salt=row.salt)
                if row.keep and sound:
                    self.prefixes.add(row.entry)

    def _extended(
        self, base: Entry | None, n_known: int, ids: Sequence[int], new: torch.Tensor, *, own: bool, salt: bytes
    ) -> Entry:
        """The first ``n_known`` tokens of ``base``, then ``new``.

        A row that is kept (``own``) takes over an entry it continues, and leaves itself room to go on.
        """
        total = n_known + new.shape[3]
        array = np.asarray(ids[:total], dtype=np.int32)
        if own and base is not None and n_known == len(base.ids) and self.prefixes.take(base):
            kv = base.kv
            if kv.shape[3] < total:
                kv = self._grown(kv, n_known, total)
        else:
            kv = self._room(total + GROWTH if own else total)
            if base is not None:
                kv[:, :, :, :n_known] = base.kv[:, :, :, :n_known]
        kv[:, :, :, n_known:total] = new
        return Entry(ids=array, kv=kv, salt=salt)

    def _room(self, n: int) -> torch.Tensor:
        r = self.runner
        return torch.empty((r.n_layers, 2, r.kv_heads, n, r.d_head), dtype=r.dtype, device=r.device)

    def _grown(self, kv: torch.Tensor, n_known: int, total: int) -> torch.Tensor:
        wider = self._room(max(total, int(kv.shape[3] * 1.5)))
        wider[:, :, :, :n_known] = kv[:, :, :, :n_known]
        return wider

    def empty_slots(self, n_rows: int, n_slots: int, *, one_pass: bool = False) -> SlotCache:
        """A cache of empty slots in memory that is reused from batch to batch and always finite.

        Args:
            n_rows: Rows.
            n_slots: Slots of each.
            one_pass: The cache is used in one forward pass from the first token on and never read again. Then a
                layer needs its keys and values only while it runs, and all layers write to the same memory.
        """
        r = self.runner
        shape = (1 if one_pass else r.n_layers, 2, n_rows, r.kv_heads, n_slots, r.d_head)
        size = int(np.prod(shape))
        if self._workspace.numel() < size:
            self._workspace = self._workspace.new_zeros(0)  # the old one goes before the new one comes
            self._workspace = torch.zeros(int(size * 1.1), dtype=r.dtype, device=r.device)
        elif self._spoiled:  # a masked slot still counts as 0 times what it holds, and that must be a number
            self._workspace.zero_()
        self._spoiled = False
        kv = self._workspace[:size].view(shape).expand(r.n_layers, -1, -1, -1, -1, -1)
        return SlotCache(kv, torch.full((n_rows, n_slots), HOLE, dtype=torch.long, device=r.device), 0)

    def mark(self, hidden: torch.Tensor) -> None:
        """Note whether numbers that are not finite may have been written to the workspace."""
        self._spoiled |= not bool(torch.isfinite(hidden).all())

    def logits(self, hidden: torch.Tensor) -> Iterator[tuple[int, torch.Tensor]]:
        """Next-token logits (n, vocabulary) of last hidden states (N, d_model), so many as ``LOGIT_BYTES`` hold.

        Yields:
            The number of the first state of each part, and the part's logits.
        """
        step = max(1, LOGIT_BYTES // (self.runner.vocabulary * max(4, self.runner.dtype.itemsize)))
        for start in range(0, len(hidden), step):
            yield start, self.runner.logits(hidden[start : start + step])

    # --- decode ---------------------------------------------------------------------------------------------

    def generate(self, generations: Sequence[Generation], end_ids: frozenset[int]) -> None:
        """Prefill and decode; every generation is filled in. Its row's entry then holds all but the last token."""
        self.prefill([g.row for g in generations])
        start = time.perf_counter()
        for begin in range(0, len(generations), self.batch_size):
            _Decoding(self, generations[begin : begin + self.batch_size], end_ids).run()
        self.decode_s += time.perf_counter() - start


class _Decoding:
    """One batch of rows that decode together."""

    def __init__(self, batcher: Batcher, generations: Sequence[Generation], end_ids: frozenset[int]) -> None:
        self.batcher, self.live, self.end_ids = batcher, list(generations), end_ids
        longest = max(len(g.row.ids) for g in self.live)
        self.start = longest
        self.cache = batcher.empty_slots(len(self.live), longest + max(g.sampling.max_tokens for g in self.live))
        for i, g in enumerate(self.live):
            n = len(g.row.ids)
            assert g.row.entry is not None
            self.cache.kv[:, :, i, :, :n] = g.row.entry.kv[:, :, :, :n]
            if not g.row.keep:
                g.row.entry = None
            self.cache.positions[i, :n] = torch.arange(n, device=self.cache.positions.device)
        self.cache.used = longest
        self.done: list[bool] = [False] * len(self.live)
        watch = sorted({layer for g in self.live for layer in g.watch})
        edits = [g.row.edit for g in self.live]
        self.plan = Plan(batcher.runner, edits, watch=watch) if watch or any(edits) else None

    def run(self) -> None:
        logits = self.batcher.runner.logits(torch.cat([g.row.hidden for g in self.live]))
        step = 0
        while True:
            self._sample(logits, step)
            step += 1
            self._settle(step)
            if not self.live:
                return
            logits = self._forward(step)

    def _sample(self, logits: torch.Tensor, step: int) -> None:
        u = torch.tensor([g.uniforms[min(step, len(g.uniforms) - 1)] for g in self.live], dtype=torch.float64)
        drawn = sampling.draw(logits, [g.sampling for g in self.live], u)
        columns = zip(
            self.live, drawn.tokens.tolist(), drawn.logprobs.tolist(), drawn.near_ties.tolist(),
            drawn.finite.tolist(), strict=True,
        )  # fmt: skip
        for i, (g, token, logprob, near, finite) in enumerate(columns):
            if self.done[i]:
                continue
            if not finite:
                g.finish, g.bad_step, self.done[i] = "error", step, True
                self.batcher._spoiled = True
                continue
            g.sampled.append(token)
            g.logprobs.append(logprob)
            g.near_ties += near
            if token in self.end_ids:
                g.finish, self.done[i] = "stop", True
            elif len(g.sampled) >= g.sampling.max_tokens:
                self.done[i] = True

    def _settle(self, step: int) -> None:
        """Let finished rows go once there are enough of them to be worth it."""
        finished = sum(self.done)
        if finished < len(self.live) and finished < DROP_SHARE * len(self.live):
            return
        for i in range(len(self.live) - 1, -1, -1):
            if not self.done[i]:
                continue
            self._keep(i, self.live[i])
            last = len(self.live) - 1
            if i != last:  # the last row moves into the gap
                used = self.cache.used
                self.cache.kv[:, :, i, :, :used] = self.cache.kv[:, :, last, :, :used]
                self.cache.positions[i, :used] = self.cache.positions[last, :used]
                self.live[i], self.done[i] = self.live[last], self.done[last]
                if self.plan is not None:
                    self.plan.move_row(last, i)
            self.live.pop()
            self.done.pop()
        self.cache = self.cache.rows(len(self.live))
        if self.plan is not None:
            self.plan.first_rows(len(self.live))

    def _keep(self, i: int, g: Generation) -> None:
        row = g.row
        if self.plan is not None and (g.watch or row.edit is not None):
            g.seen = self.plan.seen(i, g.watch)
        fed = max(len(g.sampled) - 1, 0)  # the last sampled token was never fed; it heads the next chunk
        if row.keep and g.bad_step is None and row.entry is not None:
            new = self.cache.kv[:, :, i, :, self.start : self.start + fed]
            ids = [*row.ids, *g.sampled[:fed]]
            row.entry = self.batcher._extended(row.entry, row.n_context, ids, new, own=True, salt=row.salt)
            self.batcher.prefixes.add(row.entry)
        row.entry, row.hidden = None, None

    def _forward(self, step: int) -> torch.Tensor:
        device = self.cache.positions.device
        tokens = torch.tensor([[g.sampled[-1] if g.sampled else 0] for g in self.live], device=device)
        at = [[HOLE if self.done[i] else g.row.n_context + step - 1] for i, g in enumerate(self.live)]
        positions = torch.tensor(at, device=device)
        around = None if self.plan is None else self.plan.attached(positions, count=True)
        tick = time.perf_counter()
        hidden = self.batcher.runner.hidden(tokens, positions, self.cache, around=around)
        logits = self.batcher.runner.logits(hidden[:, 0])
        self.batcher.forward_s += time.perf_counter() - tick
        self.batcher.decode_tokens += len(self.live) - sum(self.done)
        return logits


def _common_prefix(rows: Sequence[Row]) -> list[int]:
    """The longest prefix of all rows, leaving each row something of its own to compute."""
    n = min(_limit(row) for row in rows)
    low, high = min(row.ids for row in rows), max(row.ids for row in rows)
    return low[: next((i for i in range(n) if low[i] != high[i]), n)]


def _limit(row: Row) -> int:
    """How much of a row may come from the cache: at least one token is computed, and every wanted position."""
    return len(row.ids) - 1 if row.wanted is None else min(row.wanted)


def _groups(rows: Sequence[Row], batch_size: int) -> Iterator[list[Row]]:
    """Neighbours in order of new length, cut so that padding and memory stay bounded."""
    group: list[Row] = []
    total = 0
    for row in rows:
        n = len(row.ids) - row.n_cached
        size = (len(group) + 1) * n
        padded = size - total - n > PAD_SHARE * size and size > 256
        if group and (padded or size > PREFILL_TOKENS or len(group) >= batch_size):
            yield group
            group, total = [], 0
        group.append(row)
        total += n
    if group:
        yield group
