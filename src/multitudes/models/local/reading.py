"""Read the residual stream of sequences that are there already: one right-padded pass, nothing kept.

This is the plain way, against which reading while writing is checked: no prefix reuse, no decoding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from itertools import islice
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from multitudes.models.base import Bare, Followed
from multitudes.models.edit import Edit
from multitudes.models.local.batch import Batcher
from multitudes.models.local.editing import Plan, check_layers
from multitudes.models.local.runner import HOLE

Kept = TypeVar("Kept")
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

    def keep(group: Sequence[int], h: torch.Tensor) -> list[list[torch.Tensor]]:
        rows = enumerate(passages[i].spans for i in group)
        return [[h[row, a:b].to(torch.float32, copy=True) for a, b in spans] for row, spans in rows]

    out: list[list[NDArray[Any]]] = [[] for _ in passages]
    for group, kept in _passes(batcher, passages, layers, keep):
        for row, i in enumerate(group):
            for s in range(len(passages[i].spans)):
                out[i].append(np.stack([kept[layer][row][s].cpu().numpy() for layer in layers]))
    return out


def read_means(batcher: Batcher, passages: Sequence[Passage], layers: Sequence[int]) -> list[NDArray[np.float32]]:
    """Their means over each span: for each passage (n_spans, len(layers), d_model) float32; NaN for an empty span.

    Reduced on the device, so that what leaves it does not grow with the length of the texts.
    """

    def keep(group: Sequence[int], h: torch.Tensor) -> list[list[torch.Tensor]]:
        rows = enumerate(passages[i].spans for i in group)
        return [[h[row, a:b].float().mean(dim=0) for a, b in spans] for row, spans in rows]

    out: list[NDArray[np.float32]] = [np.zeros(0, np.float32)] * len(passages)
    for group, kept in _passes(batcher, passages, layers, keep):
        for row, i in enumerate(group):
            means = [torch.stack([kept[layer][row][s] for layer in layers]) for s in range(len(passages[i].spans))]
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
        hidden = runner.hidden(ids, positions, batcher.empty_slots(*ids.shape, one_pass=True), around=around)
        batcher.mark(hidden)
        states = torch.cat([hidden[k, item.start - 1 : len(item.ids) - 1] for k, item in enumerate(part)])
        told = torch.tensor([token for item in part for token in item.ids[item.start :]], device=states.device)
        logp: list[float] = []
        likeliest: list[bool] = []
        for start, logits in batcher.logits(states):
            own = logits.gather(1, told[start : start + len(logits), None])[:, 0]
            logp += (own - torch.logsumexp(logits, dim=1)).tolist()
            likeliest += (own == logits.amax(dim=1)).tolist()
        rest = iter(zip(logp, likeliest, strict=True))
        for k, item in enumerate(part):
            told_here = list(islice(rest, len(item.ids) - item.start))
            greedy = all(most for _, most in told_here)
            out[group[k]] = Followed(tuple(p for p, _ in told_here), plan.seen(k, tuple(watch)), greedy)
    return [out[i] for i in range(len(items))]


def told_logp(batcher: Batcher, hidden: torch.Tensor, states: Sequence[int], tokens: Sequence[int]) -> list[float]:
    """Log-probabilities of tokens, nats: each after the state of ``hidden`` (N, d_model) whose number stands with it.

    One state may be followed by several tokens, where continuations part. Never more logits are held than
    ``Batcher.logits`` gives at a time.
    """
    at, token = torch.tensor(states, device=hidden.device), torch.tensor(tokens, device=hidden.device)
    out = torch.zeros(len(at), dtype=torch.float64)
    for start, logits in batcher.logits(hidden):
        here = torch.nonzero((at >= start) & (at < start + len(logits)))[:, 0]
        logp = torch.log_softmax(logits, dim=-1)[at[here] - start, token[here]]
        out[here.cpu()] = logp.double().cpu()
    found: list[float] = out.tolist()
    return found


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
    batcher: Batcher, passages: Sequence[Passage], layers: Sequence[int],
    keep: Callable[[Sequence[int], torch.Tensor], Kept],
) -> Iterator[tuple[list[int], dict[int, Kept]]]:  # fmt: skip
    """Groups of passages of similar length, each with what is kept of its residual stream (B, n, d_model), by layer.

    ``keep`` is called with the group and the stream as soon as a layer has run, so that no two layers are held.
    """
    runner = batcher.runner
    check_layers(layers, len(runner.base.layers) - 1, where="layers")
    for group in _groups(batcher, [p.ids for p in passages]):
        ids, positions = _padded(runner, [passages[i].ids for i in group])
        cache = batcher.empty_slots(*ids.shape, one_pass=True)
        edits = [passages[i].edit for i in group]
        around = Plan(runner, edits).attached(positions, count=False) if any(edits) else nullcontext()
        kept: dict[int, Kept] = {}
        with around, _told(runner.base.layers, layers, partial(_note, kept, partial(keep, group))):
            hidden = runner.hidden(ids, positions, cache)
        batcher.mark(hidden)
        yield group, kept


def _note(kept: dict[int, Kept], keep: Callable[[torch.Tensor], Kept], layer: int, h: torch.Tensor) -> None:
    kept[layer] = keep(h)


@contextmanager
def _told(blocks: Any, layers: Sequence[int], told: Callable[[int, torch.Tensor], None]) -> Iterator[None]:
    """Tell what the wanted blocks put out, as edited: these hooks come after those of a plan around them."""

    def hook(layer: int) -> Any:
        return lambda _module, _args, output: told(layer, output[0] if isinstance(output, tuple) else output)

    handles = [blocks[layer].register_forward_hook(hook(layer)) for layer in dict.fromkeys(layers)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
