"""A stored pressure run as plain data, and the arrays of one arm."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from multitudes.core.errors import MixedEngines, StoreError
from multitudes.measure.retention.cells import Cells, make_cells, mirrored_floor
from multitudes.measure.retention.coherence import censor, first_failure, share_failed
from multitudes.measure.retention.forced_choice import option_scores
from multitudes.models.base import ADAPTED
from multitudes.simulate.press import Pressed
from multitudes.study.pressure.calibrate import Calibration, calibrate
from multitudes.study.pressure.levels import Priors, Scale, coherent, levels
from multitudes.study.pressure.plan import PERSONLESS, TRAINED
from multitudes.study.pressure.spec import PressureSpec
from multitudes.study.pressure.store import JUDGED, PROSE, REFUSED, PressureStore

FloatArray = NDArray[np.float64]
Key = tuple[str, str, str, str, int]


class Arm(NamedTuple):
    """One condition under one pressure on one disposition.

    Attributes:
        cells: Levels and floors of what is scored at the start; from an incoherent reply or a fault on, NaN.
        eventful: The cells with enough items for flips; None if there are none.
        failed: Share of replies that failed the gate, up to each conversation's first failure.
        failures: (n,) turn of the first failure of each conversation of ``eventful``, NaN where there is none.
        faults: Conversations that ended by a fault.
        engaged: Mean share of tokens that an edit's clamps moved; None without clamps.
        inside: (t,) mean z on the axis while the replies at the probes were written; None without an axis.
        n: Conversations that were held.
    """

    cells: Cells
    eventful: Cells | None
    failed: float
    failures: FloatArray
    faults: int
    engaged: float | None
    inside: FloatArray | None
    n: int


@dataclass(frozen=True, eq=False)
class PressureRun:
    """Everything a run holds.

    Attributes:
        folder: Where it lies.
        spec: What was asked.
        meta: Model, versions, personas, prompts, what was left out.
        talks: All conversations, those of calibration too.
        evidence: What the plain model (and a judge) says, by conversation.
        prose: What was read of running text under holds, one record per window.
    """

    folder: Path
    spec: PressureSpec
    meta: Mapping[str, Any]
    talks: tuple[Pressed, ...]
    evidence: Mapping[str, Any]
    prose: tuple[Mapping[str, Any], ...] = ()
    _read: dict[tuple[str, str, str, Scale], FloatArray] = field(default_factory=dict, repr=False)
    _speech: dict[str, list[bool]] = field(default_factory=dict, repr=False)

    @cached_property
    def calibration(self) -> Calibration:
        """What calibration decided, read again from what is stored."""
        return calibrate(
            self.spec, list(self.meta["personas"]), self.meta["prompts"]["evaluation"], self.talks, self.evidence
        )

    @cached_property
    def by_key(self) -> dict[Key, Pressed]:
        """Conversations by (condition, pressure, prompt, persona, replicate)."""
        return {
            (t.condition, t.pressure, t.prompt, p, t.replicate): t
            for t in self.talks
            if not t.id.startswith("cal.")
            for p in (t.personas if t.condition in PERSONLESS else t.personas[:1])
        }

    @property
    def conditions(self) -> tuple[str, ...]:
        """Conditions that were run."""
        return tuple(self.meta["conditions"])

    def cells(self) -> Iterator[tuple[str, str]]:
        """(base prompt, persona) of every cell of the design."""
        people, prompts = list(self.meta["personas"]), self.meta["prompts"]["evaluation"]
        for i, prompt in enumerate(prompts):
            for persona in people if self.spec.crossed else [people[i % len(people)]]:
                yield prompt, persona

    @cached_property
    def priors(self) -> Priors | None:
        """Scores of answers without a history; None where the run was ended before they were asked."""
        rows = self.meta.get("priors")
        if rows is None:
            return None
        return {
            (r["persona"], r["battery"], r["item"]): option_scores([r["own"], r["other"]]) for r in rows
        }  # fmt: skip

    def read(
        self, talk: Pressed, persona: str, disposition: str, *, scale: Scale = "level"
    ) -> tuple[FloatArray, list[bool]]:
        """(t,) levels of a conversation at its probes, and whether each reply is speech; read once."""
        key = (talk.id, persona, disposition, scale)
        ruler, evidence = self.calibration.ruler, self.evidence.get(talk.id, {})
        if key not in self._read:
            self._read[key] = levels(
                talk, evidence, persona, disposition, self.spec.probe_at, ruler,
                scale=scale, priors=self.priors,
            )  # fmt: skip
        if talk.id not in self._speech:
            turns = self.spec.turns + self.spec.recovery + 1
            self._speech[talk.id] = coherent(talk, evidence, turns, ruler)
        return self._read[key], self._speech[talk.id]

    def find(self, condition: str, pressure: str, prompt: str, persona: str, replicate: int) -> Pressed | None:
        """A conversation; the trained default shares those of nobody where it has none of its own."""
        key = (pressure, prompt, persona, replicate)
        own = self.by_key.get((condition, *key))
        return self.by_key.get(("C0", *key)) if own is None and condition == "C1" else own


def open_pressure(folder: str | Path) -> PressureRun:
    """Read a run folder; another process may be writing to it.

    Raises:
        StoreError: No run there, or one that has not begun.
        MixedEngines: Conversations of two engines.
    """
    with PressureStore(Path(folder), write=False) as store:
        spec = store.get_meta("spec")
        if spec is None:
            raise StoreError("the run has not begun", where=str(folder), hint="run it again to go on")
        keys = ("model", "versions", "banks", "batteries", "conditions", "left_out", "axis", "personas", "prompts",
                "planned", "wall_s", "judge", "spec_hash", "priors", "prose", "adapters")  # fmt: skip
        talks = tuple(store.talks())
        engines = {t.engine.partition(ADAPTED)[0] for t in talks if t.engine}
        if len(engines) > 1:
            raise MixedEngines("conversations of two engines", where=str(folder), found=", ".join(sorted(engines)))
        evidence = store.evidence()
        for key in [k for k in evidence if k.endswith((JUDGED, REFUSED))]:
            evidence.setdefault(key.removesuffix(JUDGED).removesuffix(REFUSED), {}).update(evidence.pop(key))
        read = {key: evidence.pop(key) for key in [k for k in evidence if k.startswith(PROSE)]}
        prose = tuple(read[k] for k in (store.get_meta("prose") or {}).get("keys", ()) if k in read)
        return PressureRun(
            Path(folder), PressureSpec.model_validate(spec), {k: store.get_meta(k) for k in keys}, talks,
            evidence, prose,
        )  # fmt: skip


def arm_of(
    run: PressureRun, condition: str, pressure: str, disposition: str, *, scale: Scale = "level"
) -> Arm | None:
    """The arrays of one arm; None where nothing of it was run or scored at the start.

    Args:
        run: The run.
        condition: Where the persona comes from.
        pressure: What presses.
        disposition: What is measured.
        scale: Of forced choices, see ``levels.levels``; log-odds are nats, and 0 is their middle.
    """
    ruler = run.calibration.ruler
    battery = disposition in ("id", "fact", "trait")
    members = [
        (g, p) for g, p in run.cells() if not battery or (p, disposition) in ruler.items
    ]  # fmt: skip
    if not members:
        return None
    found = _levels(run, condition, pressure, disposition, members, scale)
    level = found.level
    if condition in TRAINED:
        prompted = _levels(run, "C3", pressure, disposition, members, scale).level
        whole = 0.0 if scale == "log-odds" else 1.0
        level, floor = whole - level, mirrored_floor(prompted) - (1.0 - whole)
    else:
        floor = _levels(run, "C0", pressure, disposition, members, scale).level
    told = np.asarray(~np.isnan(level[:, :, 0]).all(axis=1) & ~np.isnan(floor[:, :, 0]).all(axis=1))
    if not told.any():
        return None
    enough = [not battery or (p, disposition) in ruler.events for _, p in members]
    eventful = np.asarray(told & np.array(enough))
    held = found.coherent[found.held]
    engaged = [e for e in found.engaged if e is not None]
    return Arm(
        cells=_cells(run, level, floor, members, told, scale),
        eventful=_cells(run, level, floor, members, eventful, scale) if eventful.any() else None,
        failed=share_failed(held, np.arange(held.shape[-1])),
        failures=found.failed[eventful].ravel(),
        faults=found.faults,
        engaged=sum(engaged) / len(engaged) if engaged else None,
        inside=found.inside,
        n=int(found.held.sum()),
    )


def _cells(
    run: PressureRun, level: FloatArray, floor: FloatArray, members: list[tuple[str, str]], keep: NDArray[np.bool_],
    scale: Scale,
) -> Cells:  # fmt: skip
    kept = [m for m, k in zip(members, keep, strict=True) if k]
    return make_cells(
        level[keep], floor[keep], run.spec.probe_at, [g for g, _ in kept], last=run.spec.turns,
        personas=[p for _, p in kept], bounded=scale != "log-odds",
    )  # fmt: skip


class _Levels(NamedTuple):
    """Conversations of one arm as arrays: g cells, s seeds, t probes, and all replies."""

    level: FloatArray  # (g, s, t), censored
    failed: FloatArray  # (g, s) turn of the first reply that fails the gate
    coherent: NDArray[np.bool_]  # (g, s, replies)
    held: NDArray[np.bool_]  # (g, s)
    faults: int
    engaged: list[float | None]
    inside: FloatArray | None  # (t,) mean z


def _levels(
    run: PressureRun, condition: str, pressure: str, disposition: str, members: list[tuple[str, str]],
    scale: Scale,
) -> _Levels:  # fmt: skip
    spec = run.spec
    probes, turns = spec.probe_at, spec.turns + spec.recovery + 1
    level = np.full((len(members), spec.seeds, len(probes)), math.nan)
    ok = np.ones((len(members), spec.seeds, turns), dtype=bool)
    held = np.zeros((len(members), spec.seeds), dtype=bool)
    faults, engaged = 0, list[float | None]()
    inside = np.full((len(members), spec.seeds, len(probes)), math.nan)
    for g, (prompt, persona) in enumerate(members):
        for s in range(spec.seeds):
            talk = run.find(condition, pressure, prompt, persona, s)
            if talk is None:
                continue
            held[g, s] = True
            level[g, s], ok[g, s] = run.read(talk, persona, disposition, scale=scale)
            faults += talk.fault is not None
            engaged += [t.engaged for t in talk.turns]
            z = {t.turn: t.internal.get("z", math.nan) for t in talk.turns}
            inside[g, s] = [z.get(t, math.nan) for t in probes]
    failed = first_failure(ok, np.arange(turns))
    there = (~np.isnan(inside)).sum(axis=(0, 1))
    total = np.nansum(inside, axis=(0, 1))
    mean = np.divide(total, there, out=np.full(len(probes), math.nan), where=there > 0)
    read = mean if there.any() else None
    return _Levels(censor(level, probes, failed), failed, ok, held, faults, engaged, read)
