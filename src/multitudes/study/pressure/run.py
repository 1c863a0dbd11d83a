"""Run a pressure experiment, or go on with it: calibration, then every condition under every pressure.

Each conversation is stored in one transaction when it ends; everything that was decided or drawn is stored before it
is used. So a killed run goes on where it was and ends with the same numbers.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import aclosing, nullcontext
from pathlib import Path
from typing import Any, Literal, NamedTuple

from multitudes.axis.axis import Axis
from multitudes.axis.roles import chosen_questions, shipped
from multitudes.core.canonical import content_hash
from multitudes.core.errors import ConfigError, MixedEngines
from multitudes.core.seeds import derive_seed
from multitudes.models.base import ChatModel, Message, Request
from multitudes.models.load import load
from multitudes.simulate.press import Press, PressRules, hold_all
from multitudes.simulate.pressure import version
from multitudes.simulate.probes import batteries_hash
from multitudes.simulate.scripts import Lengths
from multitudes.study.pressure.adapters import Adapters, adapted, adapters_of, check
from multitudes.study.pressure.calibrate import Calibration, calibrate, rungs_of
from multitudes.study.pressure.evidence import collect, collect_priors
from multitudes.study.pressure.judge import judge_hash, judged
from multitudes.study.pressure.plan import Cast, Sources, make_cast, pressed_talks, start_talks, targets
from multitudes.study.pressure.refusal import PRESSURE, label_refusals, refusal_hash
from multitudes.study.pressure.spec import HOLD, NEED_AXIS, PressureSpec
from multitudes.study.pressure.store import JUDGED, REFUSED, PressureStore
from multitudes.study.run import describe, versions

EVIDENCE_AT_ONCE = 32  # conversations in one batch and one transaction
SHOT_QUESTIONS = (-16, -8)  # of all shipped questions: holds ask the last eight, an axis the first


class Step(NamedTuple):
    """Progress: what is being done, how much of it, and of how much."""

    name: Literal["training", "calibration", "pressure", "evidence", "prose", "judge"]
    done: int
    total: int


Watch = Callable[[Step], None]


async def run_pressure(
    spec: PressureSpec, folder: Path, *, base: Path = Path(), model: ChatModel | None = None,
    judge: ChatModel | None = None, watch: Watch = lambda step: None, only_match: bool = False,
) -> None:  # fmt: skip
    """Run ``spec`` in ``folder``, or go on where an earlier run stopped.

    Args:
        spec: The run.
        folder: Run folder; made if it is not there.
        base: Folder that relative paths start from.
        model: The model, if it is not to be loaded by name.
        judge: The judge, if it is not to be loaded by name.
        watch: Called with every step of progress.
        only_match: Stop after calibration.

    Raises:
        ConfigError: The folder holds another run, or the run cannot be made as written.
        MixedEngines: The folder was begun with another engine.
        ProbeLeak: A probe changed a conversation.
        StoreError, RunLocked: The folder cannot be used.
        ModelError: The model cannot be used at all.
    """
    cast = make_cast(spec, base=base)
    axis = _axis(spec, base)
    check(spec, tuple(cast.personas), model, base=base)
    with PressureStore(folder, write=True) as store:
        started = time.monotonic()
        _refuse_other(store, spec)
        speaker = model or load(spec.model)
        try:
            _set_up(store, spec, cast, speaker, axis)
            running = _Running(store, spec, cast, speaker, axis, watch, judge, base)
            calibration, sources = await running.calibrated()
            if not only_match:
                await running.pressed(calibration, sources)
        finally:
            store.put_meta(wall_s=(store.get_meta("wall_s") or 0.0) + time.monotonic() - started)


def conditions_of(spec: PressureSpec, axis: Axis | None) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Conditions that can be run, and those left out because there is no axis."""
    left = tuple(c for c in spec.with_controls if c in NEED_AXIS and axis is None)
    return tuple(c for c in spec.with_controls if c not in left), left


def lengths_of(model: ChatModel) -> Lengths:
    """Tokens by the model's own tokenizer where it can be had, else about four characters each."""
    count = getattr(model, "n_tokens", None)
    return Lengths(count if count is not None else lambda text: max(1, round(len(text) / 4)))


def _axis(spec: PressureSpec, base: Path) -> Axis | None:
    if spec.axis is None:
        return None
    from multitudes.axis.artifact import load_axis

    return load_axis(base / spec.axis)


def _refuse_other(store: PressureStore, spec: PressureSpec) -> None:
    known = store.get_meta("spec_hash")
    if known is not None and known != spec.hash:
        raise ConfigError(
            "the run folder holds another run", where=str(store.folder), found=f"run {known[:8]}",
            expected=f"run {spec.hash[:8]}", hint="give this run another folder with --out",
        )  # fmt: skip


def _set_up(store: PressureStore, spec: PressureSpec, cast: Cast, model: ChatModel, axis: Axis | None) -> None:
    known = store.get_meta("model")
    if known is not None and known["fingerprint"] != model.info.fingerprint:
        raise MixedEngines(
            "the run was begun with another engine", where=str(store.folder), found=model.info.fingerprint,
            expected=known["fingerprint"], hint="give this run another folder with --out",
        )  # fmt: skip
    if axis is not None:
        axis.fits(model)
    ran, left = conditions_of(spec, axis)
    store.put_meta(
        spec=spec.model_dump(mode="json"), spec_hash=spec.hash, model=describe(model), versions=versions(),
        banks=version(), batteries=batteries_hash(), conditions=list(ran), left_out=list(left),
        axis=None if axis is None else _about(spec, axis),
        personas={k: {"phrase": p.phrase, "facts": dict(p.facts)} for k, p in cast.personas.items()},
        prompts={"calibration": [p.id for p in cast.calibration], "evaluation": [p.id for p in cast.evaluation]},
        people_hash=content_hash([[p.id, dict(p.rungs), dict(p.facts)] for p in cast.personas.values()]),
    )  # fmt: skip


def _about(spec: PressureSpec, axis: Axis) -> dict[str, Any]:
    from multitudes.study.pressure.edits import hold_layers

    return {
        "path": str(spec.axis), "method": axis.method, "layer": axis.layer,
        "hold_layers": list(hold_layers(spec, axis)),
    }  # fmt: skip


class _Running:
    """One run while it runs."""

    def __init__(
        self, store: PressureStore, spec: PressureSpec, cast: Cast, model: ChatModel, axis: Axis | None, watch: Watch,
        judge: ChatModel | None, base: Path,
    ) -> None:  # fmt: skip
        self.store, self.spec, self.cast, self.model = store, spec, cast, model
        self.axis, self.watch, self.judge, self.base = axis, watch, judge, base
        self.conditions, _ = conditions_of(spec, axis)
        self.strongest = {k: p.rungs[spec.c3_rungs[-1]] for k, p in cast.personas.items()}

    async def calibrated(self) -> tuple[Calibration, Sources]:
        """Ladders, items, coherence and behaviour on the prompts that were set aside; then the edits."""
        spec, cast = self.spec, self.cast
        rungs = [(c, r) for c, r in rungs_of(spec) if c in self.conditions]
        sources = Sources(placebo=shipped().arms.placebo)
        talks = start_talks(spec, cast, "C0", [""], sources)
        talks += start_talks(spec, cast, "C3", [r for c, r in rungs if c == "C3"], sources)
        await self._hold(talks, "calibration")
        sources = await self._sources()
        more = [
            t
            for c in ("C2", "C4", "C5")
            for t in start_talks(spec, cast, c, [r for k, r in rungs if k == c], sources)
        ]
        await self._hold(more, "calibration")
        await self._plain_word("cal.")
        evaluation = [p.id for p in cast.evaluation]
        found = calibrate(spec, list(cast.personas), evaluation, self.store.talks(), self.store.evidence())
        return found, await self._holds(sources, found)

    async def pressed(self, calibration: Calibration, sources: Sources) -> None:
        """Every condition under every pressure."""
        weak = () if self.spec.keep_weak else calibration.weak
        ran = tuple(c for c in self.conditions if c not in weak)
        talks = pressed_talks(self.spec, self.cast, ran, calibration.rungs, sources, lengths_of(self.model))
        self.store.put_meta(planned=len(talks), rungs=dict(calibration.rungs))
        if self.store.get_meta("priors") is None:
            everybody = targets(self.spec, self.cast, tuple(self.cast.personas))
            self.store.put_meta(priors=await collect_priors(self.model, everybody, wordings=self.spec.wordings))
        await self._hold(talks, "pressure")
        await self._plain_word("")
        if HOLD in ran:
            from multitudes.study.pressure.prose import read_prose

            await read_prose(
                self.store, self.model, sources, ran, self.spec.hold_tokens,
                watch=lambda done, total: self.watch(Step("prose", done, total)),
            )  # fmt: skip
        if self.spec.judge is not None:
            await self._judge(self.spec.judge)

    async def _hold(self, talks: Sequence[Press], name: Literal["calibration", "pressure"]) -> None:
        known = self.store.talk_ids()
        todo = [t for t in talks if t.id not in known]
        count = len(talks) - len(todo)
        spec = self.spec
        rules = PressRules(spec.sampling, spec.probe_at, spec.wordings, spec.free_at, *self._watched())
        self.watch(Step(name, count, len(talks)))
        # One adapter at a time; None is the plain model.
        for adapter in dict.fromkeys(t.condition.adapter for t in todo):
            mine = [t for t in todo if t.condition.adapter == adapter]
            speaker = nullcontext(self.model) if adapter is None else adapted(spec.model, adapter, self.model)
            async with (
                speaker as model,
                aclosing(hold_all(mine, model=model, rules=rules, in_flight=spec.in_flight)) as held,
            ):  # a store that fails must not leave conversations going on unheard
                async for talk in held:
                    if talk.fault is not None and talk.fault.code == "budget":
                        continue  # nobody's doing: it is held when the run goes on
                    self.store.add_talk(talk)
                    count += 1
                    self.watch(Step(name, count, len(talks)))

    def _watched(self) -> tuple[tuple[int, ...], Any]:
        """Where the main branch is read: the axis, at its layer."""
        if self.axis is None:
            return (), None
        axis = self.axis

        def readout(inside: Any) -> Mapping[str, float]:
            z = axis.z(axis.project(inside.means, [axis.layer]), [axis.layer])
            return {"z": float(z[0])} if inside.n_tokens else {}

        return (axis.layer,), readout

    async def _plain_word(self, prefix: str) -> None:
        """The plain model's word on what was said and has none yet."""
        known = self.store.evidence()
        todo = [t for t in self.store.talks() if t.id.startswith(prefix) and t.id not in known]
        total = len(todo)
        todo.sort(key=lambda t: (t.personas, t.prompt, t.id))  # those that share prompts side by side
        for start in range(0, total, EVIDENCE_AT_ONCE):
            self.watch(Step("evidence", start, total))
            self.store.add_evidence(
                await collect(
                    self.model, todo[start : start + EVIDENCE_AT_ONCE], prompts=self.strongest,
                    full_history=self.spec.full_history, behaviour="beh" in self.spec.dispositions,
                )
            )  # fmt: skip
        self.watch(Step("evidence", total, total))

    async def _judge(self, name: str) -> None:
        """Marks of a judge on the conversations that are evaluated."""
        judge = self.judge or load(name)
        known = self.store.evidence()
        todo = [t for t in self.store.talks() if not t.id.startswith("cal.") and f"{t.id}{JUDGED}" not in known]
        personas = {k: {"phrase": p.phrase, "facts": p.facts} for k, p in self.cast.personas.items()}
        self.store.put_meta(judge={"name": judge.info.name, "fingerprint": judge.info.fingerprint,
                                   "prompts": judge_hash()})  # fmt: skip
        for start in range(0, len(todo), EVIDENCE_AT_ONCE):
            self.watch(Step("judge", start, len(todo)))
            rows = await judged(judge, todo[start : start + EVIDENCE_AT_ONCE], personas, root=self.spec.root)
            self.store.add_evidence((f"{talk}{JUDGED}", row) for talk, row in rows)
        self.watch(Step("judge", len(todo), len(todo)))
        if "ref" in self.spec.dispositions:
            self.store.put_meta(refusal=refusal_hash())
            todo = [t for t in self.store.talks() if t.pressure == PRESSURE and f"{t.id}{REFUSED}" not in known]
            for start in range(0, len(todo), EVIDENCE_AT_ONCE):
                rows = await label_refusals(judge, todo[start : start + EVIDENCE_AT_ONCE], root=self.spec.root)
                self.store.add_evidence((f"{talk}{REFUSED}", row) for talk, row in rows)

    async def _sources(self) -> Sources:
        """Few-shot pairs, adapters and steering."""
        trained: Adapters = {}
        if "C2" in self.conditions:
            trained = await adapters_of(
                self.store, self.spec, self.strongest, self.model, base=self.base,
                watch=lambda done, total: self.watch(Step("training", done, total)),
            )  # fmt: skip
        shots = await self._shots() if "C4" in self.conditions else {}
        push = {}
        if self.axis is not None and set(self.conditions) & set(NEED_AXIS):
            from multitudes.study.pressure.edits import pushes

            push = await pushes(self.store, self.model, self.axis, self.strongest, self.spec)
        return Sources(shots=shots, push=push, adapters=trained, placebo=shipped().arms.placebo)

    async def _holds(self, sources: Sources, found: Calibration) -> Sources:
        if self.axis is None or not set(self.conditions) & {"C6", "C6w", "C6r", "C7a", "C7b"}:
            return sources
        from multitudes.study.pressure.edits import with_holds

        systems = {k: p.rungs[found.rungs["C3"]] for k, p in self.cast.personas.items()}
        return await with_holds(sources, self.store, self.model, self.axis, systems, self.spec)

    async def _shots(self) -> dict[str, tuple[tuple[str, str], ...]]:
        """In-character pairs: what the strongest prompt answers to questions that are asked nowhere else."""
        known = self.store.get_meta("shots")
        if known is None:
            asked = chosen_questions(shipped().questions, len(shipped().questions))[slice(*SHOT_QUESTIONS)]
            asked = asked[: max(self.spec.c4_rungs)]
            requests = [
                Request(
                    (Message("system", system), Message("user", q.text)), self.spec.sampling,
                    seed=derive_seed(self.spec.root, "shots", who, q.id), keep=False,
                )
                for who, system in self.strongest.items()
                for q in asked
            ]  # fmt: skip
            replies = iter(await self.model.reply(requests))
            known = {
                who: [[q.text, r.text] for q in asked if (r := next(replies)).fault is None and r.text.strip()]
                for who in self.strongest
            }
            self.store.put_meta(shots=known)
        return {who: tuple((q, a) for q, a in pairs) for who, pairs in known.items()}
