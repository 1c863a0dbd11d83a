"""Populations from files: our own records, tables of people, and the well-known public persona sets."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from pydantic import ValidationError

from multitudes.core.canonical import content_hash
from multitudes.core.errors import ConfigError, DataFormatError
from multitudes.core.records import ID_PATTERN, Persona, Population
from multitudes.core.seeds import derive_rng
from multitudes.core.toml import read_text
from multitudes.personas._layouts import LAYOUTS, BadField, Draft, Layout, recognise
from multitudes.personas._readers import READERS, Report, read_rows
from multitudes.personas.names import draw_names
from multitudes.personas.placement import near_duplicates

ID_LENGTH = 16


class _Found(NamedTuple):
    place: str
    draft: Draft


def load_population(path: str | Path, *, limit: int | None = None) -> Population:
    """The people of a TOML, JSON, JSONL, CSV or Parquet file.

    Whose layout it is, the columns tell (see ``_layouts``). Who has no id gets one from a hash of the content. Who
    has no name gets one from our lists, and ``provenance["name"]`` says ``drawn``; a text that mentions another
    name is left as it is. In sets whose rows are *uses* of a persona (dialogues, instructions) each persona counts
    once, and ``provenance["rows"]`` says how many rows it had.

    Args:
        path: The file.
        limit: At most this many people, from the beginning; the rest is not read.

    Raises:
        DataFormatError: With up to 20 findings in one message, each with its place, field, and what was expected.
        MissingExtra: For Parquet without pyarrow.
    """
    path = Path(path)
    if limit is not None and limit < 1:
        raise ConfigError("nobody asked for", where="limit", found=repr(limit), expected="an integer >= 1 or None")
    if (stored := _stored_population(path)) is not None:
        return stored.model_copy(update={"personas": stored.personas[:limit]})
    report = Report(path)
    found = _Collected(report, limit)
    for place, draft, layout in _drafts(path, report):
        if not found.add(place, draft, layout):
            break
    report.raise_if_any()
    if not found.people:
        raise DataFormatError(
            "no personas in the file",
            where=str(path),
            found="an empty file or a header alone",
            expected="at least one row",
            hint="known extensions: " + ", ".join(READERS),
        )
    personas = _finish(found, path.name, report)
    ids = [p.id for p in personas]
    return Population(
        id=path.name.split(".")[0] or "population",
        personas=personas,
        generator="given",
        near_duplicates=tuple((ids[i], ids[j]) for i, j in near_duplicates([p.text for p in personas])),
    )


def _stored_population(path: Path) -> Population | None:
    """A whole ``Population`` as the package writes it, with its dimensions and placements; None for other files."""
    if path.suffix.lower() != ".json":
        return None
    try:
        document = json.loads(read_text(path))
    except json.JSONDecodeError:
        return None  # reported with its place when the rows are read
    if not (isinstance(document, dict) and {"schema_version", "personas"} <= document.keys()):
        return None
    try:
        return Population.model_validate(document)
    except ValidationError as error:
        raise DataFormatError(
            "a stored population that breaks its rules", where=str(path), found=str(error)
        ) from error


def _drafts(path: Path, report: Report) -> Iterator[tuple[str, Draft, Layout]]:
    layout: Layout | None = None
    for place, data in read_rows(path, report):
        if layout is None:
            layout = recognise(data)
            if layout is None:
                raise DataFormatError(
                    "no layout of a persona file has these columns",
                    where=f"{path}, {place}",
                    found=", ".join(repr(c) for c in list(data)[:12]) or "no columns",
                    expected="one of the layouts " + ", ".join(known.name for known in LAYOUTS),
                    hint="name the column with the description 'text'",
                )
        try:
            for draft in layout.take(data):
                yield place, draft, layout
        except BadField as bad:
            report.add(place, bad.field, bad.found, bad.expected)


class _Collected:
    """People in the order of the file, each text and each id once."""

    def __init__(self, report: Report, limit: int | None) -> None:
        self.people: list[_Found] = []
        self.rows: list[int] = []
        self.layout: Layout = LAYOUTS[-1]
        self._report, self._limit = report, limit
        self._ids: dict[str, str] = {}
        self._texts: dict[str, int] = {}

    def add(self, place: str, draft: Draft, layout: Layout) -> bool:
        """Take one person in; False once ``limit`` is reached and another would follow."""
        self.layout = layout
        key = " ".join(f"{draft.name or ''} {draft.text}".split()).casefold()
        if (before := self._texts.get(key)) is not None:
            if layout.repeats:
                self.rows[before] += 1
            else:
                first = self.people[before].place
                self._report.add(place, "text", f"the same text as {first}", "a different person in each row")
            return True
        if self._limit is not None and len(self.people) >= self._limit:
            return False
        if draft.id is not None:
            if not ID_PATTERN.fullmatch(draft.id):
                self._report.add(place, "id", repr(draft.id[:60]), "1 to 80 letters, digits or . _ : -")
            elif draft.id in self._ids:
                self._report.add(place, "id", f"{draft.id!r}, as in {self._ids[draft.id]}", "an id of its own")
            self._ids.setdefault(draft.id, place)
        self._texts[key] = len(self.people)
        self.people.append(_Found(place, draft))
        self.rows.append(1)
        return True


def _finish(found: _Collected, source: str, report: Report) -> tuple[Persona, ...]:
    nameless = sum(f.draft.name is None for f in found.people)
    names = iter(draw_names(nameless, derive_rng("names of a file")))
    personas = []
    for (place, draft), rows in zip(found.people, found.rows, strict=True):
        if draft.record is not None:
            try:
                personas.append(Persona.model_validate(draft.record))
            except ValidationError as error:
                for e in error.errors():
                    report.add(place, ".".join(map(str, e["loc"])), repr(e["input"])[:60], e["msg"])
            continue
        provenance = {"source": source, "layout": found.layout.name, "place": place}
        if rows > 1:
            provenance["rows"] = str(rows)
        if draft.name is None:
            provenance["name"] = "drawn"
        personas.append(
            Persona(
                id=draft.id or content_hash([draft.name, draft.text, dict(draft.facts)], length=ID_LENGTH),
                name=draft.name or next(names),
                text=draft.text,
                facts=dict(draft.facts),
                weight=draft.weight,
                provenance=provenance,
            )
        )
    report.raise_if_any()
    return tuple(personas)
