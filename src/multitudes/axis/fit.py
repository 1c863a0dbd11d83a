"""Fit the Assistant Axis to streamed sums: the direction per layer, and every number that says what it is worth.

a_l = m_D - (1/R) Σ_r m_r: default mean minus the mean of role means, roles weighing equally. It points to the
Assistant. Source: Lu et al. 2026, arXiv 2601.10387. Ours: the default is not among the rows of the components, the
noise share, the cross-validated share and the pseudo-axis null.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from multitudes.axis.collected import Collected, Method, default_mean, role_means
from multitudes.axis.components import NOISE_GATE, components, unit
from multitudes.axis.controls import alternative_axes, alternative_cosines, control_z
from multitudes.axis.errors import NoAxis, TooFewRoles, listed
from multitudes.axis.noise import NoiseShare, cross_validated_share, noise_share
from multitudes.axis.nulls import gram_of, percentile_in, pseudo_axis_cosines
from multitudes.axis.scale import ZScale
from multitudes.axis.stability import HALVES, half_axes, role_half_cosines, split_half_cosine
from multitudes.core.seeds import derive_seed
from multitudes.measure.errors import ZeroVarianceError

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

MIN_COUNT = 10  # responses per role in the paper; 3 and 8 in the smaller presets
MIN_ROLES = 20  # our choice
MIN_FAMILIES = 3  # our choice
COMPONENTS = 10
SHORTEST = 1e-6  # of the mean token length: an axis below this is rounding


class DroppedRole(NamedTuple):
    """A role left out of the fit, and how many kept responses it had."""

    role: str
    n: int


@dataclass(frozen=True, eq=False)
class AxisFit:
    """An axis per layer and what is known about it. L layers, width d, R kept roles, K components.

    Attributes:
        method: How the responses behind it came to be; printed in every report.
        roles: R ids of the roles that were kept.
        dropped: Roles with fewer than ``min_count`` responses.
        include_default: Whether the default was among the rows of the components.
        role_n: (R,) responses behind each role mean.
        default_n: Responses behind the default mean.
        axis: (L, d) a, default minus roles; points to the Assistant.
        unit: (L, d) v = a/‖a‖.
        length: (L,) ‖a‖ in residual units.
        norm: (L,) mean length of a default token; NaN if none was counted.
        default_mean: (L, d).
        role_means: (R, L, d).
        halves: (2, L, d) axes of the two question halves; NaN where a half lacks default or roles.
        components: (L, K, d) unit principal directions of the role means, each to the default's side.
        explained: (L, K) share of the spread per component; biased up by noise.
        dims70: (L,) components with a cumulative share of .70.
        pc1_cosine: (L,) |cos(a, PC1)|; compare with ``pseudo_cosine``.
        pseudo_cosine: (R, L) the same number with each role in the default's place.
        pc1_percentile: (L,) share of ``pseudo_cosine`` below ``pc1_cosine``; .5 = the default is like any role.
        edge: (L,) share of roles with a larger projection on PC1 than the default; 0 = at the edge.
        noise: (L,) share of the spread that is noise, and whether exact or an upper bound.
        cross_validated: (L, K) share of the spread per component of half A that half B repeats; may be negative.
        split_half: (L,) cosine of the axes of the question halves; null 0, gate .8.
        role_halves: (draws, L) cosines of axes of random halves of the roles; they share the default and flatter.
        scale: Where z is 0 and 1 on the data of the fit. Read conversations on a scale from generated responses.
        control_z: By control arm, (L,) z of its mean; 0 = like an average role, 1 = like the default.
        alternatives: By control arm, (L,) cosine of the axis with the one this arm would have given.
    """

    method: Method
    roles: tuple[str, ...]
    dropped: tuple[DroppedRole, ...]
    include_default: bool
    role_n: IntArray
    default_n: int
    axis: FloatArray
    unit: FloatArray
    length: FloatArray
    norm: FloatArray
    default_mean: FloatArray
    role_means: FloatArray
    halves: FloatArray
    components: FloatArray
    explained: FloatArray
    dims70: IntArray
    pc1_cosine: FloatArray
    pseudo_cosine: FloatArray
    pc1_percentile: FloatArray
    edge: FloatArray
    noise: NoiseShare
    cross_validated: FloatArray
    split_half: FloatArray
    role_halves: FloatArray
    scale: ZScale
    control_z: Mapping[str, FloatArray]
    alternatives: Mapping[str, FloatArray]

    @property
    def interpretable(self) -> NDArray[np.bool_]:
        """(L,) whether the components may be interpreted: at most half of the spread is noise; False if unknown."""
        return np.asarray(self.noise.share <= NOISE_GATE)


def analysis_layer(n_layers: int) -> int:
    """The block in the middle, L//2, where an axis is looked at first.

    Published choices are 32 of 64 and 40 of 80, which it gives, and 22 of 46, which it does not (23).

    >>> analysis_layer(30)
    15
    """
    return n_layers // 2


def kept_roles(
    c: Collected, *, min_count: int = MIN_COUNT, min_roles: int = MIN_ROLES, min_families: int = MIN_FAMILIES
) -> tuple[IntArray, tuple[DroppedRole, ...]]:
    """Indices of the roles with at least ``min_count`` kept responses, and the others.

    Raises:
        TooFewRoles: Fewer than ``min_roles`` roles or ``min_families`` families are left.
    """
    n = c.n.sum(axis=0)
    enough = n >= max(min_count, 1)
    kept = np.flatnonzero(enough).astype(np.int64)
    dropped = tuple(DroppedRole(c.roles[i], int(n[i])) for i in np.flatnonzero(~enough))
    families = {c.families[i] for i in kept}
    if len(kept) < min_roles or len(families) < min_families:
        worst = ", ".join(f"{d.role} ({d.n})" for d in sorted(dropped, key=lambda d: d.n)[:5])
        raise TooFewRoles(
            f"too few roles with at least {min_count} kept responses",
            found=f"{len(kept)} of {len(n)} roles in {len(families)} families; dropped first: {worst or 'none'}",
            expected=f"{min_roles} roles in {min_families} families",
            hint="collect more responses per role, or lower min_count and say so",
        )
    return kept, dropped


def axis_between(above: FloatArray, below: FloatArray, norm: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Axis (L, d), unit axis (L, d) and length (L,) from mean ``below`` to mean ``above``, both (L, d).

    Args:
        above: Mean of the positive side.
        below: Mean of the negative side.
        norm: (L,) mean token length; where it is NaN, the length of ``above`` stands for it.

    Raises:
        NoAxis: A difference below 1e-6 of the token length, or a mean of nothing.
    """
    axis = above - below
    length = np.linalg.norm(axis, axis=1)
    reference = np.where(np.isnan(norm), np.linalg.norm(above, axis=1), norm)
    none = [int(layer) for layer in np.flatnonzero(~((length >= SHORTEST * reference) & (length > 0)))]
    if none:
        at = none[0]
        raise NoAxis(none, found=f"a difference of length {length[at]:.3g} beside tokens of {reference[at]:.3g}")
    return axis, unit(axis), length


def fit_axis(
    c: Collected,
    *,
    seed: int,
    min_count: int = MIN_COUNT,
    min_roles: int = MIN_ROLES,
    min_families: int = MIN_FAMILIES,
    include_default: bool = False,
    count: int = COMPONENTS,
    halves: int = HALVES,
) -> AxisFit:
    """The axis of every layer, with its components, noise, stability, null and controls.

    Args:
        c: Sums of kept responses of one method.
        seed: Seed of the random halves of the roles; nothing else is drawn.
        min_count: Responses a role needs to be kept.
        min_roles: Roles that must be left.
        min_families: Families that must be left.
        include_default: Put the default among the rows of the components, as the paper does.
        count: Components kept per layer.
        halves: Random halves of the roles.

    Raises:
        TooFewRoles: Too few roles or families are left.
        NoAxis: Default and roles do not differ at a layer, or there is no default response.
        ZeroVarianceError: All role means are equal at a layer.
    """
    kept, dropped = kept_roles(c, min_count=min_count, min_roles=min_roles, min_families=min_families)
    means, m_d = role_means(c)[kept], default_mean(c)
    role_mean = means.mean(axis=0)
    axis, v, length = axis_between(m_d, role_mean, c.default_norm)
    scale = ZScale((m_d * v).sum(axis=1), (role_mean * v).sum(axis=1), c.method)
    by_half = half_axes(c, kept)
    layers = _per_layer(means, m_d, seed=seed, include_default=include_default, count=count, halves=halves)
    return AxisFit(
        method=c.method, roles=tuple(c.roles[i] for i in kept), dropped=dropped, include_default=include_default,
        role_n=c.n.sum(axis=0)[kept], default_n=int(c.default_n.sum()), axis=axis, unit=v, length=length,
        norm=c.default_norm, default_mean=m_d, role_means=means, halves=by_half, noise=noise_share(c, kept),
        cross_validated=_cross_validated(c, kept, layers["explained"].shape[1]),
        split_half=split_half_cosine(by_half), scale=scale, control_z=control_z(c, v, scale),
        alternatives=alternative_cosines(axis, alternative_axes(c, role_mean)), **layers,
    )  # fmt: skip


def _per_layer(
    means: FloatArray, m_d: FloatArray, *, seed: int, include_default: bool, count: int, halves: int
) -> dict[str, Any]:
    """What is computed from one layer's role means and default at a time, stacked."""
    directions, explained, dims, cosines, edge, pseudo, role_halves = [], [], [], [], [], [], []
    draw = derive_seed("axis", "role halves", seed)  # the same halves at every layer
    for layer in range(means.shape[1]):
        rows = means[:, layer]
        try:
            found = components(rows, m_d[layer], count=count, include_default=include_default)
        except ZeroVarianceError as error:
            raise ZeroVarianceError(error.what, where=f"layer {listed([layer])}") from error
        gram = gram_of(rows, m_d[layer])
        directions.append(found.directions)
        explained.append(found.explained)
        dims.append(found.dims70)
        cosines.append(found.cosine)
        edge.append(found.edge)
        pseudo.append(pseudo_axis_cosines(gram, include_default=include_default))
        role_halves.append(role_half_cosines(gram, seed=draw, draws=halves))
    return {
        "components": np.stack(directions), "explained": np.stack(explained), "dims70": np.array(dims),
        "pc1_cosine": np.array(cosines), "edge": np.array(edge), "pseudo_cosine": np.stack(pseudo, axis=1),
        "pc1_percentile": np.array([percentile_in(v, null) for v, null in zip(cosines, pseudo, strict=True)]),
        "role_halves": np.stack(role_halves, axis=1),
    }  # fmt: skip


def _cross_validated(c: Collected, kept: IntArray, count: int) -> FloatArray:
    """(L, K) NaN where fewer than three kept roles have responses in both halves."""
    out = np.full((c.n_layers, count), np.nan)
    both = kept[(c.n[:, kept] > 0).all(axis=0)]
    if len(both) < 3:
        return out
    a, b = role_means(c, half=0)[both], role_means(c, half=1)[both]
    for layer in range(c.n_layers):
        try:
            found = cross_validated_share(a[:, layer], b[:, layer], count=count)
        except ZeroVarianceError:
            continue
        out[layer, : len(found)] = found
    return out
