"""Bits about a persona: closed forms, calibration, and honesty of the fitted temperature."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import trapezoid

from multitudes.core.errors import GaugeError
from multitudes.core.records import Reading, Score
from multitudes.measure.listener import (
    bits,
    collect_evidence,
    contrast,
    cumulate,
    fit_inverse_temperature,
    held_out_inverse_temperatures,
    log_posterior,
    right,
)
from multitudes.measure.listener_reading import listener_reading
from multitudes.measure.stats import bootstrap_mean


def design(personas: int, dialogues: int, turns: int) -> dict[str, np.ndarray]:
    n = personas * dialogues * turns
    return {
        "persona": np.repeat(np.arange(personas), dialogues * turns),
        "dialogue": np.repeat(np.arange(personas * dialogues), turns),
        "turn": np.tile(np.arange(1, turns + 1), n // turns),
    }


def speak(rng, d, k, *, separation=1.0, confidence=1.0):
    """Lines x ~ N(μ_true, 1) with K personas at random points, scored by the true densities times ``confidence``."""
    n = len(d["persona"])
    true = rng.integers(0, k, d["dialogue"].max() + 1)[d["dialogue"]]
    centres = separation * rng.normal(size=(n, k, 2))
    first = np.unique(d["dialogue"], return_index=True)[1]
    centres = centres[first][d["dialogue"]]  # the same candidates for a whole dialogue
    x = centres[np.arange(n), true] + rng.normal(size=(n, 2))
    return -0.5 * confidence * ((x[:, None] - centres) ** 2).sum(-1), true


def by_name(reading: Reading) -> dict[str, Score]:
    return {s.name: s for s in reading.scores}


def test_identical_likelihoods_tell_nothing():
    d = design(10, 2, 3)
    scores = by_name(listener_reading(np.full((60, 8), -20.0), np.zeros(60, dtype=int), **d))
    for name in ("bits_per_line", "bits_per_line_raw", "bits_dialogue", "contrast"):
        assert scores[name].value == pytest.approx(0, abs=1e-12)
    assert scores["accuracy"].value == pytest.approx(1 / 8, abs=1e-12)
    assert scores["log_score"].value == pytest.approx(-math.log(8), abs=1e-12)


def test_disjoint_likelihoods_tell_everything():
    d = design(10, 2, 3)
    true = np.arange(60) % 8
    ell = np.where(np.eye(8, dtype=bool)[true], -5.0, -2000.0)
    scores = by_name(listener_reading(ell, true, **d))
    for name in ("bits_per_line", "bits_per_line_raw"):
        assert scores[name].value == pytest.approx(3, abs=1e-12)
    assert scores["accuracy"].value == 1
    assert "never erred" in scores["temperature"].note


def test_two_candidates_have_their_closed_form():
    e = collect_evidence([[0.0, -1.0]], [0], persona=[0], dialogue=[0], turn=[1])
    q = 1 / (1 + math.exp(-1))
    assert bits(e, 1.0)[0] == pytest.approx(1 + math.log2(q), abs=1e-12)
    assert contrast(e)[0] == 1
    assert log_posterior(e.ell, 0.0)[0] == pytest.approx([-math.log(2)] * 2)


def test_ties_share_the_credit():
    e = collect_evidence([[0.0, 0.0, -1.0], [0.0, 1.0, 1.0]], [0, 0], persona=[0, 1], dialogue=[0, 1], turn=[1, 1])
    assert right(e).tolist() == [0.5, 0.0]


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.integers(2, 6), st.floats(0.05, 20))
def test_temperature_equals_a_grid_search(seed, k, confidence):
    rng = np.random.default_rng(seed)
    ell, true = speak(rng, design(8, 2, 4), k, confidence=confidence)
    b = fit_inverse_temperature(ell - ell.max(1, keepdims=True), true)

    def loss(inverse: float) -> float:
        return float(log_posterior(ell, inverse)[np.arange(len(true)), true].sum())

    grid = max(np.geomspace(1e-3, 100, 200), key=loss)
    assert loss(b) >= loss(grid) - 1e-9
    assert 0 <= b <= 100
    for near in (b * 0.99, b * 1.01):
        assert loss(b) >= loss(min(near, 100.0)) - 1e-9


def test_a_calibrated_listener_needs_no_temperature_and_an_overconfident_one_does():
    """True densities: τ = 1 within 3 SE; likelihoods five times too sure: τ = 5, equal bits, raw bits lower."""
    d = design(40, 5, 6)
    scores = {}
    for confidence in (1.0, 5.0):
        ell, true = speak(np.random.default_rng(1), d, 8, separation=0.7, confidence=confidence)
        scores[confidence] = by_name(listener_reading(ell, true, **d))
    assert scores[1.0]["temperature"].value == pytest.approx(1, abs=0.15)
    assert scores[5.0]["temperature"].value == pytest.approx(5 * scores[1.0]["temperature"].value, rel=1e-6)
    fitted = scores[1.0]["bits_per_line"]
    assert scores[5.0]["bits_per_line"].value == pytest.approx(fitted.value, abs=1e-9)
    assert scores[5.0]["bits_per_line_raw"].value < fitted.low, "without a temperature the number is wrong"
    assert scores[1.0]["bits_per_line_raw"].value == pytest.approx(fitted.value, abs=0.02)
    assert scores[1.0]["bits_dialogue"].value > 2 * fitted.value


def test_held_out_temperature_does_not_flatter_noise():
    """Pure noise, 200 small data sets: honest bits average at most 0; fitting on the scored lines is always above."""
    rng = np.random.default_rng(2)
    honest, flattered = [], []
    d = design(6, 1, 4)
    for _ in range(200):
        ell = rng.normal(size=(24, 4)) * 2
        e = collect_evidence(ell, rng.integers(0, 4, 24), **d)
        honest.append(bits(e, held_out_inverse_temperatures(e)).mean())
        flattered.append(bits(e, fit_inverse_temperature(e.ell, e.true)).mean())
    assert np.mean(honest) <= 0
    assert min(flattered) >= -1e-12
    assert np.mean(flattered) > np.mean(honest) + 3 * np.std(honest) / np.sqrt(200)


def test_misleading_likelihoods_end_in_an_infinite_temperature():
    rng = np.random.default_rng(3)
    d = design(10, 2, 5)
    ell, true = speak(rng, d, 5, separation=2.0)
    scores = by_name(listener_reading(-ell, true, **d))
    assert scores["temperature"].value == math.inf
    assert "point away" in scores["temperature"].note
    assert scores["bits_per_line"].value == pytest.approx(0, abs=1e-12)
    assert scores["bits_per_line_raw"].value < 0


def test_held_out_temperatures_are_fitted_on_the_others():
    rng = np.random.default_rng(4)
    d = design(5, 2, 4)
    ell, true = speak(rng, d, 4)
    e = collect_evidence(ell, true, **d)
    found = held_out_inverse_temperatures(e)
    for p in range(5):
        mine = e.persona == p
        others = fit_inverse_temperature(e.ell[~mine], e.true[~mine])
        assert found[mine] == pytest.approx(np.full(mine.sum(), others), rel=1e-8)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.floats(-500, 500))
def test_only_differences_between_candidates_count(seed, level):
    rng = np.random.default_rng(seed)
    d = design(4, 2, 3)
    ell, true = speak(rng, d, 5)
    e = collect_evidence(ell, true, **d)
    order, lines = rng.permutation(5), rng.permutation(len(true))
    moved = collect_evidence(
        ell[lines][:, order] + level * rng.random((len(true), 1)),
        np.argsort(order)[true[lines]],
        **{k: v[lines] for k, v in d.items()},
    )
    for function in (lambda x: bits(x, 0.7), contrast, lambda x: bits(cumulate(x), 0.7)):
        assert function(moved) == pytest.approx(function(e), abs=1e-8)
    assert (bits(e, 0.7) <= math.log2(5) + 1e-12).all()


def test_cumulated_evidence_is_the_sum_over_the_dialogue_so_far():
    rng = np.random.default_rng(5)
    d = design(3, 2, 4)
    ell, true = speak(rng, d, 4)
    whole = cumulate(collect_evidence(ell, true, **d))
    for line in range(len(true)):
        same = (d["dialogue"] == d["dialogue"][line]) & (d["turn"] <= d["turn"][line])
        total = ell[same].sum(0)
        assert whole.ell[line] == pytest.approx(total - total.max(), abs=1e-10)
    leaking = np.cumsum(ell, 0)  # the variant that forgets where a dialogue begins
    assert not np.allclose(leaking - leaking.max(1, keepdims=True), whole.ell)


def test_bits_bound_the_information_that_is_there():
    """Two personas at ±s: I = 1 - E[H(q)] by quadrature; the estimate must agree within 4 SE."""
    s, n = 0.8, 20_000
    rng = np.random.default_rng(6)
    true = rng.integers(0, 2, n)
    x = np.where(true == 0, s, -s) + rng.normal(size=n)
    ell = np.stack([-((x - s) ** 2) / 2, -((x + s) ** 2) / 2], 1)
    e = collect_evidence(ell, true, persona=np.arange(n), dialogue=np.arange(n), turn=np.ones(n))
    grid = np.linspace(-8, 8, 20_001)
    density = np.exp(-((grid - s) ** 2) / 2) / math.sqrt(2 * math.pi)
    information = float(trapezoid(density * (1 - np.log2(1 + np.exp(-2 * s * grid))), grid))
    found = bits(e, 1.0)
    assert found.mean() == pytest.approx(information, abs=4 * found.std() / math.sqrt(n))


def test_intervals_cover_when_personas_differ_in_how_telling_they_are():
    """100 studies of 30 personas: .95 must give at least .90 (2 SE); resampling lines in place of personas fails."""
    rng = np.random.default_rng(7)
    d = design(30, 1, 12)
    hits = short = 0
    for s in range(100):
        own = rng.normal(size=30)[d["persona"]]
        y = own + 0.5 * rng.normal(size=360)
        e = collect_evidence(np.stack([y, np.zeros(360)], 1), np.zeros(360, dtype=int), **d)
        found = bootstrap_mean(contrast(e), e.persona, seed=s, draws=300)
        lines = bootstrap_mean(contrast(e), np.arange(360), seed=s, draws=300)
        hits += found.low <= 0 <= found.high
        short += lines.low <= 0 <= lines.high
    assert hits >= 90
    assert short < 70


def test_reading_states_everything_and_survives_json():
    rng = np.random.default_rng(8)
    d = design(12, 3, 6)
    ell, true = speak(rng, d, 8)
    ell[3, 2] = np.nan
    reading = listener_reading(ell, true, **d, listener="table")
    scores = by_name(reading)
    for s in reading.scores:
        assert s.estimator
        assert (s.n, s.unscored) == (12, 1)
        assert bool(s.interval) == (s.low is not None)
    assert scores["accuracy"].null == 1 / 8
    curves = {c.name: c for c in reading.curves}
    assert [p.x for p in curves["identification_bits"].points] == [1, 2, 3, 4, 5, 6]
    assert curves["identification_bits"].points[-1].value == pytest.approx(scores["bits_dialogue"].value)
    assert curves["identification_accuracy"].null == 1 / 8
    assert "human dialogues" in scores["bits_slope"].note
    assert Reading.model_validate_json(reading.model_dump_json()) == reading


def test_one_persona_has_no_honest_temperature():
    d = design(1, 2, 6)
    ell, true = speak(np.random.default_rng(9), d, 4)
    scores = by_name(listener_reading(ell, true, **d))
    assert math.isnan(scores["bits_per_line"].value)
    assert "one persona" in scores["bits_per_line"].note
    assert not math.isnan(scores["bits_per_line_raw"].value)
    assert scores["accuracy"].low is None


@pytest.mark.parametrize(
    ("ell", "true", "turn", "match"),
    [
        ([[0.0], [0.0]], [0, 0], [1, 2], "two candidates"),
        ([[0.0, np.inf], [0.0, 0.0]], [0, 0], [1, 2], "infinite"),
        ([[0.0, 0.0], [0.0, 0.0]], [0, 2], [1, 2], "not a column"),
        ([[0.0, 0.0], [0.0, 0.0]], [0.5, 0.0], [1, 2], "not a column"),
        ([[0.0, 0.0], [0.0, 0.0]], [0, 1], [1, 1], "same own turn twice"),
        ([[0.0, 0.0], [0.0, 0.0]], [0], [1, 2], "lengths differ"),
    ],
)
def test_bad_evidence_is_refused(ell, true, turn, match):
    with pytest.raises(GaugeError, match=match):
        collect_evidence(ell, true, persona=[0, 0], dialogue=[0, 0], turn=turn)


def test_nothing_scored_is_an_error():
    with pytest.raises(GaugeError, match="no line is scored"):
        listener_reading([[np.nan, 0.0]], [0], persona=[0], dialogue=[0], turn=[1])
