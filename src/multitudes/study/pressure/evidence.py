"""What the plain model says about replies: how likely they are, and whether they are in role.

The plain model reads no edit and no adapter, in every condition. All that is asked of one group of conversations goes
into one batch, so that prompts and histories that they share are read once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from multitudes.models.base import ChatModel, Message, ScoreItem
from multitudes.simulate.press import Pressed
from multitudes.simulate.probes import Target, ask

Key = tuple[tuple[Message, ...], str]


async def collect(
    model: ChatModel, talks: Sequence[Pressed], *, prompts: Mapping[str, str], full_history: bool, behaviour: bool
) -> list[tuple[str, dict[str, Any]]]:
    """Evidence of each conversation, by id, as JSON values.

    Args:
        model: The plain model; one without log-likelihoods gives empty evidence.
        talks: What was said.
        prompts: Persona prompt of the likelihood ratio, by persona.
        full_history: Whether a reply is read after the whole visible history or after the last message.
        behaviour: Whether the ratio is wanted.

    Returns:
        ``nll``: by turn, mean nats per token of the reply. ``llr``: by persona and probed turn, nats.
    """
    if not model.info.score:
        return [(t.id, {}) for t in talks]
    wanted: dict[Key, int] = {}
    for talk in talks:
        for key in _keys(talk, prompts, full_history, behaviour):
            wanted.setdefault(key, len(wanted))
    scored = await model.score([ScoreItem(context, reply) for context, reply in wanted]) if wanted else []

    def total(key: Key) -> float:
        return scored[wanted[key]].total

    out = []
    for talk in talks:
        nll = {}
        for turn in talk.turns:
            found = scored[wanted[_after(talk, turn.turn, full_history), turn.reply]]
            nll[str(turn.turn)] = -found.total / max(1, len(found.token_logp))
        record: dict[str, Any] = {"nll": nll}
        if behaviour:
            record["llr"] = {
                p: {
                    str(t): total((_alone(talk, t, prompts[p]), _reply(talk, t)))
                    - total((_alone(talk, t, ""), _reply(talk, t)))
                    for t in _probed(talk)
                }
                for p in talk.personas
            }
        out.append((talk.id, record))
    return out


async def collect_priors(model: ChatModel, targets: Sequence[Target], *, wordings: int) -> list[dict[str, Any]]:
    """Log-likelihoods of all answers where nothing was said before the question, as JSON of ``ItemScore``.

    They depend on the model, the item and its wordings alone: they are asked once per run and serve all conditions.
    """
    if not model.info.score or not any(t.items for t in targets):
        return []
    asked = await ask(model, [Message("system", "")], targets, turn=0, wordings=wordings)
    return [s.model_dump(mode="json") for s in asked.scores]


def _keys(talk: Pressed, prompts: Mapping[str, str], full_history: bool, behaviour: bool) -> Iterator[Key]:
    for turn in talk.turns:
        yield _after(talk, turn.turn, full_history), turn.reply
    if behaviour:
        for turn_number in _probed(talk):
            reply = _reply(talk, turn_number)
            yield _alone(talk, turn_number, ""), reply
            for persona in talk.personas:
                yield _alone(talk, turn_number, prompts[persona]), reply


def _probed(talk: Pressed) -> list[int]:
    """Turns that were probed; the first, where only behaviour is measured and nothing was asked."""
    return sorted({s.turn for s in talk.scores}) or [t.turn for t in talk.turns]


def _reply(talk: Pressed, turn: int) -> str:
    return next(t.reply for t in talk.turns if t.turn == turn)


def _alone(talk: Pressed, turn: int, system: str) -> tuple[Message, ...]:
    said = next(t.said for t in talk.turns if t.turn == turn)
    return Message("system", system), Message("user", said)


def _after(talk: Pressed, turn: int, full_history: bool) -> tuple[Message, ...]:
    """What was visible before a reply: no system text, no shots."""
    if not full_history:
        return _alone(talk, turn, "")
    out = [Message("system", "")]
    for t in talk.turns:
        out.append(Message("user", t.said))
        if t.turn == turn:
            break
        out.append(Message("assistant", t.foreign or t.reply))
    return tuple(out)
