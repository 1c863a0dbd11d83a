"""The shapes in which public persona sets come, recognised by their columns and never by a file's name.

| layout | columns | a person is |
|---|---|---|
| multitudes | ``schema_version``, ``id``, ``name``, ``text`` | one of our own records, as stored |
| persona-chat | ``user 1 personas``, ``user 2 personas`` (or ``User 1 Persona`` …) | either side's sentences |
| persona-chat messages | ``meta`` with ``personas`` by side | either side's sentences |
| agent | ``persona`` that is a table with a ``name`` | that table; long and nested fields become the text |
| nemotron | ``uuid``, ``persona``, ``…_persona``, demographics | ``persona``; the demographics are facts |
| hub | ``input persona`` | that text; rows are uses of it, so it may repeat |
| named | ``persona``, ``name`` | that text |
| single | ``persona`` | that text |
| plain | ``text``, perhaps ``id``, ``name``, ``weight`` | that text; every other column is a fact |
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from multitudes.personas._readers import MAX_FIELD

Take = Callable[[dict[str, Any]], Iterator["Draft"]]

_HALF_PAIR = re.compile("[\ud800-\udfff]")
_FACT_WORDS = 12  # longer fields of an agent's table are prose


class BadField(Exception):
    """A field that cannot be used."""

    def __init__(self, field: str, found: str, expected: str) -> None:
        super().__init__(field)
        self.field, self.found, self.expected = field, found, expected


class Draft(NamedTuple):
    """One person as a file tells of them, before an id or a name is added."""

    text: str
    id: str | None = None
    name: str | None = None
    facts: Mapping[str, str] = {}
    weight: float = 1.0
    record: dict[str, Any] | None = None


class Layout(NamedTuple):
    """How one kind of file says who a person is."""

    name: str
    fits: Callable[[dict[str, Any]], bool]
    take: Take
    repeats: bool = False  # rows are uses of a persona, so one persona may have many rows


def fold(column: str) -> str:
    """Column names are compared without case, and with spaces for underscores."""
    return " ".join(column.replace("_", " ").split()).casefold()


def recognise(row: dict[str, Any]) -> Layout | None:
    """The layout of a file, judged by its first row."""
    folded = {fold(k): v for k, v in row.items()}
    return next((layout for layout in LAYOUTS if layout.fits(folded)), None)


def _get(row: dict[str, Any], *columns: str) -> tuple[str, Any]:
    """Name and value of the first of ``columns`` (folded) that is there."""
    for column in columns:
        for name, value in row.items():
            if fold(name) == column:
                return name, value
    raise BadField(columns[0], "no such field", "a text")


def _plain(name: str, value: Any) -> str | None:
    """A value as text; None where there is nothing."""
    if isinstance(value, list | tuple) and all(isinstance(v, str | int | float) for v in value):
        value = "; ".join(str(v) for v in value)
    if isinstance(value, bool | int | float):
        value = str(value)
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    if not isinstance(value, str):
        raise BadField(name, f"a {type(value).__name__}", "a text, a number or a list of texts")
    if len(value) > MAX_FIELD:
        raise BadField(name, f"{len(value):,} characters", f"at most {MAX_FIELD:,}")
    if _HALF_PAIR.search(value):
        raise BadField(name, "half of a surrogate pair", "characters that UTF-8 can write")
    return value


def _text(row: dict[str, Any], *columns: str) -> str:
    name, value = _get(row, *columns)
    if (text := _plain(name, value)) is None:
        raise BadField(name, "nothing", "a text")
    return text


def _optional(row: dict[str, Any], *columns: str) -> str | None:
    found = [n for n in row if fold(n) in columns]
    return _plain(found[0], row[found[0]]) if found else None


def _facts(row: dict[str, Any], skip: Callable[[str], bool]) -> dict[str, str]:
    facts = {}
    for name, value in row.items():
        if not skip(fold(name)) and (text := _plain(name, value)) is not None:
            facts[name] = text
    return facts


def _sentences(value: Any, name: str) -> str:
    """Sentences of one person: a list, or a text with one a line."""
    parts = value if isinstance(value, list | tuple) else str(value or "").split("\n")
    text = " ".join(str(p).strip() for p in parts if str(p).strip())
    if not text:
        raise BadField(name, "nothing", "sentences, as a list or one a line")
    return _plain(name, text) or text


def _record(row: dict[str, Any]) -> Iterator[Draft]:
    yield Draft(text=_text(row, "text"), id=_text(row, "id"), name=_text(row, "name"), record=row)


def _chat_columns(row: dict[str, Any]) -> Iterator[Draft]:
    for side in ("1", "2"):
        name, value = _get(row, f"user {side} personas", f"user {side} persona")
        yield Draft(text=_sentences(value, name))


def _chat_messages(row: dict[str, Any]) -> Iterator[Draft]:
    _, meta = _get(row, "meta")
    sides = meta.get("personas") if isinstance(meta, dict) else None
    if not isinstance(sides, dict) or not sides:
        raise BadField("meta.personas", repr(sides)[:40], "a table of sentence lists by speaker")
    for side, value in sides.items():
        yield Draft(text=_sentences(value, f"meta.personas.{side}"))


def _agent(row: dict[str, Any]) -> Iterator[Draft]:
    _, table = _get(row, "persona")
    if not isinstance(table, dict):
        raise BadField("persona", f"a {type(table).__name__}", "a table, as in the first row")
    facts: dict[str, str] = {}
    prose: list[str] = []
    for name, value in table.items():
        short = isinstance(value, int | float) or (isinstance(value, str) and len(value.split()) <= _FACT_WORDS)
        if short and name != "name":
            facts.update(_facts({name: value}, lambda _: False))
        elif isinstance(value, dict) and isinstance(value.get("title"), str):  # occupation: {title, …}
            facts[name] = value["title"]
            prose += _leaves({k: v for k, v in value.items() if k != "title"})
        elif name != "name":
            prose += _leaves(value)
    text = " ".join(p if p.endswith((".", "!", "?")) else p + "." for p in prose)
    if not text:  # only facts: they are all there is to say
        text = " ".join(f"{name.replace('_', ' ').capitalize()}: {value}." for name, value in facts.items())
        facts = {}
    if not text:
        raise BadField("persona", "only a name", "fields that say who the person is")
    yield Draft(text=_plain("persona", text) or text, name=_text(table, "name"), facts=facts)


def _leaves(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        for v in value:
            yield from _leaves(v)
    elif value is not None and str(value).strip():
        yield str(value).strip()


def _nemotron(row: dict[str, Any]) -> Iterator[Draft]:
    def skip(column: str) -> bool:
        return column == "uuid" or column.endswith("persona") or column in _NARRATIVE

    yield Draft(text=_text(row, "persona"), id=_optional(row, "uuid"), facts=_facts(row, skip))


# long essays beside the persona text: telling all of them would fill a small model's context many times over
_NARRATIVE = {
    "cultural background", "skills and expertise", "skills and expertise list", "hobbies and interests",
    "hobbies and interests list", "career goals and ambitions",
}  # fmt: skip


def _persona_column(*columns: str) -> Take:
    def take(row: dict[str, Any]) -> Iterator[Draft]:
        yield Draft(text=_text(row, *columns), id=_optional(row, "id", "uuid"), name=_optional(row, "name"))

    return take


def _plain_columns(row: dict[str, Any]) -> Iterator[Draft]:
    facts = _facts(row, lambda c: c in ("id", "name", "text", "weight", "facts"))
    nested = [(n, v) for n, v in row.items() if fold(n) == "facts" and v]
    for name, table in nested:
        if not isinstance(table, dict):
            raise BadField(name, repr(table)[:40], "a table")
        facts.update(_facts(table, lambda _: False))
    weight = _optional(row, "weight")
    try:
        number = 1.0 if weight is None else float(weight)
    except ValueError:
        raise BadField("weight", repr(weight), "a number above 0") from None
    if not 0 < number < float("inf"):
        raise BadField("weight", repr(weight), "a number above 0")
    yield Draft(_text(row, "text"), _optional(row, "id"), _optional(row, "name"), facts, number)


LAYOUTS = (
    Layout("multitudes", lambda r: {"schema version", "id", "name", "text"} <= r.keys(), _record),
    Layout(
        "persona-chat",
        lambda r: (
            {"user 1 personas", "user 2 personas"} <= r.keys() or {"user 1 persona", "user 2 persona"} <= r.keys()
        ),
        _chat_columns,
        repeats=True,
    ),
    Layout(
        "persona-chat messages",
        lambda r: isinstance(r.get("meta"), dict) and "personas" in r["meta"],
        _chat_messages,
        repeats=True,
    ),
    Layout("agent", lambda r: isinstance(r.get("persona"), dict), _agent),
    Layout(
        "nemotron",
        lambda r: {"uuid", "persona"} <= r.keys() and any(c.endswith(" persona") for c in r),
        _nemotron,
    ),
    Layout("hub", lambda r: "input persona" in r, _persona_column("input persona"), repeats=True),
    Layout("named", lambda r: {"persona", "name"} <= r.keys(), _persona_column("persona")),
    Layout("single", lambda r: "persona" in r, _persona_column("persona")),
    Layout("plain", lambda r: "text" in r, _plain_columns),
)
