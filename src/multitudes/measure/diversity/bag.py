"""A bag of texts that are scored together, and the scores that the reading reports of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from multitudes.measure.diversity import lexical as lexis
from multitudes.measure.diversity.deleted import (
    DRAWN,
    PAIRED,
    QUERIES,
    Deleted,
    chamfer_deleted,
    remote_clique_deleted,
    rouge_l_deleted,
    self_repetition_deleted,
)
from multitudes.measure.diversity.overlap import Pair, ngram_diversity
from multitudes.measure.diversity.spread import ORDERS, effective_number, spectrum

FloatArray = NDArray[np.float64]
Value = tuple[float, FloatArray | None]  # of a bag; and without each of its texts (None: has to be recomputed)

QUOTED = 3  # most alike pairs of one bag that are candidates for quoting
SIZED = "size-sensitive: compare at equal numbers of texts and tokens only"
SPREAD = "embedding, not meaning"


class Text(NamedTuple):
    """One text, where it comes from, its words and its unit vector."""

    bag: int
    slot: int
    text: str
    tokens: list[str]
    vector: FloatArray | None


@dataclass(frozen=True)
class Bag:
    """Texts that are scored together; what several scores need is computed once."""

    texts: list[Text]

    def __len__(self) -> int:
        return len(self.texts)

    @cached_property
    def counts(self) -> list[lexis.NgramCounts]:
        """n-grams at n = 1..5."""
        return [lexis.ngram_counts([t.tokens for t in self.texts], n) for n in lexis.ORDERS]

    @cached_property
    def vectors(self) -> FloatArray:
        """(k, d)."""
        return np.stack([t.vector for t in self.texts if t.vector is not None])

    @cached_property
    def eigenvalues(self) -> FloatArray:
        """Of the similarity matrix over k."""
        return spectrum(self.vectors)

    @cached_property
    def likeness(self) -> tuple[Deleted, list[Pair]]:
        """ROUGE-L, and the most alike pairs."""
        return rouge_l_deleted([t.tokens for t in self.texts], quote=QUOTED)


class Measure(NamedTuple):
    """One score: its value of a bag, and how it is to be read."""

    name: str
    value: Callable[[Bag], Value]
    estimator: str
    direction: Literal["higher", "lower"]
    unit: str
    null: float | None = None
    note: str = ""


def measures(vocabulary: int, encoder_name: str, *, with_vectors: bool) -> list[Measure]:
    """The scores of the reading in the order in which they are reported."""
    found = _of_words(vocabulary)
    return found + _of_vectors(encoder_name or "the given") if with_vectors else found


def _of_words(vocabulary: int) -> list[Measure]:
    ead = "ead" if vocabulary == lexis.VOCABULARY else f"ead_v{vocabulary}"

    def mean(types: int | None, bag: Bag) -> Value:
        found = lexis.lexical(bag.counts, vocabulary=types)
        return _number(found.mean), found.without

    def at(n: int, bag: Bag) -> Value:
        found = lexis.lexical(bag.counts, vocabulary=vocabulary)
        return _number(found.by_n[n - 1]), found.without_by_n[n - 1]

    def compression(bag: Bag) -> Value:
        ids = [f"{t.bag}\x1f{t.slot}" for t in bag.texts]
        return lexis.compression_ratio([t.text for t in bag.texts], ids), None

    formula = f"N_n / (V(1 - ((V-1)/V)^C_n)), V = {vocabulary}, tokeniser {lexis.TOKENISER}"
    pairs = f"mean 2 LCS / (l_i + l_j) over pairs of texts, {DRAWN:,} random ones beyond {PAIRED:,} texts"
    return [
        Measure(ead, partial(mean, vocabulary), f"mean over n = 1..5 of {formula}; may exceed 1", "higher", "ratio",
                note=SIZED),
        *(
            Measure(f"{ead}_{n}", partial(at, n), f"{formula}, n = {n}", "higher", "ratio", note=SIZED)
            for n in lexis.ORDERS
        ),
        Measure("distinct", partial(mean, None), "mean over n = 1..5 of N_n/C_n", "higher", "share", note=SIZED),
        Measure("ngram_diversity", lambda bag: (ngram_diversity([t.text for t in bag.texts]), None),
                "sum over n = 1..4 of N_n/C_n of all texts in a row, split at spaces", "higher", "ratio", note=SIZED),
        Measure("compression", compression, "bytes / xz bytes, texts ordered by hashed id", "lower", "ratio",
                note=SIZED),
        Measure("rouge_l", lambda bag: bag.likeness[0], pairs, "lower", "share", 1.0),
        Measure("self_repetition", lambda bag: self_repetition_deleted([t.tokens for t in bag.texts]),
                "mean of ln(1 + other texts that hold its 4-grams, summed)", "lower", "nats", note=SIZED),
    ]  # fmt: skip


def _of_vectors(encoder: str) -> list[Measure]:
    def cosine(bag: Bag) -> Value:
        return lexis.cosine_distance(bag.vectors)

    def vendi(order: float, bag: Bag) -> Value:
        return effective_number(bag.eigenvalues, order), None

    of = f"of {encoder} embeddings"
    return [
        Measure("cosine", cosine, f"mean pairwise cosine distance {of}", "higher", "cosine distance", 0.0, SPREAD),
        *(
            Measure(f"vendi_{order:g}", partial(vendi, order),
                    f"exp of the Rényi entropy of order {order:g} of the eigenvalues of K/n, linear kernel {of}",
                    "higher", "texts", 1.0, f"{SIZED}; {SPREAD}")
            for order in ORDERS
        ),
        Measure("remote_clique", lambda bag: remote_clique_deleted(bag.vectors),
                f"mean cosine distance with each text's to itself {of}", "higher", "cosine distance", 0.0,
                f"slightly {SIZED}; {SPREAD}"),
        Measure("chamfer", lambda bag: chamfer_deleted(bag.vectors),
                f"mean cosine distance to the nearest other text, of {QUERIES:,} random ones at most, {of}", "higher",
                "cosine distance", 0.0, f"{SIZED}; {SPREAD}"),
    ]  # fmt: skip


def _number(value: float | None) -> float:
    return np.nan if value is None else value
