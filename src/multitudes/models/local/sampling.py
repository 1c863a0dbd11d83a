"""Seeded drawing of tokens, row by row independent of the rest of the batch.

Every row has its own stream of uniforms, Philox(key = row seed), one number a step. A token is the first id, in id
order, whose cumulative probability among the kept tokens exceeds the uniform. So a row's draw depends on its seed,
its step and its own distribution, and on nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch

from multitudes.models.base import Sampling

NEAR_TIE = 1e-4  # a draw this close to another token could fall the other way on another machine


class Drawn(NamedTuple):
    """One step of a batch: tokens (B,), raw log-probabilities (B,) in nats, near ties (B,), finite rows (B,)."""

    tokens: Any
    logprobs: Any
    near_ties: Any
    finite: Any


def uniforms(seed: int, n: int) -> Any:
    """The first ``n`` uniforms in [0, 1) of the stream of ``seed``, float64."""
    return np.random.Generator(np.random.Philox(key=seed)).random(n)


def draw(logits: torch.Tensor, samplings: Sequence[Sampling], u: torch.Tensor) -> Drawn:
    """Draw one token a row.

    Args:
        logits: (B, vocabulary), float.
        samplings: One a row.
        u: (B,) float64 uniforms of this step; unused by rows of temperature 0.

    Returns:
        Tokens; log-probabilities under the raw distribution (temperature 1, no filters); near ties; finite rows.
        The token of a row that is not finite is 0 and means nothing.
    """
    finite = torch.isfinite(logits.amax(dim=-1)) & ~torch.isnan(logits.sum(dim=-1))
    logits = torch.where(finite[:, None], logits, torch.zeros_like(logits)) if not bool(finite.all()) else logits
    norm = torch.logsumexp(logits, dim=-1)
    tokens = logits.argmax(dim=-1)  # ties go to the lowest id
    best = logits.gather(1, tokens[:, None])[:, 0]
    near = torch.zeros(len(logits), dtype=torch.bool, device=logits.device)
    greedy = torch.tensor([s.temperature == 0 for s in samplings], device=logits.device)
    if bool(greedy.any()):
        second = logits[greedy].scatter(1, tokens[greedy, None], float("-inf")).amax(dim=-1)
        near[greedy] = (best[greedy] - second) < NEAR_TIE
    if not bool(greedy.all()):
        rows = torch.nonzero(~greedy)[:, 0]
        chosen = [samplings[i] for i in rows.tolist()]
        tokens[rows], near[rows] = _draw_by_inverse(logits[rows], norm[rows], chosen, u[rows])
    logprobs = logits.gather(1, tokens[:, None])[:, 0] - norm
    return Drawn(tokens, logprobs, near, finite)


def _draw_by_inverse(
    logits: torch.Tensor, norm: torch.Tensor, samplings: Sequence[Sampling], u: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Inverse-CDF draws in id order, filters in the order temperature, top-k, top-p, min-p."""

    def column(values: list[float]) -> torch.Tensor:
        return torch.tensor(values, dtype=logits.dtype, device=logits.device)[:, None]

    temperature = column([s.temperature for s in samplings])
    if bool((temperature == 1).all()):
        p = torch.exp(logits - norm[:, None])
    else:
        p = torch.softmax(logits / temperature, dim=-1)
    keep = None
    if any(s.top_k or s.top_p < 1 for s in samplings):
        keep = p >= _threshold(p, samplings)[:, None]
    if any(s.min_p for s in samplings):
        floor = column([s.min_p for s in samplings]) * p.amax(dim=-1, keepdim=True)
        keep = p >= floor if keep is None else keep & (p >= floor)
    kept = p if keep is None else p * keep
    cdf = torch.cumsum(kept, dim=-1, dtype=torch.float64)
    total = cdf[:, -1:]
    target = u.to(cdf.device)[:, None] * total
    tokens = torch.searchsorted(cdf, target, right=True)[:, 0].clamp(max=logits.shape[-1] - 1)
    above = (cdf.gather(1, tokens[:, None]) - target) / total
    mass = kept.gather(1, tokens[:, None]).to(torch.float64) / total
    near = torch.minimum(above, mass - above)[:, 0] < NEAR_TIE
    return tokens, near


def _threshold(p: torch.Tensor, samplings: Sequence[Sampling]) -> torch.Tensor:
    """The smallest kept probability of each row under top-k, then top-p over what top-k kept.

    Sorting a whole vocabulary costs more than the model's last layer, so the largest probabilities come first and
    the rest only for rows that still miss mass.
    """
    vocabulary = p.shape[-1]
    wide = max((s.top_k for s in samplings), default=0)
    size = min(vocabulary, max(256, wide))
    while True:
        top = torch.topk(p, size, dim=-1).values
        done = True
        out = torch.empty(len(p), dtype=p.dtype, device=p.device)
        for i, s in enumerate(samplings):
            row = top[i, : s.top_k] if s.top_k else top[i]
            if s.top_p >= 1:
                out[i] = row[-1] if s.top_k else 0.0
                continue
            mass = torch.cumsum(row, dim=0, dtype=torch.float64)
            goal = s.top_p * (float(mass[-1]) if s.top_k else 1.0)
            reached = int(torch.searchsorted(mass, torch.tensor(goal, dtype=torch.float64)))
            if reached >= len(row) and not s.top_k and size < vocabulary:
                done = False
                break
            out[i] = row[min(reached, len(row) - 1)]
        if done:
            return out
        size = min(vocabulary, size * 8)
