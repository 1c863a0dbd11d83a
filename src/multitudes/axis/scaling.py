"""Put an imported axis on a scale: ask its model what a fit asks, and keep the direction that somebody else found.

Released files hold directions and thresholds, but not where the average role and the default lie. So the model
answers as default and in roles, and its answers are projected on the imported direction. They did not build it, which
makes them its test: an axis on which the default does not lie above the roles is refused.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from multitudes.axis.answers import Step
from multitudes.axis.axis import Axis
from multitudes.axis.build import provenance
from multitudes.axis.collect import collect
from multitudes.axis.components import cosine
from multitudes.axis.fit import fit_axis
from multitudes.axis.placing import as_f32, families_needed, mean_at, on_scale, random_beside
from multitudes.axis.presets import Preset
from multitudes.axis.remedy import has_taps
from multitudes.axis.roles import RoleSet
from multitudes.core.errors import Unsupported
from multitudes.models.base import NEEDS_TAPS


async def scale_axis(
    model: Any, axis: Axis, everything: RoleSet, size: Preset, folder: Path, *, seed: int = 0,
    watch: Callable[[Step], None] | None = None,
) -> Axis:  # fmt: skip
    """``axis`` with the scale, thresholds, token lengths and persona space of its model.

    The direction, the layers and any imported thresholds stay as they are. Role and default means and the components
    are those of the fixed text, as in the small preset; the scale of z comes from the model's answers.

    Args:
        model: The model the axis belongs to.
        axis: An imported axis.
        everything: Roles, questions and arms.
        size: How much is asked.
        folder: Where parts are kept; a killed call goes on there.
        seed: Seed of the answers.
        watch: Told after each part.

    Raises:
        Unsupported: A model without taps.
        AxisMismatch: A model of another shape.
        SignError: At the analysis layer or in the window the default does not lie above the roles: most likely the
            file holds role minus default.
        TooFewRoles: Too few roles with enough answers.
    """
    if not has_taps(model):
        raise Unsupported("taps", model.info.name, NEEDS_TAPS)
    axis.fits(model)
    layer, a = axis.layer, axis.axis.astype(np.float64)
    # Answers are projected afterwards: what is kept in the folder then serves whatever direction it is asked for.
    done = await collect(model, everything, size, folder, seed=seed, watch=watch)
    own = fit_axis(done.fixed, seed=seed, min_count=size.min_count, min_families=families_needed(done.fixed))
    drawn = random_beside(a[layer], own.role_means[:, layer], seed)
    placed = await on_scale(
        model, everything, size, done, axis.unit, drawn=drawn, layer=layer, window=axis.window, seed=seed
    )
    scale = placed.scale
    curves = {
        "gap": scale.gap, "separation": placed.separation, "other_method": cosine(a, own.axis),
        "pc1_cosine": np.abs(cosine(a, own.components[:, 0])), "explained_1": own.explained[:, 0],
        "explained_2": own.explained[:, 1], "dims70": own.dims70.astype(float), "noise_share": own.noise.share,
    } | placed.answers_z  # fmt: skip
    tau = {k: as_f32(v) for k, v in placed.tau.items()} | dict(axis.tau)
    about = provenance(model, everything, size, done, own, seed) | dict(axis.about) | placed.about
    about["z_tau"] = {k: mean_at(scale.z(t), axis.window) for k, t in tau.items()}
    about["scaled"] = {
        "model": model.info.name, "preset": size.name, "roles": len(own.roles), "role_set": everything.name,
        "role_set_hash": everything.hash, "seed": seed, "answers": len(done.answers),
    }  # fmt: skip
    return replace(
        axis, default_mean=as_f32(own.default_mean), role_means=as_f32(own.role_means), roles=own.roles,
        components=as_f32(own.components[layer]), mu_default=as_f32(scale.mu_default),
        mu_roles=as_f32(scale.mu_roles), norm=as_f32(done.fixed.default_norm), tau=tau,
        low_default=as_f32(placed.low_default), curves={k: as_f32(v) for k, v in curves.items()}, about=about,
    )  # fmt: skip
