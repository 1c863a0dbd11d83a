"""Which cap to use: layers × strength against four curves at once, and a recommendation that says why.

*Excursions prevented*: how far role-played replies are held to the Assistant at the block just after the window, and
what share of all replies, read again by the plain model, stays inside the range of the default at the analysis layer.
*Identity*: who a played role says it is, by forced choice, see ``identity``; a cap is to make that less.
*Capability kept*: perplexity and multiple choice, see ``capability``. *Fluency of role-play*: how likely the replies
are under the plain model, and how little they repeat themselves. User messages are fixed, so every setting meets the
same ones; after a first reply they no longer answer what was said.

A cap is recommended if no other setting is better in every respect, its perplexity ratio passes its gate in the sweep
and in the larger check after it, and it moves replies at all. The one that moves z most is taken; among those that z
cannot tell apart, the one under which roles name themselves least; then fewer layers, then the lower threshold.
Controls do as much as it does in other directions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from multitudes.axis.axis import Axis
from multitudes.axis.calibration import (
    Calibration,
    Point,
    Sweep,
    Tried,
    ratio_gate,
    watched_by,
)
from multitudes.axis.calibration_words import why_none, why_taken
from multitudes.axis.capability import CapabilityCheck, Material, Measured, compared, material_of, measured
from multitudes.axis.capability_items import Item, shipped_items, shipped_prose, spread
from multitudes.axis.identity import asked_places, identities, without_role
from multitudes.axis.matched import additive_control, matched_controls
from multitudes.axis.pareto import Candidate, Choice, choose
from multitudes.axis.remedy import has_taps
from multitudes.axis.role_play import Arm, FloatArray, Played, Reread, Talk, places_of, play, reread, talks_of
from multitudes.axis.roles import RoleSet, shipped
from multitudes.axis.settings import Setting, Size, cost_of_sweep, height, settings_of, size_of
from multitudes.core.errors import Unsupported
from multitudes.models.base import NEEDS_TAPS

ARMS_AT_ONCE = 12  # settings that read text together, between two reports of progress
Watch = Callable[[str, int, int], None]


async def calibrate(
    model: Any, axis: Axis, *, size: str | Size = "small", seed: int = 0, watch: Watch | None = None,
    items: Sequence[Item] | None = None, prose: str | None = None, everything: RoleSet | None = None,
) -> Calibration:  # fmt: skip
    """Compare settings, and recommend one or none.

    Args:
        model: A model with taps, without a change on it.
        axis: Its axis.
        size: How much; ``cost_of_sweep`` says what that costs.
        seed: Seed of replies, controls and resampling.
        watch: Told (what, done, of) after each part.
        items: Multiple choice; the shipped items if None, none if empty.
        prose: Running text; the shipped prose if None.
        everything: Role prompts and questions; the shipped ones if None.

    Returns:
        The sweep, its controls, the checks that were made, and what they recommend. ``applied`` puts it into an axis.

    Raises:
        AxisMismatch: An axis of another model.
        ConfigError: An unknown size, or an axis without thresholds.
        Unsupported: A model without taps.
        GaugeError: Less text than one window.
    """
    if not has_taps(model) or not hasattr(model, "follow"):
        raise Unsupported("taps", model.info.name, NEEDS_TAPS)
    axis.fits(model)
    run = _Run(model, axis, size if isinstance(size, Size) else size_of(size), seed, watch or (lambda *_: None))
    run.items = shipped_items() if items is None else tuple(items)
    run.prose = shipped_prose() if prose is None else prose
    run.talks = talks_of(everything or shipped(), run.size, axis.roles)
    sweep = await run.sweep(settings_of(axis, run.size))
    taken, tried, why = await run.checked(sweep)
    controlled = _strongest(sweep) if taken is None else taken
    controls = await run.controls(sweep, controlled)
    return Calibration(
        run.size.name, seed, cost_of_sweep(axis, run.size), sweep.points, controls, controlled, taken, tried, why,
        axis.layer, len(run.talks), run.n_places, sweep.who_range,
    )  # fmt: skip


class _Asked(NamedTuple):
    """What was asked of each of several settings; see ``Sweep``."""

    played: list[Played]
    read: list[Measured]
    spoken: list[Reread]
    who: list[FloatArray]


class _Run:
    """One calibration on its way."""

    items: Sequence[Item]
    prose: str
    talks: list[Talk]

    def __init__(self, model: Any, axis: Axis, size: Size, seed: int, told: Watch) -> None:
        self.model, self.axis, self.size, self.seed, self.told = model, axis, size, seed, told
        self.watched: tuple[int, ...] = ()

    @property
    def n_places(self) -> int:
        return sum(len(t.turns) for t in self.talks)

    # --- sweep ------------------------------------------------------------------------------------------------

    async def sweep(self, settings: Sequence[Setting]) -> Sweep:
        """All settings, plain first."""
        n = self.axis.n_layers
        self.watched = tuple(sorted({layer for s in settings for layer in (*s.layers, s.after(n))}))
        chosen = [self.items[i] for i in spread(len(self.items), self.size.sweep_items)]
        material = material_of(self.model.template, chosen, self.prose, tokens=self.size.sweep_tokens)
        found = await self._asked(settings, material, "sweep")
        return Sweep(self.axis, self.talks, settings, self.watched, *found, await self._floor(), material, self.seed)

    async def _floor(self) -> FloatArray:
        """(N,) D without a role, after the same questions, under no change; NaN where nobody is asked."""
        arm, bare, floor = [Arm(None, (self.axis.layer,))], without_role(self.talks), np.full(self.n_places, np.nan)
        if bare:
            played = await play(self.model, arm, bare, max_tokens=self.size.max_tokens, seed=self.seed)
            floor[asked_places(self.talks)] = (await self._identities(arm, played, bare, "floor"))[0]
        return floor

    async def _asked(self, settings: Sequence[Setting], material: Material, what: str) -> _Asked:
        arms = [Arm(s.edit, watched_by(s, self.axis, self.watched)) for s in settings]
        played = await play(
            self.model, arms, self.talks, max_tokens=self.size.max_tokens, seed=self.seed,
            told=lambda done, of: self.told(f"{what}: replies", done, of),
        )  # fmt: skip
        who = await self._identities(arms, played, self.talks, what)
        read: list[Measured] = []
        for start in range(0, len(settings), ARMS_AT_ONCE):
            self.told(f"{what}: capability", start, len(settings))
            part = settings[start : start + ARMS_AT_ONCE]
            read += await measured(self.model, [s.edit for s in part], material)
        self.told(f"{what}: capability", len(settings), len(settings))
        layer = self.axis.layer
        return _Asked(played, read, await reread(self.model, played, self.axis.unit[layer], layer), who)

    async def _identities(
        self, arms: Sequence[Arm], played: Sequence[Played], talks: Sequence[Talk], what: str
    ) -> list[FloatArray]:
        return await identities(
            self.model, arms, played, talks, items=self.size.who_items, wordings=self.size.who_wordings,
            told=lambda done, of: self.told(f"{what}: identity", done, of),
        )  # fmt: skip

    # --- check ------------------------------------------------------------------------------------------------

    async def checked(self, sweep: Sweep) -> tuple[int | None, tuple[Tried, ...], str]:
        """Check the best settings one after another, until one passes; its place in the sweep, or None."""
        tried: list[Tried] = []
        material, before = self._check_material(sweep), None
        for attempt in range(self.size.tries):
            chosen = _next(sweep, {t.place for t in tried})
            if chosen is None:
                break
            self.told("check", attempt, self.size.tries)
            edits = [sweep.settings[chosen.taken].edit]
            found = await measured(self.model, [None, *edits] if before is None else edits, material)
            before, after = (found[0], found[1]) if before is None else (before, found[0])
            check = compared(before, after, material, seed=self.seed)
            tried.append(Tried(chosen.taken, check))
            if _passes(check):
                self.told("check", self.size.tries, self.size.tries)
                return chosen.taken, tuple(tried), why_taken(sweep, chosen, check)
        return None, tuple(tried), why_none(sweep, tried, self.size.tries)

    def _check_material(self, sweep: Sweep) -> Material:
        chosen = [self.items[i] for i in spread(len(self.items), self.size.check_items)]
        answers = sweep.played[0].items(sweep.role_places)
        return material_of(self.model.template, chosen, self.prose, tokens=self.size.check_tokens, answers=answers)

    # --- controls ---------------------------------------------------------------------------------------------

    async def controls(self, sweep: Sweep, place: int) -> tuple[Point, ...]:
        """Controls of one cap of the sweep."""
        cap = sweep.points[place]
        plain = sweep.played[0]
        there = [i for i, r in enumerate(plain.replies) if r is not None]
        at = [self.watched.index(layer) for layer in cap.setting.layers]
        names = [places_of(self.talks)[i].talk.cluster for i in there]
        weights = np.array([1 / names.count(name) for name in names])
        answers = plain.items([i for i in sweep.role_places if plain.replies[i] is not None][: self.size.matching])
        text = material_of(self.model.template, [], self.prose, tokens=1, answers=answers).answers
        self.told("controls: matching", 0, 1)
        found = await matched_controls(
            self.model, self.axis, cap.setting, plain.means[there][:, at], weights, text, draws=self.size.draws,
            seed=self.seed,
        )  # fmt: skip
        self.told("controls: matching", 1, 1)
        settings = [*found, additive_control(self.axis, cap.setting, cap.moved)]
        asked = await self._asked(settings, sweep.material, "controls")
        beside = replace(
            sweep, settings=[sweep.settings[0], *settings], played=[sweep.played[0], *asked.played],
            read=[sweep.read[0], *asked.read], spoken=[sweep.spoken[0], *asked.spoken],
            who=[sweep.who[0], *asked.who],
        )  # fmt: skip
        return tuple(replace(p, on_front=False) for p in beside.points[1:])


def _strongest(sweep: Sweep) -> int:
    """The cap with the largest effect."""
    caps = [k for k, s in enumerate(sweep.settings) if s.kind == "cap"]
    return max(caps, key=lambda k: np.nan_to_num(sweep.points[k].gain.value, nan=-np.inf))


def _next(sweep: Sweep, failed: set[int]) -> Choice | None:
    """The best setting that has not failed a check."""
    candidates = [
        Candidate(k, sweep.effects(k), len(p.setting.layers), height(sweep.axis, p.setting))
        for k, p in enumerate(sweep.points)
        if k not in failed and p.setting.kind == "cap" and p.on_front and p.acts and ratio_gate(p)
    ]
    return choose(candidates, sweep.role_clusters)


def _passes(check: CapabilityCheck) -> bool:
    """Whether a check allows a recommendation: text is kept, items are not shown to be lost, something was moved."""
    return check.verdict not in ("lost", "void") and check.text.verdict == "kept"
