"""A made-up axis, without a model: roles whose nearness to the default is known."""

from __future__ import annotations

from typing import Any

import numpy as np

from multitudes.axis.axis import Axis
from multitudes.axis.components import components, unit

L, D = 12, 24


def made_up_axis(*, per_family: int = 4, names: dict[str, str] | None = None, seed: int = 3, **about: Any) -> Axis:
    """11 families; role ``role-F-K`` lies the nearer to the default the smaller F is."""
    rng = np.random.default_rng(seed)
    roles = [f"role-{f}-{k}" for f in range(1, 12) for k in range(per_family)]
    families = {r: int(r.split("-")[1]) for r in roles}
    common, towards = 10 * rng.normal(size=(L, D)), unit(rng.normal(size=(L, D)))
    means = common + rng.normal(size=(len(roles), L, D))
    means += np.array([6 - families[r] for r in roles])[:, None, None] * towards
    default = means.mean(axis=0) + 9 * towards
    found = [components(means[:, layer], default[layer]) for layer in range(L)]
    layer = L // 2

    def line(low: float, high: float) -> np.ndarray:
        return np.linspace(low, high, L).astype(np.float32)

    curves = {
        "pc1_cosine": np.array([c.cosine for c in found]), "pseudo_median": line(0.3, 0.5),
        "pc1_percentile": line(0.8, 1), "explained_1": np.array([c.explained[0] for c in found]),
        "explained_2": np.array([c.explained[1] for c in found]),
        "dims70": np.array([float(c.dims70) for c in found]),
        "noise_share": line(0.3, 0.1), "split_half": line(0.7, 0.95), "role_halves": line(0.9, 0.98),
        "edge": line(0.2, 0), "cross_validated_1": line(0.2, 0.3), "separation": line(0.6, 0.95),
        "other_method": line(0.2, 0.7), "z_neutral": line(0.4, 0.8), "z_placebo": line(0.3, 0.6),
        "z_neutral_answers": line(0.5, 0.9), "z_placebo_answers": line(0.4, 0.7), "cosine_unfiltered": line(0.9, 1),
        "cosine_neutral": line(0.6, 0.7), "cosine_placebo": line(0.5, 0.6), "length": line(1, 5), "gap": line(2, 6),
    }  # fmt: skip
    random = {"median": 0.55, "p95": 0.66, "draws": 100}
    facts = {
        "method": "generated", "preset": "balanced", "model": "made-up", "seed": 0, "filter": "likelihood",
        "theta": 0.02, "families": families, "names": {r: (names or {}).get(r, r) for r in roles},
        "pass_rate": dict.fromkeys(roles, 0.75), "scores": {"1": 25, "3": 75}, "unscored": 0,
        "dropped_fixed": [["parrot", 1]], "dropped_answers": [["parrot", 1]], "small_model": False,
        "z_tau": {"0.5": 0.1, "0.75": 0.9, "0.9": 1.3, "default_mean": 1.0},
        "controls": {"axis": 0.91, "layer": layer, "isotropic": random, "orthogonal": random, "covariance": random},
        "noise_is_bound": [], "null": [-0.5, -0.2, 0.02], "versions": {"numpy": "2"}, "default_arms": {"none": ""},
    }  # fmt: skip
    nothing = np.zeros(L, np.float32)
    return Axis(
        axis=(default - means.mean(axis=0)).astype(np.float32), default_mean=default.astype(np.float32),
        role_means=means.astype(np.float32), roles=tuple(roles), halves=np.zeros((2, L, D), np.float32),
        components=found[layer].directions.astype(np.float32), mu_default=nothing + 1, mu_roles=nothing,
        norm=nothing + 30, layer=layer, window=(8, 9), tau={"0.75": nothing}, low_default=nothing,
        curves={k: np.asarray(v, np.float32) for k, v in curves.items()}, about={**facts, **about},
    )  # fmt: skip
