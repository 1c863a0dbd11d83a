"""How much of the axis is "there is a long system prompt" and not "there is a role".

Neutral prompts state rules of an exchange, placebo prompts are prose about nothing of the kind. Both are as long as
role prompts. Where they lie between the average role (z = 0) and the default (z = 1), and the cosine of the axis with
the one they would give in the default's place, stand in every report.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from multitudes.axis.collected import Collected, control_mean, default_mean
from multitudes.axis.components import cosine
from multitudes.axis.scale import ZScale

FloatArray = NDArray[np.float64]

UNFILTERED = "unfiltered"  # all answers of roles, kept or not
SOMEWHAT = "somewhat"  # answers that are in role in part: score 2
OF_ROLES = (UNFILTERED, SOMEWHAT)  # in the place of the roles; other controls are in the place of the default


def alternative_axes(c: Collected, role_mean: FloatArray) -> dict[str, FloatArray]:
    """Axes that other choices would have given, (L, d) each.

    Args:
        c: The sums.
        role_mean: (L, d) mean over roles of their means.

    Returns:
        ``unfiltered``: default minus the mean of all role responses, kept or not (every role must have been asked
        equally often); ``somewhat``: default minus the mean of those that are in role in part. Any other control
        arm: its mean minus the role mean.
    """
    out = {}
    for name in c.controls:
        mean = control_mean(c, name)
        out[name] = default_mean(c) - mean if name in OF_ROLES else mean - role_mean
    return out


def alternative_cosines(axis: FloatArray, alternatives: Mapping[str, FloatArray]) -> dict[str, FloatArray]:
    """(L,) cosine of the axis with each alternative, in [-1, 1]; 1 = the choice does not matter, 0 = unrelated."""
    return {name: cosine(axis, other) for name, other in alternatives.items()}


def control_z(c: Collected, directions: FloatArray, scale: ZScale) -> dict[str, FloatArray]:
    """(L,) z of the mean response of each control arm; 0 = like an average role, 1 = like the default."""
    return {
        name: scale.z((control_mean(c, name) * directions).sum(axis=1)) for name in c.controls if name != UNFILTERED
    }
