"""The same numbers as the reference packages, and the bounds of what is only estimated."""

import math

import numpy as np
import pytest

from multitudes.measure.diversity.lexical import cosine_distance
from multitudes.measure.diversity.overlap import (
    most_alike,
    ngram_diversity,
    pair_bleu,
    rouge_l,
    self_bleu,
    self_repetition,
)
from multitudes.measure.diversity.spread import chamfer, remote_clique, vendi, vendi_of_kernel
from multitudes.measure.diversity.stream import HyperLogLog, Words, count_repeats, sampled_pairs, stream_spread
from multitudes.measure.errors import NotPSDError, NotUnitError, TooFewSamplesError, ZeroVectorError

VOCABULARY = [f"w{k}" for k in range(30)]


def texts(n, seed, low=1, high=40):
    rng = np.random.default_rng(seed)
    p = 1 / np.arange(1, 31)
    return [
        [VOCABULARY[j] for j in rng.choice(30, size=rng.integers(low, high + 1), p=p / p.sum())] for _ in range(n)
    ]


def unit(n, d, seed=0):
    x = np.random.default_rng(seed).normal(size=(n, d)) + 1.0
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def test_rouge_l_is_that_of_the_reference_over_all_pairs():
    from rouge_score.rouge_scorer import RougeScorer

    bag = texts(60, 1)
    scorer = RougeScorer(["rougeL"], use_stemmer=False)
    lines = [" ".join(t) for t in bag]
    table = np.array([[scorer.score(a, b)["rougeL"].fmeasure for b in lines] for a in lines])
    np.fill_diagonal(table, 0)
    found = rouge_l(bag)
    assert found.mean == pytest.approx(table.sum() / (60 * 59), abs=1e-12)
    assert found.each == pytest.approx(table.sum(axis=1) / 59, abs=1e-12)


def test_rouge_l_in_blocks_is_the_same(monkeypatch):
    bag = texts(50, 2)
    whole, alike = rouge_l(bag), most_alike(bag, 7)
    monkeypatch.setattr("multitudes.measure.diversity.overlap.BLOCK", 7)
    assert rouge_l(bag).each == pytest.approx(whole.each, abs=1e-12)
    assert most_alike(bag, 7) == alike


def test_texts_without_a_shared_word_are_not_homogeneous():
    bag = [["a", "b"], ["c"], ["d", "e", "f"]]  # a reference returns 1 here
    assert rouge_l(bag).mean == self_bleu(bag).mean == pair_bleu(bag).mean == self_repetition(bag).mean == 0


def test_self_bleu_is_that_of_nltk():
    from nltk.translate.bleu_score import SmoothingFunction, sentence_bleu

    bag = texts(25, 3)
    smooth = SmoothingFunction().method1
    want = [
        sentence_bleu(bag[:i] + bag[i + 1 :], text, smoothing_function=smooth) if text else 0.0
        for i, text in enumerate(bag)
    ]
    assert self_bleu(bag).each == pytest.approx(want, abs=1e-12)


def test_self_bleu_is_that_of_sacrebleu():
    from sacrebleu import sentence_bleu

    bag = texts(25, 4)
    lines = [" ".join(t) for t in bag]
    want = [
        sentence_bleu(line, lines[:i] + lines[i + 1 :], smooth_method="exp", tokenize="none",
                      use_effective_order=True).score / 100
        for i, line in enumerate(lines)
    ]  # fmt: skip
    assert self_bleu(bag, smoothing="exponential").each == pytest.approx(want, abs=1e-12)


def test_pair_bleu_is_that_of_sacrebleu():
    from sacrebleu import corpus_bleu

    bag = texts(12, 5, low=8)
    lines = [" ".join(t) for t in bag]
    want = [
        corpus_bleu(lines[:i] + lines[i + 1 :], [[line] * 11], smooth_method="none", tokenize="none").score / 100
        for i, line in enumerate(lines)
    ]
    assert pair_bleu(bag).each == pytest.approx(want, abs=1e-12)


def test_self_repetition_by_hand():
    bag = ["a b c d e".split(), "a b c d".split(), "x y".split()]
    assert self_repetition(bag).each == pytest.approx([math.log(2), math.log(2), 0.0])


def test_ngram_diversity_by_hand():
    # a b a b: 2 of 4 words, 2 of 3 pairs, 2 of 2 triples, 1 of 1
    assert ngram_diversity(["a b", "a b"]) == pytest.approx(2 / 4 + 2 / 3 + 2 / 2 + 1)


def test_identical_texts():
    bag = [list("abcde")] * 4
    assert rouge_l(bag).mean == self_bleu(bag).mean == pair_bleu(bag).mean == pytest.approx(1)
    assert most_alike([*bag[:2], ["z"]], 1)[0][:2] == (0, 1)


@pytest.mark.parametrize("score", [rouge_l, self_bleu, pair_bleu, self_repetition])
def test_one_text_is_no_bag(score):
    with pytest.raises(TooFewSamplesError):
        score([["a"]])


def test_vendi_is_that_of_the_reference():
    from vendi_score import vendi as reference

    for x in (unit(40, 8), unit(8, 40)):
        assert vendi(x) == pytest.approx(reference.score_X(x, normalize=False), rel=1e-9)
        for order in (0.5, 2.0) if len(x) == 40 else ():
            assert vendi(x, order) == pytest.approx(reference.score_dual(x, q=order, normalize=False), rel=1e-9)
        # the reference's score_X ignores q; ours does not
        assert vendi(x, 2.0) != pytest.approx(vendi(x, 1.0), rel=1e-3)


@pytest.mark.parametrize("order", [0.5, 1.0, 2.0, math.inf])
def test_equal_groups_count_as_many_as_they_are(order):
    x = np.repeat(np.eye(5), 7, axis=0)
    assert vendi(x, order) == pytest.approx(5, rel=1e-9)
    assert vendi_of_kernel(x @ x.T, order) == pytest.approx(5, rel=1e-6)


def test_what_is_no_kernel_is_refused():
    with pytest.raises(NotPSDError, match="itself"):
        vendi_of_kernel(np.eye(3) * 2)
    with pytest.raises(NotPSDError, match="negative"):
        vendi_of_kernel([[1, 2], [2, 1]])
    with pytest.raises(NotPSDError, match="symmetric"):
        vendi_of_kernel([[1, 0.5], [0.1, 1]])


def test_what_are_no_unit_vectors_are_refused():
    with pytest.raises(NotUnitError):
        vendi(2 * np.eye(3))
    with pytest.raises(ZeroVectorError):
        chamfer(np.diag([1.0, 0.0]))


def test_clique_and_chamfer_against_all_distances(monkeypatch):
    from sklearn.metrics.pairwise import cosine_distances

    x = unit(50, 6)
    far = cosine_distances(x)
    assert remote_clique(x) == pytest.approx(far.mean(), abs=1e-12)
    monkeypatch.setattr("multitudes.measure.diversity.spread._ROWS", 7)
    np.fill_diagonal(far, np.inf)
    assert chamfer(x) == pytest.approx(far.min(axis=1).mean(), abs=1e-12)


def test_streamed_spread_is_the_spread():
    x = unit(5_000, 32).astype(np.float32)
    found = stream_spread(x[k : k + 700] for k in range(0, 5_000, 700))
    whole = x.astype(np.float64)
    assert found.n == 5_000
    assert found.cosine == pytest.approx(cosine_distance(whole).mean, rel=1e-5)
    assert found.remote_clique == pytest.approx(remote_clique(whole), rel=1e-5)
    assert found.vendi_1 == pytest.approx(vendi(whole), rel=1e-5)
    assert found.vendi_2 == pytest.approx(vendi(whole, 2.0), rel=1e-5)


@pytest.mark.parametrize("partitions", [1, 5])
def test_counted_repeats_are_exact(partitions):
    bag = texts(400, 6)
    found = count_repeats(lambda: (bag[k : k + 90] for k in range(0, 400, 90)), partitions=partitions)
    grams = [tuple(t[k : k + 4]) for t in bag for k in range(len(t) - 3)]
    assert (found.distinct, found.total, found.texts) == (len(set(grams)), len(grams), 400)
    assert found.self_repetition == pytest.approx(self_repetition(bag).mean, abs=1e-12)


def test_hyperloglog_is_within_its_error():
    errors = []
    for seed, n in enumerate([500, 20_000, 20_000, 300_000, 300_000, 300_000]):
        counter, rng = HyperLogLog(), np.random.default_rng(seed)
        hashes = rng.integers(0, 2**64, size=n, dtype=np.uint64)
        for _ in range(2):  # what is there twice counts once
            counter.add(hashes)
        errors.append(counter.value / n - 1)
    assert np.abs(errors).max() < 4 * 0.0081
    hashes, _ = Words().ngrams(texts(300, 7), 2)
    counter = HyperLogLog()
    counter.add(hashes)
    assert counter.value == pytest.approx(len(np.unique(hashes)), rel=0.03)


def test_bounds_of_sampled_pairs_hold():
    x = unit(300, 5)
    similar = np.clip(x @ x.T, 0, 1)
    true = (similar.sum() - 300) / (300 * 299)
    held = {"hoeffding": 0, "bernstein": 0}
    for seed in range(200):
        found = sampled_pairs(300, lambda i, j: similar[i, j], pairs=400, seed=seed)
        held["hoeffding"] += abs(found.value - true) <= found.hoeffding
        held["bernstein"] += abs(found.value - true) <= found.bernstein
    assert min(held.values()) >= 190
    assert sampled_pairs(300, lambda i, j: similar[i, j], pairs=100_000, seed=1).value == pytest.approx(
        true, abs=0.005
    )
    assert sampled_pairs(300, lambda i, j: (i == j).astype(float), pairs=5_000, seed=1).value == 0
