"""ROUGE-L between the texts of a bag: the longest common subsequence of words of every pair.

Words become one character each, so that a compiled string routine can advance 64 words of one text at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from multitudes.core.errors import GaugeError, MissingExtra
from multitudes.measure.diversity.tokenisers import Tokeniser, spoken, spoken_tokens, unicode

FloatArray = NDArray[np.float64]

BLOCK = 512  # texts compared with all later ones at a time
_SURROGATES, _SURROGATE_COUNT = 0xD800, 0x800  # code points that are no characters
MAX_WORDS = 0x110000 - _SURROGATE_COUNT


class Encoded(NamedTuple):
    """Texts as strings of one character per word.

    Attributes:
        line: (k) strings; words that occur in one text only are left out, as no other text can match them.
        length: (k,) words of each text, all of them.
    """

    line: list[str]
    length: FloatArray


class RougeL(NamedTuple):
    """ROUGE-L of a bag.

    Attributes:
        mean: Mean over all pairs.
        by_text: (k,) mean of each text with the others.
        without: (k,) mean of the bag without each text; NaN where fewer than two remain.
    """

    mean: float
    by_text: FloatArray
    without: FloatArray


class Alike(NamedTuple):
    """Two texts, by position, and their ROUGE-L."""

    first: int
    second: int
    rouge_l: float


def _rapidfuzz() -> tuple[Any, Any]:
    try:
        from rapidfuzz import process
        from rapidfuzz.distance import LCSseq
    except ImportError as error:
        raise MissingExtra("measure", "ROUGE-L") from error
    return process, LCSseq.similarity


def encode(bag: Iterable[Sequence[str]]) -> Encoded:
    """One character per word; frequent words get the low code points, for which the matcher has its fast table.

    Args:
        bag: Tokenised texts. Gone through twice: a list, or an object that begins anew with every loop.

    Raises:
        GaugeError: If more than 1,112,064 different words occur in two texts or more.
    """
    holders: dict[str, int] = {}
    for tokens in bag:
        for word in set(tokens):
            holders[word] = holders.get(word, 0) + 1
    shared = sorted((word for word, n in holders.items() if n > 1), key=lambda w: (-holders[w], w))
    if len(shared) > MAX_WORDS:
        raise GaugeError(
            "too many different words for one character each",
            where="bag",
            found=str(len(shared)),
            expected=f"at most {MAX_WORDS}",
        )
    code = {w: chr(k if k < _SURROGATES else k + _SURROGATE_COUNT) for k, w in enumerate(shared)}
    lines, lengths = [], []
    for tokens in bag:
        lines.append("".join(code.get(word, "") for word in tokens))
        lengths.append(len(tokens))
    return Encoded(lines, np.array(lengths, dtype=np.float64))


def _f_measure(common: NDArray[Any], a: FloatArray, b: FloatArray) -> FloatArray:
    """2·LCS/(l_a + l_b), 0 for two empty texts."""
    return np.asarray(2.0 * common / np.maximum(a + b, 1.0))


def _blocks(encoded: Encoded) -> Iterator[tuple[int, FloatArray]]:
    """First row and ROUGE-L (rows, k - first row) of blocks of the upper triangle; the diagonal and below are 0."""
    process, similarity = _rapidfuzz()
    line, length = encoded
    for start in range(0, len(line), BLOCK):
        rows = line[start : start + BLOCK]
        common = process.cdist(rows, line[start:], scorer=similarity, dtype=np.int32, workers=1)
        yield start, np.triu(_f_measure(common, length[start : start + BLOCK, None], length[start:]), k=1)


def rouge_l_of(bag: Sequence[Sequence[str]]) -> RougeL:
    """ROUGE-L of all pairs: mean, mean of each text, and mean without each; see ``rouge_l``."""
    left = spoken_tokens(bag)
    n = len(left)
    by_text = np.zeros(n)
    for start, block in _blocks(encode(left)):
        by_text[start : start + len(block)] += block.sum(axis=1)
        by_text[start:] += block.sum(axis=0)
    total = float(by_text.sum())
    without = np.full(n, np.nan) if n < 3 else (total - 2 * by_text) / ((n - 1) * (n - 2))
    return RougeL(total / (n * (n - 1)), by_text / (n - 1), without)


def rouge_l(bag: Sequence[Sequence[str]]) -> float:
    """ROUGE-L homogenisation: mean over pairs of 2·LCS/(l_i + l_j), LCS the longest common subsequence of words.

    In [0, 1], lower is more diverse; 0 if no pair shares a word, 1 for identical texts. Does not depend on the size
    of the bag. The reference package gives 1 where no pair shares a word; that is not repeated here.

    Args:
        bag: Tokenised texts, at least two; empty ones are left out. Published numbers use tokeniser ``rouge``.

    Raises:
        TooFewSamplesError: With fewer than two texts that are not empty.
        EmptyTextError: If more than a tenth are empty.
        MissingExtra: Without rapidfuzz.

    Source: Padmakumar & He 2023 (arXiv 2309.05196); Lin 2004 for ROUGE-L; Hyyrö 2004 for the bit-parallel LCS.
    """
    return rouge_l_of(bag).mean


def rouge_l_of_pairs(bag: Iterable[Sequence[str]]) -> Callable[[ArrayLike, ArrayLike], FloatArray]:
    """A function from two arrays of positions (m,) to the (m,) ROUGE-L of these pairs, for sampled pairs.

    ``bag`` as in ``encode``.
    """
    process, similarity = _rapidfuzz()
    line, length = encode(bag)

    def score(first: ArrayLike, second: ArrayLike) -> FloatArray:
        i, j = np.asarray(first), np.asarray(second)
        common = process.cpdist(
            [line[k] for k in i], [line[k] for k in j], scorer=similarity, dtype=np.int32, workers=1
        )
        return _f_measure(common, length[i], length[j])

    return score


def most_alike(texts: Sequence[str], k: int, *, tokeniser: Tokeniser = unicode) -> list[Alike]:
    """The ``k`` pairs of texts with the largest ROUGE-L, largest first, to be quoted side by side.

    Positions are those of ``texts``, the smaller first; ties by position. Fewer if there are fewer pairs.

    Args:
        texts: At least two texts; empty ones are left out.
        k: Number of pairs, at least 1.
        tokeniser: From text to words.

    Raises:
        GaugeError: If ``k`` is below 1; otherwise as ``rouge_l``.
    """
    if k < 1:
        raise GaugeError("at least one pair has to be asked for", where="k", found=str(k), expected=">= 1")
    bag = [tokeniser(text) for text in texts]
    position = np.array(spoken(bag))
    best: list[Alike] = []
    for start, block in _blocks(encode([bag[p] for p in position])):
        pairs = np.flatnonzero(np.triu(np.ones(block.shape, dtype=bool), k=1))
        value = block.ravel()[pairs]
        if len(pairs) > k:
            least = np.partition(value, -k)[-k]
            pairs, value = pairs[value >= least], value[value >= least]
            order = np.argsort(-value, kind="stable")[:k]
            pairs, value = pairs[order], value[order]
        row, column = np.divmod(pairs, block.shape[1])
        found = zip(position[start + row], position[start + column], value, strict=True)
        best += [Alike(int(i), int(j), float(v)) for i, j, v in found]
        best = sorted(best, key=lambda pair: (-pair.rouge_l, pair.first, pair.second))[:k]
    return best
