"""Where people are placed: quasi-random points, the rungs they become, and texts that came out nearly the same."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from multitudes.core.errors import PersonaError
from multitudes.core.records import Dimension, Placement

MAX_DIMENSIONS = 8
SHINGLE = 5  # words
PERMUTATIONS, BANDS = 128, 32
_PRIME = (1 << 31) - 1  # hashes stay below 2^31, so that a product fits 64 bits
_BUCKET_NEIGHBOURS = 32  # bounds the pairs compared where a great many texts share a band
_CHUNK = 1 << 13  # shingles or pairs at a time: 8 MB an array
_MARGIN = 0.2  # more than five standard errors of a similarity of .8 estimated from 128 permutations


def place(n: int, k: int, *, seed: int) -> NDArray[np.float64]:
    """``n`` points that fill the unit cube of ``k`` dimensions evenly: (n, k) float64 in [0, 1).

    Scrambled Sobol points: 2^m of them are drawn and the first ``n`` kept, so a larger population with the same
    seed begins with the smaller one. Never the unscrambled sequence (it starts in a corner), never a random
    thinning (it loses the evenness).

    Raises:
        PersonaError: If ``n`` < 1 or ``k`` is not in 1 to 8.

    >>> bool((place(3, 2, seed=1) == place(7, 2, seed=1)[:3]).all())
    True
    """
    if n < 1:
        raise PersonaError("a population needs people", where="n", found=repr(n), expected="an integer >= 1")
    if not 1 <= k <= MAX_DIMENSIONS:
        raise PersonaError(
            "a population needs dimensions", where="dimensions", found=str(k), expected=f"1 to {MAX_DIMENSIONS}"
        )
    from scipy.stats import qmc

    sampler = qmc.Sobol(k, scramble=True, seed=np.random.default_rng(seed))
    points = sampler.random_base2(max(n - 1, 0).bit_length())
    return np.asarray(points, dtype=np.float64)[:n]


def ladder(dimension: Dimension) -> tuple[str, ...]:
    """Graded phrases from low to high: the dimension's own, else nine made from the words of its two ends."""
    if dimension.ladder is not None:
        return dimension.ladder
    low, high = dimension.low, dimension.high
    return (
        f"always {low}", f"nearly always {low}", f"usually {low}", f"more often than not {low}",
        f"sometimes {low}, and as often {high}",
        f"more often than not {high}", f"usually {high}", f"nearly always {high}", f"always {high}",
    )  # fmt: skip


def rung(target: float, rungs: int) -> int:
    """Index of the ladder phrase for a position in [0, 1].

    >>> [rung(t, 9) for t in (0.0, 0.5, 1.0)]
    [0, 4, 8]
    """
    return min(int(target * rungs), rungs - 1)


def placements(points: NDArray[np.float64], dimensions: Sequence[Dimension]) -> list[dict[str, Placement]]:
    """Placements of each person by dimension id, from ``points``: (n, k)."""
    ladders = [ladder(d) for d in dimensions]
    people = []
    for row in points.tolist():
        person = {}
        for dimension, phrases, target in zip(dimensions, ladders, row, strict=True):
            at = rung(target, len(phrases))
            person[dimension.id] = Placement(target=target, rung=at, phrase=phrases[at])
        people.append(person)
    return people


def near_duplicates(texts: Sequence[str], *, threshold: float = 0.8) -> list[tuple[int, int]]:
    """Pairs of indices of texts whose word 5-shingles have a Jaccard similarity of at least ``threshold``.

    MinHash with 128 permutations in 32 bands finds candidates (a pair at similarity .8 is missed with probability
    5e-8), and every candidate is verified on the shingles themselves. Time is linear in the number of texts.
    Within one band a text meets at most 32 of its neighbours, so of a cluster of hundreds of copies every member
    is paired, but not with every other.
    """
    sets = [_shingles(t) for t in texts]
    signatures = _signatures(sets)
    pairs: set[tuple[int, int]] = set()
    for band in np.split(signatures, BANDS, axis=1):
        keys = np.ascontiguousarray(band).view(f"V{band.dtype.itemsize * band.shape[1]}").ravel()
        _, group = np.unique(keys, return_inverse=True)
        order = np.argsort(group, kind="stable")
        for step in range(1, min(_BUCKET_NEIGHBOURS, len(order) - 1) + 1):
            same = group[order[step:]] == group[order[:-step]]
            if not same.any():
                break
            pairs.update(zip(order[:-step][same].tolist(), order[step:][same].tolist(), strict=True))
    likely = _likely(sorted(pairs), signatures, at_least=threshold - _MARGIN)
    return [(i, j) for i, j in likely if _jaccard(sets[i], sets[j]) >= threshold]


def _likely(
    pairs: list[tuple[int, int]], signatures: NDArray[np.uint64], *, at_least: float
) -> Iterator[tuple[int, int]]:
    """Pairs whose signatures agree often enough: far cheaper than to compare the shingles of all candidates."""
    for start in range(0, len(pairs), _CHUNK):
        some = np.array(pairs[start : start + _CHUNK])
        agree = (signatures[some[:, 0]] == signatures[some[:, 1]]).mean(axis=1)
        yield from some[agree >= at_least].tolist()


def _shingles(text: str) -> frozenset[int]:
    words = text.casefold().split()
    runs = [words] if len(words) < SHINGLE else [words[i : i + SHINGLE] for i in range(len(words) - SHINGLE + 1)]
    return frozenset(zlib.crc32(" ".join(run).encode()) for run in runs)


def _signatures(sets: Sequence[frozenset[int]]) -> NDArray[np.uint64]:
    """MinHash signatures: (n_texts, 128) uint64."""
    rng = np.random.default_rng(0)  # the hash functions themselves: fixed, so that results never depend on a seed
    a = rng.integers(1, _PRIME, size=PERMUTATIONS, dtype=np.uint64)
    b = rng.integers(0, _PRIME, size=PERMUTATIONS, dtype=np.uint64)
    out = np.full((len(sets), PERMUTATIONS), _PRIME, dtype=np.uint64)
    start = 0
    while start < len(sets):
        stop, size = start, 0
        while stop < len(sets) and (size == 0 or size + len(sets[stop]) <= _CHUNK):
            size += len(sets[stop])
            stop += 1
        flat = np.fromiter((h for s in sets[start:stop] for h in s), dtype=np.uint64, count=size) % _PRIME
        firsts = np.cumsum([0, *(len(s) for s in sets[start : stop - 1])])
        out[start:stop] = np.minimum.reduceat((flat[:, None] * a + b) % _PRIME, firsts, axis=0)
        start = stop
    return out


def _jaccard(one: frozenset[int], other: frozenset[int]) -> float:
    return len(one & other) / len(one | other)
