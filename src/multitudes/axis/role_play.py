"""Play the same roles and scripts under several settings at once, and read inside while they speak."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from multitudes.axis.roles import Question, RoleSet, chosen_questions
from multitudes.axis.scoring import MIN_TOKENS
from multitudes.axis.settings import Size
from multitudes.core.seeds import derive_seed
from multitudes.models.base import Bare, Internals, Message, Reply, Request, Sampling, ScoreItem
from multitudes.models.edit import Edit

FloatArray = NDArray[np.float64]
Told = Callable[[int, int], None]

DRIFTING = ("philosophy", "therapy")  # domains in which models leave the Assistant
TEMPERATURE, TOP_P = 0.7, 0.9
HELD_OUT = 120  # questions from here on; fits of the small and balanced preset ask earlier ones
AT_ONCE = 256  # requests between two reports of progress
SHORTEST = 12  # tokens below which a share of distinct 3-grams says nothing


@dataclass(frozen=True, slots=True)
class Talk:
    """What is put to the model, whatever it answers.

    Attributes:
        id: Name.
        system: System text; empty for none.
        turns: User messages.
        role: Whether a role is played.
        cluster: What is resampled: the role, or the script.
        facts: What the role says of itself, by field; empty if nobody knows.
    """

    id: str
    system: str
    turns: tuple[str, ...]
    role: bool
    cluster: str
    facts: tuple[tuple[str, str], ...] = ()


class Place(NamedTuple):
    """Which reply: that to turn ``turn`` of ``talk``."""

    talk: Talk
    turn: int


class Arm(NamedTuple):
    """A change, and the blocks that are read under it."""

    edit: Edit | None
    watch: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Played:
    """All replies of one arm, N places in the order of ``places``; None where one failed or had too few tokens.

    Attributes:
        replies: N replies.
        contexts: What each was a reply to.
        means: (N, W, d) mean residual stream after the W watched blocks; NaN where there is none.
        internals: N readings.
    """

    replies: tuple[Reply | None, ...]
    contexts: tuple[tuple[Message, ...], ...]
    means: NDArray[np.float32]
    internals: tuple[Internals | None, ...]

    def items(self, chosen: Sequence[int]) -> list[ScoreItem]:
        """These replies, as they were sampled, after their contexts; those that are there."""
        return [
            ScoreItem(self.contexts[i], r.text or " ", token_ids=r.token_ids)
            for i in chosen
            if (r := self.replies[i]) is not None
        ]


def talks_of(everything: RoleSet, size: Size, roles: Sequence[str]) -> list[Talk]:
    """What is played: roles of an axis spread over their list, each asked held-out questions; then scripts.

    Args:
        everything: Where role prompts and questions come from.
        size: How many.
        roles: Ids of the roles of the axis.
    """
    known = [r for r in everything.roles if r.id in set(roles)] or list(everything.roles)
    step = max(1, len(known) // size.roles)
    asked = chosen_questions(everything.questions, len(everything.questions))
    out = []
    for i, role in enumerate(known[::step][: size.roles]):
        for k in range(size.questions):
            q: Question = asked[(HELD_OUT + i * size.questions + k) % len(asked)]
            out.append(Talk(f"{role.id}:{q.id}", role.prompts[0], (q.text,), True, role.id, role.facts))
    scripts = shipped_scripts()
    return out + [
        Talk(name, "", turns[: size.turns], False, name)
        for name, turns in scripts[: size.scripts]
    ]  # fmt: skip


@cache
def shipped_scripts() -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Fixed user messages by name, the drifting domains in turn.

    >>> [name.partition(":")[0] for name, _ in shipped_scripts()[:4]]
    ['philosophy', 'therapy', 'philosophy', 'therapy']
    """
    by_domain = []
    for domain in DRIFTING:
        text = (files("multitudes.simulate") / "drift" / f"{domain}.toml").read_text(encoding="utf-8")
        by_domain.append([(f"{domain}:{s['id']}", tuple(s["turns"])) for s in tomllib.loads(text)["script"]])
    return tuple(s for pair in zip(*by_domain, strict=False) for s in pair)


def places_of(talks: Sequence[Talk]) -> list[Place]:
    """Every reply that is asked for, talk by talk."""
    return [Place(talk, t) for talk in talks for t in range(len(talk.turns))]


async def play(
    model: Any, arms: Sequence[Arm], talks: Sequence[Talk], *, max_tokens: int, seed: int, told: Told | None = None
) -> list[Played]:
    """Replies of every arm. All share batches; a reply's seed depends on its place, not on the arm.

    A talk ends for an arm where a reply fails; what would follow is missing. ``told`` hears of (done, all) replies.
    """
    sampling = Sampling(temperature=TEMPERATURE, top_p=TOP_P, max_tokens=max_tokens)
    places = places_of(talks)
    at = {(p.talk.id, p.turn): i for i, p in enumerate(places)}
    replies: list[list[Reply | None]] = [[None] * len(places) for _ in arms]
    contexts: list[list[tuple[Message, ...]]] = [[()] * len(places) for _ in arms]
    done = 0
    for turn in range(max(len(t.turns) for t in talks)):
        asked = []
        for talk in talks:
            for arm in range(len(arms)):
                if turn < len(talk.turns) and (turn == 0 or replies[arm][at[talk.id, turn - 1]] is not None):
                    i = at[talk.id, turn]
                    contexts[arm][i] = _context(talk, turn, contexts[arm], replies[arm], at)
                    asked.append((arm, i))
        requests = [
            Request(
                contexts[arm][i], sampling, seed=derive_seed("calibrate", seed, places[i].talk.id, turn),
                keep=turn + 1 < len(places[i].talk.turns), edit=arms[arm].edit, watch=arms[arm].watch,
            )
            for arm, i in asked
        ]  # fmt: skip
        for start in range(0, len(requests), AT_ONCE):
            part = asked[start : start + AT_ONCE]
            answered = await model.reply(requests[start : start + AT_ONCE])
            for (arm, i), reply in zip(part, answered, strict=True):
                seen = reply.internals
                if reply.fault is None and seen is not None and seen.n_tokens >= MIN_TOKENS and reply.token_ids:
                    replies[arm][i] = reply
            done += len(part)
            if told is not None:
                told(done, len(arms) * len(places))
    return [_played(r, c, len(arm.watch), model.d_model) for arm, r, c in zip(arms, replies, contexts, strict=True)]


def _context(
    talk: Talk, turn: int, contexts: Sequence[tuple[Message, ...]], replies: Sequence[Reply | None],
    at: dict[tuple[str, int], int],
) -> tuple[Message, ...]:  # fmt: skip
    user = Message("user", talk.turns[turn])
    if turn == 0:
        return (Message("system", talk.system), user)
    before = at[talk.id, turn - 1]
    said = replies[before]
    assert said is not None
    return (*contexts[before], Message("assistant", said.text), user)


def _played(
    replies: Sequence[Reply | None], contexts: Sequence[tuple[Message, ...]], n_watched: int, width: int
) -> Played:
    internals = [None if r is None else r.internals for r in replies]
    none = np.full((n_watched, width), np.nan, np.float32)
    means = np.stack([none if seen is None else seen.means for seen in internals])
    return Played(tuple(replies), tuple(contexts), means, tuple(internals))


def distinct_share(token_ids: Sequence[int]) -> float:
    """Different over all runs of three tokens, in (0, 1]; 1 = nothing is said twice. NaN for a short text.

    >>> distinct_share([1, 2, 3] * 8)
    0.13636363636363635
    """
    runs = list(zip(token_ids, token_ids[1:], token_ids[2:], strict=False))
    return len(set(runs)) / len(runs) if len(token_ids) >= SHORTEST else float("nan")


class Reread(NamedTuple):
    """What the plain model finds in N replies; NaN where there is none.

    Attributes:
        nll: (N,) mean negative log-probability of a token, nats; lower is more fluent.
        distinct: (N,) share of distinct 3-grams, see ``distinct_share``.
        projection: (N,) mean projection on a direction at one block, in residual units.
    """

    nll: FloatArray
    distinct: FloatArray
    projection: FloatArray


async def reread(model: Any, arms: Sequence[Played], direction: NDArray[Any], layer: int) -> list[Reread]:
    """Every reply as the *plain* model reads it, after the same context: what was said, not how it was made.

    A change at or before the analysis layer moves what is read there by itself. The plain model sees the words only.
    The last token of a reply, which was never read when it was written, is left out.

    Args:
        model: The model without a change.
        arms: Replies.
        direction: (d,) of length 1.
        layer: Block after which it is read.
    """
    cells, rows = [], []
    for a, arm in enumerate(arms):
        for i, reply in enumerate(arm.replies):
            if reply is not None:
                context, _ = model.template.context_ids(arm.contexts[i])
                ids = (*context, *(reply.token_ids or ())[:-1])
                cells.append((a, i))
                rows.append(Bare(ids, len(context), counted_from=len(context)))
    out = [Reread(*(np.full(len(arm.replies), np.nan) for _ in range(3))) for arm in arms]
    for (a, i), found in zip(cells, await model.follow(rows, watch=[layer]), strict=True):
        reply = arms[a].replies[i]
        assert reply is not None
        out[a].nll[i] = -np.mean(found.token_logp)
        out[a].distinct[i] = distinct_share(reply.token_ids or ())
        out[a].projection[i] = found.internals.means[0].astype(np.float64) @ direction
    return out
