"""What a model is trained on: token ids, and which of them it is to learn.

Rows are made of the same template pieces as the engine's prompts, so a trained model meets at work exactly what it
met in training. Learned are the speaker's own words and the token that ends its turn; not the system text, not the
partner, no role headers, and nothing known from pad ids.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from multitudes.core.errors import ConfigError, UnsupportedModel
from multitudes.models.base import Message
from multitudes.models.local.template import ChatTemplate

IGNORED = -100  # label of a token that is read and not learned


class Row(NamedTuple):
    """One sequence.

    Attributes:
        input_ids: Its tokens.
        labels: The same length: the token where it is learned, ``IGNORED`` elsewhere.
    """

    input_ids: tuple[int, ...]
    labels: tuple[int, ...]

    @property
    def learned(self) -> int:
        """Number of tokens that are learned."""
        return sum(x != IGNORED for x in self.labels)


def row_of(template: ChatTemplate, messages: Sequence[Message], *, ended: bool = True) -> Row:
    """The row of a conversation that ends with the speaker's own message.

    Args:
        template: Of the model that is trained.
        messages: The conversation in the speaker's view; its own messages are the assistant's.
        ended: False where the last message was cut off by a limit: then its end is not learned.

    Raises:
        ConfigError: The last message is not the speaker's own, or is empty.
        UnsupportedModel: A template in which something stands between a turn and the token that ends it.
    """
    if not messages or messages[-1].role != "assistant" or not messages[-1].text:
        raise ConfigError("a row ends with what is to be learned", where="messages", expected="an assistant message")
    written, spans = template.turn_ids(messages)
    ids = [*written, template.continuation_ids("", include_end=True)[-1]]
    labels = [IGNORED] * len(ids)
    for start, stop in spans:
        if ids[stop] not in template.end_ids:
            raise UnsupportedModel("no token ends a turn directly after its text", where=f"token {stop}",
                                   found=str(ids[stop]), expected=f"one of {sorted(template.end_ids)}")  # fmt: skip
        labels[start : stop + 1] = ids[start : stop + 1]
    if not ended:
        labels[-1] = IGNORED
    return Row(tuple(ids), tuple(labels))
