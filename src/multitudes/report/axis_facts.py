"""What an axis says, as plain values and plain sentences: the page and the terminal print the same ones."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from multitudes.axis.axis import Axis
from multitudes.axis.build import warnings_of
from multitudes.axis.components import NOISE_GATE
from multitudes.axis.roles import FAMILIES
from multitudes.report.words import counted, interval, number, percent, shown

STABLE = 0.8  # split-half cosine that is wanted; our choice
PUBLISHED = "arXiv 2601.10387"
PUBLISHED_MIDDLE, PUBLISHED_ALL = 0.71, 0.60  # cos(axis, PC1) is larger in its three models
PUBLISHED_DIMS = "4, 8 and 19"
PUBLISHED_EDGE = 0.03  # its default lies within this of the extreme of PC1
METHODS = {
    "fixed_text": "a fixed text read after every question, not the model's own answers",
    "generated": "the model's own answers",
    "imported": "released files",
}
RANDOM = {
    "isotropic": "any direction",
    "orthogonal": "any direction at a right angle to the axis",
    "covariance": "directions with the spread of persona space",
}
ALTERNATIVES = {
    "unfiltered": "all answers, none filtered out",
    "somewhat": "only answers that are in role in part",
    "any_topic": "no topic filter",
    "likelihood": "the likelihood filter in the place of the judge, double-scored answers",
    "second_judge": "the second judge in the place of the first, double-scored answers",
    "neutral": "neutral prompts in the place of the default",
    "placebo": "placebo prompts in the place of the default",
}
ALWAYS = ("unfiltered", "neutral", "placebo")  # rows that stand there even if they are empty
_NO_FAMILY = 0


def fixed(value: float | None) -> str:
    """A number to two places, both written out; ``n/a`` or ``unscored`` where there is none.

    >>> fixed(0.896), fixed(-0.5), fixed(-0.001), fixed(None)
    ('0.90', '−0.50', '0.00', 'n/a')
    """
    if value is None or not math.isfinite(value):
        return shown(value)
    text = f"{value:.2f}"
    return "0.00" if text == "-0.00" else text.replace("-", "−")


class Place(NamedTuple):
    """Where one role lies.

    Attributes:
        role: Its id.
        name: Its noun.
        family: 1 to 11, 0 if it has none.
        z: On the data of the fit: 0 = the average role, 1 = the default; NaN if unknown.
        x: On the first component at the analysis layer, residual units, from the centre of the roles.
        y: On the second.
        kept: Share of its answers that were in role; None if none were asked.
    """

    role: str
    name: str
    family: int
    z: float
    x: float
    y: float
    kept: float | None


class Space(NamedTuple):
    """The persona space at the analysis layer: the roles, from the nearest to the Assistant to the farthest."""

    roles: tuple[Place, ...]
    default: tuple[float, float]


def curve(axis: Axis, name: str) -> NDArray[np.float64]:
    """(L,) a curve by name; NaN everywhere where the artifact has none of this name or of another length."""
    values = np.asarray(axis.curves.get(name, ()), dtype=np.float64)
    return values if values.shape == (axis.n_layers,) else np.full(axis.n_layers, np.nan)


def at(axis: Axis, name: str) -> float:
    """A curve at the analysis layer; NaN if there is none."""
    return float(curve(axis, name)[axis.layer])


def about(axis: Axis, name: str) -> Mapping[str, Any]:
    """A table of the provenance; empty where there is none."""
    found = axis.about.get(name)
    return found if isinstance(found, Mapping) else {}


def space(axis: Axis) -> Space:
    """Roles and default on the first two components, centred on the mean of the roles.

    The scale of z is the one of the data that built the axis, on which the default is 1 by construction. A
    conversation is read on generated answers instead (``Axis.z``); for a fixed-text axis these are other numbers.
    """
    if not axis.roles:
        return Space((), (math.nan, math.nan))
    means = axis.role_means[:, axis.layer].astype(np.float64)
    centre = means.mean(axis=0)
    default = axis.default_mean[axis.layer].astype(np.float64) - centre
    plane = axis.components[:2].astype(np.float64)
    if len(plane) < 2:
        plane = np.vstack([plane, np.zeros_like(plane[:1])])
    along = axis.unit[axis.layer].astype(np.float64)
    gap = float(default @ along)
    z = (means - centre) @ along / (gap if gap else math.nan)
    xy = (means - centre) @ plane.T
    names, families, kept = about(axis, "names"), about(axis, "families"), about(axis, "pass_rate")
    rows = [
        Place(
            r, str(names.get(r, r)), family_number(families.get(r)), float(z[i]), float(xy[i, 0]), float(xy[i, 1]),
            number(kept[r]) if r in kept else None,
        )
        for i, r in enumerate(axis.roles)
    ]  # fmt: skip
    rows.sort(key=lambda p: (not math.isfinite(p.z), -p.z if math.isfinite(p.z) else 0.0, p.name))
    there = plane @ default
    return Space(tuple(rows), (float(there[0]), float(there[1])))


def family_number(value: Any) -> int:
    """The number of a family; 0 for anything else."""
    return value if isinstance(value, int) else _NO_FAMILY


def family_name(family: int) -> str:
    """Its name.

    >>> family_name(9), family_name(0)
    ('myth and spirits', 'no family')
    """
    return FAMILIES.get(family, f"family {family}") if family else "no family"


def warnings(axis: Axis) -> list[str]:
    """What a reader should know first, as sentences."""
    return [w[:1].upper() + w[1:] + "." for w in warnings_of(axis)]


def verdict(axis: Axis) -> str:
    """One sentence: whether another half of the questions would have given this axis."""
    halves = at(axis, "split_half")
    if math.isnan(halves) and axis.method == "imported":
        return "Whether the axis is stable is not known: it was imported, and released files do not say."
    if math.isnan(halves):
        return "Whether the axis is stable is not known: one half of the questions has no answers."
    told = f"the two halves of the questions give axes with a cosine of {fixed(halves)}; {fixed(STABLE)} is wanted"
    if halves >= STABLE:
        return f"The axis is stable: {told}."
    return f"The axis is not stable: {told}. Read what follows as a sketch."


def scaled(axis: Axis) -> str:
    """What put an imported axis on its scale; empty for others and where nothing did."""
    how = about(axis, "scaled")
    if not how:
        return ""
    roles = counted(int(how.get("roles", 0)), "role")
    return f"scaled with the answers of {how.get('model', 'a model')} in {roles}, {how.get('preset', 'no')} preset"


def first_component(axis: Axis) -> str:
    """Whether the axis is the leading component of persona space, beside what any role would give."""
    cosine, crowd, rank = (at(axis, k) for k in ("pc1_cosine", "pseudo_median", "pc1_percentile"))
    if math.isnan(cosine):
        return "How close the axis lies to the first component is not known."
    if math.isnan(crowd):
        told = f"The cosine of the axis with the first component (PC1) is {fixed(cosine)}"
        return f"{told}; what any role would give is not known."
    closer = "closer than" if cosine > crowd else "no closer than"
    above = "" if math.isnan(rank) else f"; the default is above {percent(rank)} of them"
    return (
        f"The cosine of the axis with the first component (PC1) is {fixed(cosine)}: {closer} that of an axis drawn"
        f" for any single role (median {fixed(crowd)}{above})."
    )


def prompt_effect(axis: Axis) -> str:
    """How much of the axis is a long system prompt, not a role; empty if no control was asked."""
    z = {name: at(axis, f"z_{name}") for name in ("neutral", "placebo")}
    known = {k: v for k, v in z.items() if not math.isnan(v)}
    if not known:
        return ""
    gone = 1 - sum(known.values()) / len(known)
    told = " and ".join(f"at z = {fixed(v)} ({k})" for k, v in known.items())
    share = (
        f": {percent(gone)} of the way from the default to the average role is a long prompt, not a role"
        if 0 < gone < 1
        else ""
    )
    return f"Prompts that are as long but hold no role lie {told}{share}."


def separated(axis: Axis) -> str:
    """Separation of single answers along the axis beside random directions; empty if it is not known."""
    control = about(axis, "controls")
    own = number(control.get("axis"))
    own = at(axis, "separation") if own is None else own
    if math.isnan(own):
        return ""
    beside = control.get("covariance")
    told = f"A single answer of the default lies above one of a role {percent(own)} of the time (chance 50%"
    if not isinstance(beside, Mapping):
        return told + ")."
    limit = percent(number(beside.get("p95")))
    return f"{told}; along 95% of random directions of persona space at most {limit})."


def noise(axis: Axis) -> str:
    """How much of the spread of roles is noise; empty if it is not known."""
    share = at(axis, "noise_share")
    if math.isnan(share):
        return ""
    most = "at most " if axis.layer in (axis.about.get("noise_is_bound") or ()) else ""
    may = "may" if share <= NOISE_GATE else "may not"
    told = f"{most.capitalize()}{percent(share)} of the spread of roles is noise"
    return f"{told}: the components {may} be interpreted."


def pass_share(axis: Axis) -> float:
    """Share of all role answers that were in role; NaN if none were scored."""
    scores = {k: number(v) or 0.0 for k, v in about(axis, "scores").items()}
    total = sum(scores.values())
    return scores.get("3", 0.0) / total if total else math.nan


def kept_sentence(axis: Axis) -> str:
    """The filter and how many answers and roles passed it."""
    kind = str(axis.about.get("filter", "unknown"))
    theta = number(axis.about.get("theta"))
    how = {
        "likelihood": "likelihood-filtered" + ("" if theta is None else f" (at least {shown(theta)} nats a token)"),
        "judge": "judged",
        "none": "not filtered",
    }.get(kind, f"filter {kind}")
    if kind == "judge" and (name := about(axis, "judge").get("name")):
        how = f"judged by {name}"
    lost = axis.about.get("unscored") or 0
    rest = f", {counted(int(lost), 'answer')} unscored" if lost else ""
    return f"{how}; {percent(pass_share(axis))} of role answers are in role{rest}{_topic(axis)}"


def _topic(axis: Axis) -> str:
    """What the topic filter dropped of what the filter before it kept; empty without one."""
    topic = about(axis, "topic")
    if not topic:
        return ""
    lost, of = ({str(k): int(v) for k, v in topic.get(name, {}).items()} for name in ("dropped", "of"))
    worst = sorted(lost.items(), key=lambda row: (-row[1], row[0]))
    told = f"{counted(sum(lost.values()), 'answer')} of {sum(of.values())}"
    return f"; topic-filtered beside it by {topic.get('encoder')}: {told} dropped{_some(worst)}"


class Agreed(NamedTuple):
    """A second scoring of the judge's answers, in words.

    Attributes:
        who: Who scored again.
        kappa: κ and its limits.
        same: Share of equal decisions, its limits, and that of chance.
        counts: How many answers and roles are behind it, and what is in no number.
        note: What is missing, and why; mostly empty.
    """

    who: str
    kappa: str
    same: str
    counts: str
    note: str

    @property
    def sentence(self) -> str:
        """All of it."""
        told = f"{self.who}: weighted κ {self.kappa}; kept or dropped alike {self.same}; {self.counts}"
        return told + (f"; {self.note}" if self.note else "")


def agreed(axis: Axis) -> list[Agreed]:
    """How a second judge and the likelihood filter agree with the judge; empty where no judge decided."""
    out = []
    for name in ("second_judge", "likelihood"):
        row = about(axis, "agreement").get(name)
        if isinstance(row, Mapping):
            kappa, low, high, same, same_low, same_high, chance = (
                number(row.get(k)) for k in ("kappa", "low", "high", "same", "same_low", "same_high", "by_chance")
            )
            who = str(row.get("with"))
            out.append(
                Agreed(
                    f"the second judge, {who}" if name == "second_judge" else who,
                    _defined(kappa) + _between(interval(low, high, fixed)),
                    percent(same)
                    + _between(interval(same_low, same_high, percent))
                    + f", by chance {percent(chance)}",
                    f"{counted(int(row.get('n', 0)), 'answer')} of {counted(int(row.get('roles', 0)), 'role')}"
                    f", {int(row.get('unscored', 0))} unscored by one of the two",
                    str(row.get("note", "")),
                )
            )  # fmt: skip
    return out


def _defined(kappa: float | None) -> str:
    return "undefined" if kappa is not None and math.isnan(kappa) else fixed(kappa)


def _between(limits: str) -> str:
    return f" ({limits})" if limits else ""


def dropped(axis: Axis, name: str = "dropped_fixed") -> list[tuple[str, int]]:
    """Roles with too few answers, and how many each had: for the fit, or (``dropped_answers``) for the scale."""
    return [(str(role), int(n)) for role, n in axis.about.get(name) or ()]


def roles_sentence(axis: Axis) -> str:
    """How many roles are in the axis, how many were dropped, and which do not count for the scale of z."""
    gone, unscaled = dropped(axis), dropped(axis, "dropped_answers")
    told = f"{len(axis.roles)} in the axis, {len(gone)} dropped" + _some(gone)
    if not unscaled or unscaled == gone:
        return told
    return f"{told}; {len(unscaled)} without enough answers for the scale of z{_some(unscaled)}"


def _some(rows: Sequence[tuple[str, int]], most: int = 5) -> str:
    """``: crow (2), dictator (2)``."""
    if not rows:
        return ""
    return ": " + ", ".join(f"{role} ({n})" for role, n in rows[:most]) + (", …" if len(rows) > most else "")


def window_words(window: Sequence[int]) -> str:
    """``21 to 25``."""
    return "none" if not window else str(window[0]) if len(window) == 1 else f"{window[0]} to {window[-1]}"


def finite_min(values: NDArray[np.float64]) -> float:
    """The smallest known value; NaN if there is none."""
    known = values[np.isfinite(values)]
    return float(known.min()) if len(known) else math.nan
