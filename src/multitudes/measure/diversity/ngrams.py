"""The n-grams of a bag as integers: who holds which how often, and what the others hold.

Everything that compares a text with all others at once is a sum over (n-gram, text) rows, so one sort replaces the
loop over pairs of texts. In memory the integers number the n-grams exactly; streams use 64-bit hashes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

IntArray = NDArray[np.int64]


class Words(NamedTuple):
    """The words of a bag, one after the other.

    Attributes:
        code: (N,) number of each word.
        text: (N,) text of each word, not falling.
        length: (k,) words of each text.
        types: Number of different words.
    """

    code: IntArray
    text: IntArray
    length: IntArray
    types: int


class Held(NamedTuple):
    """One row per n-gram and text that holds it, sorted by n-gram.

    Attributes:
        text: (R,) the text.
        count: (R,) how often it holds the n-gram.
        first: (g,) first row of each different n-gram.
    """

    text: IntArray
    count: IntArray
    first: IntArray

    @property
    def holders(self) -> IntArray:
        """(g,) number of texts that hold each n-gram."""
        return np.diff(self.first, append=len(self.text))

    def per_row(self, value: NDArray[Any]) -> NDArray[Any]:
        """(R,) the value of each row's n-gram, from one value per n-gram."""
        return np.repeat(value, self.holders)


def code_words(bag: Sequence[Sequence[str]]) -> Words:
    """Number the words of a bag in the order in which they appear."""
    known: dict[str, int] = {}
    length = np.array([len(tokens) for tokens in bag], dtype=np.int64)
    numbers = (known.setdefault(word, len(known)) for tokens in bag for word in tokens)
    code = np.fromiter(numbers, dtype=np.int64, count=int(length.sum()))
    return Words(code, np.repeat(np.arange(len(bag)), length), length, len(known))


def grams_by_order(words: Words, highest: int) -> Iterator[tuple[IntArray, IntArray]]:
    """Number and text of every n-gram inside a text, for n = 1..highest."""
    end = np.cumsum(words.length)[words.text]
    start, gram = np.arange(len(words.code)), words.code
    yield gram, words.text
    for n in range(2, highest + 1):
        inside = start + n <= end[start]
        start, shorter = start[inside], gram[inside]
        gram = np.unique(shorter * max(words.types, 1) + words.code[start + n - 1], return_inverse=True)[1]
        yield gram, words.text[start]


def held(gram: NDArray[Any], text: IntArray) -> Held:
    """Rows of (n-gram, text) from single n-grams; ``text`` must not fall."""
    order = np.argsort(gram, kind="stable")
    gram, text = gram[order], text[order]
    other_gram = np.ones(len(gram), dtype=bool)
    other_gram[1:] = gram[1:] != gram[:-1]
    other_row = other_gram.copy()
    other_row[1:] |= text[1:] != text[:-1]
    row = np.flatnonzero(other_row)
    return Held(text[row], np.diff(row, append=len(gram)), np.flatnonzero(other_gram[row]))


def held_by_order(bag: Sequence[Sequence[str]], highest: int) -> list[Held]:
    """The rows of n = 1..highest."""
    return [held(gram, text) for gram, text in grams_by_order(code_words(bag), highest)]


def most_elsewhere(rows: Held) -> IntArray:
    """(R,) how often the n-gram occurs in that other text which has it most; 0 if no other has it."""
    if not len(rows.first):
        return rows.count
    most = np.maximum.reduceat(rows.count, rows.first)
    leads = rows.count == rows.per_row(most)
    leaders = np.add.reduceat(leads.astype(np.int64), rows.first)
    second = np.maximum.reduceat(np.where(leads, 0, rows.count), rows.first)
    alone = leads & (rows.per_row(leaders) == 1)
    return np.where(alone, rows.per_row(second), rows.per_row(most))


def shared_with_each(rows: Held) -> tuple[IntArray, IntArray]:
    """Text and Σ over the other texts j of min(c_j, c_i), one value per row.

    With the counts of an n-gram in rising order the sum is what lies below plus c_i for each above, minus c_i itself.
    """
    group = rows.per_row(np.arange(len(rows.first)))
    order = np.lexsort((rows.count, group))
    count = rows.count[order]
    up_to = np.cumsum(count)
    before = rows.per_row((up_to - count)[rows.first])
    above = rows.per_row(rows.first + rows.holders) - 1 - np.arange(len(count))
    return rows.text[order], up_to - before + above * count - count
