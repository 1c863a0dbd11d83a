"""What a capability check is made of: multiple-choice items and running text, shipped or read by path.

Shipped are 200 easy items and about 5,000 tokens of prose in our own words: enough to see that nothing broke. For a
claim, give a public set: ARC, HellaSwag, PIQA, BoolQ and MMLU as JSON lines, and any text.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

from multitudes.core.errors import ConfigError, DataFormatError, GaugeError
from multitudes.models.base import Bare

WINDOW = 256  # tokens of running text that are read by themselves
Form = Literal["auto", "question", "continue"]


@dataclass(frozen=True, slots=True)
class Item:
    """A question with choices.

    Attributes:
        id: Name.
        text: Everything before the choice, ready to be continued.
        choices: Two or more texts.
        answer: Index of the right one.
        source: Set it belongs to.
    """

    id: str
    text: str
    choices: tuple[str, ...]
    answer: int
    source: str = ""

    @property
    def chance(self) -> float:
        """Share of such items that guessing gets right."""
        return 1 / len(self.choices)


@cache
def shipped_items() -> tuple[Item, ...]:
    """The items of the package.

    >>> len(shipped_items())
    200
    """
    return parse_items(_shipped("items.jsonl"), source="shipped")


@cache
def shipped_prose() -> str:
    """The prose of the package."""
    return _shipped("prose.txt")


def _shipped(name: str) -> str:
    return (files(__package__) / "data" / "capability" / name).read_text(encoding="utf-8")


def read_items(path: str | Path, *, form: Form = "auto") -> tuple[Item, ...]:
    """Items of a file with one JSON object a line; ``.gz`` is unpacked.

    Args:
        path: Lines with ``id``, ``question``, ``choices``, ``answer`` and, where there is one, ``passage``.
        form: How a question becomes text. ``question``: passage, ``Question: …``, ``Answer:``. ``continue``: as it
            stands, to be gone on with. ``auto``: ``continue`` for HellaSwag and for questions that end in ``Answer:``
            already, else ``question``.

    Raises:
        DataFormatError: A line that is no item, with its number; an empty file.
    """
    file = Path(path)
    try:
        data = file.read_bytes()
        text = (gzip.decompress(data) if file.suffix == ".gz" else data).decode("utf-8")
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise DataFormatError("cannot be read", where=str(file), found=str(error)) from error
    return parse_items(text, source=file.name.partition(".")[0], form=form)


def read_prose(path: str | Path) -> str:
    """Running text of a file.

    Raises:
        DataFormatError: A file that is no UTF-8 text.
    """
    try:
        return Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataFormatError("cannot be read", where=str(path), found=str(error)) from error


def parse_items(text: str, *, source: str, form: Form = "auto") -> tuple[Item, ...]:
    r"""Items of JSON lines. Arguments and errors as for ``read_items``.

    >>> parse_items('{"id": "a", "question": "2 + 2?", "choices": ["4", "5"], "answer": 0}', source="mine")[0].text
    'Question: 2 + 2?\nAnswer:'
    """
    out = []
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip():
            out.append(_item(line, where=f"{source}:{number}", source=source, form=form))
    if not out:
        raise DataFormatError("no items", where=source, expected="one JSON object a line")
    ids = [item.id for item in out]
    if len(set(ids)) < len(ids):
        double = next(i for i in ids if ids.count(i) > 1)
        raise DataFormatError("ids of items must be unique", where=source, found=repr(double))
    return tuple(out)


def _item(line: str, *, where: str, source: str, form: Form) -> Item:
    try:
        row: Any = json.loads(line)
    except ValueError as error:
        raise DataFormatError("not a JSON object", where=where, found=str(error)) from error
    row = row if isinstance(row, dict) else {}
    choices, answer = row.get("choices"), row.get("answer")
    whole = isinstance(row.get("id"), str) and isinstance(row.get("question"), str)
    if not whole or not isinstance(choices, list) or not all(isinstance(c, str) and c.strip() for c in choices):
        raise DataFormatError(
            "not an item", where=where, found=line[:80], expected="id, question, a list of texts as choices, answer"
        )
    if len(set(choices)) < max(2, len(choices)):
        raise DataFormatError("choices must be two or more, all different", where=where, found=repr(choices)[:120])
    if not isinstance(answer, int) or isinstance(answer, bool) or not 0 <= answer < len(choices):
        raise DataFormatError(
            "the answer is none of the choices", where=where, found=repr(answer), expected=f"0 to {len(choices) - 1}"
        )
    text = _text(row, form if form != "auto" else _guessed(row))
    return Item(row["id"], text, tuple(choices), answer, source)


def _guessed(row: dict[str, Any]) -> Form:
    ready = row["question"].rstrip().endswith("Answer:") or row["id"].startswith("hellaswag")
    return "continue" if ready else "question"


def _text(row: dict[str, Any], form: Form) -> str:
    question = str(row["question"]).strip()
    if form == "continue":
        return question
    passage = row.get("passage")
    if passage:
        question += "" if question.endswith("?") else "?"
    return (f"{passage}\n" if passage else "") + f"Question: {question}\nAnswer:"


def spread(n: int, wanted: int | None) -> list[int]:
    """``wanted`` of ``n`` numbers, evenly spread; all of them if None or if there are fewer.

    >>> spread(10, 3)
    [1, 5, 8]
    """
    if wanted is None or wanted >= n:
        return list(range(n))
    return [int((k + 0.5) * n / wanted) for k in range(wanted)]


def windows_of(template: Any, prose: str, *, tokens: int | None = None) -> list[Bare]:
    """Running text in windows of ``WINDOW`` tokens without overlap; what does not fill one is left out.

    A window stands alone: no chat, nothing before it but what the tokenizer itself puts before a text. Where it puts
    nothing, the first token of a window has nothing to be predicted from and is not scored, so that a window scores
    255 tokens.

    Args:
        template: Chat template of the model: it has the tokenizer.
        prose: The text.
        tokens: Take so many, in windows spread evenly over the text; all if None.

    Raises:
        GaugeError: A text shorter than one window.
    """
    opening, ids = template.opening_ids, template.text_ids(prose)
    n = len(ids) // WINDOW
    if not n:
        raise GaugeError(
            "too little text for a perplexity", where="prose", found=f"{len(ids)} tokens", expected=f">= {WINDOW}"
        )
    chosen = spread(n, None if tokens is None else max(1, tokens // WINDOW))
    return [Bare((*opening, *ids[WINDOW * k : WINDOW * (k + 1)]), max(1, len(opening))) for k in chosen]


def choices_of(template: Any, items: Sequence[Item]) -> list[list[Bare]]:
    """Each choice after its text, a space between. The tokens of the choice are those that the text alone lacks.

    Text and choice are tokenised together and cut where the text alone ends: the rule of lm-eval, whose numbers are
    what people compare with.

    Raises:
        ConfigError: A choice that adds no token.
    """
    opening = template.opening_ids
    out: list[list[Bare]] = []
    for item in items:
        start = max(1, len(opening) + len(template.text_ids(item.text)))
        rows = [Bare((*opening, *template.text_ids(f"{item.text} {c}")), start) for c in item.choices]
        if any(len(row.ids) <= start for row in rows):
            raise ConfigError("a choice adds no token", where=item.id, found=repr(item.choices)[:120])
        out.append(rows)
    return out
