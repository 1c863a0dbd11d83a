"""An axis in some fifteen lines of a terminal."""

from __future__ import annotations

import math
from collections.abc import Mapping

from multitudes.axis.axis import Axis
from multitudes.report import axis_facts as facts
from multitudes.report.axis_facts import at, fixed
from multitudes.report.words import clean, counted, number, percent, shown


def axis_lines(axis: Axis) -> list[str]:
    """What the axis is and what it is worth: warnings first, then the verdict, then one line for each number.

    No control characters are in it, so that it may be printed whatever the model is called.
    """
    lines = [f"warning: {w}" for w in facts.warnings(axis)]
    lines += [facts.verdict(axis), *_what(axis), *_direction(axis), *_controls(axis)]
    lines.append(f"Published figures are read in {facts.PUBLISHED}, of models of 27 to 70 billion parameters, and "
                 "not checked here.")  # fmt: skip
    return [clean(line).replace("\n", " ") for line in lines]


def _what(axis: Axis) -> list[str]:
    about = axis.about
    return [
        f"model       {about.get('model', 'unknown')}: {counted(axis.n_layers, 'block')} of width {axis.d_model:,}; "
        f"read at layer {axis.layer}, capped at {facts.window_words(axis.window)}",
        f"direction   {axis.method}, from {facts.METHODS.get(axis.method, 'texts of unknown origin')}; "
        + (facts.scaled(axis) or f"preset {about.get('preset', 'unknown')}"),
        f"answers     {facts.kept_sentence(axis)}",
        *(f"agreement   {row.sentence}" for row in facts.agreed(axis)),
        f"roles       {facts.roles_sentence(axis)}",
    ]


def _direction(axis: Axis) -> list[str]:
    crowd, rank = at(axis, "pseudo_median"), at(axis, "pc1_percentile")
    lowest = facts.finite_min(facts.curve(axis, "pc1_cosine"))
    bound = "at most " if axis.layer in (axis.about.get("noise_is_bound") or ()) else ""
    return [
        f"split-half  {fixed(at(axis, 'split_half'))} between halves of the questions ({fixed(facts.STABLE)} wanted),"
        f" {fixed(at(axis, 'role_halves'))} between halves of the roles",
        f"cos(axis, PC1) {fixed(at(axis, 'pc1_cosine'))}, at least {fixed(lowest)} at all layers; any role in the "
        f"default's place {fixed(crowd)} (the default is above {percent(rank)} of them); published > "
        f"{facts.PUBLISHED_MIDDLE:.2f} at the middle layer, > {facts.PUBLISHED_ALL:.2f} at all",
        f"spread      PC1 {percent(at(axis, 'explained_1'))} of it (in the other half of the questions "
        f"{percent(at(axis, 'cross_validated_1'))}), PC2 {percent(at(axis, 'explained_2'))}; "
        f"{_whole(at(axis, 'dims70'))} components hold 70% (published {facts.PUBLISHED_DIMS})",
        f"noise       {bound}{percent(at(axis, 'noise_share'))} of the spread of roles (above 50% its components "
        "mean nothing)",
    ]


def _controls(axis: Axis) -> list[str]:
    z = {
        name: ", ".join(
            f"{fixed(at(axis, f'z_{name}{end}'))} {of}"
            for end, of in (("", "where it was fitted"), ("_answers", "in answers"))
            if not math.isnan(at(axis, f"z_{name}{end}"))
        )
        for name in ("neutral", "placebo")
    }
    control = facts.about(axis, "controls")
    own = number(control.get("axis", at(axis, "separation")))
    random = [
        f"{_short(kind)} {fixed(number(row.get('median')))} ({fixed(number(row.get('p95')))})"
        for kind in facts.RANDOM
        if isinstance(row := control.get(kind), Mapping)
    ]
    other = "generated" if axis.method == "fixed_text" else "fixed_text"
    z_tau = {k: number(v) for k, v in facts.about(axis, "z_tau").items()}
    others = {k: at(axis, f"cosine_{k}") for k in ("any_topic", "likelihood", "second_judge")}
    more = "".join(f"; {facts.ALTERNATIVES[k]}: {fixed(v)}" for k, v in others.items() if not math.isnan(v))
    return [
        "controls    " + "; ".join(f"{k} prompts z {v or 'not asked'}" for k, v in z.items())
        + " (0 = average role, 1 = default)",
        f"separation  AUC {fixed(own)}; random directions, median (95%): {', '.join(random) or 'not drawn'}",
        f"cosines     with the {other} axis {fixed(at(axis, 'other_method'))}, with the unfiltered one "
        f"{fixed(at(axis, 'cosine_unfiltered'))}{more}",
        "thresholds  " + (", ".join(f"{k}: z = {fixed(v)}" for k, v in z_tau.items()) or "none")
        + " (mean over the capped layers)",
    ]  # fmt: skip


def _short(kind: str) -> str:
    return "covariance-matched" if kind == "covariance" else kind


def _whole(value: float) -> str:
    return shown(value) if math.isnan(value) else f"{value:.0f}"
