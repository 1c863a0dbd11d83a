"""Made-up collections whose truth is known."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from multitudes.axis.accumulate import Accumulator


class Stored(NamedTuple):
    """A collection and the responses behind it: x (R, Q, L, d), default (Q, L, d)."""

    sums: Accumulator
    x: np.ndarray
    default: np.ndarray
    half: np.ndarray


def accumulator(r=24, q=8, layers=3, d=16, *, method="generated", question_layers=(0, 2)) -> Accumulator:
    return Accumulator(
        [f"role-{i}" for i in range(r)],
        [i % 4 + 1 for i in range(r)],
        [f"q{j}" for j in range(q)],
        n_layers=layers,
        width=d,
        question_layers=[k for k in question_layers if k < layers],
        method=method,
    )


def stored(r=24, q=8, layers=3, d=16, *, noise=0.5, seed=0, method="generated", **options) -> Stored:
    """Every role and the default answer every question once; the common mean is ten times longer than differences."""
    rng = np.random.default_rng(seed)
    common = 10 * rng.normal(size=(layers, d))
    role, question = rng.normal(size=(r, 1, layers, d)), rng.normal(size=(1, q, layers, d))
    x = common + role + question + noise * rng.normal(size=(r, q, layers, d))
    towards = rng.normal(size=(layers, d))
    default = common + 2 * towards + question[0] + noise * rng.normal(size=(q, layers, d))
    sums = accumulator(r, q, layers, d, method=method, **options)
    half = np.arange(q) % 2
    for j in range(q):
        for i in range(r):
            sums.add(i, int(half[j]), j, x[i, j])
        sums.add(None, int(half[j]), j, default[j])
        sums.add_norms(np.linalg.norm(default[j], axis=1) * 5, tokens=5)
        sums.add_control("neutral", default[j] - 0.2 * towards)
        sums.add_control("placebo", x[:, j].mean(axis=0) + 0.5 * towards)
    for response in x.reshape(-1, layers, d):
        sums.add_control("unfiltered", response)
    return Stored(sums, x, default, half)
