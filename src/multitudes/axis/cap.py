"""Hold the projection on the axis above a floor: keep the Assistant the Assistant.

``h ← h + v · max(τ − ⟨h, v⟩, 0)`` after each block of a window, Eq. 1 of Lu et al., arXiv 2601.10387, with v =
default minus roles. The released files of that paper hold the opposite vector and a ceiling, which is the same thing
(see ``axis import``). In our orientation their 25th percentile is the 75th.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from multitudes.axis.axis import DEFAULT_QUANTILE, Axis
from multitudes.core.errors import ConfigError, did_you_mean
from multitudes.models.edit import Edit, LayerEdit, orthonormal


def cap_edit(
    axis: Axis, quantile: str | float | None = None, *, layers: Sequence[int] | None = None, protect_first: int = 1
) -> Edit:
    """A floor on the axis.

    Args:
        axis: The axis with its thresholds.
        quantile: Which threshold: a quantile that the artifact holds (0.5, 0.75, 0.9) or ``default_mean``. If None,
            the recommended setting of a calibration, else 0.75.
        layers: Blocks; the recommended window, else the default window, if None.
        protect_first: Positions at the start that are left alone.

    Raises:
        ConfigError: A threshold or block that the axis does not have.
    """
    chosen = axis.about.get("recommended") or {}
    name = str(quantile if quantile is not None else chosen.get("quantile", DEFAULT_QUANTILE))
    if name not in axis.tau:
        raise ConfigError("no such threshold", where="quantile", found=repr(name), hint=did_you_mean(name, axis.tau))
    window = tuple(layers if layers is not None else chosen.get("layers", axis.window))
    return floor_edit(axis, axis.tau[name], window, name=f"cap {name}", protect_first=protect_first)


def floor_edit(
    axis: Axis, tau: ArrayLike, layers: Sequence[int], *, directions: ArrayLike | None = None, name: str = "floor",
    protect_first: int = 1,
) -> Edit:  # fmt: skip
    """A floor at thresholds ``tau`` (L,), along the axis or along other directions (L, d).

    Raises:
        ConfigError: A block that the axis does not have.
    """
    v = np.asarray(axis.unit if directions is None else directions, dtype=np.float64)
    low, up = np.asarray(tau, dtype=np.float32), np.array([np.inf], np.float32)
    for layer in layers:
        if not 0 <= layer < axis.n_layers or not np.isfinite(low[layer]):
            raise ConfigError(
                "no threshold at this layer", where="layers", found=repr(layer), expected=f"0 to {axis.n_layers - 1}"
            )
    parts = tuple(LayerEdit(k, orthonormal([v[k]]), low[k : k + 1], up) for k in sorted(set(layers)))
    return Edit(f"{name} at layers {layers[0]} to {layers[-1]}", parts, protect_first)
