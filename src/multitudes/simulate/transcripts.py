"""Anybody's transcripts as conversations: chat JSONL, ShareGPT and ConvLab files meet the same gauges as our runs.

The schema is told from the content, not from the file's name; each may come as JSON lines or as one JSON list, plain
or gzipped. Nothing is mended on the way: a file with findings is refused with up to 20 of them in one message, or
read without the dialogues they are in (``skip_invalid``).

| code | finding | code | warning |
|---|---|---|---|
| E01 | not JSON | W01 | one speaker twice in a row |
| E02 | no messages | W02 | an unfilled placeholder such as "[your name]" |
| E03 | a role nobody knows | W03 | HTML in a text |
| E04 | an empty text | W04 | a summary row among the turns |
| E05 | no turn of a simulated person | W05 | the target speaks first |
| E06 | an id twice | W06 | the same words as an earlier dialogue |
| E07 | another schema than the file's first record | | |
| E08 | not UTF-8 | | |
| E09 | content parts that are not text (parts of text are joined) | | |

Who is the simulated person? ``user`` or ``human`` where the other side is an assistant. Between two people (labels
such as ``A`` and ``B``) each is one in turn: the dialogue enters once per speaker, as that speaker's view, and every
view names the dialogue as its ``source``, which is what intervals resample.

What ``multitudes export`` wrote is read, too: ``persona_id``, ``scenario_id`` and ``replicate`` keep their meaning.
"""

from __future__ import annotations

import gzip
import json
import re
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from multitudes.core.canonical import content_hash
from multitudes.core.errors import ConfigError, DataFormatError, did_you_mean
from multitudes.core.records import Conversation, Turn
from multitudes.simulate._dialogues import (
    SCHEMAS,
    Dialogue,
    Finding,
    TranscriptFormat,
    formats_of,
    is_user,
    parse_dialogue,
    persona_id,
    persons,
)

MAX_FINDINGS = 20  # as many as a reader mends in one go

_PLACEHOLDER = re.compile(
    r"\[(?:[^\]\n]{0,30}\bname\b|your |insert |user ?\d)[^\]\n]{0,30}\]|\{\{?\w{0,20}name\}?\}", re.IGNORECASE
)
_HTML = re.compile(
    r"</?(?:br|p|div|span|a|b|i|u|em|strong|ul|ol|li|img|table)\b[^<>]{0,200}>|&(?:nbsp|amp|lt|gt|quot|#\d{1,5});"
)
_WARNINGS = {
    "W01": "one speaker twice in a row",
    "W02": "an unfilled placeholder",
    "W03": "HTML in a text",
    "W04": "a summary row among the turns",
    "W05": "the target speaks first",
    "W06": "the same words as an earlier dialogue",
}


@dataclass(frozen=True, slots=True)
class Warned:
    """A peculiarity of the data that was read as it is: in how many dialogues, and where first."""

    code: str
    what: str
    n_dialogues: int
    first: str


@dataclass(frozen=True, slots=True)
class Transcripts:
    """What a file holds.

    Attributes:
        conversations: One per simulated person and dialogue, in the order of the file.
        format: The schema it was read by.
        n_dialogues: Dialogues that were read.
        skipped: Dialogues that were dropped for a finding, with ``skip_invalid``.
        findings: The first of those findings.
        warnings: Peculiarities with counts, by code.
    """

    conversations: tuple[Conversation, ...]
    format: TranscriptFormat
    n_dialogues: int
    skipped: int
    findings: tuple[Finding, ...]
    warnings: tuple[Warned, ...]


def read_transcripts(
    path: str | Path,
    *,
    format: TranscriptFormat | None = None,
    people: Sequence[str] | None = None,
    skip_invalid: bool = False,
) -> Transcripts:
    """The conversations of a file of transcripts.

    Args:
        path: JSON lines or one JSON list; gzip is recognised by content.
        format: ``chat``, ``sharegpt`` or ``convlab``; None tells it from the first record.
        people: Labels of those who count as simulated persons, such as ``["assistant"]`` to measure the other side.
        skip_invalid: Drop dialogues with findings and count them.

    Raises:
        DataFormatError: The file is missing, holds no dialogue or has findings; names up to 20 of them.
        ConfigError: An unknown format, or an empty list of people.
    """
    if format is not None and format not in SCHEMAS:
        raise ConfigError("unknown format", where="format", found=repr(format), hint=did_you_mean(format, SCHEMAS))
    if people is not None and (isinstance(people, str) or not people):
        raise ConfigError("nobody is simulated", where="people", found=repr(people), expected="a list of labels")
    source = Path(path)
    if not source.is_file():
        raise DataFormatError("no such file", where=str(source), expected="a file of transcripts")
    try:
        return _Reader(source, format, people, skip_invalid).read()
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DataFormatError("a damaged gzip file", where=str(source), found=str(error)) from error


@dataclass
class _Reader:
    """One pass over a file: collects conversations, findings and warnings."""

    path: Path
    format: TranscriptFormat | None
    people: Sequence[str] | None
    skip_invalid: bool
    conversations: list[Conversation] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    n_warned: Counter[str] = field(default_factory=Counter)
    first_warned: dict[str, str] = field(default_factory=dict)
    ids: set[str] = field(default_factory=set)
    words: set[str] = field(default_factory=set)
    skipped: int = 0

    def read(self) -> Transcripts:
        for n, (where, record) in enumerate(_records(self.path)):
            found = [record] if isinstance(record, Finding) else self._take(record, where, n)
            self.skipped += bool(found)
            self.findings += found[: MAX_FINDINGS - len(self.findings)]
            if len(self.findings) == MAX_FINDINGS and not self.skip_invalid:
                break
        if self.findings and not (self.skip_invalid and self.conversations):
            raise _error(self.path, self.findings)
        if self.format is None or not self.conversations:
            raise DataFormatError("no dialogues", where=str(self.path), expected="at least one dialogue")
        return Transcripts(
            conversations=tuple(self.conversations),
            format=self.format,
            n_dialogues=len(self.ids),
            skipped=self.skipped,
            findings=tuple(self.findings),
            warnings=tuple(
                Warned(code, _WARNINGS[code], n, self.first_warned[code]) for code, n in sorted(self.n_warned.items())
            ),
        )

    def _take(self, record: Any, where: str, n: int) -> list[Finding]:
        """Add the record's conversations, or say what is wrong with it."""
        if self.format is None:
            self.format = next(iter(formats_of(record)), None)
        spare_id = f"{self.path.name.split('.')[0]}-{n:06d}"
        dialogue = parse_dialogue(record, self.format, where=where, spare_id=spare_id)
        if isinstance(dialogue, list):
            return dialogue
        if dialogue.id in self.ids:
            return [Finding("E06", where, "/id", repr(dialogue.id), "an id that no other dialogue has")]
        labels = persons(dialogue.messages, self.people)
        if not labels:
            there = ", ".join(sorted({repr(m.label) for m in dialogue.messages})) or "nobody"
            return [
                Finding("E05", where, "", f"turns of {there}", f"a turn of {' or '.join(self.people or ['user'])}")
            ]
        self.ids.add(dialogue.id)
        self.conversations += [_conversation(dialogue, label, only=len(labels) == 1) for label in labels]
        for code in self._peculiarities(dialogue, labels):
            self.n_warned[code] += 1
            self.first_warned.setdefault(code, where)
        return []

    def _peculiarities(self, dialogue: Dialogue, labels: Sequence[str]) -> Iterator[str]:
        texts = [m.text for m in dialogue.messages]
        if any(a.label == b.label for a, b in pairwise(dialogue.messages)):
            yield "W01"
        if any(("[" in t or "{" in t) and _PLACEHOLDER.search(t) for t in texts):
            yield "W02"
        if any(("<" in t or "&" in t) and _HTML.search(t) for t in texts):
            yield "W03"
        if any(t.strip() == "OVERALL" for t in texts):
            yield "W04"
        if dialogue.messages[0].label not in labels:
            yield "W05"
        words = content_hash([re.findall(r"\w+", t.casefold()) for t in texts], length=16)
        if words in self.words:
            yield "W06"
        self.words.add(words)


def _conversation(dialogue: Dialogue, label: str, *, only: bool) -> Conversation:
    meta: dict[str, Any] = {"speaker": label, "where": dialogue.where, "record": dialogue.record}
    if dialogue.aside:
        meta["aside"] = dialogue.aside
    scenario, replicate = dialogue.record.get("scenario_id"), dialogue.record.get("replicate")
    return Conversation(
        id=dialogue.id if only and is_user(label) else f"{dialogue.id}/{label}",
        persona_id=persona_id(dialogue.record, label),
        scenario_id=scenario if isinstance(scenario, str) else None,
        replicate=replicate if type(replicate) is int else 0,
        turns=tuple(Turn(speaker="user" if m.label == label else "target", text=m.text) for m in dialogue.messages),
        source=dialogue.id,
        meta=meta,
    )


def _error(path: Path, findings: Sequence[Finding]) -> DataFormatError:
    n = len(findings)
    head = f"the first {n} problems" if n == MAX_FINDINGS else f"{n} problem{'s' * (n > 1)}"
    return DataFormatError(
        "\n".join([head, *(f"  {f}" for f in findings)]),
        where=str(path),
        hint="mend the file, or drop these dialogues with skip_invalid=True (--skip-invalid)",
    )


# --- files --------------------------------------------------------------------------------------------------


def _records(path: Path) -> Iterator[tuple[str, Any]]:
    """Each record with its place, or a finding in the place of what could not be read."""
    with path.open("rb") as raw:
        packed = raw.read(2) == b"\x1f\x8b"
    with gzip.open(path, "rb") if packed else path.open("rb") as lines:
        is_list: bool | None = None
        for number, line in enumerate(lines, start=1):
            content = line.removeprefix(b"\xef\xbb\xbf").strip()
            if not content:
                continue
            if is_list is None:
                is_list = content.startswith(b"[")
            if is_list:
                yield from _list_items(content + lines.read(), path)
            else:
                yield f"{path.name}:{number}", _parse(content, f"{path.name}:{number}")


def _list_items(data: bytes, path: Path) -> Iterator[tuple[str, Any]]:
    whole = _parse(data, path.name)
    items = whole if isinstance(whole, list) else [whole]
    yield from ((f"{path.name}[{i}]", item) for i, item in enumerate(items))


def _parse(data: bytes, where: str) -> Any:
    try:
        return json.loads(data.decode())
    except UnicodeDecodeError as error:
        return Finding("E08", where, "", f"byte 0x{data[error.start]:02x} at {error.start}", "UTF-8")
    except json.JSONDecodeError as error:
        return Finding("E01", where, "", f"{error.msg} at column {error.colno}", "a JSON value")
