"""Add a direction to the residual stream.

``h ← h + c · n̄_l · v``, at one block, at every position but the first. c has no unit: it is a fraction of the mean
length of a default token, so that one number means the same in models whose residual streams differ in size by
hundreds. Positive is to the Assistant. Source: Lu et al., arXiv 2601.10387; strengths there run from .025 to 2.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from multitudes.axis.axis import Axis
from multitudes.core.errors import ConfigError
from multitudes.models.edit import Edit, LayerEdit

SWEEP = (-0.5, -0.25, -0.1, 0.0, 0.1, 0.25, 0.5)


def push_edit(
    axis: Axis,
    strength: float,
    *,
    layer: int | None = None,
    direction: ArrayLike | None = None,
    protect_first: int = 1,
) -> Edit:
    """A push of ``strength`` along the axis, or along another direction.

    Args:
        axis: The axis: its length of a token is the unit of ``strength``.
        strength: c, a fraction of the mean token length; positive is to the Assistant, 0 changes nothing.
        layer: Block; the analysis layer if None.
        direction: (d,) another direction of any length; the axis if None.
        protect_first: Positions at the start that are left alone.

    Raises:
        ConfigError: A block that the axis does not have, a direction without length, a strength that is not finite.
    """
    at = axis.layer if layer is None else layer
    if not 0 <= at < axis.n_layers:
        raise ConfigError("no such layer", where="layer", found=repr(at), expected=f"0 to {axis.n_layers - 1}")
    v = np.asarray(axis.unit[at] if direction is None else direction, dtype=np.float64)
    length = float(np.linalg.norm(v))
    if v.shape != (axis.d_model,) or not np.isfinite(v).all() or length == 0:
        raise ConfigError(
            "not a direction", where="direction", found=str(v.shape), expected=f"({axis.d_model},), not zero"
        )
    if not np.isfinite(strength):
        raise ConfigError("not a strength", where="strength", found=repr(strength), expected="a finite number")
    if not np.isfinite(axis.norm[at]):
        raise ConfigError(
            "the axis has no scale, so a strength has no unit",
            where="strength",
            hint="fit the axis on the model, or import it with --model MODEL",
        )
    push = (strength * float(axis.norm[at]) / length * v).astype(np.float32)
    none = np.zeros((0, axis.d_model), np.float32)
    return Edit(
        f"steer {strength:+g} at layer {at}", (LayerEdit(at, none, none[:, 0], none[:, 0], push),), protect_first
    )
