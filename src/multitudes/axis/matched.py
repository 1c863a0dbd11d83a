"""Controls of a cap that do as much as it does, in other directions.

A floor on a random direction says what any floor would do; one whose direction is drawn from persona space says what
any floor *there* would do, and is the one that counts. Each threshold begins at the direction's own quantile of
response means, as that of the cap is a quantile on the axis, and is moved until both move as many tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from multitudes.axis.axis import Axis
from multitudes.axis.cap import floor_edit
from multitudes.axis.capability import engagement
from multitudes.axis.nulls import Kind as NullKind
from multitudes.axis.nulls import random_directions
from multitudes.axis.placing import weighted_quantile
from multitudes.axis.settings import Setting, span
from multitudes.axis.steer import push_edit
from multitudes.core.seeds import derive_seed
from multitudes.models.base import Bare
from multitudes.models.edit import Edit

FloatArray = NDArray[np.float64]

TOLERANCE = 0.03  # of engagement, between a control and the cap
FARTHEST = 6.0  # standard deviations that a threshold is moved at most
STEPS = 9


async def engagement_on(model: Any, edits: Sequence[Edit], text: Sequence[Bare]) -> FloatArray:
    """(E,) engagement of each edit on the same tokens; all share batches."""
    found = await model.follow([row._replace(edit=e) for row in text for e in edits])
    weights = np.array([f.internals.n_tokens for f in found[:: len(edits)]], dtype=np.float64)
    each = [[engagement(f.internals, e) for f in found[k :: len(edits)]] for k, e in enumerate(edits)]
    return np.asarray(np.array(each) @ weights / weights.sum())


async def matched_controls(
    model: Any, axis: Axis, cap: Setting, means: NDArray[Any], weights: NDArray[Any], text: Sequence[Bare], *,
    draws: int, seed: int,
) -> list[Setting]:  # fmt: skip
    """Floors on random directions that engage as often as ``cap``, ``draws`` of each kind.

    Args:
        model: The model.
        axis: Its axis.
        cap: What is matched.
        means: (N, K, d) mean residual stream of plain responses after the K blocks of the cap.
        weights: (N,) weight of each response: every condition weighs the same.
        text: Tokens on which engagement is compared.
        draws: Directions of each kind.
        seed: Seed of the directions.

    Returns:
        The controls, each as near as it came; whether ``gap`` is within ``TOLERANCE`` is for the caller
        to see.
    """
    assert cap.edit is not None
    [wanted] = await engagement_on(model, [cap.edit], text)
    quantile = float(cap.quantile) if cap.quantile.replace(".", "").isdigit() else _own_quantile(axis, cap, means)
    drawn: list[tuple[NullKind, FloatArray]] = []
    kinds: tuple[NullKind, ...] = ("orthogonal", "covariance")
    for kind in kinds:
        for k in range(draws):
            own = derive_seed("calibrate", "control", seed, kind, k)
            rows = [
                random_directions(
                    kind, axis.axis[layer], seed=own, role_means=axis.role_means[:, layer], draws=1
                )[0] for layer in cap.layers
            ]  # fmt: skip
            drawn.append((kind, np.stack(rows)))
    floors = [_Floor(axis, cap, v, means, weights, quantile) for _, v in drawn]
    found = await _matched(model, floors, float(wanted), text)
    return [
        Setting(
            "orthogonal" if kind == "orthogonal" else "covariance", cap.layers, cap.quantile, edit=floor.edit(s),
            name=f"{kind} direction {k % draws + 1} at {span(cap.layers)}", shift=s, gap=gap,
        )
        for k, ((kind, _), floor, (s, gap)) in enumerate(zip(drawn, floors, found, strict=True))
    ]  # fmt: skip


def additive_control(axis: Axis, cap: Setting, moved: float) -> Setting:
    """A push along the axis, at the first block of the cap, that moves tokens as far as the cap did on average."""
    first = cap.layers[0]
    return Setting(
        "additive", (first,), strength=moved, edit=push_edit(axis, moved, layer=first),
        name=f"push of equal length at {first}",
    )  # fmt: skip


class _Floor:
    """A floor along directions (K, d) of its own, whose height can be moved."""

    def __init__(
        self, axis: Axis, cap: Setting, directions: FloatArray, means: NDArray[Any], weights: NDArray[Any], q: float
    ) -> None:
        self.axis, self.layers = axis, cap.layers
        self.directions = np.zeros((axis.n_layers, axis.d_model))
        self.directions[list(cap.layers)] = directions
        p = np.einsum("nkd,kd->nk", means.astype(np.float64), directions)
        self.start = np.array([weighted_quantile(column, weights, q) for column in p.T])
        self.spread = p.std(axis=0)

    def edit(self, shift: float) -> Edit:
        tau = np.zeros(self.axis.n_layers)
        tau[list(self.layers)] = self.start + shift * self.spread
        return floor_edit(self.axis, tau, self.layers, directions=self.directions, name=f"control {shift:+.2f}")


async def _matched(
    model: Any, floors: Sequence[_Floor], wanted: float, text: Sequence[Bare]
) -> list[tuple[float, float]]:
    """How far each floor must be moved, and how far its engagement then is from ``wanted``.

    An interval is halved, all floors in one batch per step.
    """
    low, high = np.full(len(floors), -FARTHEST), np.full(len(floors), FARTHEST)
    now, best, gap = np.zeros(len(floors)), np.zeros(len(floors)), np.full(len(floors), np.inf)
    for step in range(STEPS):
        open_ = [i for i in range(len(floors)) if abs(gap[i]) > TOLERANCE / 2]
        if not open_:
            break
        found = await engagement_on(model, [floors[i].edit(float(now[i])) for i in open_], text)
        for i, share in zip(open_, found, strict=True):
            if abs(share - wanted) < abs(gap[i]):
                best[i], gap[i] = now[i], share - wanted
            if share < wanted:
                low[i] = now[i]
            else:
                high[i] = now[i]
            width = 2.0 ** (step - 1)  # first steps are short: most floors need little
            near = now[i] + (width if share < wanted else -width)
            now[i] = near if low[i] < near < high[i] else (low[i] + high[i]) / 2
    return [(float(x), float(y)) for x, y in zip(best, gap, strict=True)]


def _own_quantile(axis: Axis, cap: Setting, means: NDArray[Any]) -> float:
    """Share of response means below the thresholds of a cap that is not a quantile, within [0.05, 0.95]."""
    layers = list(cap.layers)
    below = axis.project(means, layers) < axis.tau[cap.quantile][layers]
    return float(np.clip(below.mean(), 0.05, 0.95))
