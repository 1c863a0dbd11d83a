"""Arms whose retention is known: the noise is that under which the estimators were chosen."""

from __future__ import annotations

import numpy as np

from multitudes.measure.retention.cells import Cells, make_cells

RANGE = 0.30  # Δ₀
NOISE = 0.12  # SD of one item's D, and of its F
FLOOR = 0.4
T = 8


def decaying(seed: int, rate: float, *, n: int = 4000, items: int = 1, seeds: int = 1, floors: int = 1) -> Cells:
    """n conversations on prompts of their own, R_t = e^{−rate · t} for t = 0 to 8, noise in D and F."""
    rng = np.random.default_rng(seed)
    turns = np.arange(T + 1.0)
    noise = NOISE / np.sqrt(items)
    d = FLOOR + RANGE * np.exp(-rate * turns) + noise * rng.normal(size=(n, seeds, T + 1))
    f = FLOOR + noise * rng.normal(size=(n, floors, T + 1))
    return make_cells(d, f, turns, np.arange(n), bounded=False)


def two_arms(seed: int, prompts: int, rates: tuple[float, float], *, personas: int = 4) -> tuple[Cells, Cells]:
    """Two arms on the same prompts and personas with 2 seeds; prompts differ in range and rate, floors are shared.

    Turns 0 to 8 under pressure, and a probe at 12 at which half of what was lost is back.
    """
    rng = np.random.default_rng(seed)
    turns = np.append(np.arange(T + 1.0), T + 4.0)
    shape = (prompts, personas, 2, len(turns))
    floor = 0.3 + 0.06 * rng.normal(size=shape)
    start = RANGE + 0.06 * rng.normal(size=(prompts, 1, 1, 1))
    both = rng.normal(size=(prompts, 1, 1, 1))
    arms = []
    for rate in rates:
        own = rng.normal(size=(prompts, 1, 1, 1))
        pace = rate * np.exp(0.4 * (np.sqrt(0.5) * both + np.sqrt(0.5) * own))
        kept = np.exp(-pace * np.minimum(turns, T))
        kept[..., -1] = (1 + kept[..., -2]) / 2
        level = 0.3 + start * kept + 0.06 * rng.normal(size=shape)
        flat = (prompts * personas, 2, len(turns))
        clusters, people = np.repeat(np.arange(prompts), personas), np.tile(np.arange(personas), prompts)
        arms.append(
            make_cells(
                level.reshape(flat), floor.reshape(flat), turns, clusters, last=T, personas=people, bounded=False
            )
        )
    return arms[0], arms[1]
