"""A model as a judge: is a text any good, and does a second text say something new?

One question, one word: yes or no. What cannot be read as either is no verdict; the caller decides what that means and
counts it. Texts under judgement are untrusted: a text that tells the judge what to answer may be obeyed, which is why
a judge is compared with people before it is believed.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from importlib.resources import files

from multitudes.core.canonical import content_hash
from multitudes.core.errors import ModelError
from multitudes.models.base import ChatModel, Message, Request, Sampling
from multitudes.simulate.faults import PROVIDER_CODES

AT_ONCE = 64  # questions in one batch
MAX_TOKENS = 8  # of a verdict
_VERDICT = re.compile(r"\W*(yes|no)\b", re.IGNORECASE)


@cache
def _template(name: str) -> str:
    return (files("multitudes.simulate") / "templates" / f"judge_{name}.txt").read_text(encoding="utf-8").strip()


def judge_hash() -> str:
    """Hash of both questions, for the record."""
    return content_hash([_template("valid"), _template("new")])


def read_verdict(reply: str) -> bool | None:
    """The word that a reply begins with; None if that is neither yes nor no.

    >>> read_verdict("Yes."), read_verdict("**no**, it does not"), read_verdict("Well, yes")
    (True, False, None)
    """
    found = _VERDICT.match(reply)
    return None if found is None else found[1].lower() == "yes"


async def ask_valid(model: ChatModel, rubric: str, asked: Sequence[str], texts: Sequence[str]) -> list[bool | None]:
    """Whether each text is good by the rubric.

    Args:
        model: The judge.
        rubric: What makes a text good, fixed before the texts are looked at.
        asked: What each text was asked for.
        texts: The texts.

    Raises:
        ModelError: A verdict that could not be had.
    """
    template = _template("valid")
    return await _ask(
        model, [template.format(asked=a, text=t, rubric=rubric) for a, t in zip(asked, texts, strict=True)]
    )


async def ask_new(model: ChatModel, pairs: Sequence[tuple[str, str]]) -> list[bool | None]:
    """Whether the second text of each pair says something materially new to a reader of the first.

    Raises:
        ModelError: A verdict that could not be had.
    """
    template = _template("new")
    return await _ask(model, [template.format(first=a, second=b) for a, b in pairs])


async def _ask(model: ChatModel, questions: Sequence[str]) -> list[bool | None]:
    sampling = Sampling(temperature=0.0, max_tokens=MAX_TOKENS)
    requests = [
        Request((Message("user", q),), sampling, seed=0, keep=False, call_id=f"judge.{i}")
        for i, q in enumerate(questions)
    ]
    out: list[bool | None] = []
    for start in range(0, len(requests), AT_ONCE):
        for reply in await model.reply(requests[start : start + AT_ONCE]):
            if reply.fault is not None and reply.fault.code in {*PROVIDER_CODES, "budget", "refused"}:
                raise ModelError(
                    "a verdict of the judge could not be had", where=model.info.name,
                    found=f"{reply.fault.code}: {reply.fault.detail}", hint="run the same command again",
                )  # fmt: skip
            out.append(read_verdict(reply.text))
    return out
