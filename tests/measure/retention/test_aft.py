"""The log-logistic time ratio: against lifelines, against a plain optimiser, and on data whose ratio is known."""

from __future__ import annotations

import golden_survival as golden
import numpy as np
import pytest
from scipy import optimize
from scipy.special import expit

from multitudes.core.errors import GaugeError
from multitudes.measure.retention import aft
from multitudes.measure.retention.aft import fit_log_logistic, fit_many

RATIO, SHAPE, SCALE = 1.8, 2.0, 4.0
PROBES = np.arange(0.0, 9.0)


def design(arm):
    return np.stack([arm, np.ones(len(arm))], axis=1).astype(float)


def log_likelihood(p, low, high, x, w=1.0):
    """Straight from the definition, in (β, log κ)."""
    alpha = np.exp(x @ p[:-1])
    with np.errstate(divide="ignore", over="ignore"):
        lower, upper = (1 / (1 + (t / alpha) ** np.exp(p[-1])) for t in (low, high))
    return float((w * np.log(lower - upper)).sum())


def test_it_is_at_least_as_likely_as_lifelines_and_beside_it():
    low, high, arm = golden.intervals()
    fit, g = fit_log_logistic(low, high, design(arm)), golden.LIFELINES
    assert fit.converged
    assert fit.log_likelihood >= g["aft_log_likelihood"] - 1e-6
    # 2e-3: lifelines stops where its gradient is small, 1e-4 of likelihood below the maximum.
    assert fit.beta == pytest.approx(g["aft_alpha"], abs=2e-3)
    assert fit.log_shape == pytest.approx(g["aft_log_shape"], abs=2e-3)


def test_it_is_the_maximum_that_a_plain_optimiser_finds():
    low, high, arm = golden.intervals()
    x = np.column_stack([design(arm), np.sin(np.arange(len(arm)))])
    w = 1.0 + np.arange(len(arm)) % 3
    fit = fit_log_logistic(low, high, x, weights=w)
    best = optimize.minimize(
        lambda p: -log_likelihood(p, low, high, x, w), np.zeros(4), method="BFGS", options={"gtol": 1e-5}
    )
    assert fit.log_likelihood == pytest.approx(-best.fun, abs=1e-7)
    assert np.append(fit.beta, fit.log_shape) == pytest.approx(best.x, abs=1e-4)
    assert fit.log_likelihood == pytest.approx(log_likelihood(np.append(fit.beta, fit.log_shape), low, high, x, w))
    assert fit.events == w[np.isfinite(high)].sum()


def test_newton_needs_few_steps(monkeypatch):
    # With a wrong second derivative it still arrives, much later.
    low, high, arm = golden.intervals()
    monkeypatch.setattr(aft, "STEPS", 7)
    assert fit_log_logistic(low, high, design(arm)).converged


def test_weights_are_repetitions():
    low, high, arm = golden.intervals(40)
    w = np.arange(40) % 3
    a = fit_log_logistic(low, high, design(arm), weights=w)
    i = np.repeat(np.arange(40), w)
    b = fit_log_logistic(low[i], high[i], design(arm[i]))
    assert a.beta == pytest.approx(b.beta, abs=1e-6)


def test_turns_scale_the_level_and_not_the_ratio():
    low, high, arm = golden.intervals()
    a, b = (fit_log_logistic(k * low, k * high, design(arm)) for k in (1.0, 60.0))
    assert b.beta[0] == pytest.approx(a.beta[0], abs=1e-5)
    assert b.beta[1] == pytest.approx(a.beta[1] + np.log(60), abs=1e-5)
    assert b.log_shape == pytest.approx(a.log_shape, abs=1e-5)


def patterns():
    """Every interval that probes at turns 1 to 8 can give, for both arms."""
    low = np.concatenate([PROBES[:-1], [8.0]])
    high = np.concatenate([PROBES[1:], [np.inf]])
    return np.tile(low, 2), np.tile(high, 2), design(np.repeat([0, 1], 9))


def simulated(rng, sets, n, ratio=RATIO):
    """(sets, 18) numbers of conversations per pattern; half of the n in each arm."""
    counts = []
    for arm in (0, 1):
        u = rng.random((sets, n // 2))
        t = SCALE * ratio**arm * (u / (1 - u)) ** (1 / SHAPE)
        at = np.minimum(np.floor(t), 8).astype(int)
        counts.append(np.stack([np.bincount(row, minlength=9) for row in at]))
    return np.concatenate(counts, axis=1).astype(float)


def test_the_ratio_is_recovered():
    low, high, x = patterns()
    fits = fit_many(low, high, x, simulated(np.random.default_rng(1), 200, 200))
    assert fits.converged.all()
    log_ratio = fits.beta[:, 0]
    error = log_ratio.std(ddof=1) / np.sqrt(200)
    assert abs(log_ratio.mean() - np.log(RATIO)) < 3 * error
    assert error < 0.01  # so that the line above can fail
    assert abs(np.exp(log_ratio).mean() - RATIO) < 3 * np.exp(log_ratio).std(ddof=1) / np.sqrt(200) + 0.01


def test_turns_taken_for_exact_times_bias_the_ratio_toward_one():
    # The trap: an event seen at turn t happened in (t − 1, t]. Exact times are near-empty intervals at t.
    low, high, x = patterns()
    counts = simulated(np.random.default_rng(1), 100, 200)
    exact_low = np.where(np.isinf(high), low, high - 1e-3)
    right, wrong = fit_many(low, high, x, counts), fit_many(exact_low, high, x, counts)
    assert abs(np.exp(right.beta[:, 0].mean()) - RATIO) < 0.05
    assert np.exp(wrong.beta[:, 0].mean()) < RATIO - 0.1


def test_the_bootstrap_covers():
    # 200 sets of 200 conversations, 200 draws each: the share of intervals that hold has SE .015.
    rng = np.random.default_rng(5)
    low, high, x = patterns()
    held = 0
    for counts in simulated(rng, 200, 200):
        drawn = np.concatenate([rng.multinomial(100, arm / 100, size=200) for arm in np.split(counts, 2)], axis=1)
        beta = fit_many(low, high, x, drawn.astype(float)).beta[:, 0]
        lower, upper = np.quantile(beta, [0.025, 0.975])
        held += lower <= np.log(RATIO) <= upper
    assert 0.92 <= held / 200 <= 0.98


@pytest.mark.parametrize("arm_high", [np.full(20, np.inf), np.ones(20)])
def test_an_arm_without_a_maximum_is_not_given_a_number(arm_high):
    # No flip at all, or all flips in the first interval: the likelihood rises for ever.
    low, high, _ = golden.intervals(40)
    low = np.concatenate([low[:20], np.where(np.isinf(arm_high), 8.0, 0.0)])
    high = np.concatenate([high[:20], arm_high])
    assert not fit_log_logistic(low, high, design(np.repeat([0, 1], 20))).converged


def test_an_arm_that_a_draw_leaves_out_is_not_given_a_number():
    low, high, arm = golden.intervals(40)
    w = np.stack([np.ones(40), (arm == 0).astype(float)])
    assert fit_many(low, high, design(arm), w).converged.tolist() == [True, False]


def test_many_fits_are_single_fits():
    low, high, x = patterns()
    counts = simulated(np.random.default_rng(3), 5, 60)
    many = fit_many(low, high, x, counts)
    for i, row in enumerate(counts):
        one = fit_log_logistic(low, high, x, weights=row)
        assert many.beta[i] == pytest.approx(one.beta, abs=1e-9)
        assert many.log_likelihood[i] == pytest.approx(one.log_likelihood, abs=1e-9)


def test_survival_at_the_median_is_one_half():
    low, high, arm = golden.intervals()
    fit = fit_log_logistic(low, high, design(arm))
    median = np.exp(fit.beta[1])
    assert expit(-np.exp(fit.log_shape) * (np.log(median) - fit.beta[1])) == pytest.approx(0.5)
    assert median == pytest.approx(SCALE, rel=0.05)


@pytest.mark.parametrize(
    ("low", "high", "x"),
    [
        ([1, 2], [1, 3], [[1], [1]]),
        ([-1, 2], [1, 3], [[1], [1]]),
        ([0, 2], [1, 3], [[1, 1], [1, 1]]),
        ([0, 2], [1, np.nan], [[1], [1]]),
    ],
)
def test_what_is_no_interval_is_refused(low, high, x):
    with pytest.raises(GaugeError):
        fit_log_logistic(low, high, x)
