"""Whose turn is "user": a conversation as each side's model sees it, as pure functions.

A model answers as the assistant and is addressed as the user, whichever person it plays. So a speaker's own turns
become assistant messages and the partner's become user messages; nothing else of a turn enters: no rejected draw, no
reasoning, no ending flag, no guard.

A view only grows at its end, so an engine that keeps work by prefix computes each turn once.
"""

from __future__ import annotations

from collections.abc import Sequence

from multitudes.core.records import Speaker, Turn
from multitudes.models.base import Message

CUE = "(You speak first. Begin the conversation.)"


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
