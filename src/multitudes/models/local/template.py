"""A chat template as prefix-preserving pieces, and conversations as token ids.

A template is rendered once, around sentinel texts; what stands between two sentinels is the *joint* of these roles. A
conversation is joint, text, joint, text … so that what was said before keeps its tokens when the conversation grows.
Joints may hold control tokens; message text never becomes one.
"""

from __future__ import annotations

import hashlib
import json
from collections import OrderedDict
from collections.abc import Sequence
from functools import cached_property, lru_cache
from typing import Any

import numpy as np

from multitudes.core.errors import UnsupportedModel
from multitudes.models.base import Message

GENERATE = "generate"
_REMEMBERED = 200_000  # sampled turns kept by content; a few hundred bytes each


def _sentinel(i: int) -> str:
    return f"MtSentinel{'ABCDEFGH'[i]}MtEnd"


class ChatTemplate:
    """Joints and tokenizer of one model.

    Attributes:
        end_ids: Tokens that end a turn.
        has_system: False where the template has no place of its own for a system message; its text then opens the
            first user message.
        alternates: True where the template refuses two user messages in a row; they are merged with a blank line.

    Raises:
        UnsupportedModel: No chat template, or one that cannot be taken apart.
    """

    def __init__(self, tokenizer: Any, *, end_ids: Sequence[int]) -> None:
        self._tokenizer = tokenizer
        self._name = str(getattr(tokenizer, "name_or_path", ""))
        if not getattr(tokenizer, "chat_template", None):
            raise UnsupportedModel(
                "the model has no chat template", where=self._name,
                hint="use an instruction-tuned model, or add chat_template.jinja to its folder",
            )  # fmt: skip
        self._controls, self._plain = _two_tokenizers(tokenizer)
        self._special = {i for i, t in self._controls.get_added_tokens_decoder().items() if t.special}
        self._encode_text = lru_cache(maxsize=4096)(self._encode_plain)
        joints = self._joints_with_system()
        self.has_system = joints is not None
        self._joints = joints or self._joints_of(["user", "assistant", "user", "assistant", "user"])
        if not self._joints:
            raise UnsupportedModel("the chat template cannot be taken apart", where=self._name)
        twice = self._joints_of(["user", "user"])
        self.alternates = "user user" not in twice
        self._joints |= {k: v for k, v in twice.items() if k == "user user"}
        self._opens_after_system = "system generate" in self._joints
        closing = [i for i in self._joints["assistant user"] if i in self._special]
        ends = [*closing[:1], *end_ids]
        if not ends:
            raise UnsupportedModel("nothing says where a turn ends", where=self._name)
        self._end_id = ends[0]
        self.end_ids = frozenset(ends)
        self.sampled = SampledTurns()

    def _joints_with_system(self) -> dict[str, list[int]] | None:
        """Joints of a template that gives the system message a turn of its own; None for one that does not."""
        joints = self._joints_of(["system", "user", "assistant", "user", "assistant", "user"])
        apart = any(i in self._special for i in joints.get("system user", []))
        return joints | self._joints_of(["system"]) if apart else None

    def _joints_of(self, roles: Sequence[str]) -> dict[str, list[int]]:
        """Token ids between neighbours, keyed "user assistant"; the start is "", the turn to be written "generate".

        Empty where the template refuses the conversation or moves its messages about. A turn in the history opens
        as it opened when it was written, so "user assistant" is what stands between a user and a generated turn.
        """
        from jinja2.exceptions import TemplateError

        messages = [{"role": role, "content": _sentinel(i)} for i, role in enumerate(roles)]
        try:
            text = str(
                self._tokenizer.apply_chat_template(
                    messages, tokenize=False, add_generation_prompt=roles[-1] != "assistant", enable_thinking=False
                )
            )
        except TemplateError:
            return {}
        parts: list[str] = []
        for i in range(len(roles)):
            before, found, text = text.partition(_sentinel(i))
            if not found or any(_sentinel(k) in before for k in range(len(roles))):
                return {}
            parts.append(before)
        ids = [list(self._controls.encode(part, add_special_tokens=False).ids) for part in (*parts, text)]
        joints = {f"{a} {b}": piece for a, b, piece in zip(["", *roles], roles, ids, strict=False)}
        joints[f"{roles[-1]} {GENERATE}"] = ids[-1]
        if f"user {GENERATE}" in joints:
            joints["user assistant"] = joints[f"user {GENERATE}"]
        return joints

    def own_system(self) -> str | None:
        """The system text that the template writes by itself where a conversation brings none; None if it does not.

        This engine never lets it in by accident: a conversation without a system message gets an empty one.
        """
        if not self.has_system:
            return None

        def written(messages: list[dict[str, str]]) -> str:
            return str(
                self._tokenizer.apply_chat_template(
                    messages, tokenize=False, add_generation_prompt=True, enable_thinking=False
                )
            )

        user = {"role": "user", "content": _sentinel(1)}
        head, _, rest = written([{"role": "system", "content": _sentinel(0)}, user]).partition(_sentinel(0))
        joint = rest.partition(_sentinel(1))[0]
        bare = written([user]).partition(_sentinel(1))[0]
        if not bare.startswith(head) or not bare.endswith(joint) or len(bare) <= len(head) + len(joint):
            return None
        return bare[len(head) : len(bare) - len(joint)]

    @cached_property
    def opening_ids(self) -> tuple[int, ...]:
        """What the tokenizer puts before any text by itself, such as one token that begins a text; mostly nothing."""
        whole, bare = (self._controls.encode("a", add_special_tokens=special).ids for special in (True, False))
        starts = (k for k in range(len(whole)) if whole[k : k + len(bare)] == bare)
        return tuple(whole[: next(starts, 0)])

    def text_ids(self, text: str) -> tuple[int, ...]:
        """Token ids of a text that is no message: nothing before it, nothing after it, no control tokens in it."""
        return self._encode_plain(text)

    def _encode_plain(self, text: str) -> tuple[int, ...]:
        return tuple(self._plain.encode(text, add_special_tokens=False).ids)

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
        merged: list[Message] = []
        for message in out:
            last = merged[-1].role if merged else "system" if self.has_system else ""
            if merged and last == message.role and (message.role == "assistant" or self.alternates):
                merged[-1] = Message(message.role, merged[-1].text + "\n\n" + message.text)
                continue
            if message.role == "assistant" and last != "user":  # it spoke first, and templates want a user before it
                merged.append(Message("user", ""))
            merged.append(message)
        if not merged or (merged[-1].role == "system" and not self._opens_after_system):
            merged.append(Message("user", ""))
        return merged

    def context_ids(self, messages: Sequence[Message], *, salt: bytes = b"") -> tuple[list[int], bytes]:
        """Token ids up to the point where the assistant begins to write, and the key of the conversation so far.

        Turns that this engine sampled under ``salt`` keep the tokens that were sampled; no text is tokenised again
        for them.
        """
        ids, key, _, before = self._written(messages, salt)
        return [*ids, *self._joints[f"{before} {GENERATE}"]], key

    def turn_ids(self, messages: Sequence[Message], *, salt: bytes = b"") -> tuple[list[int], list[tuple[int, int]]]:
        """Token ids of a conversation that has happened, and where the assistant's turns lie in them.

        Returns:
            Ids up to the last assistant turn, and one (start, stop) per assistant turn, in order. The last token of
            a sampled turn lies outside: it ends the turn, or was cut off before it was read.
        """
        ids, _, spans, _ = self._written(messages, salt)
        return ids[: spans[-1][1]] if spans else [], spans

    def _written(
        self, messages: Sequence[Message], salt: bytes
    ) -> tuple[list[int], bytes, list[tuple[int, int]], str]:
        ids: list[int] = []
        spans: list[tuple[int, int]] = []
        before, key = "", salt
        for message in self.normalise(messages):
            joint = self._joints[f"{before} {message.role}"]
            if before == "assistant" and ids and ids[-1] in self.end_ids and ids[-1] in joint:
                joint = joint[joint.index(ids[-1]) + 1 :]  # the end token was sampled and is already there
            ids += joint
            key = _chain(key, message)
            known = self.sampled.get(key) if message.role == "assistant" else None
            start = len(ids)
            ids += self._encode_text(message.text) if known is None else known
            if message.role == "assistant":
                spans.append((start, len(ids) - bool(known)))
            before = message.role
        return ids, key, spans, before

    def continuation_ids(self, text: str, *, include_end: bool) -> list[int]:
        """Token ids of ``text`` as the next assistant message, with the token that ends it where that counts."""
        ids = list(self._encode_text(text))
        return [*ids, self._end_id] if include_end else ids

    def remember(self, key: bytes, text: str, ids: Sequence[int]) -> None:
        """Keep the sampled tokens of a reply to the conversation ``key``."""
        self.sampled.put(_chain(key, Message("assistant", text)), ids)

    def decode(self, ids: Sequence[int]) -> str:
        """Text of sampled tokens, without control tokens."""
        return str(self._controls.decode(list(ids), skip_special_tokens=True))


class SampledTurns:
    """Sampled tokens by the content of the conversation they belong to; the oldest are forgotten first."""

    def __init__(self) -> None:
        self._ids: OrderedDict[bytes, bytes] = OrderedDict()

    def get(self, key: bytes) -> list[int] | None:
        """The tokens, if they are still known."""
        found = self._ids.get(key)
        return None if found is None else np.frombuffer(found, dtype=np.int32).tolist()

    def put(self, key: bytes, ids: Sequence[int]) -> None:
        """Keep the tokens of one turn."""
        self._ids[key] = np.asarray(ids, dtype=np.int32).tobytes()
        if len(self._ids) > _REMEMBERED:
            self._ids.popitem(last=False)


def _chain(key: bytes, message: Message) -> bytes:
    text = message.text.encode("utf-8", "surrogatepass")
    return hashlib.blake2b(key + message.role.encode() + b"\0" + text, digest_size=16).digest()


def _two_tokenizers(tokenizer: Any) -> tuple[Any, Any]:
    """One tokenizer for joints, which hold control tokens, and one for message text, in which nothing is one.

    Neither cuts or pads. For text, added tokens that are not marked special (such as thought tags) count as special
    too, so that they are read as the characters they are written with.
    """
    from tokenizers import Tokenizer

    controls = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
    content = json.loads(controls.to_str())
    content["added_tokens"] = [{**token, "special": True} for token in content["added_tokens"]]
    plain = Tokenizer.from_str(json.dumps(content))
    plain.encode_special_tokens = True
    for each in (controls, plain):
        each.no_truncation()
        each.no_padding()
    return controls, plain
