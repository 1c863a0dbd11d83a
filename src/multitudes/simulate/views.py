"""Whose turn is "user": a conversation as each side's model sees it, as pure functions.

A model answers as the assistant and is addressed as the user, whichever person it plays. So a speaker's own turns
become assistant messages and the partner's become user messages; nothing else of a turn enters: no rejected draw, no
reasoning, no ending flag, no guard.

A view only grows at its end, so an engine that keeps work by prefix computes each turn once.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import NamedTuple

from multitudes.core.records import Speaker, Turn
from multitudes.models.base import Message

CUE = "(You speak first. Begin the conversation.)"


class Alternating(NamedTuple):
    """Messages in which no two neighbours have one role, and how many messages were joined to a neighbour."""

    messages: tuple[Message, ...]
    merged: int


def view(turns: Sequence[Turn], speaker: Speaker, *, system: str = "", cue: str = CUE) -> tuple[Message, ...]:
    """The conversation so far as ``speaker``'s model sees it: the system message, then one message a turn.

    Where the simulated person opens, or nobody has spoken yet, the person's view begins with ``cue``: many chat
    templates refuse or drop a conversation whose first message is the assistant's own, and the person would then
    open a second time. The target's view never has a cue, so the same call serves both sides.

    Args:
        turns: What was said; not changed.
        speaker: Whose model is asked.
        system: That speaker's own system prompt. An empty one is still sent, because templates fill a missing
            system message with a default that says "You are a helpful assistant".
        cue: A constant that stands where the person was asked to open. Keep it one text for the whole study.

    >>> said = (Turn(speaker="user", text="hi"), Turn(speaker="target", text="yes?"))
    >>> [m.role for m in view(said, "target")]
    ['system', 'user', 'assistant']
    >>> [m.role for m in view(said, "user")]
    ['system', 'user', 'assistant', 'user']
    """
    opens = speaker == "user" and (not turns or turns[0].speaker == "user")
    head = (Message("system", system), *((Message("user", cue),) if opens else ()))
    return head + tuple(Message("assistant" if t.speaker == speaker else "user", t.text) for t in turns)


def merge_alternating(messages: Iterable[Message]) -> Alternating:
    r"""Neighbours of one role joined with a blank line, for engines that declare ``requires_alternation``.

    The stored turns stay apart; record ``merged`` where it is not 0.

    >>> merge_alternating([Message("user", "one"), Message("user", "two")])
    Alternating(messages=(Message(role='user', text='one\n\ntwo'),), merged=1)
    """
    groups = [(role, [m.text for m in group]) for role, group in groupby(messages, key=lambda m: m.role)]
    return Alternating(
        messages=tuple(Message(role, "\n\n".join(texts)) for role, texts in groups),
        merged=sum(len(texts) - 1 for _, texts in groups),
    )
