"""Read the residual stream of sequences that are there already: one right-padded pass, nothing kept.

This is the plain way, against which reading while writing is checked: no prefix reuse, no decoding.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from multitudes.models.base import Bare, Followed
from multitudes.models.edit import Edit
from multitudes.models.local.batch import Batcher, Row
from multitudes.models.local.editing import Plan, check_layers
from multitudes.models.local.runner import HOLE

READ_TOKENS = 4096  # fed in one pass at most, padding included


class Passage(NamedTuple):
    """A sequence to read.

    Attributes:
        ids: Its tokens.
        spans: Stretches (start, stop) of it that are wanted.
        edit: Change to the residual stream while it is read.
    """

    ids: Sequence[int]
    spans: Sequence[tuple[int, int]]
    edit: Edit | None = None


def read_tokens(batcher: Batcher, passages: Sequence[Passage], layers: Sequence[int]) -> list[list[NDArray[Any]]]:
    """The residual stream after ``layers`` at every token of every span.

    Returns:
        For each passage, one array (len(layers), n_tokens, d_model) float32 per span.

    Raises:
        ConfigError: A layer the model does not have.
    """
    out: list[list[NDArray[Any]]] = [[] for _ in passages]
    for group, acts in _passes(batcher, passages, layers):
        for row, i in enumerate(group):
            for start, stop in passages[i].spans:
                parts = [acts[layer][row, start:stop].float().cpu().numpy() for layer in layers]
                out[i].append(np.stack(parts))
    return out


def read_means(batcher: Batcher, passages: Sequence[Passage], layers: Sequence[int]) -> list[NDArray[np.float32]]:
    """Their means over each span: for each passage (n_spans, len(layers), d_model) float32; NaN for an empty span.

    Reduced on the device, so that what leaves it does not grow with the length of the texts.
    """
    out: list[NDArray[np.float32]] = [np.zeros(0, np.float32)] * len(passages)
    for group, acts in _passes(batcher, passages, layers):
        for row, i in enumerate(group):
            spans = passages[i].spans
            means = [torch.stack([acts[layer][row, a:b].float().mean(dim=0) for layer in layers]) for a, b in spans]
            shape = (0, len(layers), int(batcher.runner.config.hidden_size))
            out[i] = torch.stack(means).cpu().numpy() if means else np.zeros(shape, np.float32)
    return out


def follow(batcher: Batcher, items: Sequence[Bare], watch: Sequence[int]) -> list[Followed]:
    """Log-probabilities of bare tokens, and what happens inside while they are read.

    Items of one length and number give batches of one shape, whatever their edits are: two settings that do the same
    give the same bits.

    Raises:
        ConfigError: A layer the model does not have.
    """
    runner = batcher.runner
    out: dict[int, Followed] = {}
    for group in _groups(batcher, [item.ids for item in items]):
        part = [items[i] for i in group]
        ids, positions = _padded(runner, [item.ids for item in part])
        plan = Plan(runner, [item.edit for item in part], watch=watch)
        around = plan.attached(positions, count=True, counted_from=[item.counted_from for item in part])
        hidden = runner.hidden(ids, positions, batcher.empty_slots(*ids.shape), around=around)
        batcher.mark(hidden)
        rows = [
            Row(list(item.ids), hidden=hidden[k, item.start - 1 : len(item.ids) - 1]) for k, item in enumerate(part)
        ]
        for k, (_, logits) in enumerate(batcher.logits(rows)):
            told = torch.tensor(part[k].ids[part[k].start :], device=logits.device)
            logp = logits.gather(1, told[:, None])[:, 0] - torch.logsumexp(logits, dim=1)
            out[group[k]] = Followed(tuple(logp.tolist()), plan.seen(k, tuple(watch)))
    return [out[i] for i in range(len(items))]


def _groups(batcher: Batcher, sequences: Sequence[Sequence[int]]) -> Iterator[list[int]]:
    """Numbers of sequences that are read together: of similar length, the longest last in each group."""
    order = sorted((i for i, ids in enumerate(sequences) if ids), key=lambda i: len(sequences[i]))
    while order:
        size = max(1, min(len(order), READ_TOKENS // len(sequences[order[-1]]), batcher.batch_size))
        group, order = order[-size:], order[:-size]
        yield group


def _padded(runner: Any, sequences: Sequence[Sequence[int]]) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids and positions (B, n) of sequences, padded on the right."""
    longest = max(len(ids) for ids in sequences)
    ids = torch.zeros((len(sequences), longest), dtype=torch.long)
    positions = torch.full((len(sequences), longest), HOLE, dtype=torch.long)
    for row, own in enumerate(sequences):
        ids[row, : len(own)] = torch.tensor(list(own))
        positions[row, : len(own)] = torch.arange(len(own))
    return ids.to(runner.device), positions.to(runner.device)


def _passes(
    batcher: Batcher, passages: Sequence[Passage], layers: Sequence[int]
) -> Iterator[tuple[list[int], dict[int, torch.Tensor]]]:
    """Groups of passages of similar length, each with its residual stream (B, n, d_model) by layer."""
    runner = batcher.runner
    check_layers(layers, len(runner.base.layers) - 1, where="layers")
    for group in _groups(batcher, [p.ids for p in passages]):
        ids, positions = _padded(runner, [passages[i].ids for i in group])
        cache = batcher.empty_slots(*ids.shape)
        edits = [passages[i].edit for i in group]
        plan = Plan(runner, edits) if any(edits) else None
        with _kept(runner.base.layers, layers, plan, positions) as acts:
            hidden = runner.hidden(ids, positions, cache)
        batcher.mark(hidden)
        yield group, acts


@contextmanager
def _kept(
    blocks: Any, layers: Sequence[int], plan: Plan | None, positions: torch.Tensor
) -> Iterator[dict[int, torch.Tensor]]:
    """Keep what the wanted blocks put out, as edited: these hooks come after those of the plan."""
    acts: dict[int, torch.Tensor] = {}

    def keep(layer: int) -> Any:
        def hook(_module: Any, _args: Any, output: Any) -> None:
            acts[layer] = output[0] if isinstance(output, tuple) else output

        return hook

    if plan is None:
        handles = [blocks[layer].register_forward_hook(keep(layer)) for layer in layers]
        try:
            yield acts
        finally:
            for handle in handles:
                handle.remove()
        return
    with plan.attached(positions, count=False), _kept(blocks, layers, None, positions) as inner:
        yield inner
