"""The one protocol of everything that speaks.

A request carries the whole conversation as its speaker sees it. There is no session object to open, leak or close:
an engine that can reuse earlier work recognises a conversation by its content (see ``local/prefix.py``), so a
redraw, a side branch and a resumed study are all just requests.

These are plain frozen dataclasses: they live for one call and are made by the thousand. What is stored is in
``core.records``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from multitudes.core.errors import ConfigError, Unsupported
from multitudes.core.inside import Inside
from multitudes.core.records import SeedStatus, Usage
from multitudes.models.edit import Edit

Role = Literal["system", "user", "assistant"]
FaultCode = Literal[
    "timeout", "rate_limit", "server", "refused", "too_long", "budget", "parse", "non_finite", "empty"
]


NEEDS_TAPS = "reading or editing the residual stream needs a local model: smollm2, hf:DIR or gguf:FILE"


ADAPTED = "+lora:"  # in a fingerprint, what stands before this is that of the base


class Message(NamedTuple):
    """One message as a model sees it."""

    role: Role
    text: str


MIN_TEMPERATURE = 1e-3  # below this a draw is the most likely token, and exponentials overflow


@dataclass(frozen=True, slots=True)
class Sampling:
    """How tokens are drawn. Filters apply in this order: temperature, top-k, top-p, min-p.

    Attributes:
        temperature: 0 takes the most likely token; 1 is the model's own distribution.
        top_p: Smallest set of tokens whose probability reaches this, in (0, 1].
        top_k: Keep this many tokens; 0 keeps all.
        min_p: Drop tokens below this share of the most likely one's probability, in [0, 1).
        max_tokens: Longest reply, in tokens.
        stop: Strings that end a reply and are cut off.
    """

    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    max_tokens: int = 256
    stop: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for ok, name, value, expected in (
            (
                self.temperature == 0 or self.temperature >= MIN_TEMPERATURE,
                "temperature",
                self.temperature,
                f"0, or a number >= {MIN_TEMPERATURE:g}",
            ),
            (all(self.stop), "stop", self.stop, "strings that are not empty"),
            (0 < self.top_p <= 1, "top_p", self.top_p, "a number in (0, 1]"),
            (self.top_k >= 0, "top_k", self.top_k, "an integer >= 0; 0 keeps all tokens"),
            (0 <= self.min_p < 1, "min_p", self.min_p, "a number in [0, 1)"),
            (self.max_tokens >= 1, "max_tokens", self.max_tokens, "an integer >= 1"),
        ):
            if not ok:
                raise ConfigError("sampling is out of range", where=name, found=repr(value), expected=expected)


@dataclass(frozen=True, slots=True)
class Request:
    """One reply that is wanted.

    Attributes:
        messages: The conversation as the speaker sees it; the reply is the next assistant message.
        sampling: How to draw.
        seed: Seed of this draw; None lets the engine draw one and record it.
        replicate: Keeps repeats of the same call apart in the call cache.
        schema: JSON schema that the reply must follow; None for text.
        keep: False for a side branch: the engine keeps no state of what follows the shared part.
        call_id: Name of the call in logs; a retried call keeps it.
        edit: Change to the residual stream while this reply is read and written; engines with taps only.
        watch: Blocks whose residual stream is averaged over the reply's tokens; engines with taps only.
    """

    messages: tuple[Message, ...]
    sampling: Sampling = Sampling()
    seed: int | None = None
    replicate: int = 0
    schema: Mapping[str, Any] | None = None
    keep: bool = True
    call_id: str = ""
    edit: Edit | None = None
    watch: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class ReplyFault:
    """Why one reply could not be had. Whose fault that is, the caller decides: it knows the role of the call."""

    code: FaultCode
    detail: str


@dataclass(frozen=True, slots=True, eq=False)
class Internals:
    """What was read inside the model while it wrote one reply, over its counted tokens.

    Counted are the sampled tokens that were fed back: all but the last one, which is never read.

    Attributes:
        n_tokens: Counted tokens.
        means: (len(watch), d_model) float32: mean residual stream after each watched block, as edited; NaN without
            tokens.
        engaged: By edited block, the share of counted tokens that a clamp moved, in [0, 1].
        moved: Mean over counted tokens of the summed ‖Δh‖ / ‖h‖ of all clamps.
    """

    n_tokens: int
    means: NDArray[np.float32]
    engaged: Mapping[int, float]
    moved: float


@dataclass(frozen=True, slots=True)
class Reply:
    """One reply, or the fault in its place. The failure of one request never is an exception.

    Attributes:
        text: What was said; empty on a fault, except ``parse``, where it is the raw text.
        finish: Why it ended.
        usage: Tokens.
        seed: Seed that was used.
        seed_status: Whether the engine has been shown to honour seeds.
        latency_s: Seconds from asking to answer.
        cost_usd: Money; None where no price is known.
        cache_hit: True where a stored reply was used.
        tries: How often the call was sent.
        data: The parsed JSON where a schema was given.
        reasoning: Thinking that was sent or marked apart from the text.
        token_ids: Sampled tokens, where the engine has them.
        logprobs: Natural log-probability of each sampled token under the raw model distribution (temperature 1, no
            filters), where the engine has them.
        near_ties: Sampling steps whose draw lay within 1e-4 of another token.
        engine: Fingerprint of what spoke.
        fault: Set exactly when ``finish`` is ``error``.
        internals: What was read inside, where the request had an edit or something to watch.
        inside: The same on an axis, where somebody who knows one stands between; what is kept of it with the turn.
    """

    text: str
    finish: Literal["stop", "length", "filtered", "error"] = "stop"
    usage: Usage = field(default_factory=Usage)
    seed: int | None = None
    seed_status: SeedStatus = "unknown"
    latency_s: float = 0.0
    cost_usd: float | None = None
    cache_hit: bool = False
    tries: int = 1
    data: Any = None
    reasoning: str | None = None
    token_ids: tuple[int, ...] | None = None
    logprobs: tuple[float, ...] | None = None
    near_ties: int = 0
    engine: str = ""
    fault: ReplyFault | None = None
    internals: Internals | None = None
    inside: Inside | None = None


@dataclass(frozen=True, slots=True)
class ScoreItem:
    """A continuation whose probability is wanted.

    Attributes:
        context: Messages before it.
        continuation: Text of the next assistant message.
        include_end: Whether the token that ends the message counts; with ``token_ids``, it does not matter.
        token_ids: Exactly these tokens instead of those of the text, as a reply named them; local engines only.
        edit: Change to the residual stream while context and continuation are read; engines with taps only.
    """

    context: tuple[Message, ...]
    continuation: str
    include_end: bool = True
    token_ids: tuple[int, ...] | None = None
    edit: Edit | None = None


@dataclass(frozen=True, slots=True)
class Scored:
    """Log-probability of a continuation.

    Attributes:
        token_logp: Natural log of each token's probability; in (-inf, 0].
        engine: Fingerprint of the engine; numbers of two engines never meet in one statistic.
        usage: Tokens; those of a shared context are counted once, with the first item that needed them.
    """

    token_logp: tuple[float, ...]
    engine: str
    usage: Usage = field(default_factory=Usage)

    @property
    def total(self) -> float:
        """Their sum, nats; higher is more likely."""
        return float(sum(self.token_logp))


class Bare(NamedTuple):
    """Tokens with no chat around them but what they hold; local engines only.

    Attributes:
        ids: All tokens.
        start: First token whose probability is wanted, at least 1: nothing predicts the very first.
        edit: Change to the residual stream while they are read.
        counted_from: First token that counts in what is read inside.
    """

    ids: tuple[int, ...]
    start: int
    edit: Edit | None = None
    counted_from: int = 0


class Followed(NamedTuple):
    """What a model makes of bare tokens.

    Attributes:
        token_logp: Natural log of the probability of each token from ``start`` on.
        internals: What was read inside, over the tokens from ``counted_from`` on.
        greedy: Whether each of these tokens was the most likely one at its place.
    """

    token_logp: tuple[float, ...]
    internals: Internals
    greedy: bool


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What an engine is and can do.

    Attributes:
        name: The string the user typed.
        engine: Kind of engine.
        fingerprint: Engine, weights' hash, adapter, data type and library versions, as one hash-like string.
        weights_sha256: Hash of the weights; None where they are not ours to see.
        dtype: Number type of the computation; None where unknown.
        context_tokens: Longest prompt plus reply; None where unknown.
        score: Log-probabilities of given continuations.
        json_schema: Replies that follow a schema.
        taps: Reading the residual stream.
        seed_status: Whether seeds are honoured, as far as proved or probed.
        small_model: True for models known to be weak at playing people; reports say so.
        licence: Licence of the weights, where known.
        names: What the model may call itself, from its card.
        makers: Whom it may say it was made by, from its card.
        base_sha256: Of a model under an adapter: hash of the weights without it. None without an adapter.
    """

    name: str
    engine: str
    fingerprint: str
    weights_sha256: str | None = None
    dtype: str | None = None
    context_tokens: int | None = None
    score: bool = False
    json_schema: bool = False
    taps: bool = False
    seed_status: SeedStatus = "unknown"
    small_model: bool = False
    licence: str | None = None
    names: tuple[str, ...] = ()
    makers: tuple[str, ...] = ()
    base_sha256: str | None = None


class ChatModel(Protocol):
    """Everything that speaks. Order of results is the order of requests; an empty batch gives an empty list."""

    @property
    def info(self) -> Capabilities:
        """What this engine is and can do."""
        ...

    async def reply(self, requests: Sequence[Request]) -> list[Reply]:
        """One reply per request. A failed request is a Reply with a fault.

        Raises:
            ConfigError: A request that no engine could answer; names its index.
            ModelError: The whole backend failed.
        """
        ...

    async def score(self, items: Sequence[ScoreItem]) -> list[Scored]:
        """Log-probabilities of given continuations.

        Raises:
            Unsupported: If the engine has none.
        """
        ...

    async def aclose(self) -> None:
        """Free memory, connections and processes."""
        ...


def check_messages(messages: Sequence[Message], *, where: str, for_reply: bool = True) -> None:
    """Refuse what no chat model can answer.

    A system message alone (the speaker opens) and system followed by assistant (the speaker opened earlier) are
    legal. Consecutive user messages are legal too: engines that need alternation merge them.

    Raises:
        ConfigError: Empty, an unknown role, a system message that is not first, or a last message of the assistant's.
    """
    if not messages:
        raise ConfigError("no messages", where=where, expected="at least one message")
    for i, message in enumerate(messages):
        if message.role not in ("system", "user", "assistant"):
            raise ConfigError(
                "unknown role",
                where=f"{where}[{i}]",
                found=repr(message.role),
                expected="system, user or assistant",
            )
        if message.role == "system" and i > 0:
            raise ConfigError("a system message must come first", where=f"{where}[{i}]")
    if for_reply and messages[-1].role == "assistant":
        raise ConfigError(
            "the last message is the assistant's own", where=f"{where}[{len(messages) - 1}]",
            expected="a system or user message to reply to",
        )  # fmt: skip


def check_requests(requests: Sequence[Request], *, taps: bool = False, engine: str = "") -> None:
    """``check_messages`` for every request, naming the index of the first bad one.

    Raises:
        Unsupported: An edit or a watched block, where the engine has no ``taps``. It is refused, never left out.
    """
    for i, request in enumerate(requests):
        check_messages(request.messages, where=f"requests[{i}].messages")
        if not taps and (request.edit is not None or request.watch):
            raise Unsupported("taps", engine, NEEDS_TAPS)


def check_score_items(items: Sequence[ScoreItem], *, taps: bool = False, engine: str = "") -> None:
    """``check_messages`` for every context, and no empty continuation.

    Raises:
        Unsupported: An edit or token ids, where the engine has no ``taps``.
    """
    for i, item in enumerate(items):
        if not taps and (item.edit is not None or item.token_ids is not None):
            raise Unsupported("taps", engine, NEEDS_TAPS)
        check_messages(item.context, where=f"items[{i}].context", for_reply=True)
        if not item.continuation:
            raise ConfigError("nothing to score", where=f"items[{i}].continuation", expected="a text")
