"""What a reader has to know of a score before comparing two values of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, NamedTuple


class ScoreFacts(NamedTuple):
    """One score of one bag.

    Attributes:
        score: Function of the bag.
        takes: What the bag holds: ``texts``, ``tokens`` (a list of words per text) or unit ``vectors``.
        direction: Whether more diverse is ``higher`` or ``lower``.
        low: Smallest value.
        high: Largest value; infinity where there is none, or where it depends on the size of the bag.
        null: What a bag without anything in common has (scores of overlap), or a bag of copies (scores of spread).
        size_sensitive: Whether the expected value changes with the number of texts; such values are compared at equal
            sizes only.
    """

    score: Callable[[Any], float | None]
    takes: Literal["texts", "tokens", "vectors"]
    direction: Literal["higher", "lower"]
    low: float
    high: float
    null: float | None
    size_sensitive: bool
