"""What a text about a person must not say: numbers of a scale, labels, talk of a test, an assistant's voice."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from multitudes.core.records import Dimension
from multitudes.personas.generators.base import MAX_WORDS

MIN_WORDS = 8

_NUMBER = r"(?:\d+(?:[.,]\d+)?|zero|one|two|three|four|five|six|seven|eight|nine|ten)"
_SCALE = r"(?:scales?|scores?|scored|ratings?|rated|percent|percentiles?|points?|rungs?|levels?)"
_NEAR_SCALE = re.compile(
    rf"\b{_NUMBER}\W+(?:\w+\W+){{0,2}}{_SCALE}\b|\b{_SCALE}\W+(?:\w+\W+){{0,2}}{_NUMBER}\b"
    rf"|\b{_NUMBER} out of {_NUMBER}\b|\d\s*%|\b\d+\s*/\s*\d+\b",
    re.IGNORECASE,
)
_ALLOWED = re.compile(
    r"(?:[$€£]\s?\d[\d.,]*)|(?:\d[\d.,]*\s?(?:euros?|dollars?|pounds?|cents?)\b)"  # money
    r"|(?:\b\d{1,2}(?::\d\d|\s?[ap]\.?m\b))|(?:\b(?:1[89]|20)\d\d\b)"  # times, years
    r"|(?:\b\d{1,3}[ -]?(?:years?|year-old|months?|weeks?|days?|hours?|minutes?|km|kilomet\w+|miles?)\b)"
    r"|(?:\b(?:aged?|turned|you are|you're|you’re)\s\d{1,3}\b)"  # ages
    r"|(?:(?<![\d.,])\b(?:[1-9]|1[0-2])\b(?![.,]\d))",  # small counts
    re.IGNORECASE,
)
_LABELS = re.compile(r"\b(?:very|extremely|moderately|fairly) (?:high|low)\b", re.IGNORECASE)
_INSTRUMENT = re.compile(
    r"\b(?:surveys?|questionnaires?|likert|personality test|rating scale|on a scale|dimensions?"
    r"|traits? (?:of|is|are|include)|persona|answer \d)\b",
    re.IGNORECASE,
)
_ASSISTANT = re.compile(
    r"\bas an ai\b|\blanguage model\b|how (?:can|may) i (?:help|assist)|i(?:'|’)?m here to (?:help|assist)"
    r"|\bfeel free to\b|^(?:sure|certainly|of course|here(?:'|’)s|here is)\b|\blet me know if\b",
    re.IGNORECASE,
)


def lint(text: str, dimensions: Sequence[Dimension] = ()) -> list[str]:
    """What is wrong with a persona text, as ``code: reason``; an empty list if nothing.

    >>> lint("You score 0.8 on patience, which is a lot for a person who waits at bus stops.")
    ['numeric_leak: gives a number ("0.8")']
    """
    rules: tuple[Callable[[], str | None], ...] = (
        lambda: _numeric(text),
        lambda: _label(text, dimensions),
        lambda: _hit(_INSTRUMENT, text, "instrument_talk: talks about a test"),
        lambda: _hit(_ASSISTANT, text, "assistant_voice: sounds like an assistant"),
        lambda: _length(text),
    )
    return [reason for rule in rules if (reason := rule())]


def _hit(pattern: re.Pattern[str], text: str, reason: str) -> str | None:
    match = pattern.search(text)
    return f'{reason} ("{match[0]}")' if match else None


def _numeric(text: str) -> str | None:
    bare = re.search(r"\d+(?:[.,]\d+)?", _ALLOWED.sub(" ", text))
    return f'numeric_leak: gives a number ("{bare[0]}")' if bare else _hit(_NEAR_SCALE, text, "numeric_leak: a scale")


def _label(text: str, dimensions: Sequence[Dimension]) -> str | None:
    if hit := _hit(_LABELS, text, "label_leak: a label"):
        return hit
    for dimension in dimensions:
        names = {re.escape(dimension.name), re.escape(dimension.id)}
        levelled = re.compile(
            rf"\b(?:high|low|medium)\b[ -](?:in |on |levels? of )?(?:{'|'.join(names)})\b", re.IGNORECASE
        )
        if hit := _hit(levelled, text, "label_leak: a label"):
            return hit
        if re.search(r"[_-]", dimension.id) and dimension.id in text:
            return f'label_leak: the name of an axis ("{dimension.id}")'
    return None


def _length(text: str) -> str | None:
    n = len(text.split())
    return None if MIN_WORDS <= n <= MAX_WORDS else f"length: has {n} words, not {MIN_WORDS} to {MAX_WORDS}"
