"""A million synthetic texts of 100 words, in blocks: streamed spread, exact repetition, sketches; time and memory.

Texts are made anew for each pass, and the making is timed apart. ``--texts N`` for a smaller run.
"""

import argparse
from collections.abc import Iterator

import numpy as np

from _common import Timer, finish, machine, peak_rss_mib
from multitudes.measure.diversity.overlap import _similar
from multitudes.measure.diversity.stream import HyperLogLog, Words, count_repeats, sampled_pairs, stream_spread

BLOCK, WORDS, VOCABULARY, DIMENSIONS = 10_000, 100, 20_000, 384
PAIRS = 200_000
NAMES = [f"w{k}" for k in range(VOCABULARY)]
SHARE = np.cumsum(1 / np.arange(1, VOCABULARY + 1))


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

    out = np.empty(len(first))
    for j, (a, b) in enumerate(zip(first.tolist(), second.tolist(), strict=True)):
        s, t = (
            "".join(map(chr, np.searchsorted(SHARE, np.random.default_rng(i).random(WORDS) * SHARE[-1]) + 1))
            for i in (a, b)
        )
        out[j] = 2 * LCSseq.similarity(s, t) / (2 * WORDS)
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--texts", type=int, default=1_000_000)
    parser.add_argument("--partitions", type=int, default=10)
    options = parser.parse_args()
    n, at = options.texts, machine()
    assert _similar(["ab"], ["ab"]).item() == 1  # the library for pairs is there
    figures: dict[str, object] = {"texts": n}
    with Timer() as making:
        for _ in blocks(n):
            pass
    print(f"making {n:,} texts once: {making.cpu:.0f} CPU-s (taken off below where texts are made)")
    with Timer() as timer:
        spread = stream_spread(vector_blocks(n))
    found = f"cosine {spread.cosine:.5f}, Vendi 1 {spread.vendi_1:.2f}, 2 {spread.vendi_2:.2f}"
    print(f"spread, exact: {found}: {timer.cpu:.0f} CPU-s")
    figures["spread_s"] = round(timer.cpu, 1)
    words, counter = Words(), HyperLogLog()
    with Timer() as timer:
        for part in blocks(n):
            counter.add(words.ngrams(part, 4)[0])
    print(f"distinct 4-grams, sketch: {counter.value:,.0f} (relative SE .81 %): {timer.cpu - making.cpu:.0f} CPU-s")
    figures["sketch_s"] = round(timer.cpu - making.cpu, 1)
    with Timer() as timer:
        exact = count_repeats(lambda: blocks(n), partitions=options.partitions)
    taken = timer.cpu - options.partitions * making.cpu
    print(f"distinct 4-grams, exact: {exact.distinct:,} of {exact.total:,}, repetition {exact.self_repetition:.4f}: "
          f"{taken:.0f} CPU-s in {options.partitions} passes")  # fmt: skip
    off = counter.value / exact.distinct - 1
    print(f"sketch off by {off:+.2%}")
    figures |= {"exact_s": round(taken, 1), "sketch_error": round(off, 5)}
    with Timer() as timer:
        pairs = sampled_pairs(n, rouge_of_pairs, pairs=PAIRS, seed=0)
    print(f"ROUGE-L of {PAIRS:,} pairs: {pairs.value:.5f} ± {pairs.hoeffding:.5f} (Hoeffding), "
          f"± {pairs.bernstein:.5f} (Bernstein): {timer.cpu:.0f} CPU-s, making included")  # fmt: skip
    figures |= {"pairs_s": round(timer.cpu, 1), "peak_mib": round(peak_rss_mib())}
    print(f"peak memory: {peak_rss_mib():,.0f} MiB")
    finish("scale_texts", figures, "bounded memory: under 24 GiB", peak_rss_mib() < 24 * 1024, at)


if __name__ == "__main__":
    main()
