"""A judge, where one is given: how far a reply is in role, how coherent it is, and who a free answer says it is.

A judge is any chat model. What it writes is parsed strictly; what cannot be parsed is unscored, never a pass.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Any

from multitudes.core.canonical import content_hash
from multitudes.core.seeds import derive_seed
from multitudes.models.base import ChatModel, Message, Request, Sampling
from multitudes.simulate.press import Pressed

LABELS = ("assistant", "human", "nonhuman", "mystical")
_TWO = re.compile(r"\s*(\d{1,3})\s*[,;/ ]\s*(\d{1,3})\s*\.?\s*")
_ONE = re.compile(rf"\W*({'|'.join(LABELS)})\W*", re.IGNORECASE)
SAMPLING = Sampling(temperature=0.0, max_tokens=12)


def judge_hash() -> str:
    """Hash of what a judge is asked, for the record of a run."""
    return content_hash([template("reply"), template("who")], length=16)


async def judged(
    judge: ChatModel, talks: Sequence[Pressed], personas: Mapping[str, Mapping[str, Any]], *, root: str
) -> list[tuple[str, dict[str, Any]]]:
    """Marks of a group of conversations, in one batch.

    Args:
        judge: Who rates.
        talks: Conversations.
        personas: ``phrase`` and ``facts`` by persona.
        root: Root of the seeds.

    Returns:
        Per conversation ``judged`` (by persona and turn, 0 to 100), ``coherence`` (by turn), ``label`` (by turn).
    """
    requests: list[Request] = []
    places: list[tuple[str, str, str, str]] = []  # talk, what, persona, turn
    for talk in talks:
        probed = sorted({s.turn for s in talk.scores}) or [t.turn for t in talk.turns]
        for turn in (t for t in talk.turns if t.turn in probed):
            for who in talk.personas:
                person = personas[who]
                text = fill(
                    "reply", persona=person["phrase"], facts=" ".join(person["facts"].values()), said=turn.said,
                    reply=turn.reply,
                )  # fmt: skip
                places.append((talk.id, "reply", who, str(turn.turn)))
                requests.append(_request(text, root, *places[-1]))
        for answer in talk.free:
            places.append((talk.id, "who", "", str(answer.turn)))
            requests.append(_request(fill("who", reply=answer.text), root, *places[-1]))
    replies = await judge.reply(requests) if requests else []
    out: dict[str, dict[str, Any]] = {t.id: {"judged": {}, "coherence": {}, "label": {}} for t in talks}
    for (talk_id, what, who, turn_key), reply in zip(places, replies, strict=True):
        row = out[talk_id]
        if what == "who":
            row["label"][turn_key] = None if reply.fault else parse_label(reply.text)
            continue
        role, coherence = (None, None) if reply.fault else parse_marks(reply.text)
        row["judged"].setdefault(who, {})[turn_key] = role
        row["coherence"].setdefault(turn_key, coherence)
    return list(out.items())


def parse_marks(text: str) -> tuple[int | None, int | None]:
    """Two whole numbers from 0 to 100 and nothing else, or nothing.

    >>> parse_marks("40, 90"), parse_marks("about 40, I think")
    ((40, 90), (None, None))
    """
    found = _TWO.fullmatch(text)
    marks = (int(found[1]), int(found[2])) if found else (101, 101)
    return marks if max(marks) <= 100 else (None, None)


def parse_label(text: str) -> str | None:
    """One of ``LABELS`` and nothing else, or None.

    >>> parse_label("Human."), parse_label("a human or an assistant")
    ('human', None)
    """
    found = _ONE.fullmatch(text)
    return found[1].lower() if found else None


def _request(text: str, root: str, *place: str) -> Request:
    return Request((Message("user", text),), SAMPLING, seed=derive_seed(root, "judge", *place), keep=False)


def template(name: str) -> str:
    """What a judge is asked, with holes."""
    return (files(__package__) / "templates" / f"judge_{name}.txt").read_text("utf-8").strip()


def fill(name: str, **values: str) -> str:
    """The template with its holes filled; texts of models fill holes and are never read as templates."""
    return re.sub(r"\{(\w+)\}", lambda m: values[m[1]], template(name))
