"""A million synthetic texts of 100 words, in blocks: streamed spread, exact repetition, sketches; time and memory.

What is exact says so; what is estimated comes with its bound: the sketch of distinct 4-grams with its relative
standard error (and, as the exact number is known here, how far off it was), the mean of sampled pairs with
Hoeffding's and Bernstein's half widths at 95 %.

Nothing grows with the number of texts but one number per text and, in the exact count, one part of the hashes:
about 100 bytes for each 4-gram over the passes. ``LIMIT`` is that, with room. Texts are made anew for each pass, and
the making is timed apart. ``--texts N`` for a smaller run; a million take about eight minutes of one core.
"""

import argparse
from collections.abc import Iterator

import numpy as np

from _common import Timer, finish, machine, peak_rss_mib
from multitudes.measure.diversity.overlap import similar
from multitudes.measure.diversity.stream import (
    REGISTERS,
    HyperLogLog,
    Words,
    count_repeats,
    sampled_pairs,
    stream_spread,
)

BLOCK, WORDS, VOCABULARY, DIMENSIONS = 10_000, 100, 20_000, 384
PAIRS = 200_000
BYTES_PER_NGRAM, FIXED_MIB = 100, 512  # of the exact count, in one pass; the program, one block, 200,000 pairs
NAMES = [f"w{k}" for k in range(VOCABULARY)]
SHARE = np.cumsum(1 / np.arange(1, VOCABULARY + 1))


def limit_mib(n: int, partitions: int) -> float:
    """Most memory that n texts may take."""
    return FIXED_MIB + (n * (WORDS - 3) * BYTES_PER_NGRAM / partitions + 64 * n) / 2**20


def block(start: int, size: int) -> np.ndarray:
    """Word numbers of the texts of one block, (size, 100): the same on every pass."""
    rng = np.random.default_rng(start)
    return np.searchsorted(SHARE, rng.random((size, WORDS)) * SHARE[-1])


def blocks(n: int) -> Iterator[list[list[str]]]:
    for start in range(0, n, BLOCK):
        yield [[NAMES[k] for k in row] for row in block(start, min(BLOCK, n - start))]


def vector_blocks(n: int) -> Iterator[np.ndarray]:
    for start in range(0, n, BLOCK):
        x = np.random.default_rng(start).normal(size=(min(BLOCK, n - start), DIMENSIONS)).astype(np.float32) + 0.3
        yield x / np.linalg.norm(x, axis=1, keepdims=True)


def text_of(number: int) -> str:
    """One text with a character for each word."""
    return "".join(map(chr, np.searchsorted(SHARE, np.random.default_rng(number).random(WORDS) * SHARE[-1]) + 1))


def rouge_of_pairs(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """ROUGE-L of sampled pairs, each text made from its number."""
    from rapidfuzz.distance import LCSseq

    pairs = zip(first.tolist(), second.tolist(), strict=True)
    return np.array([LCSseq.similarity(text_of(a), text_of(b)) / WORDS for a, b in pairs])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--texts", type=int, default=1_000_000)
    parser.add_argument("--partitions", type=int, default=10)
    parser.add_argument("--pairs", type=int, default=PAIRS)
    options = parser.parse_args()
    n, at = options.texts, machine()
    assert similar(["ab"], ["ab"]).item() == 1  # the library for pairs is there
    figures: dict[str, object] = {"texts": n}
    whole = Timer()
    with whole:
        with Timer() as making:
            for _ in blocks(n):
                pass
        print(f"making {n:,} texts once: {making.cpu:.1f} CPU-s (taken off below where texts are made)")
        with Timer() as timer:
            spread = stream_spread(vector_blocks(n))
        found = f"cosine {spread.cosine:.5f}, Vendi 1 {spread.vendi_1:.2f}, 2 {spread.vendi_2:.2f}"
        print(f"spread, exact: {found}: {timer.cpu:.1f} CPU-s, making included")
        figures |= {"making_s": round(making.cpu, 1), "spread_s": round(timer.cpu, 1)}
        words, counter = Words(), HyperLogLog()
        with Timer() as timer:
            for part in blocks(n):
                counter.add(words.ngrams(part, 4)[0])
        taken, error = max(timer.cpu - making.cpu, 0.0), 1.04 / 2 ** (REGISTERS / 2)
        print(f"distinct 4-grams, sketch: {counter.value:,.0f} (relative SE {error:.2%}): {taken:.1f} CPU-s")
        figures |= {"sketch_s": round(taken, 1), "sketch_relative_se": round(error, 5)}
        with Timer() as timer:
            exact = count_repeats(lambda: blocks(n), partitions=options.partitions)
        taken, off = timer.cpu - options.partitions * making.cpu, counter.value / exact.distinct - 1
        print(f"distinct 4-grams, exact: {exact.distinct:,} of {exact.total:,}")
        print(f"repetition {exact.self_repetition:.4f}: {taken:.1f} CPU-s for both in {options.partitions} passes")
        print(f"sketch off by {off:+.2%}")
        figures |= {"exact_s": round(taken, 1), "sketch_error": round(off, 5)}
        with Timer() as timer:
            pairs = sampled_pairs(n, rouge_of_pairs, pairs=options.pairs, seed=0)
        print(f"ROUGE-L of {options.pairs:,} pairs: {pairs.value:.5f} ± {pairs.hoeffding:.5f} (Hoeffding), "
              f"± {pairs.bernstein:.5f} (Bernstein): {timer.cpu:.1f} CPU-s, making included")  # fmt: skip
    peak, limit = peak_rss_mib(), limit_mib(n, options.partitions)
    figures |= {
        "pairs_s": round(timer.cpu, 1), "pairs_hoeffding": round(pairs.hoeffding, 5),
        "pairs_bernstein": round(pairs.bernstein, 5), "wall_s": round(whole.wall, 1), "cpu_s": round(whole.cpu, 1),
        "peak_mib": round(peak), "limit_mib": round(limit),
    }  # fmt: skip
    print(f"all: {whole.wall:.0f} s, {whole.cpu:.0f} CPU-s; peak memory {peak:,.0f} of at most {limit:,.0f} MiB")
    holds = peak < limit and abs(off) < 4 * error
    finish("scale_texts", figures, "memory under the limit, sketch within 4 standard errors", holds, at)


if __name__ == "__main__":
    main()
