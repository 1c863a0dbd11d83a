"""A collection → an axis: fit the direction, then its scale, thresholds and controls on generated answers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from multitudes.axis.adherence import IN_ROLE, RUBRIC_HASH, UNSCORED
from multitudes.axis.agreement import DoubleScored, agreements, axes_by_scorer, judge_record, score_twice
from multitudes.axis.answers import Aim, Answer, Collection, Step
from multitudes.axis.axis import DEFAULT_QUANTILE, FAR_FROM_DEFAULT, QUANTILES, Axis
from multitudes.axis.choices import axis_of, cosines_with, other_filters
from multitudes.axis.collect import CODE_SCHEMA, collect
from multitudes.axis.collected import Collected, control_mean
from multitudes.axis.components import NOISE_GATE, cosine
from multitudes.axis.conditions import conditions_of, default_arms, messages_of
from multitudes.axis.controls import SOMEWHAT
from multitudes.axis.errors import NoAxis, TooFewRoles
from multitudes.axis.fit import MIN_FAMILIES, AxisFit, analysis_layer, fit_axis, kept_roles
from multitudes.axis.nulls import Kind, random_directions
from multitudes.axis.presets import Preset, questions_of
from multitudes.axis.roles import RoleSet
from multitudes.axis.scale import check_sign, separation, z_scale
from multitudes.axis.stability import SPLIT_HALF_GATE
from multitudes.axis.window import cap_window
from multitudes.core.canonical import content_hash
from multitudes.core.errors import ConfigError
from multitudes.core.seeds import derive_rng
from multitudes.models.base import ChatModel, ScoreItem
from multitudes.models.encode import Encoder

MOST_READ = 20_000  # answers that are read a second time at most
OUTSIDE = 0.05  # quantile of default responses below which a turn is outside the calibrated range


async def find_axis(
    model: Any,
    everything: RoleSet,
    size: Preset,
    folder: Path,
    *,
    seed: int = 0,
    judge: ChatModel | None = None,
    second: ChatModel | None = None,
    topic: Encoder | None = None,
    watch: Callable[[Step], None] | None = None,
) -> Axis:
    """Collect into ``folder``, or go on there, and build the axis. Arguments as for ``collect``.

    Where the direction comes from the fixed text, it is known before the first answer, and answers are projected on
    it while they are written. Otherwise they are read a second time. What a judge decided is compared with the
    likelihood filter and with ``second``, a second judge, on a part of the answers.

    Raises:
        ConfigError: A second judge without a first, or the same one twice.
    """
    check_judges(judge, second)

    def aim(fixed: Collected) -> Aim:
        fit = fit_axis(fixed, seed=seed, min_count=size.min_count, min_families=families_needed(fixed))
        layer = analysis_layer(model.n_layers)
        return Aim(fit.unit, np.concatenate(list(_random(fit, layer, seed).values())), layer)

    known = aim if size.method == "fixed_text" else None
    done = await collect(model, everything, size, folder, seed=seed, judge=judge, topic=topic, watch=watch, aim=known)
    if judge is None:
        return await build_axis(model, everything, size, done, seed=seed)
    _enough(done, size)
    twice = await score_twice(model, everything, size, done, folder, second=second, seed=seed, watch=watch)
    judges = {"judge": judge_record(judge, RUBRIC_HASH)}
    if second is not None:
        judges["second_judge"] = judge_record(second, RUBRIC_HASH)
    axis = await build_axis(model, everything, size, done, seed=seed, twice=twice)
    return replace(axis, about={**axis.about, **judges})


def _enough(done: Collection, size: Preset) -> None:
    """Refuse a judge that keeps too little, before anybody else is asked.

    Raises:
        TooFewRoles: Says how the judge scored.
    """
    try:
        kept_roles(done.generated, min_count=size.min_count, min_families=families_needed(done.generated))
    except TooFewRoles as error:
        scores = Counter(a.score for a in done.answers if a.condition.startswith("role:"))
        found = ", ".join(f"{scores[s]} {'unscored' if s == UNSCORED else s}" for s in (3, 2, 1, 0, UNSCORED))
        off = sum(a.score == IN_ROLE and a.off_topic for a in done.answers)
        raise TooFewRoles(
            error.what, found=error.found, expected=error.expected,
            hint=f"scores of role answers: {found}; only 3 is kept" + f", but {off} of them are off topic" * (off > 0)
            + "; take another judge, or none (the likelihood filter)",
        ) from error  # fmt: skip


def check_judges(judge: ChatModel | None, second: ChatModel | None) -> None:
    """Refuse a second judge that has no first, or is the first.

    Raises:
        ConfigError: Says which.
    """
    if second is None:
        return
    if judge is None:
        raise ConfigError(
            "a second judge without a first", where=second.info.name, expected="two judges, or one",
            hint="give this one as the judge (--judge), or add another",
        )  # fmt: skip
    if judge.info.fingerprint == second.info.fingerprint:
        raise ConfigError(
            "the second judge is the first", where=second.info.name,
            expected="another model: one judge at temperature 0 agrees with itself",
        )  # fmt: skip


async def build_axis(
    model: Any, everything: RoleSet, size: Preset, done: Collection, *, seed: int = 0,
    twice: DoubleScored | None = None,
) -> Axis:  # fmt: skip
    """Fit the axis of ``done`` and put it on its scale.

    Args:
        model: The model that was asked; answers that were not projected as they were written are read once more.
        everything: What was asked.
        size: How much.
        done: The collection.
        seed: Seed of role halves and of the answers that are read again, where there are very many.
        twice: Answers that were scored more than once.

    Raises:
        TooFewRoles: Too few roles with enough answers.
        NoAxis: Default and roles do not differ.
        SignError: At the analysis layer or in the window of the cap, generated answers of the default do not lie
            above those of the roles.
    """
    source = done.fixed if size.method == "fixed_text" else done.generated
    fit = fit_axis(source, seed=seed, min_count=size.min_count, min_families=families_needed(source))
    layer, window = analysis_layer(model.n_layers), cap_window(model.n_layers)
    needed = families_needed(done.generated)
    kept, dropped = kept_roles(done.generated, min_count=size.min_count, min_families=needed)
    scale = z_scale(done.generated, fit.unit, kept=kept)
    check_sign(scale, layers=sorted({layer, *window}))
    drawn = _random(fit, layer, seed)
    if done.projections is None:
        beside = np.concatenate(list(drawn.values())), layer
        answers, p, extra = await projections(
            model, everything, size, done.answers, fit.unit, beside=beside, seed=seed
        )
    else:
        rows = [i for i, a in enumerate(done.answers) if a.kept and np.isfinite(done.projections[i]).all()]
        answers = [done.answers[i] for i in rows]
        p, extra = np.split(done.projections[rows].astype(np.float64), [model.n_layers], axis=1)
    where = _by_kind(answers)
    default, role = p[where["default"]], p[where["role"]]
    tau = thresholds(answers, p) | {"default_mean": np.asarray(scale.mu_default)}
    others = other_filters(done, min_count=size.min_count)
    curves = _curves(fit, done, scale, default, role)
    curves |= cosines_with(axis_of(done.generated, min_count=size.min_count), others)
    if twice is not None:
        by = await axes_by_scorer(model, everything, size, done, twice)
        first = by.pop("judge")
        curves |= cosines_with(first, by)
        others |= {"judge": first, **by}
    about = _about(model, everything, size, done, fit, seed) | {
        "dropped_answers": [[d.role, d.n] for d in dropped],
        "z_tau": {k: _at(scale.z(t), window) for k, t in tau.items()},
        "controls": _random_controls(drawn, p, extra, where, layer),
        "agreement": {} if twice is None else agreements(twice, seed=seed),
    }
    return Axis(
        axis=_f32(fit.axis), default_mean=_f32(fit.default_mean), role_means=_f32(fit.role_means), roles=fit.roles,
        halves=_f32(fit.halves), components=_f32(fit.components[layer]), mu_default=_f32(scale.mu_default),
        mu_roles=_f32(scale.mu_roles), norm=_f32(done.fixed.default_norm), layer=layer, window=window,
        tau={k: _f32(v) for k, v in tau.items()}, low_default=_f32(np.nanquantile(default, OUTSIDE, axis=0)),
        curves={k: _f32(v) for k, v in curves.items()}, others={k: _f32(v) for k, v in others.items()}, about=about,
    )  # fmt: skip


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


def _curves(fit: AxisFit, done: Collection, scale: Any, default: NDArray[Any], role: NDArray[Any]) -> dict[str, Any]:
    """Everything that is reported by layer."""
    pseudo = np.median(fit.pseudo_cosine, axis=0)
    other = done.generated if fit.method == "fixed_text" else done.fixed
    try:
        across = cosine(fit.axis, fit_axis(other, seed=0, min_count=1, halves=1, min_families=1).axis)
    except (TooFewRoles, NoAxis):
        across = np.full(len(fit.length), np.nan)
    out = {
        "length": fit.length, "pc1_cosine": fit.pc1_cosine, "pseudo_median": pseudo,
        "pc1_percentile": fit.pc1_percentile, "explained_1": fit.explained[:, 0], "explained_2": fit.explained[:, 1],
        "dims70": fit.dims70.astype(float), "noise_share": fit.noise.share, "split_half": fit.split_half,
        "role_halves": fit.role_halves.mean(axis=0), "edge": fit.edge,
        "cross_validated_1": fit.cross_validated[:, 0], "separation": separation(default, role),
        "other_method": across, "gap": scale.gap,
    }  # fmt: skip
    for name, z in fit.control_z.items():
        out[f"z_{name}"] = z
    for name, value in fit.alternatives.items():
        out[f"cosine_{name}"] = value
    for name in ("neutral", "placebo", SOMEWHAT):
        if name in done.generated.controls:
            out[f"z_{name}_answers"] = scale.z((control_mean(done.generated, name) * fit.unit).sum(axis=1))
    return out


def _random(fit: AxisFit, layer: int, seed: int) -> dict[str, NDArray[np.float64]]:
    """Directions to compare with at the analysis layer, (draws, d) by kind."""
    kinds: tuple[Kind, ...] = get_args(Kind)
    means = fit.role_means[:, layer]
    return {k: random_directions(k, fit.axis[layer], seed=seed, role_means=means) for k in kinds}


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


def _about(
    model: Any, everything: RoleSet, size: Preset, done: Collection, fit: AxisFit, seed: int
) -> dict[str, Any]:
    info = model.info
    of_roles = [(a.condition.split(":")[1], a) for a in done.answers if a.condition.startswith("role:")]
    scores = Counter(a.score for _, a in of_roles)
    asked, passed = Counter(r for r, _ in of_roles), Counter(r for r, a in of_roles if a.kept)
    in_role = Counter(r for r, a in of_roles if a.score == IN_ROLE)
    lost = Counter(r for r, a in of_roles if a.score == IN_ROLE and a.off_topic)
    topic = {"encoder": done.encoder, "dropped": dict(lost), "of": dict(in_role)} if done.encoder else None
    arms = default_arms(model, everything)
    first = questions_of(size, everything)[0]
    rendered = {
        c.id: content_hash(model.template.context_ids(messages_of(c, first))[0], length=16)
        for c in conditions_of(model, everything, size)
        if c.kind == "default"
    }
    return {
        "schema": 1, "code_schema": CODE_SCHEMA, "orientation": "assistant_positive", "method": fit.method,
        "preset": size.name, "model": info.name, "engine": info.fingerprint, "weights_sha256": info.weights_sha256,
        "small_model": info.small_model, "licence": info.licence, "dtype": info.dtype, "role_set": everything.name,
        "role_set_hash": everything.hash, "families": {r.id: r.family for r in everything.roles if r.id in fit.roles},
        "names": {r.id: r.name for r in everything.roles if r.id in fit.roles},
        "default_arms": dict(arms), "rendered": rendered, "seed": seed, "filter": done.filter, "theta": done.theta,
        "null": [float(np.quantile(done.null, q)) for q in (0.05, 0.5, 0.95)] if done.null else [],
        "scores": {str(k): v for k, v in sorted(scores.items())},
        "unscored": scores[UNSCORED], "pass_rate": {r: passed[r] / n for r, n in asked.items()},
        "topic": topic, "own_names": [*info.names, *info.makers],
        "dropped_fixed": [[d.role, d.n] for d in fit.dropped], "default_n": fit.default_n,
        "temperature": size.temperature, "top_p": size.top_p, "max_tokens": size.max_tokens,
        "versions": {k: version(k) for k in ("torch", "transformers", "numpy")},
        "noise_is_bound": [int(layer) for layer in np.flatnonzero(~fit.noise.exact)],
    }  # fmt: skip


def warnings_of(axis: Axis) -> list[str]:
    """What a reader of the axis should know first, in words; what the artifact does not hold gives no warning."""
    out = []

    def at(name: str) -> float:
        values = axis.curves.get(name, ())
        return float(values[axis.layer]) if len(values) == axis.n_layers else float("nan")

    if axis.about.get("small_model"):
        out.append(
            "a small model: it is weak at playing people; what is seen proves the machinery, not the phenomenon"
        )
    if at("split_half") < SPLIT_HALF_GATE:
        out.append(
            f"not stable: split-half cosine {at('split_half'):.2f} at layer {axis.layer}, wanted {SPLIT_HALF_GATE:g}"
        )
    if at("noise_share") > NOISE_GATE:
        out.append(f"components are not interpretable: {at('noise_share'):.0%} of the spread of roles is noise")
    if at("pc1_cosine") < at("pseudo_median"):
        out.append("the leading component is no closer to the axis than to one drawn for any single role")
    z = float(axis.about.get("z_tau", {}).get(str(DEFAULT_QUANTILE), "nan"))  # a stored NaN travels as a string
    if abs(z - 1) > FAR_FROM_DEFAULT:
        out.append(
            f"the {DEFAULT_QUANTILE:.0%} threshold lies at z = {z:.2f}, not near the default (1): "
            f"'default_mean' is the stronger setting"
        )
    return out


def _at(values: NDArray[Any], window: Sequence[int]) -> float:
    return float(np.mean(np.asarray(values)[list(window)]))


def _f32(values: Any) -> NDArray[np.float32]:
    return np.ascontiguousarray(values, dtype=np.float32)
