"""A chat template as prefix-preserving pieces, and conversations as token ids.

A template is rendered once per pair of neighbouring roles, around sentinel texts; what stands between two sentinels
is the *joint* of these roles. A conversation is joint, text, joint, text … so that what was said before keeps its
tokens when the conversation grows. Joints may hold control tokens; message text never becomes one.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from multitudes.core.errors import ConfigError, UnsupportedModel
from multitudes.models.base import Message

GENERATE = "generate"
_REMEMBERED = 200_000  # sampled turns kept by content; a few hundred bytes each


def _sentinel(i: int) -> str:
    return f"MtSentinel{'ABCDEFGH'[i]}MtEnd"


class ChatTemplate:
    """Joints and tokenizer of one model.

    Attributes:
        end_ids: Tokens that end a turn.
        has_system: False where the template refuses a system message; its text then opens the first user message.
        alternates: True where the template refuses two user messages in a row; they are merged with a blank line.
    """

    def __init__(self, tokenizer: Any, *, end_ids: Sequence[int]) -> None:
        self._tokenizer = tokenizer
        if not getattr(tokenizer, "chat_template", None):
            raise UnsupportedModel(
                "the model has no chat template", where=str(getattr(tokenizer, "name_or_path", "")),
                hint="use an instruction-tuned model, or add chat_template.jinja to its folder",
            )  # fmt: skip
        from tokenizers import Tokenizer

        self._controls = tokenizer.backend_tokenizer
        self._plain = Tokenizer.from_str(self._controls.to_str())
        self._plain.encode_special_tokens = True  # "<|im_end|>" in a message is seven characters, not an ending
        self.has_system = self._accepts(["system", "user"])
        self.alternates = not self._accepts(["user", "user"])
        self._encode_text = lru_cache(maxsize=4096)(self._encode_plain)
        self._joint_ids = lru_cache(maxsize=64)(self._encode_joint)
        closing = self._joint_ids("assistant", "user")
        self.end_ids = frozenset({*end_ids, *closing[:1]})
        self.sampled = SampledTurns()

    def joint(self, before: str, after: str) -> str:
        """The text between two neighbouring messages; ``""`` is the start, ``"generate"`` the turn to be written.

        A turn in the history opens as it opened when it was written, so ``assistant`` here means ``generate``.
        """
        return _joint(self._tokenizer, before, GENERATE if after == "assistant" else after)

    def _accepts(self, roles: list[str]) -> bool:
        from jinja2.exceptions import TemplateError

        try:
            text = _render(self._tokenizer, roles, generate=False)
        except TemplateError:
            return False
        return all(_sentinel(i) in text for i in range(len(roles)))

    def _encode_plain(self, text: str) -> tuple[int, ...]:
        return tuple(self._plain.encode(text, add_special_tokens=False).ids)

    def _encode_joint(self, before: str, after: str) -> tuple[int, ...]:
        return tuple(self._controls.encode(self.joint(before, after), add_special_tokens=False).ids)

    def normalise(self, messages: Sequence[Message]) -> list[Message]:
        """What the template will be given: always a system message where there can be one, merged where it must."""
        out = list(messages)
        if out[0].role != "system":
            out.insert(0, Message("system", ""))  # else some templates insert "You are a helpful AI assistant"
        if not self.has_system:
            system = out.pop(0).text
            if system:
                if not out or out[0].role != "user":
                    out.insert(0, Message("user", system))
                else:
                    out[0] = Message("user", system + "\n\n" + out[0].text)
        if self.alternates:
            merged: list[Message] = []
            for message in out:
                if merged and merged[-1].role == message.role:
                    merged[-1] = Message(message.role, merged[-1].text + "\n\n" + message.text)
                else:
                    merged.append(message)
            out = merged
        if not out:
            raise ConfigError("no message is left to reply to", where="messages")
        return out

    def context_ids(self, messages: Sequence[Message]) -> tuple[list[int], bytes]:
        """Token ids up to the point where the assistant begins to write, and the key of the conversation so far.

        Turns that this engine sampled keep the tokens that were sampled; no text is tokenised again for them.
        """
        ids: list[int] = []
        before, key = "", b""
        for message in self.normalise(messages):
            joint = self._joint_ids(before, message.role)
            if before == "assistant" and ids and ids[-1] in self.end_ids and joint[:1] == (ids[-1],):
                joint = joint[1:]  # the end token was sampled and is already there
            ids += joint
            key = _chain(key, message)
            known = self.sampled.get(key) if message.role == "assistant" else None
            ids += self._encode_text(message.text) if known is None else known
            before = message.role
        ids += self._joint_ids(before, GENERATE)
        return ids, key

    def continuation_ids(self, text: str, *, include_end: bool) -> list[int]:
        """Token ids of ``text`` as the next assistant message, with the token that ends it where that counts."""
        ids = list(self._encode_text(text))
        return [*ids, self._joint_ids("assistant", "user")[0]] if include_end else ids

    def remember(self, key: bytes, text: str, ids: Sequence[int]) -> None:
        """Keep the sampled tokens of a reply to the conversation ``key``."""
        self.sampled.put(_chain(key, Message("assistant", text)), tuple(ids))

    def decode(self, ids: Sequence[int]) -> str:
        """Text of sampled tokens, without control tokens."""
        return str(self._controls.decode(list(ids), skip_special_tokens=True))


class SampledTurns:
    """Sampled tokens by the content of the conversation they belong to; the oldest are forgotten first."""

    def __init__(self) -> None:
        self._ids: OrderedDict[bytes, tuple[int, ...]] = OrderedDict()

    def get(self, key: bytes) -> tuple[int, ...] | None:
        """The tokens, if they are still known."""
        return self._ids.get(key)

    def put(self, key: bytes, ids: tuple[int, ...]) -> None:
        """Keep the tokens of one turn."""
        self._ids[key] = ids
        if len(self._ids) > _REMEMBERED:
            self._ids.popitem(last=False)


def _chain(key: bytes, message: Message) -> bytes:
    text = message.text.encode("utf-8", "surrogatepass")
    return hashlib.blake2b(key + message.role.encode() + b"\0" + text, digest_size=16).digest()


def _render(tokenizer: Any, roles: Sequence[str], *, generate: bool) -> str:
    messages = [{"role": role, "content": _sentinel(i)} for i, role in enumerate(roles)]
    return str(
        tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=generate, enable_thinking=False)
    )


@lru_cache(maxsize=256)
def _joint(tokenizer: Any, before: str, after: str) -> str:
    """Text between sentinels of two neighbouring roles, in the shortest conversation that holds both."""
    lead = {"": [], "system": ["system"], "user": ["system", "user"], "assistant": ["system", "user", "assistant"]}
    roles = list(lead[before])
    from jinja2.exceptions import TemplateError

    try:
        _render(tokenizer, ["system", "user"], generate=False)
    except TemplateError:
        roles = [r for r in roles if r != "system"]
    generate = after == GENERATE
    shown = roles if generate else [*roles, after]
    if before == "" and after == "user" and not generate:
        shown = ["user"]
    text = _render(tokenizer, shown, generate=generate)
    start = text.index(_sentinel(len(roles) - 1)) + len(_sentinel(len(roles) - 1)) if roles else 0
    return text[start:] if generate else text[start : text.index(_sentinel(len(roles)))]
