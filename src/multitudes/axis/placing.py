"""Generated answers → the scale of a direction: where z is 0 and 1, thresholds, random directions beside it.

The direction may come from these answers, from the fixed text, or from somebody's file.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from multitudes.axis.answers import Answer, Collection
from multitudes.axis.axis import QUANTILES
from multitudes.axis.collected import Collected, control_mean
from multitudes.axis.conditions import conditions_of, messages_of
from multitudes.axis.controls import SOMEWHAT
from multitudes.axis.fit import MIN_FAMILIES, kept_roles
from multitudes.axis.nulls import Kind, random_directions
from multitudes.axis.presets import Preset, questions_of
from multitudes.axis.roles import RoleSet
from multitudes.axis.scale import ZScale, check_sign, separation, z_scale
from multitudes.core.seeds import derive_rng
from multitudes.models.base import ScoreItem

MOST_READ = 20_000  # answers that are read a second time at most
OUTSIDE = 0.05  # quantile of default responses below which a turn is outside the calibrated range


class OnScale(NamedTuple):
    """Where generated answers put a direction.

    Attributes:
        scale: Where z is 0 and 1.
        tau: (L,) thresholds by name: quantiles of response means, and ``default_mean``.
        low_default: (L,) 5 % quantile of default answers.
        separation: (L,) AUC of single answers.
        answers_z: (L,) z of the answers of arms without a role, by name of the curve.
        about: Roles that were dropped, z of the thresholds, random directions.
    """

    scale: ZScale
    tau: dict[str, NDArray[np.float64]]
    low_default: NDArray[np.float64]
    separation: NDArray[np.float64]
    answers_z: dict[str, NDArray[np.float64]]
    about: dict[str, Any]


async def on_scale(
    model: Any, everything: RoleSet, size: Preset, done: Collection, directions: NDArray[Any], *,
    drawn: Mapping[str, NDArray[Any]], layer: int, window: Sequence[int], seed: int,
) -> OnScale:  # fmt: skip
    """Put unit directions (L, d) on the scale of the generated answers of a collection.

    Args:
        model: The model that was asked.
        everything: What was asked.
        size: How much.
        done: The collection. Without projections of its own its answers are read once more.
        directions: The axis.
        drawn: Random directions at ``layer``, as the ``beside`` of an ``Aim`` held them.
        layer: Analysis layer.
        window: Capped blocks.
        seed: Seed of the answers that are read again, where there are very many.

    Raises:
        TooFewRoles: Too few roles with enough answers.
        SignError: At the analysis layer or in the window, answers of the default do not lie above those of the roles.
    """
    needed = families_needed(done.generated)
    kept, dropped = kept_roles(done.generated, min_count=size.min_count, min_families=needed)
    scale = z_scale(done.generated, directions, kept=kept)
    check_sign(scale, layers=sorted({layer, *window}))
    if done.projections is None:
        beside = np.concatenate(list(drawn.values())), layer
        answers, p, extra = await projections(
            model, everything, size, done.answers, directions, beside=beside, seed=seed
        )
    else:
        rows = [i for i, a in enumerate(done.answers) if a.kept and np.isfinite(done.projections[i]).all()]
        answers = [done.answers[i] for i in rows]
        p, extra = np.split(done.projections[rows].astype(np.float64), [model.n_layers], axis=1)
    where = _by_kind(answers)
    default, role = p[where["default"]], p[where["role"]]
    tau = thresholds(answers, p) | {"default_mean": np.asarray(scale.mu_default)}
    answers_z = {
        f"z_{name}_answers": scale.z((control_mean(done.generated, name) * directions).sum(axis=1))
        for name in ("neutral", "placebo", SOMEWHAT)
        if name in done.generated.controls
    }
    about = {
        "dropped_answers": [[d.role, d.n] for d in dropped],
        "z_tau": {k: mean_at(scale.z(t), window) for k, t in tau.items()},
        "controls": _random_controls(drawn, p, extra, where, layer),
    }
    low = np.nanquantile(default, OUTSIDE, axis=0)
    return OnScale(scale, tau, low, separation(default, role), answers_z, about)


async def projections(
    model: Any, everything: RoleSet, size: Preset, answers: Sequence[Answer], directions: NDArray[Any], *,
    beside: tuple[NDArray[Any], int], seed: int,
) -> tuple[list[Answer], NDArray[np.float64], NDArray[np.float64]]:  # fmt: skip
    """Kept answers, the projection (N, L) of each, and those on other directions ``beside`` at one block (N, K).

    They come from one more pass over the tokens.

    The second pass is the check of the first as well: it reads the same tokens in another layout (see ``check``).
    Of more than ``MOST_READ`` answers an even part is read.
    """
    scored = [a for a in answers if a.kept]
    if len(scored) > MOST_READ:
        chosen = derive_rng("axis", "second pass", seed).choice(len(scored), MOST_READ, replace=False)
        scored = [scored[i] for i in sorted(chosen)]
    conditions = {c.id: c for c in conditions_of(model, everything, size)}
    questions = {q.id: q for q in questions_of(size, everything)}
    layers, out = range(model.n_layers), np.full((len(scored), model.n_layers), np.nan)
    others, layer = beside
    extra = np.full((len(scored), len(others)), np.nan)
    for start in range(0, len(scored), 256):
        part = scored[start : start + 256]
        items = [
            ScoreItem(
                messages_of(conditions[a.condition], questions[a.question]), a.text or " ", token_ids=a.token_ids[:-1]
            )
            for a in part
        ]
        for i, means in enumerate(await model.read(items, layers, mean=True)):
            out[start + i] = np.einsum("ld,ld->l", means.astype(np.float64), directions)
            extra[start + i] = others @ means[layer].astype(np.float64)
    return scored, out, extra


def families_needed(c: Collected) -> int:
    """Families that must be left: three, or as many as the set has at all (a file of roles need not name any)."""
    return min(MIN_FAMILIES, len(set(c.families)))


def thresholds(answers: Sequence[Answer], p: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    """(L,) weighted quantiles of response-mean projections: every condition weighs the same.

    A condition is a role or one default arm with all its answers; arms of controls are left out.
    """
    keys = [a.condition.rpartition(":")[0] if a.condition.startswith("role:") else a.condition for a in answers]
    used = np.array([k.startswith(("role:", "default:")) for k in keys])
    count = Counter(k for k, u in zip(keys, used, strict=True) if u)
    weights = np.array([1 / count[k] if u else 0.0 for k, u in zip(keys, used, strict=True)])
    out = {}
    for q in QUANTILES:
        out[str(q)] = np.array([weighted_quantile(p[used, layer], weights[used], q) for layer in range(p.shape[1])])
    return out


def weighted_quantile(values: NDArray[np.float64], weights: NDArray[np.float64], q: float) -> float:
    """The smallest value at or below which at least ``q`` of the weight lies."""
    order = np.argsort(values, kind="stable")
    total = np.cumsum(weights[order])
    return float(values[order][min(int(np.searchsorted(total, q * total[-1] - 1e-12)), len(values) - 1)])


def _by_kind(answers: Sequence[Answer]) -> dict[str, NDArray[np.intp]]:
    kinds = np.array([a.condition.partition(":")[0] for a in answers])
    return {kind: np.flatnonzero(kinds == kind) for kind in ("role", "default", "neutral", "placebo")}


def random_beside(axis: NDArray[Any], role_means: NDArray[Any], seed: int) -> dict[str, NDArray[np.float64]]:
    """Directions to compare an axis (d,) with at one layer, (draws, d) by kind, from role means (R, d)."""
    kinds: tuple[Kind, ...] = get_args(Kind)
    return {k: random_directions(k, axis, seed=seed, role_means=role_means) for k in kinds}


def _random_controls(
    drawn: Mapping[str, NDArray[Any]], p: NDArray[Any], extra: NDArray[Any], where: Mapping[str, NDArray[np.intp]],
    layer: int,
) -> dict[str, Any]:  # fmt: skip
    """Separation of default and role answers along the axis and along random directions, either way round."""
    own = separation(p[where["default"]][:, [layer]], p[where["role"]][:, [layer]])
    out: dict[str, Any] = {"axis": float(own[0]), "layer": layer}
    start = 0
    for kind, directions in drawn.items():
        part = extra[:, start : start + len(directions)]
        start += len(directions)
        auc = separation(part[where["default"]], part[where["role"]])
        away = np.maximum(auc, 1 - auc)  # a random direction has no sign
        out[kind] = {"median": float(np.median(away)), "p95": float(np.quantile(away, 0.95)), "draws": len(away)}
    return out


def mean_at(values: NDArray[Any], window: Sequence[int]) -> float:
    """Mean over the blocks of a window."""
    return float(np.mean(np.asarray(values)[list(window)]))


def as_f32(values: Any) -> NDArray[np.float32]:
    """As an artifact holds it."""
    return np.ascontiguousarray(values, dtype=np.float32)
