"""The front against brute force, and the rule for ties."""

import numpy as np
import pytest

from multitudes.axis.pareto import Candidate, choose, clustered, pareto_front


def brute(rows):
    out = []
    for i, a in enumerate(rows):
        beaten = any(
            all(y <= x for x, y in zip(a, b, strict=True)) and any(y < x for x, y in zip(a, b, strict=True))
            for j, b in enumerate(rows)
            if j != i
        )
        out.append(not beaten and not np.isnan(a).any())
    return out


@pytest.mark.parametrize("seed", range(20))
def test_the_front_is_that_of_pairwise_comparison(seed):
    rng = np.random.default_rng(seed)
    rows = rng.integers(0, 4, size=(12, 3)).astype(float)  # few values, so that equal rows and ties occur
    assert pareto_front(rows).tolist() == brute(rows)


def test_a_row_with_nan_is_not_on_the_front_and_beats_nobody():
    assert pareto_front([[np.nan, 0.0], [1.0, 1.0], [2.0, 2.0]]).tolist() == [False, True, False]


ROLES = [f"r{i}" for i in range(10)]


def candidate(place, mean, *, n_layers=4, height=0.5, noise=0.0):
    return Candidate(place, (mean + noise * np.resize([1.0, -1.0], 10),), n_layers, height)


def test_the_largest_effect_wins_where_the_difference_is_larger_than_its_error():
    strong, weak = candidate(3, 1.0, n_layers=9), candidate(1, 0.5, n_layers=2)
    found = choose([weak, strong], ROLES)
    assert (found.taken, found.best, found.tied) == (3, 3, (3,))


def test_ties_go_to_fewer_layers_and_then_to_the_lower_threshold():
    best = candidate(0, 1.0, n_layers=6, noise=0.6)
    fewer = candidate(1, 0.95, n_layers=4, height=1.0, noise=-0.6)
    lower = candidate(2, 0.94, n_layers=4, height=0.3, noise=-0.6)
    far = candidate(3, 0.1, n_layers=2, height=0.1, noise=-0.6)
    found = choose([best, fewer, lower, far], ROLES)
    assert (found.taken, found.best, found.tied) == (2, 0, (0, 1, 2))
    assert choose([best, fewer, far], ROLES).taken == 1


def test_nothing_is_chosen_from_nothing():
    assert choose([], ROLES) is None


def test_the_error_is_that_of_cluster_means():
    values = np.array([1.0, 3.0, np.nan, 5.0, 9.0])
    mean, error = clustered(values, ["a", "a", "b", "c", "d"])
    means = np.array([2.0, 5.0, 9.0])
    assert mean == pytest.approx(means.mean())
    assert error == pytest.approx(means.std(ddof=1) / np.sqrt(3))
    assert np.isnan(clustered(np.array([1.0, 2.0]), ["a", "a"])[1])
