"""What a calibration found: one point per setting on four curves, a front, a recommendation in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from multitudes.axis.axis import Axis
from multitudes.axis.capability import (
    MOST_RATIO,
    CapabilityCheck,
    Material,
    Measured,
    compared,
    engagement,
)
from multitudes.axis.matched import TOLERANCE
from multitudes.axis.pareto import clustered, pareto_front
from multitudes.axis.role_play import FloatArray, Played, Reread, Talk, places_of
from multitudes.axis.settings import Setting, SweepCost
from multitudes.core.seeds import derive_seed
from multitudes.measure.retention.cells import MIN_RANGE
from multitudes.measure.stats import Difference, Estimate, bootstrap_mean

COLUMNS = (
    ("z", 7), ("gain", 7), ("D_id", 7), ("outside", 9), ("ppl", 8), ("acc", 7), ("nll", 7), ("3-gram", 8),
    ("moved", 8),
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class Point:
    """One setting on all curves; changes are paired with the plain model, reply by reply, window by window.

    Attributes:
        setting: What was done.
        z: Mean z of role-played replies at the block just after the window, at the last block for the plain model;
            0 = average role, 1 = default.
        gain: Its change, interval over roles; 0 = none, higher holds more.
        gain_error: Standard error of the change, over roles.
        who: Mean D of who a played role says it is after its first answer, in [0, 1]: 1 = wholly the role, 0 = wholly
            an assistant; NaN where no role has facts.
        who_change: Its paired change, interval over roles; 0 = none. Lower is what a cap is for, and the price where
            somebody wants the role played. None where it is not measured.
        outside: Share of all replies that, read by the plain model, lie below the range of the default at the
            analysis layer, in [0, 1].
        prevented: How much smaller that share is than that of the plain model, interval over roles and scripts.
        ratio: Perplexity after over before; 1 = unchanged, lower is better.
        accuracy: Multiple choice; NaN without items.
        accuracy_change: Its paired change; None without items.
        nll: Mean negative log-probability per token of role-played replies under the plain model, nats.
        nll_change: Its change; 0 = none, higher is less fluent.
        distinct: Mean share of distinct 3-grams in them, in (0, 1].
        distinct_change: Its change; lower repeats itself more.
        engaged: Share of sampled tokens that the change moved, mean over its blocks; 1 for a push.
        moved: Mean over sampled tokens of ‖Δh‖ / ‖h‖, summed over blocks; for a push its strength, without sign.
        missing: Replies that failed or were too short.
        on_front: Whether no other cap, nor the plain model, is at least as good in every respect and better in one.
            For a push: no other setting of the sweep.
    """

    setting: Setting
    z: float
    gain: Estimate
    gain_error: float
    who: float
    who_change: Estimate | None
    outside: float
    prevented: Estimate
    ratio: Estimate
    accuracy: float
    accuracy_change: Difference | None
    nll: float
    nll_change: Estimate
    distinct: float
    distinct_change: Estimate
    engaged: float
    moved: float
    missing: int
    on_front: bool = False

    @property
    def acts(self) -> bool:
        """Whether it moves replies at all: by more than a standard error, and not on no token."""
        return bool(self.engaged > 0 and self.gain.value > (self.gain_error if np.isfinite(self.gain_error) else 0.0))

    def as_dict(self) -> dict[str, Any]:
        """One row of a table, plain values."""
        s = self.setting
        return {
            "name": s.name, "kind": s.kind, "layers": list(s.layers), "quantile": s.quantile, "strength": s.strength,
            "shift": s.shift, "gap": s.gap, "z": self.z, "gain": _interval(self.gain), "who": self.who,
            "who_change": _interval(self.who_change), "outside": self.outside,
            "prevented": _interval(self.prevented), "ratio": _interval(self.ratio), "accuracy": self.accuracy,
            "accuracy_change": _interval(self.accuracy_change), "nll": self.nll,
            "nll_change": _interval(self.nll_change), "distinct": self.distinct,
            "distinct_change": _interval(self.distinct_change), "engaged": self.engaged, "moved": self.moved,
            "missing": self.missing, "on_front": self.on_front,
        }  # fmt: skip


class Tried(NamedTuple):
    """A setting that was checked: its place in the sweep, and the check."""

    place: int
    check: CapabilityCheck


@dataclass(frozen=True, eq=False)
class Sweep:
    """Everything that settings did, S of them, the plain one first.

    Attributes:
        axis: The axis.
        talks: What was played.
        settings: S settings.
        watched: Blocks that were read under the plain setting.
        played: S sets of replies.
        read: S readings of text and items.
        spoken: S sets of replies as the plain model reads them.
        who: S arrays (N,): D of who is speaking after each reply, NaN where nobody was asked.
        floor: (N,) the same under the plain setting without a role.
        material: What was read.
        seed: Of resampling.
    """

    axis: Axis
    talks: Sequence[Talk]
    settings: Sequence[Setting]
    watched: tuple[int, ...]
    played: Sequence[Played]
    read: Sequence[Measured]
    spoken: Sequence[Reread]
    who: Sequence[FloatArray]
    floor: FloatArray
    material: Material
    seed: int

    @cached_property
    def role_places(self) -> list[int]:
        """Replies in which a role was played."""
        return role_places(self.talks)

    @cached_property
    def role_clusters(self) -> list[str]:
        """Their roles."""
        places = places_of(self.talks)
        return [places[i].talk.cluster for i in self.role_places]

    @cached_property
    def who_range(self) -> Estimate | None:
        """How far roles stand above the floor of D under the plain setting; None where nobody was asked."""
        return self._over_roles(self.who[0] - self.floor, "floor") if np.isfinite(self.who[0]).any() else None

    @property
    def who_decides(self) -> bool:
        """Whether D can fall far enough to be seen: ``MIN_RANGE``, as for a retention."""
        return self.who_range is not None and self.who_range.value >= MIN_RANGE

    @cached_property
    def points(self) -> tuple[Point, ...]:
        """One point per setting, with the front among them."""
        points = [self._point(k) for k in range(len(self.settings))]
        losses = np.array([self.losses(p) for p in points])
        push = np.array([p.setting.kind == "steer" for p in points])
        front = pareto_front(losses)
        front[~push] = pareto_front(losses[~push])
        return tuple(replace(p, on_front=bool(f)) for p, f in zip(points, front, strict=True))

    def losses(self, p: Point) -> list[float]:
        """What the front compares, lower is better: effects, then costs."""
        accuracy = p.accuracy_change.value if p.accuracy_change is not None else 0.0
        who = p.who_change.value if p.who_change is not None and self.who_decides else 0.0
        return [-p.gain.value, who, -p.prevented.value, p.ratio.value, -accuracy, p.nll_change.value]

    def beaten_by(self, k: int) -> list[str]:
        """Pushes that are at least as good as setting ``k`` in every respect and better in one."""
        pushes = [p for p in self.points if p.setting.kind == "steer"]
        return [p.setting.name for p in pushes if not self._beside(k, p)]

    def _beside(self, k: int, p: Point) -> bool:
        return bool(pareto_front([self.losses(self.points[k]), self.losses(p)])[0])

    def gains(self, k: int) -> FloatArray:
        """(n_role,) change of z of each role-played reply at the block after the window; NaN where one is missing."""
        after = self.settings[k].after(self.axis.n_layers)
        return self._z(k, after) - self._z(0, after)

    def effects(self, k: int) -> tuple[FloatArray, FloatArray]:
        """What setting ``k`` does for the Assistant, (n_role,) each, what decides first: change of z, fall of D.

        A fall of D that could not be seen is NaN.
        """
        roles = self.role_places
        falls = self.who[0][roles] - self.who[k][roles]
        return self.gains(k), falls if self.who_decides else np.full(len(roles), np.nan)

    def _z(self, k: int, layer: int) -> FloatArray:
        z = self.axis.z(self._p(k, layer)[:, None], [layer])[:, 0]
        return np.asarray(z[self.role_places])

    def _p(self, k: int, layer: int) -> FloatArray:
        blocks = watched_by(self.settings[k], self.axis, self.watched)
        means = self.played[k].means[:, [blocks.index(layer)]]
        return np.asarray(self.axis.project(means, [layer])[:, 0])

    def _outside(self, k: int) -> FloatArray:
        p = self.spoken[k].projection
        return np.where(np.isnan(p), np.nan, (p < self.axis.low_default[self.axis.layer]).astype(float))

    def _over_roles(self, values: FloatArray, part: str) -> Estimate:
        """Mean of values (N,) over role-played replies, roles resampled."""
        seed = derive_seed("calibrate", self.seed, part)
        return bootstrap_mean(values[self.role_places], np.array(self.role_clusters), seed=seed)

    def _point(self, k: int) -> Point:
        setting, played, read = self.settings[k], self.played[k], self.read[k]
        everyone = [place.talk.cluster for place in places_of(self.talks)]
        check = compared(self.read[0], read, self.material, seed=self.seed)
        seen = [(s.n_tokens, engagement(s, setting.edit), s.moved) for s in played.internals if s is not None]
        n, engaged, moved = np.array(seen or [(1, np.nan, np.nan)], dtype=np.float64).T
        push = setting.strength is not None
        roles = self.role_places
        nll, nll0 = self.spoken[k].nll[roles], self.spoken[0].nll[roles]
        distinct, distinct0 = self.spoken[k].distinct[roles], self.spoken[0].distinct[roles]

        def over(values: FloatArray, clusters: Sequence[str], part: str) -> Estimate:
            return bootstrap_mean(values, np.array(clusters), seed=derive_seed("calibrate", self.seed, part))

        gains = self.gains(k)
        outside = self._outside(k)
        return Point(
            setting, _mean(self._z(k, setting.after(self.axis.n_layers))), over(gains, self.role_clusters, "z"),
            clustered(gains, self.role_clusters)[1], _mean(self.who[k]),
            self._over_roles(self.who[k] - self.who[0], "who") if self.who_range is not None else None,
            _mean(outside),
            over(self._outside(0) - outside, everyone, "outside"), check.text.ratio,
            check.choice.after.value if check.choice is not None else float("nan"),
            check.choice.difference if check.choice is not None else None, _mean(nll),
            over(nll - nll0, self.role_clusters, "nll"), _mean(distinct),
            over(distinct - distinct0, self.role_clusters, "distinct"), float(engaged @ n / n.sum()),
            abs(setting.strength or 0.0) if push else float(moved @ n / n.sum()),
            sum(r is None for r in played.replies),
        )  # fmt: skip


def role_places(talks: Sequence[Talk]) -> list[int]:
    """Numbers of the replies in which a role is played."""
    return [i for i, place in enumerate(places_of(talks)) if place.talk.role]


def watched_by(setting: Setting, axis: Axis, watched: tuple[int, ...]) -> tuple[int, ...]:
    """Blocks that are read under a setting: all under the plain one, else the one after."""
    return (setting.after(axis.n_layers),) if setting.layers else watched


@dataclass(frozen=True, eq=False)
class Calibration:
    """A finished calibration.

    Attributes:
        size: Its size.
        seed: Its seed.
        cost: What it asked for.
        points: The sweep, plain first.
        controls: Controls of the recommended cap, else of the cap with the largest effect.
        controlled: Place of that cap in ``points``.
        taken: Place of the recommended cap in ``points``; None if none is.
        tried: Caps that were checked.
        why: The recommendation, or why there is none, in words.
        layer: Analysis layer.
        n_talks: Roles and scripts that were played.
        n_replies: Replies of each setting.
        who_range: How far D of who a role says it is stands above its floor; None where it was not asked.
    """

    size: str
    seed: int
    cost: SweepCost
    points: tuple[Point, ...]
    controls: tuple[Point, ...]
    controlled: int
    taken: int | None
    tried: tuple[Tried, ...]
    why: str
    layer: int
    n_talks: int
    n_replies: int
    who_range: Estimate | None

    @property
    def recommended(self) -> Point | None:
        """The cap to use."""
        return None if self.taken is None else self.points[self.taken]

    @property
    def check(self) -> CapabilityCheck | None:
        """Capability before and after the recommended cap."""
        return self.tried[-1].check if self.taken is not None else None

    @property
    def matched(self) -> Mapping[str, bool]:
        """By name of a control on a random direction: whether it engages within .03 of the cap on the same text."""
        gaps = {p.setting.name: p.setting.gap for p in self.controls}
        return {name: abs(gap) <= TOLERANCE for name, gap in gaps.items() if gap is not None}

    def applied(self, axis: Axis) -> Axis:
        """``axis`` with this calibration; ``cap_edit`` then uses the recommended cap by itself."""
        about = {k: v for k, v in axis.about.items() if k != "recommended"} | {"calibration": self.as_dict()}
        best = self.recommended
        if best is not None:
            own = {"quantile": best.setting.quantile, "layers": list(best.setting.layers), "why": self.why}
            about["recommended"] = own
        return replace(axis, about=about)

    def as_dict(self) -> dict[str, Any]:
        """Everything, plain values."""
        return {
            "size": self.size, "seed": self.seed, "cost": str(self.cost), "layer": self.layer,
            "n_talks": self.n_talks, "n_replies": self.n_replies, "points": [p.as_dict() for p in self.points],
            "controls": [p.as_dict() for p in self.controls], "controlled": self.controlled,
            "matched": dict(self.matched), "who_range": _interval(self.who_range), "taken": self.taken,
            "why": self.why,
            "tried": [{"name": self.points[t.place].setting.name, "check": t.check.as_dict()} for t in self.tried],
        }  # fmt: skip

    def lines(self) -> list[str]:
        """A table for a terminal, then the recommendation."""
        out = [f"{'setting':<30}" + "".join(f"{name:>{width}}" for name, width in COLUMNS)]
        for p in (*self.points, *self.controls):
            mark = "*" if p.on_front else " "
            out.append(
                f"{mark}{p.setting.name:<29.29}{p.z:>7.2f}{p.gain.value:>+7.2f}{p.who:>7.2f}{p.outside:>9.0%}"
                f"{p.ratio.value:>8.3f}{p.accuracy:>7.2f}{p.nll:>7.2f}{p.distinct:>8.2f}{p.engaged:>8.0%}"
            )
        loose = [name for name, ok in self.matched.items() if not ok]
        if loose:
            out.append(f"note: engagement differs by more than {TOLERANCE} from the cap: {', '.join(loose)}")
        if self.who_range is not None and not self.who_range.value >= MIN_RANGE:
            out.append(f"note: {no_range(self.who_range)}")
        return [*out, self.why]


def no_range(found: Estimate | Mapping[str, Any]) -> str:
    """Why D decides nothing, in words, from how far roles stand above its floor."""
    e = found if isinstance(found, Mapping) else found._asdict()
    value, low, high = (None if e.get(k) is None else float(e[k]) for k in ("value", "low", "high"))
    around = "" if low is None or high is None else f" ({low:+.2f} to {high:+.2f})"
    return (
        f"who a role says it is decides nothing: D stands {value:+.2f}{around} above what it is without any role; "
        f"{MIN_RANGE} would be needed for a fall to be seen"
    )


def ratio_gate(point: Point) -> bool:
    """Whether a point of the sweep may be recommended as far as its perplexity goes."""
    return point.ratio.value <= MOST_RATIO


def _mean(values: NDArray[Any]) -> float:
    return float(np.nanmean(values)) if np.isfinite(values).any() else float("nan")


def _interval(found: Estimate | Difference | None) -> dict[str, Any] | None:
    """Value, limits and number, without what is internal."""
    if found is None:
        return None
    return {"value": found.value, "low": found.low, "high": found.high, "n": found.n, "note": found.note}
