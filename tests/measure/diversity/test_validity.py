"""Effective diversity: closed forms against brute force over pairs, unbiasedness by enumeration, and the identity."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from multitudes.core.errors import GaugeError
from multitudes.measure.diversity.validity import (
    count_classes,
    d_cos_eff,
    d_fixed,
    d_pair,
    d_pair_valid,
    explain_change,
    pooled,
    rarefied_classes,
    validity,
)
from multitudes.measure.errors import (
    NotFiniteError,
    NotUnitError,
    TooFewSamplesError,
    UnequalBudgetError,
    ZeroVectorError,
)


def arm(seed, g=12, k=7, kinds=4, share=0.7):
    rng = np.random.default_rng(seed)
    return np.repeat(np.arange(g), k), rng.random(g * k) < share, rng.integers(0, kinds, g * k)


def brute_pairs(valid, classes):
    """Share of pairs that are valid and differ."""
    k = len(valid)
    return sum(valid[i] and valid[j] and classes[i] != classes[j] for i, j in itertools.combinations(range(k), 2)) / (
        k * (k - 1) / 2
    )


@pytest.mark.parametrize("seed", range(5))
def test_closed_forms_equal_brute_force(seed):
    prompt, valid, classes = arm(seed)
    counts = count_classes(prompt, valid, classes)
    share = d_pair_valid(counts)
    for q in range(12):
        v, c = valid[prompt == q], classes[prompt == q]
        kept = c[v]
        differ = sum(a != b for a, b in itertools.permutations(kept, 2))
        assert validity(counts)[q] == pytest.approx(v.mean(), abs=1e-12)
        assert d_fixed(counts)[q] == pytest.approx(len(set(kept)) / 7, abs=1e-12)
        assert d_pair(counts)[q] == pytest.approx(brute_pairs(v, c), abs=1e-12)
        assert (share.different[q], share.pairs[q]) == (differ, len(kept) * (len(kept) - 1))


@pytest.mark.parametrize("seed", range(3))
def test_rarefied_classes_equal_all_draws(seed):
    prompt, valid, classes = arm(seed, g=6)
    counts = count_classes(prompt, valid, classes)
    for m in range(4):
        draws = np.minimum(counts.valid, m)
        found = rarefied_classes(counts, draws)
        for q in range(6):
            kept = classes[(prompt == q) & valid]
            every = [len(set(draw)) for draw in itertools.combinations(kept, draws[q])]
            assert found[q] == pytest.approx(np.mean(every), abs=1e-12)
    assert rarefied_classes(counts, counts.valid) == pytest.approx(counts.distinct)


def test_rarefied_classes_of_thousands():
    counts = count_classes(["p"] * 4_000, [1] * 4_000, np.arange(4_000) % 400)
    assert rarefied_classes(counts, [1])[0] == pytest.approx(1, abs=1e-9)
    assert rarefied_classes(counts, [4_000])[0] == 400


@pytest.mark.parametrize("draws", [[-1], [3], [0.5]])
def test_draws_that_cannot_be_are_refused(draws):
    with pytest.raises(GaugeError, match=r"from 0 to 2"):
        rarefied_classes(count_classes(["p"] * 3, [1, 1, 0], [1, 2, 3]), draws)


@pytest.mark.parametrize("k", [2, 3, 4])
def test_the_pair_score_is_unbiased_at_every_k_and_the_fixed_one_is_not(k):
    """Enumerates all samples of K answers from a known source and weights them by their probability."""
    source = {("bad", 0): 0.3, ("a", 1): 0.4, ("b", 1): 0.2, ("c", 1): 0.1}
    truth = 0.7**2 - (0.4**2 + 0.2**2 + 0.1**2)
    pair = fixed = 0.0
    for sample in itertools.product(source, repeat=k):
        counts = count_classes([0] * k, [v for _, v in sample], [s for s, _ in sample])
        chance = math.prod(source[answer] for answer in sample)
        pair += chance * d_pair(counts)[0]
        fixed += chance * d_fixed(counts)[0]
    assert pair == pytest.approx(truth, abs=1e-12)
    assert fixed == pytest.approx(sum(1 - (1 - p) ** k for p in (0.4, 0.2, 0.1)) / k, abs=1e-12)


@pytest.mark.parametrize("k", [2, 10, 30])
def test_the_pair_score_is_unbiased_in_simulation(k):
    rng, g = np.random.default_rng(k), 4_000
    kind = rng.choice(4, p=[0.3, 0.4, 0.2, 0.1], size=(g, k))
    found = d_pair(count_classes(np.repeat(np.arange(g), k), (kind > 0).ravel(), kind.ravel()))
    assert abs(found.mean() - 0.28) < 3 * found.std(ddof=1) / np.sqrt(g)


def test_cosine_form_equals_brute_force():
    prompt, valid, _ = arm(9, g=5)
    rng = np.random.default_rng(1)
    x = rng.normal(size=(len(prompt), 6))
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    found = d_cos_eff(prompt, valid, x)
    for q in range(5):
        rows = np.flatnonzero((prompt == q) & valid)
        total = sum(1 - x[i] @ x[j] for i, j in itertools.combinations(rows, 2))
        assert found[q] == pytest.approx(total / 21, abs=1e-12)


def test_cosine_form_on_class_axes_is_the_pair_score():
    prompt, valid, classes = arm(4)
    assert d_cos_eff(prompt, valid, np.eye(4)[classes]) == pytest.approx(
        d_pair(count_classes(prompt, valid, classes)), abs=1e-12
    )


def test_equal_vectors_are_exactly_zero_apart_and_invalid_ones_are_not_looked_at():
    x = np.array([[0.6, 0.8], [0.6, 0.8], [np.nan, 0.0]])
    assert d_cos_eff([0, 0, 0], [1, 1, 0], x)[0] == pytest.approx(0, abs=1e-15)


@pytest.mark.parametrize(
    ("row", "kind"), [([0.0, 0.0], ZeroVectorError), ([2.0, 0.0], NotUnitError), ([np.nan, 1.0], NotFiniteError)]
)
def test_vectors_that_are_no_direction_are_refused(row, kind):
    with pytest.raises(kind, match=r"vectors\[1\]"):
        d_cos_eff([0, 0], [1, 1], [[1.0, 0.0], row])


def test_all_invalid_is_zero_and_says_why_there_is_no_share():
    found = pooled(count_classes([0, 0, 1, 1], [0, 0, 0, 0], ["a", "b", "a", "b"]))
    assert (found.validity, found.fixed, found.pair, found.pair_valid) == (0, 0, 0, None)
    assert found.note == "no prompt has two valid answers"
    assert d_cos_eff([0, 0], [0, 0], [[1.0, 0.0]] * 2).tolist() == [0.0]


def test_one_valid_answer_a_prompt_makes_no_pair():
    found = pooled(count_classes([0, 0], [1, 0], ["a", "a"]))
    assert (found.validity, found.fixed, found.pair, found.pair_valid) == (0.5, 0.5, 0, None)


def test_invalid_answers_cost_and_their_classes_do_not_count():
    counts = count_classes([0] * 4, [1, 1, 0, 0], ["a", "b", "c", "a"])
    assert d_fixed(counts).tolist() == [0.5]
    assert d_pair(counts) == pytest.approx([1 / 6])


def test_a_class_name_of_two_prompts_is_two_classes():
    counts = count_classes(["p", "p", "q", "q"], [1] * 4, ["a", "b", "a", "a"])
    assert counts.distinct.tolist() == [2, 1]
    assert d_pair(counts).tolist() == [1.0, 0.0]


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 10_000), st.floats(0.2, 1), st.floats(0.2, 1), st.integers(2, 5))
def test_the_identity_adds_up(seed, first, second, kinds):
    before = pooled(count_classes(*arm(seed, share=first)))
    after = pooled(count_classes(*arm(seed + 1, share=second, kinds=kinds)))
    for found in (before, after):
        if found.pair_valid is not None:
            assert found.pair == pytest.approx(found.valid_pairs * found.pair_valid, abs=1e-12)
    change = explain_change(before, after)
    if not change.note:
        assert change.total == pytest.approx(change.validity + change.difference, abs=1e-9)


def test_the_identity_tells_validity_from_difference():
    base = ["a", "b", "c", "d"]
    half = pooled(count_classes([0] * 4, [1, 1, 0, 0], base))
    full = pooled(count_classes([0] * 4, [1, 1, 1, 1], base))
    same = pooled(count_classes([0] * 4, [1, 1, 1, 1], ["a", "a", "b", "b"]))
    assert explain_change(half, full)[:3] == pytest.approx((math.log(6), math.log(6), 0))
    assert explain_change(full, same)[:3] == pytest.approx((math.log(2 / 3), 0, math.log(2 / 3)))


def test_no_logarithm_of_nothing():
    fine = pooled(count_classes([0, 0], [1, 1], ["a", "b"]))
    none = pooled(count_classes([0, 0], [1, 0], ["a", "b"]))
    equal = pooled(count_classes([0, 0], [1, 1], ["a", "a"]))
    assert explain_change(none, fine) == (None, None, None, "before: no prompt has two valid answers")
    assert explain_change(fine, equal).note == "after: no prompt has two valid answers that differ"


def test_arms_of_different_sizes_are_refused():
    small, large = pooled(count_classes([0] * 2, [1] * 2, [1, 2])), pooled(count_classes([0] * 3, [1] * 3, [1, 2, 3]))
    with pytest.raises(UnequalBudgetError):
        explain_change(small, large)


def test_input_that_is_none():
    with pytest.raises(UnequalBudgetError, match="2 to 3"):
        count_classes([0, 0, 1, 1, 1], [1] * 5, [1] * 5)
    with pytest.raises(TooFewSamplesError):
        count_classes([0, 1], [1, 1], [1, 1])
    with pytest.raises(TooFewSamplesError):
        count_classes([], [], [])
    with pytest.raises(GaugeError, match="lengths differ"):
        count_classes([0, 0], [1, 1], [1])
    for wrong in (np.nan, 0.5, 2):
        with pytest.raises(GaugeError, match="valid or not"):
            count_classes([0, 0], [1, wrong], [1, 1])
