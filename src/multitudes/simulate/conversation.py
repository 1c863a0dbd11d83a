"""A simulated person talks to a target.

The person's side is drawn, checked by guards and redrawn where it must be; what was rejected is kept beside what was
used. A conversation ends by its turn cap, by a flag, or by a fault: no text is searched for a stop word. Whatever
happens, the result is a ``Conversation``.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field
from typing import Literal

from pydantic import Field, StrictInt

from multitudes.core.errors import ConfigError, Unsupported
from multitudes.core.records import (
    Call,
    Conversation,
    Draw,
    Fault,
    Frozen,
    Persona,
    Probe,
    Scenario,
    Speaker,
    StopReason,
    Turn,
    Usage,
)
from multitudes.core.seeds import derive_seed
from multitudes.models.base import ChatModel, Message, Reply, ReplyFault, Request, Sampling
from multitudes.simulate.aside import Question, option_probs
from multitudes.simulate.faults import attribute, stop_reason
from multitudes.simulate.guards import GUARDS, GuardContext, check, endless_goodbye
from multitudes.simulate.in_flight import as_they_end
from multitudes.simulate.targets import Target
from multitudes.simulate.views import view

STOP_OPTIONS = ("more", "done")
STOP_QUESTION = "(Aside, not part of the conversation: do you want to write another message? Say more or done.)"
MIN_TURNS = 2  # of the person's, before the stop probe may end a conversation


class ProbeSpec(Frozen):
    """A question to the person in a side branch; neither side ever sees it again.

    Attributes:
        id: Short name.
        question: What is asked, as the partner's next message.
        options: Answers whose probabilities are wanted.
        after: Numbers of the person's own turns after which it is asked.
    """

    id: str
    question: str
    options: tuple[str, ...] = Field(min_length=2)
    after: tuple[StrictInt, ...] = Field(min_length=1)


@dataclass(frozen=True, slots=True)
class Rules:
    """How every conversation of a study goes.

    Attributes:
        turns: Turns of the person, at most.
        sampling: How the person's words are drawn.
        guards: Enabled guards on the person's words.
        attempts: Draws per turn, the first included.
        on_rejected: After the last attempt: ``keep`` the draw with its guards on record, or ``fail`` the
            conversation with a simulator fault.
        target_last: Whether the target answers the person's last turn.
        stop: ``turns`` runs to the cap; ``probe`` also asks the person in a side branch whether they would write
            again, and sets the flag ``Turn.ends`` where the answer is no. Needs an engine with ``score``.
        probes: Further questions in side branches.
    """

    turns: int = 6
    sampling: Sampling = field(default_factory=lambda: Sampling(max_tokens=60))
    guards: frozenset[str] = frozenset(GUARDS)
    attempts: int = 3
    on_rejected: Literal["keep", "fail"] = "keep"
    target_last: bool = True
    stop: Literal["turns", "probe"] = "turns"
    probes: tuple[ProbeSpec, ...] = ()


@dataclass(frozen=True, slots=True)
class Talk:
    """One conversation that is to be held.

    Attributes:
        id: Id of the resulting record.
        root: Root of its seeds: the study's name and seed.
        prompt: The person's system prompt.
    """

    id: str
    root: str
    persona: Persona
    prompt: str
    scenario: Scenario
    replicate: int


async def hold(talk: Talk, *, simulator: ChatModel, target: Target, rules: Rules) -> Conversation:
    """Hold one conversation. Faults end up in the record, a request that nobody could answer among them.

    Raises:
        ModelError: Nothing could ever be said: a refused key, unreachable weights, a probe without probabilities.
    """
    if (rules.stop == "probe" or rules.probes) and not simulator.info.score:  # before anything is paid for
        raise Unsupported("score", simulator.info.name, 'set stop = "turns" and leave out probes')
    holding = _Holding(talk, simulator, target, rules)
    try:
        return await holding.run()
    except ConfigError as error:
        fault = Fault(kind="config", code="request", detail=_plain(str(error)), turn=len(holding.turns))
        return holding.ended(stop_reason(fault), fault)


def hold_all(
    talks: Sequence[Talk], *, simulator: ChatModel, target: Target, rules: Rules, in_flight: int = 64
) -> AsyncGenerator[Conversation, None]:
    """Hold many at once and yield each as it ends; see ``as_they_end``."""

    async def one(talk: Talk) -> Conversation:
        return await hold(talk, simulator=simulator, target=target, rules=rules)

    return as_they_end(talks, one, in_flight=in_flight)


class _Holding:
    """One conversation while it is held."""

    def __init__(self, talk: Talk, simulator: ChatModel, target: Target, rules: Rules) -> None:
        self.talk, self.simulator, self.target, self.rules = talk, simulator, target, rules
        self.turns: list[Turn] = []
        self.probes: list[Probe] = []
        self.lost: tuple[Draw, ...] = ()  # rejected draws of a turn that never came about
        # What the target may know of us: an id that says nothing about who is talking.
        self.alias = hashlib.sha256(f"{talk.root}\x1f{talk.id}".encode()).hexdigest()[:16]

    async def run(self) -> Conversation:
        scenario = self.talk.scenario
        if scenario.opener == "target":
            if scenario.opening is not None:
                self.turns.append(Turn(speaker="target", text=scenario.opening))
            elif (end := await self._target_turn()) is not None:
                return self.ended(*end)
        for n in range(1, self.rules.turns + 1):
            if (end := await self._user_turn()) is not None:
                return self.ended(*end)
            ends = await self._asides(n)
            if ends:
                self.turns[-1] = self.turns[-1].model_copy(update={"ends": True})
            if endless_goodbye(self.turns):
                return self.ended("endless_goodbye", None)
            last = ends or n == self.rules.turns
            if not last or self.rules.target_last:
                if (end := await self._target_turn()) is not None:
                    return self.ended(*end)
                if endless_goodbye(self.turns):
                    return self.ended("endless_goodbye", None)
            if ends:
                return self.ended("user_done", None)
        return self.ended("max_turns", None)

    def ended(self, reason: StopReason, fault: Fault | None) -> Conversation:
        return Conversation(
            id=self.talk.id,
            persona_id=self.talk.persona.id,
            scenario_id=self.talk.scenario.id,
            replicate=self.talk.replicate,
            turns=tuple(self.turns),
            stop_reason=reason,
            fault=fault,
            probes=tuple(self.probes),
            meta={"rejected": [d.model_dump(mode="json") for d in self.lost]} if self.lost else {},
        )

    def _seed(self, side: Speaker, purpose: str, attempt: int) -> int:
        talk = self.talk
        who = (talk.root, talk.persona.id, talk.scenario.id, talk.replicate)
        return derive_seed(*who, len(self.turns), side, purpose, attempt)

    def _failed(self, side: Speaker, reply: Reply) -> tuple[StopReason, Fault | None] | None:
        failure = reply.fault
        if failure is None and _plain(reply.text) != reply.text:
            failure = ReplyFault("parse", f"the reply is not Unicode text: {_plain(reply.text)[:200]!r}")
        if failure is None:
            return None
        fault = attribute(side, ReplyFault(failure.code, _plain(failure.detail)), turn=len(self.turns))
        return stop_reason(fault), fault

    def _user_view(self) -> tuple[Message, ...]:
        return view(self.turns, "user", system=self.talk.prompt)

    async def _user_turn(self) -> tuple[StopReason, Fault | None] | None:
        """Draw the person's next turn, redrawing what guards reject."""
        rules, talk = self.rules, self.talk
        context = GuardContext.of(self.turns, "user", name=talk.persona.name)
        messages = self._user_view()
        rejected: list[Draw] = []
        spent = Usage()
        for attempt in range(rules.attempts):
            seed = self._seed("user", "text", attempt)
            call_id = f"{self.alias}.{len(self.turns)}.{attempt}"
            request = Request(messages, rules.sampling, seed=seed, replicate=talk.replicate, call_id=call_id)
            reply = (await self.simulator.reply([request]))[0]
            if (reply.fault is None or reply.fault.code != "empty") and (end := self._failed("user", reply)):
                self.lost = tuple(rejected)
                return end
            fired = check(reply.text, context, enabled=rules.guards)
            if not reply.text.strip():
                fired = fired or ("empty",)  # nothing was said, whichever guards are on
            elif not fired or (attempt == rules.attempts - 1 and rules.on_rejected == "keep"):
                self.turns.append(_turn("user", reply, rejected=rejected, guards=fired, spent=spent))
                return None
            rejected.append(Draw(text=reply.text, guards=fired, seed=seed))
            spent = spent + reply.usage
        self.lost = tuple(rejected)
        names = ", ".join(sorted({g for d in rejected for g in d.guards}))
        fault = Fault(
            kind="simulator", code="guards_exhausted", side="user", turn=len(self.turns),
            detail=f"{rules.attempts} draws, rejected by {names}; the last: {rejected[-1].text[:200]!r}",
        )  # fmt: skip
        return "simulator_fault", fault

    async def _target_turn(self) -> tuple[StopReason, Fault | None] | None:
        """The target's answer."""
        messages = view(self.turns, "target", system=self.talk.scenario.target_system)
        if messages[-1].role == "system":  # it opens: most servers want a user message
            messages = (*messages, Message("user", "(The visitor has just arrived. Greet them.)"))
        seed = self._seed("target", "text", 0)
        reply = await self.target.reply(messages, seed=seed, conversation_id=self.alias)
        if (end := self._failed("target", reply)) is not None:
            return end
        if not reply.text.strip():
            fault = Fault(kind="target", code="empty", detail="an empty reply", side="target", turn=len(self.turns))
            return "target_fault", fault
        self.turns.append(_turn("target", reply))
        return None

    async def _asides(self, n: int) -> bool:
        """Ask what is due after the person's ``n``-th turn; True where the person is done."""
        due = [p for p in self.rules.probes if n in p.after]
        asks_stop = self.rules.stop == "probe" and MIN_TURNS <= n < self.rules.turns
        if not due and not asks_stop:
            return False
        here = self._user_view()
        questions = [Question((*here, Message("user", p.question)), p.options, True) for p in due]
        if asks_stop:
            questions.append(Question((*here, Message("user", STOP_QUESTION)), STOP_OPTIONS, True))
        answers = await option_probs(self.simulator, questions)
        for probe, answer in zip(due, answers, strict=False):
            self.probes.append(Probe(id=probe.id, after_turn=len(self.turns), probs=answer.probs))
        return asks_stop and answers[-1].probs[1] > 0.5


def _plain(text: str) -> str:
    """``text`` with what UTF-8 cannot hold, such as half of a surrogate pair, replaced by question marks."""
    return text.encode("utf-8", "replace").decode()


def _turn(
    speaker: Speaker, reply: Reply, *, rejected: Sequence[Draw] = (), guards: tuple[str, ...] = (),
    spent: Usage | None = None,
) -> Turn:  # fmt: skip
    call = Call(
        seed=reply.seed,
        seed_status=reply.seed_status,
        finish=reply.finish,
        usage=reply.usage,
        latency_s=reply.latency_s,
        cost_usd=reply.cost_usd,
        cache_hit=reply.cache_hit,
        tries=reply.tries,
        near_ties=reply.near_ties,
    )
    return Turn(
        speaker=speaker, text=reply.text, rejected=tuple(rejected), guards=guards, reasoning=reply.reasoning,
        call=call, call_rejected=spent if rejected else None, inside=reply.inside,
    )  # fmt: skip
