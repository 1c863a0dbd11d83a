"""Models without weights: for tests, documents and dry runs. Shipped, because users test their studies too.

| name | what it does |
|---|---|
| ``fake:echo`` | says back the last message |
| ``fake:scripted`` | says the next line of a list, or what a function of (messages, seed) returns |
| ``fake:people`` | short seeded answers that vary with persona and turn: a stand-in for a simulated person |
| ``fake:latency`` | echo after a seeded delay; counts how many calls were in flight |
| ``fake:faulty`` | follows a plan of faults |
| ``fake:table`` | exact log-probabilities from a table: the closed-form oracle of ``score`` |
"""

from __future__ import annotations

import asyncio
import itertools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, get_args

from multitudes.core.canonical import content_hash
from multitudes.core.errors import ConfigError, Unsupported
from multitudes.core.records import Usage
from multitudes.core.seeds import derive_rng
from multitudes.models.base import (
    Capabilities,
    FaultCode,
    Message,
    Reply,
    ReplyFault,
    Request,
    Scored,
    ScoreItem,
    check_requests,
    check_score_items,
)

Say = Callable[[tuple[Message, ...], int | None], str]


def _count(text: str) -> int:
    return len(text.split())


class FakeModel:
    """A deterministic model: says what ``say(messages, seed)`` returns.

    >>> from multitudes.core.loop import run_sync
    >>> model = FakeModel("fake:shout", lambda messages, seed: messages[-1].text.upper())
    >>> run_sync(model.reply([Request((Message("user", "hello"),))]))[0].text
    'HELLO'
    """

    def __init__(self, name: str, say: Say, *, can_score: bool = False, fingerprint: str = "") -> None:
        self._say = say
        self.calls = 0
        self._info = Capabilities(
            name=name,
            engine="fake",
            fingerprint=fingerprint or name,
            context_tokens=1_000_000,
            score=can_score,
            json_schema=True,
            seed_status="honoured",
        )

    @property
    def info(self) -> Capabilities:
        """What this fake can do."""
        return self._info

    async def reply(self, requests: Sequence[Request]) -> list[Reply]:
        """One reply per request, at once."""
        check_requests(requests, engine=self.info.name)
        return [self._one(r) for r in requests]

    def _one(self, request: Request) -> Reply:
        self.calls += 1
        text = self._say(request.messages, request.seed)
        words = text.split()
        cut = len(words) > request.sampling.max_tokens
        return Reply(
            text=" ".join(words[: request.sampling.max_tokens]) if cut else text,
            finish="length" if cut else "stop",
            usage=Usage(
                prompt=sum(_count(m.text) for m in request.messages),
                completion=min(len(words), request.sampling.max_tokens),
            ),
            seed=request.seed,
            seed_status="honoured",
            cost_usd=0.0,
            engine=self._info.fingerprint,
        )

    async def score(self, items: Sequence[ScoreItem]) -> list[Scored]:
        """Not available: this fake has no probabilities."""
        raise Unsupported("score", self._info.name, "use fake:table or the local engine")

    async def aclose(self) -> None:
        """Nothing to free."""


def echo(prefix: str = "") -> FakeModel:
    """A model that says back the last message, after an optional prefix."""
    return FakeModel("fake:echo", lambda messages, seed: prefix + messages[-1].text)


def scripted(lines: Iterable[str] | Say) -> FakeModel:
    """A model that says ``lines`` in order, over and over, or what a function of (messages, seed) returns."""
    if callable(lines):
        return FakeModel("fake:scripted", lines)
    stream = itertools.cycle(list(lines) or ["..."])
    return FakeModel("fake:scripted", lambda messages, seed: next(stream))


_OPENINGS = ("Well", "Look", "Okay", "Right", "To be honest", "Hm", "Listen", "So")
_MIDDLES = (
    "I have been waiting since Monday", "my sister told me to ask", "this never happened before",
    "I do not understand the letter", "the form asks for a number I do not have", "I would rather not say why",
    "I already tried the website", "nobody at the counter could tell me", "I like to know what things cost",
    "I am only asking for my father",
)  # fmt: skip
_ENDINGS = (
    "what now",
    "is that normal",
    "that is all",
    "tell me what to do",
    "I can wait",
    "how long will it take",
)


def _people(messages: tuple[Message, ...], seed: int | None) -> str:
    """A sentence of seeded parts; the persona's prompt moves which parts are likely."""
    who = derive_rng("fake-people", messages[0].text if messages[0].role == "system" else "")
    habit = who.dirichlet([0.4] * len(_MIDDLES))
    rng = derive_rng("fake-people", content_hash([list(m) for m in messages]), seed or 0)
    pick = rng.choice(len(_MIDDLES), size=2, replace=False, p=habit * 0.9 + 0.1 / len(_MIDDLES))
    parts = [
        rng.choice(_OPENINGS),
        ", ",
        _MIDDLES[pick[0]],
        ", and ",
        _MIDDLES[pick[1]],
        ", ",
        rng.choice(_ENDINGS),
    ]
    return "".join(str(p) for p in parts) + "?"


def people() -> FakeModel:
    """A stand-in for a simulated person: short, seeded, different between personas. For machinery, not for claims."""
    return FakeModel("fake:people", _people)


class LatencyModel(FakeModel):
    """Echo after a delay drawn per request from its seed.

    Attributes:
        peak_in_flight: The most requests that were being answered at one time.
    """

    def __init__(self, *, low_s: float = 0.01, high_s: float = 0.05) -> None:
        super().__init__("fake:latency", lambda messages, seed: messages[-1].text)
        self._low_s, self._high_s = low_s, high_s
        self._in_flight = 0
        self.peak_in_flight = 0

    async def reply(self, requests: Sequence[Request]) -> list[Reply]:
        """One reply per request, each after its own delay."""
        check_requests(requests, engine=self.info.name)
        return list(await asyncio.gather(*(self._later(r) for r in requests)))

    async def _later(self, request: Request) -> Reply:
        self._in_flight += 1
        self.peak_in_flight = max(self.peak_in_flight, self._in_flight)
        try:
            await asyncio.sleep(derive_rng("latency", request.seed or 0).uniform(self._low_s, self._high_s))
        finally:
            self._in_flight -= 1
        return self._one(request)


class FaultyModel(FakeModel):
    """Follows a plan, one entry a call, then starts over.

    An entry is ``ok`` (echo), a fault code of ``Reply.fault``, or ``say:TEXT`` for a reply that is not a transport
    fault but should not count, such as an empty or truncated verdict.
    """

    def __init__(self, plan: Sequence[str]) -> None:
        known = {"ok", *get_args(FaultCode)}
        for i, entry in enumerate(plan):
            if entry not in known and not entry.startswith("say:"):
                raise ConfigError(
                    "unknown fault",
                    where=f"plan[{i}]",
                    found=repr(entry),
                    expected=", ".join(sorted(known)) + ", say:TEXT",
                )
        super().__init__("fake:faulty", lambda messages, seed: messages[-1].text)
        self._plan = itertools.cycle(list(plan) or ["ok"])

    async def reply(self, requests: Sequence[Request]) -> list[Reply]:
        """One reply or fault per request, as planned."""
        check_requests(requests, engine=self.info.name)
        return [self._planned(r) for r in requests]

    def _planned(self, request: Request) -> Reply:
        entry = next(self._plan)
        if entry == "ok":
            return self._one(request)
        if entry.startswith("say:"):
            return Reply(text=entry[4:], seed=request.seed, seed_status="honoured", engine="fake:faulty")
        code: Any = entry
        return Reply(text="", finish="error", seed=request.seed, fault=ReplyFault(code, "as planned"))


class TableModel(FakeModel):
    """Exact log-probabilities from a table {(last context text, continuation): probability}.

    Tokens are whole continuations, so ``score`` has one entry, plus one of log 1 for the end where it counts.
    Unlisted pairs have probability ``floor``.
    """

    def __init__(self, table: Mapping[tuple[str, str], float], *, floor: float = 1e-9) -> None:
        super().__init__("fake:table", lambda messages, seed: messages[-1].text, can_score=True)
        self._table, self._floor = dict(table), floor

    async def score(self, items: Sequence[ScoreItem]) -> list[Scored]:
        """The table's log-probabilities.

        A key matches the first message of the context as well as the last, so that both "persona says line" and
        "question has option" can be tabled.
        """
        check_score_items(items, engine=self.info.name)
        out = []
        for item in items:
            keys = [(item.context[-1].text, item.continuation), (item.context[0].text, item.continuation)]
            p = next((self._table[k] for k in keys if k in self._table), self._floor)
            out.append(Scored(token_logp=(math.log(p),) + ((0.0,) if item.include_end else ()), engine="fake:table"))
        return out


KINDS: dict[str, Callable[[], FakeModel]] = {
    "echo": echo,
    "scripted": lambda: scripted(["..."]),
    "people": people,
    "latency": LatencyModel,
    "faulty": lambda: FaultyModel(["ok", "timeout", "ok", "server"]),
    "table": lambda: TableModel({}),
}
