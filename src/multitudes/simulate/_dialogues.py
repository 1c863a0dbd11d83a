"""One record of a transcript file: from JSON to messages with speakers, or findings that say why not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

TranscriptFormat = Literal["chat", "sharegpt", "convlab"]


class Schema(NamedTuple):
    """Under which keys a format keeps its messages, who speaks, what was said and the dialogue's id."""

    messages: str
    role: str
    text: str
    id: str


SCHEMAS: dict[TranscriptFormat, Schema] = {
    "chat": Schema("messages", "role", "content", "id"),
    "sharegpt": Schema("conversations", "from", "value", "id"),
    "convlab": Schema("turns", "speaker", "utterance", "dialogue_id"),
}

_USER = frozenset({"user", "human"})
_TARGET = frozenset({"assistant", "gpt", "chatgpt", "model", "bot", "ai"})
_ASIDE = frozenset({"system", "developer", "tool", "function", "observation", "function_call", "tool_call"})

_HINTS = {
    "E01": "write one JSON object a line, or one JSON list",
    "E02": "give the dialogue a non-empty list of messages, or drop it",
    "E03": "use user and assistant, or two labels of your own",
    "E04": "drop the message, or read with skip_invalid",
    "E05": "name the label of the simulated person with people=[...] (--speakers)",
    "E06": "make ids unique",
    "E07": "put each schema into a file of its own",
    "E08": "save the file as UTF-8",
    "E09": "replace the part by a text that describes it, or read with skip_invalid",
}


@dataclass(frozen=True, slots=True)
class Finding:
    """What is wrong in one place of a file.

    Attributes:
        code: E01 to E09.
        where: File and line, or file and index in the list.
        pointer: JSON pointer within the record; empty for the record itself.
        found: What is there.
        expected: What would be right.
    """

    code: str
    where: str
    pointer: str
    found: str
    expected: str

    def __str__(self) -> str:
        place = f"{self.where} {self.pointer}" if self.pointer else self.where
        return f"{place}: {self.code} found {self.found}; expected {self.expected}; {_HINTS[self.code]}"


class Said(NamedTuple):
    """One message: its label as written, and its text."""

    label: str
    text: str


class Dialogue(NamedTuple):
    """One dialogue of a file.

    Attributes:
        id: The file's id, or one made from its name and position.
        where: File and line, or file and index.
        messages: What was said.
        aside: System prompts and tool messages, each with its position; part of no conversation.
        record: Everything else the record holds.
    """

    id: str
    where: str
    messages: tuple[Said, ...]
    aside: tuple[dict[str, Any], ...]
    record: dict[str, Any]


def formats_of(record: Any) -> list[TranscriptFormat]:
    """The formats whose key for messages the record has."""
    return [name for name, s in SCHEMAS.items() if isinstance(record, Mapping) and s.messages in record]


def parse_dialogue(
    record: Any, format: TranscriptFormat | None, *, where: str, spare_id: str
) -> Dialogue | list[Finding]:
    """The dialogue of ``record``, or what is wrong with it; ``format`` None means that none has been told yet."""
    known = formats_of(record)
    if format is None or format not in known:
        wanted = SCHEMAS[format].messages if format else "messages, conversations or turns"
        shown = f"keys {', '.join(map(repr, list(record)[:6]))}" if isinstance(record, Mapping) else _kind(record)
        return [Finding("E07" if known else "E02", where, "", shown, f"an object with {wanted}")]
    schema = SCHEMAS[format]
    said, found = _messages(record[schema.messages], schema, where)
    if found:
        return found
    aside = _ASIDE - {"system"} if format == "convlab" else _ASIDE  # ConvLab calls the target "system"
    talk = tuple(m for m in said if m.label.casefold() not in aside)
    if strange := _strange_label(talk, format):
        pointer = f"/{schema.messages}/{[m.label for m in said].index(strange)}/{schema.role}"
        return [Finding("E03", where, pointer, repr(strange), "user, assistant, system, tool or two labels")]
    return Dialogue(
        id=str(record.get(schema.id) or record.get("id") or spare_id),
        where=where,
        messages=talk,
        aside=tuple(
            {"at": i, "role": m.label, "text": m.text} for i, m in enumerate(said) if m.label.casefold() in aside
        ),
        record={k: v for k, v in record.items() if k not in (schema.messages, schema.id)},
    )


def persons(talk: Sequence[Said], people: Sequence[str] | None) -> list[str]:
    """Labels of the simulated persons: those that ``people`` names, else the user, else both of two people."""
    labels = list(dict.fromkeys(m.label for m in talk))
    if people is not None:
        wanted = {p.casefold() for p in people}
        return [label for label in labels if label.casefold() in wanted]
    users = [label for label in labels if is_user(label)]
    return users or [label for label in labels if label.casefold() not in _TARGET | {"system"}]


def is_user(label: str) -> bool:
    """Whether the label means the person who talks to an assistant."""
    return label.casefold() in _USER


def persona_id(record: Mapping[str, Any], label: str) -> str | None:
    """Who ``label`` is, where the file says so: by a map from labels, else by the id of the user's person."""
    meta = record.get("meta")
    inner: Mapping[str, Any] = meta if isinstance(meta, Mapping) else {}
    for ids in (record.get("persona_ids"), inner.get("persona_ids")):
        if isinstance(ids, Mapping) and ids.get(label) is not None:
            return str(ids[label])
    keys = (record.get("persona_id"), record.get("user_id"), inner.get("user_id"), inner.get("seeker"))
    named = keys if is_user(label) else ()
    return next((str(value) for value in named if isinstance(value, str | int)), None)


def _kind(value: Any) -> str:
    return "an empty list" if value == [] else type(value).__name__


def _messages(value: Any, schema: Schema, where: str) -> tuple[list[Said], list[Finding]]:
    if not isinstance(value, list) or not value:
        return [], [Finding("E02", where, f"/{schema.messages}", _kind(value), "a list of messages")]
    said: list[Said] = []
    found: list[Finding] = []
    for i, item in enumerate(value):
        pointer = f"/{schema.messages}/{i}"
        if not isinstance(item, Mapping) or schema.role not in item or schema.text not in item:
            other = isinstance(item, Mapping) and any(s.role in item and s.text in item for s in SCHEMAS.values())
            shown = f"keys {', '.join(map(repr, item))}" if isinstance(item, Mapping) else _kind(item)
            code = "E07" if other else "E02"
            found.append(Finding(code, where, pointer, shown, f"{schema.role} and {schema.text}"))
            continue
        label, content = str(item[schema.role]), item[schema.text]
        text, pointer = _text(content), f"{pointer}/{schema.text}"
        if text is None:
            found.append(Finding("E09", where, pointer, _parts(content), "a text or parts of text"))
        elif not text.strip() and label.casefold() not in _ASIDE:
            found.append(Finding("E04", where, pointer, repr(content), "a text"))
        else:
            said.append(Said(label, text))
    return said, found


def _text(content: Any) -> str | None:
    """The text of a message; parts of text are joined by line breaks; None where something is not text."""
    if isinstance(content, list) and all(isinstance(p, Mapping) and isinstance(p.get("text"), str) for p in content):
        return "\n".join(p["text"] for p in content)
    return content if isinstance(content, str) else "" if content is None else None


def _parts(content: Any) -> str:
    if not isinstance(content, list):
        return _kind(content)
    kinds = {str(p.get("type", "object")) if isinstance(p, Mapping) else _kind(p) for p in content}
    return "parts of type " + ", ".join(sorted(kinds))


def _strange_label(talk: Sequence[Said], format: TranscriptFormat) -> str | None:
    """A label that is neither of a known pair nor one of just two of the file's own."""
    labels = dict.fromkeys(m.label for m in talk)
    known = _USER | _TARGET | ({"system"} if format == "convlab" else set())
    own = [label for label in labels if label.casefold() not in known]
    model_name = format == "sharegpt" and len(own) == 1 and all(is_user(x) for x in labels if x not in own)
    fine = not own or len(own) == len(labels) <= 2 or model_name
    return None if fine else own[-1]
