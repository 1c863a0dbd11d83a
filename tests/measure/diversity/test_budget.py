"""Equal budgets by their definitions: common lengths, matched lengths, random subsets, refusals."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from multitudes.measure.diversity.budget import (
    DRAWS,
    common_length,
    matched_lengths,
    refuse_unequal,
    subsets,
)
from multitudes.measure.errors import TooFewSamplesError, UnequalBudgetError

LENGTHS = st.lists(st.integers(0, 30), min_size=1, max_size=40)


@given(LENGTHS, LENGTHS)
def test_the_common_length_is_the_largest_that_nine_in_ten_texts_reach(a, b):
    found = common_length({"a": a, "b": b})

    def reached(length):
        return all(sum(x >= length for x in v) >= 0.9 * len(v) - 1e-9 for v in (a, b))

    largest = max((length for length in range(31) if reached(length)), default=0)
    assert found == max(1, largest)


@given(st.integers(2, 4), st.integers(1, 8), st.integers(1, 12), st.randoms(use_true_random=False))
def test_matched_lengths_are_equal_in_all_arms_and_never_longer_than_the_text(arms, texts, limit, random):
    lengths = {f"arm{a}": [random.randint(0, 15) for _ in range(texts)] for a in range(arms)}
    kept = matched_lengths(lengths, limit)
    assert len({tuple(sorted(v)) for v in kept.values()}) == 1
    for arm, v in kept.items():
        assert all(0 <= n <= min(length, limit) for n, length in zip(v, lengths[arm], strict=True))
    # Nothing is cut more than it must be: the r-th longest keeps the least r-th longest of any arm.
    ranked = [sorted(v, reverse=True) for v in lengths.values()]
    assert sorted(kept["arm0"], reverse=True) == [min(limit, *column) for column in zip(*ranked, strict=True)]


def test_unequal_amounts_are_refused_and_small_differences_may_be_allowed():
    with pytest.raises(UnequalBudgetError, match="texts"):
        matched_lengths({"a": [1, 2], "b": [1]}, 5)
    with pytest.raises(UnequalBudgetError, match=r"100 of 'a' and 103 of 'b'"):
        refuse_unequal({"a": 100, "b": 103}, "tokens", tolerance=0.02)
    refuse_unequal({"a": 100, "b": 102}, "tokens", tolerance=0.02)
    refuse_unequal({"a": 5, "b": 5}, "tokens")


def test_subsets_are_all_texts_or_random_ones_without_repeats():
    assert subsets({"a": 3, "b": 3}, 3, 0) == [{"a": [0, 1, 2], "b": [0, 1, 2]}]
    drawn = subsets({"a": 3, "b": 9}, 3, 0, "p1")
    assert len(drawn) == DRAWS
    assert all(d["a"] == [0, 1, 2] for d in drawn)
    assert all(len(set(d["b"])) == 3 for d in drawn)
    counts = np.bincount([i for d in drawn for i in d["b"]], minlength=9)
    assert counts.min() > 0
    assert abs(counts - DRAWS / 3).max() < 4 * np.sqrt(DRAWS * 2 / 9)  # binomial, 4 standard errors
    assert subsets({"a": 3, "b": 9}, 3, 0, "p1") == drawn != subsets({"a": 3, "b": 9}, 3, 0, "p2")
    with pytest.raises(TooFewSamplesError):
        subsets({"a": 2, "b": 9}, 3, 0)
