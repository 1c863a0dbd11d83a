"""Scores without each text are those of the bag that is left, by brute force; large bags are sampled."""

from __future__ import annotations

import numpy as np
import pytest

from multitudes.measure.diversity import deleted
from multitudes.measure.diversity.deleted import (
    chamfer_deleted,
    remote_clique_deleted,
    rouge_l_deleted,
    self_repetition_deleted,
)
from multitudes.measure.diversity.overlap import rouge_l, self_repetition
from multitudes.measure.diversity.spread import chamfer, remote_clique
from multitudes.measure.errors import TooFewSamplesError


def bag_of(n, seed, words=12, low=1, high=20):
    rng = np.random.default_rng(seed)
    return [[f"w{k}" for k in rng.integers(0, words, rng.integers(low, high + 1))] for _ in range(n)]


def unit(n, d, seed):
    x = np.random.default_rng(seed).normal(size=(n, d)) + 1.0
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def without(items, j):
    return [*items[:j], *items[j + 1 :]]


@pytest.mark.parametrize("n", [2, 3, 17])
def test_scores_of_words_without_each_text(n):
    bag = bag_of(n, n, words=3)  # few words: many 4-grams are shared, also within a text
    for score, whole in ((lambda b: rouge_l_deleted(b)[0], rouge_l), (self_repetition_deleted, self_repetition)):
        found = score(bag)
        assert found.mean == pytest.approx(whole(bag).mean, abs=1e-12)
        rest = [whole(without(bag, j)).mean if n > 2 else np.nan for j in range(n)]
        assert found.without == pytest.approx(rest, abs=1e-12, nan_ok=True)
        with pytest.raises(TooFewSamplesError):
            score(bag[:1])


def test_self_repetition_in_blocks_is_the_same(monkeypatch):
    bag = bag_of(40, 3, words=4)
    whole = self_repetition_deleted(bag)
    monkeypatch.setattr(deleted, "_ROWS", 7)
    assert self_repetition_deleted(bag).without == pytest.approx(whole.without, abs=1e-12)
    assert self_repetition_deleted([["a"], ["b"], ["c"]]) == (0.0, pytest.approx([0, 0, 0]))


@pytest.mark.parametrize("n", [2, 3, 25])
def test_scores_of_vectors_without_each_text(n, monkeypatch):
    x = unit(n, 4, n)
    x[-1] = x[0]  # copies: leaving one out takes the other's nearest
    for score, whole in ((chamfer_deleted, chamfer), (remote_clique_deleted, remote_clique)):
        found = score(x)
        assert found.mean == pytest.approx(whole(x), abs=1e-12)
        rest = [whole(np.delete(x, j, 0)) if n > 2 else np.nan for j in range(n)]
        assert found.without == pytest.approx(rest, abs=1e-12, nan_ok=True)
    monkeypatch.setattr(deleted, "_ROWS", 4)
    assert chamfer_deleted(x).without == pytest.approx(score_in_one(x), abs=1e-12, nan_ok=True)


def score_in_one(x):
    return [chamfer(np.delete(x, j, 0)) if len(x) > 2 else np.nan for j in range(len(x))]


def test_large_bags_are_sampled_within_their_bounds(monkeypatch):
    bag, x = bag_of(60, 5, words=30, low=5), unit(60, 3, 6)
    exact, near = rouge_l_deleted(bag)[0], chamfer_deleted(x)
    monkeypatch.setattr(deleted, "PAIRED", 50)
    monkeypatch.setattr(deleted, "DRAWN", 20_000)
    monkeypatch.setattr(deleted, "QUERIES", 30)
    sampled, pairs = rouge_l_deleted(bag, quote=3, seed=1)
    half = np.sqrt(np.log(2 / 0.001) / (2 * 20_000))  # Hoeffding at 99.9 %
    assert 0 < abs(sampled.mean - exact.mean) < half
    assert np.abs(sampled.without - exact.without).max() < 1.2 * half
    assert all(p.first < p.second for p in pairs)
    some = chamfer_deleted(x, seed=2)
    assert 0 < abs(some.mean - near.mean) < 0.25 * near.mean
    asked = np.random.default_rng(2).choice(60, 30, replace=False)
    products = x @ x.T - 3 * np.eye(60)
    assert some.mean == pytest.approx((1 - products[asked].max(axis=1)).mean(), abs=1e-12)
    j = int(asked[0])
    rest = np.delete(products, j, axis=1)[[k for k in asked if k != j]]
    assert some.without[j] == pytest.approx((1 - rest.max(axis=1)).mean(), abs=1e-12)


def test_of_equally_alike_pairs_the_longer_ones_are_quoted_and_strangers_never():
    long = "i lost my card on monday and nobody called me back".split()
    bag = [["thanks"], long, ["thanks"], long, ["xylophone"]]
    _, pairs = rouge_l_deleted(bag, quote=5)
    assert [(p.first, p.second) for p in pairs] == [(1, 3), (0, 2)]
    assert [p.rouge_l for p in pairs] == [1.0, 1.0]
