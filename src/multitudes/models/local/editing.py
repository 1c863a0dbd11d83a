"""Edit and watch the residual stream of one forward pass, row by row, and leave no trace.

A plan is compiled for the rows of a batch. Its hooks live for one forward pass only: they are there while
``Runner.hidden`` runs and gone when it returns, also after an exception. So nothing can be left behind on a model,
and two settings can never meet in one pass by accident.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import torch

from multitudes.core.errors import ConfigError
from multitudes.models.base import Internals
from multitudes.models.edit import Edit
from multitudes.models.local.runner import HOLE, Runner


class RowMapError(ConfigError):
    """A list of rows that does not fit the batch of an edit."""


class _Block(NamedTuple):
    """What happens after one block: directions (B, m, d) or (m, d), bounds (B, 1, m), push (B, 1, d); or None."""

    directions: torch.Tensor | None
    low: torch.Tensor | None
    high: torch.Tensor | None
    push: torch.Tensor | None


class Plan:
    """Edits and watched blocks of one batch.

    Args:
        runner: The model.
        edits: One per row; None leaves the row alone.
        watch: Blocks whose residual stream, as edited, is summed over the counted tokens of each row.

    Raises:
        ConfigError: A block the model does not have, or an edit made for another width.

    Attributes:
        sums: (B, len(watch), d_model) float32 sums over counted tokens.
        counted: (B,) counted tokens.
        engaged: (B, n_edited) counted tokens whose projection was moved, by edited block.
        moved: (B,) sum over counted tokens and edited blocks of ‖Δh‖ / ‖h‖, clamp only.
    """

    def __init__(self, runner: Runner, edits: Sequence[Edit | None], *, watch: Sequence[int] = ()) -> None:
        self.runner, self.watch = runner, tuple(watch)
        self.n_rows = len(edits)
        self.blocks = runner.base.layers
        self._check(edits)
        wide = torch.float64 if runner.dtype == torch.float64 else torch.float32
        layers = sorted({e.layer for edit in edits if edit is not None for e in edit.layers})
        self._at = {layer: _compile(layer, edits, runner.device, wide) for layer in layers}
        self.edited = tuple(layers)
        protect = [0 if edit is None else edit.protect_first for edit in edits]
        self._protect = torch.tensor(protect, device=runner.device)[:, None]
        self._wide = wide
        width = int(runner.config.hidden_size)
        device = runner.device
        self.sums = torch.zeros((self.n_rows, len(self.watch), width), dtype=wide, device=device)
        self.counted = torch.zeros(self.n_rows, dtype=torch.long, device=device)
        self.engaged = torch.zeros((self.n_rows, len(layers)), dtype=torch.long, device=device)
        self.moved = torch.zeros(self.n_rows, dtype=wide, device=device)

    def _check(self, edits: Sequence[Edit | None]) -> None:
        width, last = int(self.runner.config.hidden_size), len(self.blocks) - 1
        for edit in {id(e): e for e in edits if e is not None}.values():
            if edit.d_model != width:
                raise ConfigError(
                    "an edit made for another model", where=edit.name, found=f"width {edit.d_model}",
                    expected=f"width {width}", hint="fit the axis on this model",
                )  # fmt: skip
            check_layers([e.layer for e in edit.layers], last, where=edit.name)
        check_layers(self.watch, last, where="watch")

    def move_row(self, source: int, target: int) -> None:
        """Row ``source`` takes the place of row ``target``, as the engine compacts a batch."""
        for tensor in (self.sums, self.counted, self.engaged, self.moved, self._protect):
            tensor[target] = tensor[source]
        for block in self._at.values():
            for part in block:
                if part is not None and part.shape[0] == self.n_rows and part.ndim == 3:
                    part[target] = part[source]

    def first_rows(self, n: int) -> None:
        """Keep the first ``n`` rows.

        Raises:
            RowMapError: More rows than there are.
        """
        if n > self.n_rows:
            raise RowMapError("more rows than the batch has", found=repr(n), expected=f"at most {self.n_rows}")
        self.sums, self.counted, self.engaged = self.sums[:n], self.counted[:n], self.engaged[:n]
        self.moved, self._protect = self.moved[:n], self._protect[:n]
        self._at = {
            layer: _Block(*(p if p is None or p.ndim == 2 else p[:n] for p in block))
            for layer, block in self._at.items()
        }
        self.n_rows = n

    def seen(self, row: int, watch: Sequence[int]) -> Internals:
        """What was read of one row, for the blocks that it watches and that its edits touch."""
        n = int(self.counted[row])
        places = [self.watch.index(layer) for layer in watch]
        sums = self.sums[row, places].float().cpu().numpy()
        own = {} if not n else dict(zip(self.edited, (self.engaged[row] / n).tolist(), strict=True))
        with np.errstate(invalid="ignore"):
            means = np.asarray(sums / n, dtype=np.float32)
        return Internals(n, means, own, float(self.moved[row]) / n if n else 0.0)

    @contextmanager
    def attached(
        self, positions: torch.Tensor, *, count: bool, counted_from: Sequence[int] | None = None
    ) -> Iterator[None]:
        """Hooks for one forward pass over a chunk at ``positions`` (B, n); ``HOLE`` marks padding.

        Args:
            positions: Absolute positions; masks come from these, never from columns or token ids.
            count: Whether the tokens of this chunk are counted in sums and engagement.
            counted_from: By row, the first position that is counted; all are if None.

        Raises:
            RowMapError: Another number of rows than the plan was made for.
        """
        if positions.shape[0] != self.n_rows:
            raise RowMapError(
                "the plan was made for another batch", found=f"{positions.shape[0]} rows",
                expected=f"{self.n_rows} rows",
            )  # fmt: skip
        live = positions != HOLE
        counted = live
        if counted_from is not None:
            counted = live & (positions >= torch.tensor(list(counted_from), device=positions.device)[:, None])
        touched = (live & (positions >= self._protect)).to(self._wide)[:, :, None] if self._at else None
        handles = []
        try:
            for layer in sorted({*self._at, *self.watch}):
                hook = self._hook(layer, counted, touched, count=count)
                handles.append(self.blocks[layer].register_forward_hook(hook))
            yield
        finally:
            for handle in handles:
                handle.remove()
        if count:
            self.counted += counted.sum(dim=1)

    def _hook(self, layer: int, counted: torch.Tensor, touched: torch.Tensor | None, *, count: bool) -> Any:
        block = self._at.get(layer)
        column = self.edited.index(layer) if block is not None else -1
        place = self.watch.index(layer) if layer in self.watch else -1

        def hook(_module: Any, _args: Any, output: Any) -> Any:
            h = output[0] if isinstance(output, tuple) else output
            if block is not None and touched is not None:
                h, correction = _edited(h, block, touched, self._wide)
                if count and correction is not None:
                    self.engaged[:, column] += ((correction != 0).any(dim=2) & counted).sum(dim=1)
                    share = correction.norm(dim=2) / h.to(self._wide).norm(dim=2).clamp(min=1e-12)
                    self.moved += (share * counted).sum(dim=1)
            if count and place >= 0:
                summed = (
                    h[:, 0].to(self._wide) if h.shape[1] == 1 else (h.to(self._wide) * counted[:, :, None]).sum(dim=1)
                )
                self.sums[:, place] += summed * counted if h.shape[1] == 1 else summed
            if block is None:
                return None
            return (h, *output[1:]) if isinstance(output, tuple) else h

        return hook


def check_layers(layers: Sequence[int], last: int, *, where: str) -> None:
    """Refuse a block the model does not have.

    Raises:
        ConfigError: Names the block and the range.
    """
    for layer in layers:
        if not 0 <= layer <= last:
            raise ConfigError("no such layer", where=where, found=repr(layer), expected=f"0 to {last}")


def _compile(layer: int, edits: Sequence[Edit | None], device: Any, wide: torch.dtype) -> _Block:
    """Tensors of one block; rows that share all directions share one tensor of them."""
    own = [next((e for e in edit.layers if e.layer == layer), None) if edit is not None else None for edit in edits]
    pushes = [None if e is None else e.push for e in own]
    push = None
    if any(p is not None for p in pushes):
        width = next(len(p) for p in pushes if p is not None)
        rows = np.stack([np.zeros(width, np.float32) if p is None else p for p in pushes])
        push = torch.tensor(rows, dtype=wide, device=device)[:, None]
    m = max((len(e.directions) for e in own if e is not None), default=0)
    if m == 0:
        return _Block(None, None, None, push)
    width = next(e.directions.shape[1] for e in own if e is not None)
    low, high = np.full((len(own), 1, m), -np.inf), np.full((len(own), 1, m), np.inf)
    clamped = [e for e in own if e is not None and len(e.directions)]
    same = all(
        e.directions is clamped[0].directions or np.array_equal(e.directions, clamped[0].directions) for e in clamped
    )
    directions = clamped[0].directions if same else np.zeros((len(own), m, width), np.float32)
    for i, e in enumerate(own):
        if e is None or not len(e.directions):
            continue
        k = len(e.directions)
        low[i, 0, :k], high[i, 0, :k] = e.low, e.high
        if not same:
            directions[i, :k] = e.directions
    return _Block(
        torch.tensor(directions, dtype=wide, device=device), torch.tensor(low, dtype=wide, device=device),
        torch.tensor(high, dtype=wide, device=device), push,
    )  # fmt: skip


def _edited(
    h: torch.Tensor, block: _Block, touched: torch.Tensor, wide: torch.dtype
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """The pushed and clamped residual stream, and the correction along each direction (B, n, m).

    Projection, bounds and correction are computed in float32 (float64 for a float64 model) and rounded once.
    """
    work = h.to(wide)
    if block.push is not None:
        work = work + block.push * touched
    if block.directions is None:
        return work.to(h.dtype), None
    v = block.directions
    p = work @ (v.T if v.ndim == 2 else v.transpose(1, 2))
    correction = (torch.clamp(p, block.low, block.high) - p) * touched
    return (work + correction @ v).to(h.dtype), correction
