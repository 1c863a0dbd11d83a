"""A collection → an axis: fit the direction, then its scale, thresholds and controls on generated answers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from multitudes.axis.adherence import IN_ROLE, RUBRIC_HASH, UNSCORED
from multitudes.axis.agreement import DoubleScored, agreements, axes_by_scorer, judge_record, score_twice
from multitudes.axis.answers import Aim, Collection, Step
from multitudes.axis.axis import DEFAULT_QUANTILE, FAR_FROM_DEFAULT, Axis
from multitudes.axis.choices import axis_of, cosines_with, other_filters
from multitudes.axis.collect import CODE_SCHEMA, collect
from multitudes.axis.collected import Collected
from multitudes.axis.components import NOISE_GATE, cosine
from multitudes.axis.conditions import conditions_of, default_arms, messages_of
from multitudes.axis.errors import NoAxis, TooFewRoles
from multitudes.axis.fit import AxisFit, analysis_layer, fit_axis, kept_roles
from multitudes.axis.placing import OnScale, as_f32, families_needed, on_scale, random_beside
from multitudes.axis.presets import Preset, questions_of
from multitudes.axis.roles import RoleSet
from multitudes.axis.stability import SPLIT_HALF_GATE
from multitudes.axis.window import cap_window
from multitudes.core.canonical import content_hash
from multitudes.core.errors import ConfigError
from multitudes.models.base import ChatModel
from multitudes.models.encode import Encoder


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
        drawn = random_beside(fit.axis[layer], fit.role_means[:, layer], seed)
        return Aim(fit.unit, np.concatenate(list(drawn.values())), layer)

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
    drawn = random_beside(fit.axis[layer], fit.role_means[:, layer], seed)
    placed = await on_scale(
        model, everything, size, done, fit.unit, drawn=drawn, layer=layer, window=window, seed=seed
    )
    others = other_filters(done, min_count=size.min_count)
    scale, curves = placed.scale, _curves(fit, done, placed)
    curves |= cosines_with(axis_of(done.generated, min_count=size.min_count), others)
    if twice is not None:
        by = await axes_by_scorer(model, everything, size, done, twice)
        first = by.pop("judge")
        curves |= cosines_with(first, by)
        others |= {"judge": first, **by}
    agreed = {} if twice is None else agreements(twice, seed=seed)
    return Axis(
        axis=as_f32(fit.axis), default_mean=as_f32(fit.default_mean), role_means=as_f32(fit.role_means),
        roles=fit.roles, halves=as_f32(fit.halves), components=as_f32(fit.components[layer]),
        mu_default=as_f32(scale.mu_default), mu_roles=as_f32(scale.mu_roles), norm=as_f32(done.fixed.default_norm),
        layer=layer, window=window, tau={k: as_f32(v) for k, v in placed.tau.items()},
        low_default=as_f32(placed.low_default), curves={k: as_f32(v) for k, v in curves.items()},
        others={k: as_f32(v) for k, v in others.items()},
        about=provenance(model, everything, size, done, fit, seed) | placed.about | {"agreement": agreed},
    )  # fmt: skip


def _curves(fit: AxisFit, done: Collection, placed: OnScale) -> dict[str, Any]:
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
        "cross_validated_1": fit.cross_validated[:, 0], "separation": placed.separation,
        "other_method": across, "gap": placed.scale.gap,
    } | placed.answers_z  # fmt: skip
    for name, z in fit.control_z.items():
        out[f"z_{name}"] = z
    for name, value in fit.alternatives.items():
        out[f"cosine_{name}"] = value
    return out


def provenance(
    model: Any, everything: RoleSet, size: Preset, done: Collection, fit: AxisFit, seed: int
) -> dict[str, Any]:
    """What was asked of whom, and how it was fitted."""
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
