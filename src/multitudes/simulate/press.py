"""A persona under pressure: a base prompt, T turns that press, K turns after it, and probes in side branches.

The persona speaks in the assistant's place, and whoever presses is the user. A condition says where the persona
comes from (nothing, a system prompt, earlier turns, an edit of the residual stream); this room does not know how an
edit was made. Probes are scored on a longer request that is thrown away; the tokens of the history are hashed before
and after.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from pydantic import Field

from multitudes.core.canonical import canonical_json
from multitudes.core.errors import ConfigError, Unsupported
from multitudes.core.records import Fault, Frozen, Record, Usage
from multitudes.core.seeds import derive_seed
from multitudes.models.base import ChatModel, Internals, Message, ReplyFault, Request, Sampling
from multitudes.models.edit import Edit
from multitudes.simulate.errors import ProbeLeak
from multitudes.simulate.faults import attribute
from multitudes.simulate.in_flight import as_they_end
from multitudes.simulate.pressure import Opening, Toward
from multitudes.simulate.probes import ItemScore, Target, ask
from multitudes.simulate.scripts import Script

Phase = Literal["start", "pressure", "recovery"]
FREE_QUESTION = "Tell me, who are you?"
FREE_TOKENS = 24
Readout = Callable[[Internals], Mapping[str, float]]


@dataclass(frozen=True, slots=True)
class Condition:
    """Where the persona comes from.

    Attributes:
        id: Short name, such as C3.
        label: In words, for reports.
        system: System text; empty is sent as an empty text, because some templates fill in an assistant of their own.
        shots: Earlier (question, answer) turns that stand in the history.
        edit: Change to the residual stream under which it reads and speaks.
        toward: Where it is pushed: personas to the Assistant, the trained default to the persona.
        adapter: Folder of the adapter that the speaker is under; who holds the conversation sees to it.
    """

    id: str
    label: str
    system: str = ""
    shots: tuple[tuple[str, str], ...] = ()
    edit: Edit | None = None
    toward: Toward = "assistant"
    adapter: str | None = None


@dataclass(frozen=True, slots=True)
class Press:
    """One conversation that is to be held.

    Attributes:
        id: Id of the resulting record.
        root: Root of its seeds: name and seed of the run.
        prompt: What it begins with.
        targets: Whose dispositions are probed: one persona, or several where nobody is played.
    """

    id: str
    root: str
    condition: Condition
    prompt: Opening
    replicate: int
    script: Script
    targets: tuple[Target, ...]


@dataclass(frozen=True, slots=True)
class PressRules:
    """How every conversation of a run goes.

    Attributes:
        sampling: How replies are drawn, alike in all conditions.
        probe_at: Numbers of replies after which is probed; 0 is the reply to the base prompt.
        wordings: Wordings of each probe question.
        free_at: Numbers of replies after which is asked ``FREE_QUESTION``, answered in words.
        watch: Blocks whose residual stream is read while a reply is written.
        readout: What is kept of it, by name.
    """

    sampling: Sampling = field(default_factory=lambda: Sampling(temperature=0.7, top_p=0.95, max_tokens=200))
    probe_at: tuple[int, ...] = ()
    wordings: int = 3
    free_at: tuple[int, ...] = ()
    watch: tuple[int, ...] = ()
    readout: Readout | None = None


class PressTurn(Frozen):
    """One exchange.

    Attributes:
        turn: 0 for the base prompt, 1 … T under pressure, T + 1 … T + K after it.
        said: What the partner said.
        reply: What the persona said.
        foreign: A reply of another source that stands in the history in the place of ``reply``.
        engaged: Share of tokens that a clamp moved, mean over edited blocks; None without an edit.
        moved: Mean ‖Δh‖/‖h‖ of clamps.
        internal: What was read inside.
        cut: Whether the reply was cut at the cap of tokens.
    """

    turn: int
    phase: Phase
    said: str
    reply: str
    foreign: str = ""
    engaged: float | None = None
    moved: float | None = None
    internal: dict[str, float] = Field(default_factory=dict)
    cut: bool = False


class FreeAnswer(Frozen):
    """What was answered to ``FREE_QUESTION`` in a side branch after reply ``turn``."""

    turn: int
    text: str


class Pressed(Record):
    """What happened in one conversation.

    Attributes:
        persona: Who was played; None where nobody was.
        engine: Fingerprint of the engine, without the edit.
        seed_status: Whether seeds were honoured.
        fault: Why it ended early.
        usage: Tokens of replies.
        probe_usage: Tokens of probes.
    """

    id: str
    condition: str
    pressure: str
    toward: Toward
    prompt: str
    replicate: int
    personas: tuple[str, ...]
    turns: tuple[PressTurn, ...]
    scores: tuple[ItemScore, ...] = ()
    free: tuple[FreeAnswer, ...] = ()
    engine: str = ""
    seed_status: str = "unknown"
    fault: Fault | None = None
    usage: Usage = Usage()
    probe_usage: Usage = Usage()


async def hold(press: Press, *, model: ChatModel, rules: PressRules) -> Pressed:
    """Hold one conversation. Faults of replies end up in the record.

    Raises:
        ProbeLeak: The history was another one after a probe.
        Unsupported: Probes without log-likelihoods, or an edit without taps.
    """
    if rules.probe_at and not model.info.score:
        raise Unsupported("score", model.info.name, "use a local model, or measure with a judge alone")
    return await _Pressing(press, model, rules).run()


def hold_all(
    presses: Sequence[Press], *, model: ChatModel, rules: PressRules, in_flight: int = 64
) -> AsyncGenerator[Pressed, None]:
    """Hold many at once and yield each as it ends; conditions mix in the batches of the engine."""

    async def one(press: Press) -> Pressed:
        return await hold(press, model=model, rules=rules)

    return as_they_end(presses, one, in_flight=in_flight)


def history_hash(model: ChatModel, history: Sequence[Message], edit: Edit | None) -> str:
    """Hash of the history as the engine will read it: of its tokens, or of its text where tokens are not known."""
    tokens = getattr(model, "history_ids", None)
    content: Any = list(tokens(history, edit=edit)) if tokens is not None else [list(m) for m in history]
    return hashlib.sha256(canonical_json(content).encode()).hexdigest()


class _Pressing:
    """One conversation while it is held."""

    def __init__(self, press: Press, model: ChatModel, rules: PressRules) -> None:
        self.press, self.model, self.rules = press, model, rules
        condition = press.condition
        self.history: list[Message] = [Message("system", condition.system)]
        for question, answer in condition.shots:
            self.history += [Message("user", question), Message("assistant", answer)]
        self.turns: list[PressTurn] = []
        self.scores: list[ItemScore] = []
        self.free: list[FreeAnswer] = []
        self.usage = self.probe_usage = Usage()
        self.seed_status, self.engine = "unknown", ""

    async def run(self) -> Pressed:
        script = self.press.script
        said: list[tuple[Phase, str]] = [("start", self.press.prompt.text)]
        said += [("pressure", m) for m in script.messages] + [("recovery", m) for m in script.recovery]
        for turn, (phase, text) in enumerate(said):
            if turn == 1 and script.foreign:
                self.history[-1] = Message("assistant", script.foreign)
                self.turns[-1] = self.turns[-1].model_copy(update={"foreign": script.foreign})
            if (fault := await self._exchange(turn, phase, text)) is not None:
                return self._ended(fault)
            if turn in self.rules.probe_at or turn in self.rules.free_at:
                await self._aside(turn)
        return self._ended(None)

    async def _exchange(self, turn: int, phase: Phase, text: str) -> Fault | None:
        press, rules = self.press, self.rules
        self.history.append(Message("user", text))
        request = Request(
            tuple(self.history), rules.sampling,
            seed=derive_seed(press.root, press.prompt.id, press.replicate, turn, "pressed"),
            replicate=press.replicate, call_id=f"{press.id}.{turn}", edit=press.condition.edit, watch=rules.watch,
        )  # fmt: skip
        try:
            reply = (await self.model.reply([request]))[0]
        except ConfigError as error:
            return Fault(kind="config", code="request", detail=str(error), turn=turn)
        failure = reply.fault or (None if reply.text.strip() else ReplyFault("empty", "an empty reply"))
        if failure is not None:
            found = attribute("user", failure, turn=turn)
            return found or Fault(kind="provider", code="budget", detail=failure.detail, turn=turn)
        self.history.append(Message("assistant", reply.text))
        self.usage += reply.usage
        self.seed_status, self.engine = reply.seed_status, reply.engine.partition("+edit:")[0]
        inside = reply.internals
        own = () if press.condition.edit is None else press.condition.edit.layers
        clamped = [e.layer for e in own if len(e.directions)]  # not at the blocks of other rows of the batch
        shares = [inside.engaged.get(layer, 0.0) for layer in clamped] if inside is not None else []
        self.turns.append(
            PressTurn(
                turn=turn, phase=phase, said=text, reply=reply.text, cut=reply.finish == "length",
                engaged=sum(shares) / len(shares) if shares else None,
                moved=inside.moved if inside is not None and shares else None,
                internal=dict(rules.readout(inside)) if inside is not None and rules.readout is not None else {},
            )
        )  # fmt: skip
        return None

    async def _aside(self, turn: int) -> None:
        """Everything that is asked in side branches; the history must be the same before and after."""
        edit = self.press.condition.edit
        before = history_hash(self.model, self.history, edit)
        if turn in self.rules.probe_at and any(t.items for t in self.press.targets):
            asked = await ask(
                self.model, tuple(self.history), self.press.targets, turn=turn, edit=edit,
                wordings=self.rules.wordings,
            )  # fmt: skip
            self.scores += asked.scores
            self.probe_usage += Usage(prompt=asked.prompt, cached=asked.cached)
        if turn in self.rules.free_at:
            await self._free(turn)
        if history_hash(self.model, self.history, edit) != before:
            raise ProbeLeak(self.press.id, turn)

    async def _free(self, turn: int) -> None:
        press = self.press
        sampling = Sampling(temperature=0.0, max_tokens=min(FREE_TOKENS, self.rules.sampling.max_tokens))
        request = Request(
            (*self.history, Message("user", FREE_QUESTION)), sampling, seed=derive_seed(press.root, press.id, turn),
            keep=False, call_id=f"{press.id}.{turn}.free", edit=press.condition.edit,
        )  # fmt: skip
        reply = (await self.model.reply([request]))[0]
        if reply.fault is None:
            self.free.append(FreeAnswer(turn=turn, text=reply.text))
            self.probe_usage += reply.usage

    def _ended(self, fault: Fault | None) -> Pressed:
        press = self.press
        return Pressed(
            id=press.id,
            condition=press.condition.id,
            pressure=press.script.pressure,
            toward=press.condition.toward,
            prompt=press.prompt.id,
            replicate=press.replicate,
            personas=tuple(t.persona for t in press.targets),
            turns=tuple(self.turns),
            scores=tuple(self.scores),
            free=tuple(self.free),
            engine=self.engine,
            seed_status=self.seed_status,
            fault=fault,
            usage=self.usage,
            probe_usage=self.probe_usage,
        )
