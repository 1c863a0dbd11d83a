"""Likelihood ratios and manner as levels."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score, roc_auc_score

from multitudes.core.errors import GaugeError
from multitudes.measure.retention.behaviour import RIDGE, calibrate_behaviour
from multitudes.measure.retention.style import fit_style, macro_f1


def ratios(seed, n=60, m=90, gap=3.0):
    rng = np.random.default_rng(seed)
    return rng.normal(gap, 4, n), rng.normal(0, 4, m)


@pytest.mark.parametrize("seed", range(3))
def test_the_curve_is_the_ridge_fit_of_a_second_library(seed):
    high, low = ratios(seed)
    found = calibrate_behaviour(high, low)
    x = np.concatenate([high, low])
    z = ((x - x.mean()) / x.std())[:, None]
    weight = np.concatenate([np.full(len(high), 0.5 / len(high)), np.full(len(low), 0.5 / len(low))])
    # sklearn minimises w²/2 + C Σ weight·loss; ours Σ weight·loss + (RIDGE / smaller class) w²/4
    other = LogisticRegression(C=2 * min(len(high), len(low)) / RIDGE, tol=1e-10, max_iter=1000)
    other.fit(z, np.r_[np.ones(len(high)), np.zeros(len(low))], sample_weight=weight)
    slope = other.coef_[0, 0] / x.std()
    assert found.b == pytest.approx(slope, rel=1e-4)
    assert found.a == pytest.approx(other.intercept_[0] - slope * x.mean(), abs=1e-3)
    assert found.auc == pytest.approx(roc_auc_score(np.r_[np.ones(60), np.zeros(90)], x), abs=1e-12)


def test_classes_weigh_the_same_whatever_their_sizes():
    high, low = ratios(5)
    one, two = calibrate_behaviour(high, low), calibrate_behaviour(np.tile(high, 3), low)
    assert one.levels(1.0) == pytest.approx(two.levels(1.0), abs=0.03)


def test_a_clean_separation_has_a_finite_slope():
    found = calibrate_behaviour([5.0, 6.0, 7.0], [-5.0, -6.0, -7.0])
    assert found.reason == ""
    assert 0 < found.b < 5
    assert np.all(np.diff(found.levels([-6.0, 0.0, 6.0])) > 0.2)
    assert np.isnan(found.levels(np.nan))


def test_what_cannot_tell_is_not_used():
    high, low = ratios(0, gap=0.2)
    assert "AUC" in calibrate_behaviour(high, low).reason or "likelier" in calibrate_behaviour(high, low).reason
    assert "likelier" in calibrate_behaviour([-2.0, -1.0, 0.0], [1.0, 2.0, 3.0]).reason
    with pytest.raises(GaugeError, match="nothing to calibrate"):
        calibrate_behaviour([np.nan], [1.0])
    with pytest.raises(GaugeError, match="equal"):
        calibrate_behaviour([1.0], [1.0])


SAYINGS = {
    "sailor": ["the sea", "my old boat", "a storm at night", "the harbour"],
    "nurse": ["my patients", "the ward", "a long shift", "warm tea"],
    "judge": ["the law", "my court", "a fair hearing", "the verdict"],
}


def replies(seed, n=12):
    rng = np.random.default_rng(seed)
    out = [(f"I think of {rng.choice(v)} and {rng.choice(v)}, and that is all.", k) for k, v in SAYINGS.items()
           for _ in range(n)]  # fmt: skip
    return [t for t, _ in out], [p for _, p in out]


def test_manner_is_recognised_on_new_replies():
    found = fit_style(*replies(0))
    texts, true = replies(1)
    p = found.probabilities(texts)
    np.testing.assert_allclose(p.sum(axis=1), 1, atol=1e-12)
    told = [found.personas[i] for i in p.argmax(axis=1)]
    assert macro_f1(told, true) > 0.9
    # words of nobody leave it at chance, about
    assert all(0.15 < found.level("Certainly, here is some advice.", k) < 0.55 for k in SAYINGS)


def test_levels_without_any_signal_are_chance():
    texts, _ = replies(0)
    names = [list(SAYINGS)[i % 3] for i in range(len(texts))]  # labels that say nothing
    new, true = replies(1)
    found = fit_style(texts, names)
    assert np.mean([found.level(t, k) for t, k in zip(new, true, strict=True)]) == pytest.approx(1 / 3, abs=0.12)


def test_f1_is_that_of_a_second_library():
    rng = np.random.default_rng(0)
    told, true = rng.choice(list("abc"), 50).tolist(), rng.choice(list("abc"), 50).tolist()
    assert macro_f1(told, true) == pytest.approx(f1_score(true, told, average="macro"), abs=1e-12)


def test_a_style_needs_two_personas():
    with pytest.raises(GaugeError, match="two personas"):
        fit_style(["a"], ["x"])
