"""How different the texts of a bag are: words, redundancy, embeddings.

Every score is a function of one bag of texts. A *within* bag holds several answers of one source (one persona, one
prompt); an *across* bag holds one answer of each source. Random noise maximises all of these scores: a diversity
number is read beside a validity or adherence number, never alone. The lexical ones also fall with the size of the
bag, so only bags of equal size are compared.
"""

from __future__ import annotations

import hashlib
import lzma
import re
import unicodedata
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from multitudes.core.checks import check_same_length, check_shape
from multitudes.core.errors import GaugeError
from multitudes.measure.errors import NotFiniteError, NotUnitError, TooFewSamplesError, ZeroVectorError

FloatArray = NDArray[np.float64]

TOKENISER = "unicode"  # NFC, casefold, \w+
VOCABULARY = 50257  # the reference code of arXiv 2310.06452, kept for every n
ORDERS = (1, 2, 3, 4, 5)
UNIT_TOLERANCE = 1e-4

_WORD = re.compile(r"\w+")


class NgramCounts(NamedTuple):
    """n-grams of one bag; n-grams do not cross texts.

    Attributes:
        distinct: Number of different n-grams.
        total: Number of n-grams.
        only: (k,) for each text the number of different n-grams that no other text has.
        own: (k,) for each text the number of its n-grams.
    """

    distinct: int
    total: int
    only: FloatArray
    own: FloatArray


class Lexical(NamedTuple):
    """A score averaged over n = 1..5, its value at each n, and both without each text.

    Attributes:
        mean: None if for some n every text is shorter than n.
        by_n: Value at n = 1..5; None where every text is shorter.
        without: (k,) mean of the bag without each text; NaN where that is undefined.
        without_by_n: (5, k) the same at each n.
    """

    mean: float | None
    by_n: tuple[float | None, ...]
    without: FloatArray
    without_by_n: FloatArray


class CosineDistance(NamedTuple):
    """Mean pairwise cosine distance of a bag, and without each text (NaN where fewer than two remain)."""

    mean: float
    without: FloatArray


def tokenise(text: str) -> list[str]:
    r"""Words of a text in any script: NFC, case folded, runs of ``\w``.

    >>> tokenise("Straße, STRASSE!")
    ['strasse', 'strasse']
    """
    return _WORD.findall(unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).casefold()))


def ngram_counts(bag: Sequence[Sequence[str]], n: int) -> NgramCounts:
    """Different and all n-grams of a bag of tokenised texts, and what each text alone contributes."""
    shared = -1
    owner: dict[tuple[str, ...], int] = {}
    own = np.zeros(len(bag))
    for index, tokens in enumerate(bag):
        grams = list(zip(*(tokens[k:] for k in range(n)), strict=False))
        own[index] = len(grams)
        for gram in grams:
            if owner.setdefault(gram, index) != index:
                owner[gram] = shared
    holders = np.fromiter(owner.values(), dtype=np.int64, count=len(owner))
    only = np.bincount(holders[holders != shared], minlength=len(bag)).astype(np.float64)
    return NgramCounts(len(owner), int(own.sum()), only, own)


def _expected(total: FloatArray, vocabulary: int) -> FloatArray:
    """Different types expected among ``total`` uniform draws, V(1 - ((V-1)/V)^C), stable for large V."""
    return np.asarray(-vocabulary * np.expm1(total * np.log1p(-1.0 / vocabulary)))


def lexical(counts: Sequence[NgramCounts], *, vocabulary: int | None) -> Lexical:
    """EAD (with a vocabulary) or distinct-n (without) from the counts at n = 1..5."""
    rows = []
    for c in counts:
        distinct = np.concatenate([[c.distinct], c.distinct - c.only])
        total = np.concatenate([[c.total], c.total - c.own])
        bottom = total if vocabulary is None else _expected(total, vocabulary)
        rows.append(np.divide(distinct, bottom, out=np.full(len(total), np.nan), where=total > 0))
    table = np.stack(rows)
    by_n = tuple(None if np.isnan(v) else float(v) for v in table[:, 0])
    mean = float(table[:, 0].mean())
    return Lexical(None if np.isnan(mean) else mean, by_n, table[:, 1:].mean(axis=0), table[:, 1:])


def _counts(bag: Sequence[Sequence[str]]) -> list[NgramCounts]:
    _at_least_two(len(bag))
    return [ngram_counts(bag, n) for n in ORDERS]


def _at_least_two(k: int) -> None:
    if k < 2:
        raise TooFewSamplesError(
            "too few samples: diversity needs at least two texts in a bag", found=str(k), expected=">= 2"
        )


def expectation_adjusted_distinct(bag: Sequence[Sequence[str]], *, vocabulary: int = VOCABULARY) -> Lexical:
    """EAD: different n-grams over the number expected of as many uniform draws from V types, mean over n = 1..5.

    Above 0, higher is more diverse; uniform draws give 1. V stays fixed, so values above 1 occur for n >= 2 and are
    not clipped: read EAD_1..EAD_5 beside the mean.

    Args:
        bag: Tokenised texts, at least two.
        vocabulary: V, for every n.

    Raises:
        GaugeError: If the bag has fewer than two texts.

    Source: arXiv 2202.13587 for the score, arXiv 2310.06452 for V and the mean over n.
    """
    return lexical(_counts(bag), vocabulary=vocabulary)


def distinct_n(bag: Sequence[Sequence[str]]) -> Lexical:
    """Different over all n-grams, mean over n = 1..5; in (0, 1], higher is more diverse, falls with bag size.

    Source: Li et al. 2016 (arXiv 1510.03055).
    """
    return lexical(_counts(bag), vocabulary=None)


def compression_ratio(texts: Sequence[str], ids: Sequence[str]) -> float:
    """UTF-8 bytes over xz-compressed bytes of the texts joined by newlines; higher is more redundant.

    Order matters a little to any compressor, so it is fixed: by SHA-256 of the id. Incompressible text has about 1;
    bags of a few hundred bytes have less, as xz adds about 60 bytes of its own.

    Args:
        texts: At least two texts.
        ids: One stable id per text.

    Raises:
        GaugeError: With fewer than two texts, or ids that do not fit or repeat.

    Source: the idea of arXiv 2403.00553; xz in place of gzip, whose 32 KB window forgets.
    """
    _at_least_two(len(texts))
    check_same_length(texts=texts, ids=ids)
    if len(set(ids)) < len(ids):
        raise GaugeError("two texts have the same id", where="ids")
    order = sorted(range(len(texts)), key=lambda k: hashlib.sha256(ids[k].encode()).digest())
    data = "\n".join(texts[k] for k in order).encode("utf-8", errors="surrogatepass")
    return len(data) / len(lzma.compress(data))


def check_unit_vectors(name: str, vectors: ArrayLike) -> FloatArray:
    """(n, d) vectors of length 1 within 1e-4, as float64.

    Raises:
        GaugeError: On a wrong shape, a value that is not finite, or a length that is not 1.
    """
    x = check_shape(name, vectors, "n d")
    if not np.isfinite(x).all():
        raise NotFiniteError(f"{name!r} holds values that are not finite", where=name)
    lengths = np.linalg.norm(x, axis=1)
    off = np.abs(lengths - 1) > UNIT_TOLERANCE
    if off.any():
        row = int(np.flatnonzero(off)[0])
        raise (NotUnitError if lengths[row] > 0 else ZeroVectorError)(
            f"{name!r} are not unit vectors",
            where=f"{name}[{row}]",
            found=f"length {lengths[row]:.6g}",
            expected="1 within 1e-4",
            hint="divide each vector by its length; a zero vector has no direction",
        )
    return x


def cosine_distance(vectors: ArrayLike) -> CosineDistance:
    """Mean pairwise cosine distance 1 - (‖Σx‖² - n)/(n(n-1)) of unit vectors, in O(n d).

    In [0, 1 + 1/(n-1)], higher is more diverse, 0 for identical texts; does not depend on the size of the bag. It is
    the spread of *embeddings*: small encoders do not tell opposites apart, so it is no claim about meaning.

    Args:
        vectors: (n, d) unit vectors, n >= 2.

    Raises:
        GaugeError: As ``check_unit_vectors``, and for n < 2.
    """
    x = check_unit_vectors("vectors", vectors)
    n = len(x)
    _at_least_two(n)
    total, squared = x.sum(axis=0), (x**2).sum(axis=1)
    # Σ‖x‖² in place of n: exact also for lengths that are only 1 to rounding.
    among = float(total @ total) - float(squared.sum())
    mean = max(0.0, float(squared.mean()) - among / (n * (n - 1)))
    without = np.full(n, np.nan)
    if n > 2:
        rest = among - 2 * (x @ total - squared)
        without = (squared.sum() - squared) / (n - 1) - rest / ((n - 1) * (n - 2))
    return CosineDistance(mean, np.maximum(without, 0.0))
