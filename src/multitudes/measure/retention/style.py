"""Whose manner a reply has: a logistic classifier over personas on words and pairs of words.

Trained on replies that nobody pressed, to other base prompts. The level of a persona is the probability that the
classifier gives it; chance is 1 / number of personas, and what C0 reaches is the floor.
"""

from __future__ import annotations

import re
import zlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.sparse import csr_matrix
from scipy.special import log_softmax, softmax

from multitudes.core.errors import GaugeError

FloatArray = NDArray[np.float64]

BUCKETS = 1 << 13  # of hashed n-grams
RIDGE = 1e-3  # per weight and reply, on features of unit length
_WORD = re.compile(r"\w+|[^\w\s]")


@dataclass(frozen=True, eq=False)
class Style:
    """A fitted classifier.

    Attributes:
        personas: Classes.
        weights: (BUCKETS + 1, personas), the last row the intercepts.
        n: Replies behind it.
    """

    personas: tuple[str, ...]
    weights: FloatArray
    n: int

    def probabilities(self, replies: Sequence[str]) -> FloatArray:
        """(replies, personas), rows sum to 1."""
        return np.asarray(softmax(_features(replies) @ self.weights, axis=1))

    def level(self, reply: str, persona: str) -> float:
        """D of one reply for one persona, in [0, 1]."""
        return float(self.probabilities([reply])[0, self.personas.index(persona)])


def fit_style(replies: Sequence[str], personas: Sequence[str]) -> Style:
    """Fit on replies of known personas; every persona weighs the same.

    Args:
        replies: Texts that nobody pressed.
        personas: Who said each.

    Raises:
        GaugeError: Fewer than two personas, or lengths that differ.

    >>> fit_style(["arr, matey, the sea", "the sea, matey", "dear patient", "my patient, dear"], list("aabb")).level(
    ...     "matey of the sea", "a") > 0.5
    True
    """
    names = tuple(dict.fromkeys(personas))
    if len(replies) != len(personas) or len(names) < 2:
        raise GaugeError("a style needs two personas and their replies", where="replies, personas",
                         found=f"{len(replies)} replies of {len(names)} personas")  # fmt: skip
    x = _features(replies)
    y = np.zeros((len(replies), len(names)))
    y[np.arange(len(replies)), [names.index(p) for p in personas]] = 1
    y /= y.sum(axis=0) * len(names)
    shape = (x.shape[1], len(names))

    def loss(flat: FloatArray) -> tuple[float, FloatArray]:
        w = flat.reshape(shape)
        logp = log_softmax(x @ w, axis=1)
        share = y.sum(axis=1, keepdims=True)
        slope = x.T @ (np.exp(logp) * share - y) + RIDGE * w
        return float(-(y * logp).sum() + RIDGE / 2 * (w**2).sum()), np.asarray(slope).ravel()

    fit = minimize(loss, np.zeros(shape[0] * shape[1]), jac=True, method="L-BFGS-B", options={"maxiter": 200})
    return Style(names, fit.x.reshape(shape), len(replies))


def macro_f1(told: Sequence[str], true: Sequence[str]) -> float:
    """Mean over personas of F1; 1 is perfect. Mixes "style kept" with "disposition kept", so it is printed beside D.

    >>> macro_f1(["a", "b"], ["a", "a"])
    0.3333333333333333
    """
    scores = []
    for name in dict.fromkeys([*true, *told]):
        hits = sum(t == u == name for t, u in zip(told, true, strict=True))
        scores.append(2 * hits / (list(told).count(name) + list(true).count(name)))
    return float(np.mean(scores)) if scores else float("nan")


def _features(replies: Sequence[str]) -> Any:
    """Hashed 1- and 2-grams, logarithmic counts, rows of unit length, and a column of ones."""
    rows, columns, values = [], [], []
    for i, reply in enumerate(replies):
        tokens = _WORD.findall(reply.lower())
        grams = Counter([*tokens, *(f"{a} {b}" for a, b in pairwise(tokens))])
        counts = Counter[int]()
        for gram, n in grams.items():
            counts[zlib.crc32(gram.encode()) % BUCKETS] += n
        found = np.log1p(np.array(list(counts.values()), dtype=np.float64))
        length = float(np.linalg.norm(found)) or 1.0
        rows += [i] * (len(counts) + 1)
        columns += [*counts, BUCKETS]
        values += [*(found / length), 1.0]
    return csr_matrix((values, (rows, columns)), shape=(len(replies), BUCKETS + 1))
