"""Overlap and spread of texts: the reference packages and ours side by side, in one process, on the same texts.

The references live in an environment of their own: see requirements-reference.txt. Slow ones run on a part of the
texts and are extrapolated, as the table says: pairs grow with n², self-BLEU's references with n².
No claim is made for n-gram diversity and gzip, where both do the same work.
"""

import argparse
import statistics
from collections.abc import Callable

import numpy as np

from _common import Timer, finish, machine
from multitudes.measure.diversity.lexical import compression_ratio
from multitudes.measure.diversity.overlap import ngram_diversity, rouge_l, self_bleu, self_repetition
from multitudes.measure.diversity.spread import vendi

WORDS = 100
PART = 60  # texts of a reference that needs pairs


def texts(n: int, seed: int = 0) -> list[list[str]]:
    """Zipf words, 100 to a text."""
    rng = np.random.default_rng(seed)
    p = 1 / np.arange(1, 20_001)
    return [[f"w{k}" for k in row] for row in rng.choice(20_000, size=(n, WORDS), p=p / p.sum())]


def vectors(n: int, d: int = 256) -> np.ndarray:
    """Unit vectors."""
    x = np.random.default_rng(0).normal(size=(n, d)) + 0.5
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def seconds(call: Callable[[], object], rounds: int = 3) -> float:
    """Median CPU seconds."""
    taken = []
    for _ in range(rounds):
        with Timer() as timer:
            call()
        taken.append(timer.cpu)
    return statistics.median(taken)


def reference_rouge(bag: list[list[str]], n: int) -> float:
    """CPU seconds of rouge_score for all ordered pairs of n texts, from a part."""
    from rouge_score.rouge_scorer import RougeScorer

    scorer = RougeScorer(["rougeL"], use_stemmer=False)
    lines = [" ".join(t) for t in bag[:PART]]
    taken = seconds(lambda: [scorer.score(a, b) for a in lines[:20] for b in lines], 1)
    return taken / (20 * PART) * n * (n - 1)


def reference_bleu(bag: list[list[str]], n: int) -> float:
    """CPU seconds of NLTK's self-BLEU of n texts: a few texts against all others."""
    from nltk.translate.bleu_score import SmoothingFunction, sentence_bleu

    smooth = SmoothingFunction().method1
    few = 5
    taken = seconds(
        lambda: [sentence_bleu(bag[:i] + bag[i + 1 :], bag[i], smoothing_function=smooth) for i in range(few)], 1
    )
    return taken / few * n


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    at = machine()
    small, large = texts(1_000), texts(5_000)
    x = vectors(5_000)
    from vendi_score import vendi as reference_vendi

    bleu, rouge = (seconds(lambda f=f: f(small), rounds) for f in (self_bleu, rouge_l))
    rows = [
        ("ROUGE-L homogenisation", 1_000, reference_rouge(small, 1_000), rouge, 100, "~"),
        ("self-BLEU-4", 1_000, reference_bleu(small, 1_000), bleu, 100, "~"),
        ("Vendi, d = 256", 5_000, seconds(lambda: reference_vendi.score_X(x, normalize=False), 1),
         seconds(lambda: vendi(x), rounds), 10, ""),
    ]  # fmt: skip
    print(f"{'score':<24}{'n':>7}{'reference':>12}{'ours':>10}{'ratio':>9}  goal   (CPU seconds, ~ extrapolated)")
    holds, figures = True, {}
    for name, n, theirs, ours, goal, mark in rows:
        ratio = theirs / ours
        print(f"{name:<24}{n:>7}{mark + format(theirs, '.2f'):>12}{ours:>10.3f}{ratio:>8.0f}x  {goal} x")
        holds = holds and ratio >= goal
        figures[name] = {"n": n, "reference_s": round(theirs, 3), "ours_s": round(ours, 4), "ratio": round(ratio, 1)}
    lines = [" ".join(t) for t in small]
    print(f"n-gram diversity, n = 1,000: {seconds(lambda: ngram_diversity(lines)):.3f} s; no claim")
    ids = [str(i) for i in range(1_000)]
    print(f"xz compression, n = 1,000: {seconds(lambda: compression_ratio(lines, ids)):.3f} s; no claim")
    print(
        f"self-repetition, n = 5,000: {seconds(lambda: self_repetition(large)):.3f} s; no reference can be imported"
    )
    goal = "ROUGE-L and self-BLEU 100 x at 1,000 texts, Vendi 10 x at 5,000"
    finish("diversity_speed", figures, goal, holds, at)


if __name__ == "__main__":
    main()
