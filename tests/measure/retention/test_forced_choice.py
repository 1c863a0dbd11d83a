"""From log-likelihoods to a level, against the closed form."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import softmax

from multitudes.core.errors import GaugeError
from multitudes.measure.errors import NotFiniteError
from multitudes.measure.retention.forced_choice import (
    item_levels,
    level,
    log_odds,
    mirrored,
    option_scores,
    prior_corrected,
)

nats = st.floats(-200, 0)


def table(seed=0, shape=(6, 2, 3)):
    return -30 * np.random.default_rng(seed).random(shape)


def test_the_closed_form():
    s = table()
    mass = np.exp(s).sum(axis=-1)  # paraphrases add their probabilities
    expected = mass[:, 0] / mass.sum(axis=-1)
    np.testing.assert_allclose(item_levels(option_scores(s)), expected, atol=1e-12)
    np.testing.assert_allclose(log_odds(option_scores(s)), np.log(mass[:, 0] / mass[:, 1]), atol=1e-12)
    assert level(item_levels(option_scores(s))).value == pytest.approx(expected.mean(), abs=1e-12)


def test_more_options_are_a_softmax():
    s = option_scores(table(shape=(4, 5, 3)))
    for target in (0, 3):
        np.testing.assert_allclose(item_levels(s, target=target), softmax(s, axis=-1)[:, target], atol=1e-12)


def test_very_unlikely_answers_are_still_compared():
    # Whole answers are hundreds of nats away; probabilities would underflow to 0/0.
    assert item_levels([-900.0, -901.0]) == pytest.approx(1 / (1 + np.exp(-1)), abs=1e-12)


@given(nats, nats)
def test_swapping_the_options_mirrors_the_level(a, b):
    assert item_levels([a, b]) + item_levels([b, a]) == pytest.approx(1, abs=1e-12)
    assert item_levels([a, b], target=1) == pytest.approx(float(mirrored(item_levels([a, b]))), abs=1e-12)


def test_copies_of_the_paraphrases_add_a_constant_and_change_nothing():
    s = table()
    doubled = np.concatenate([s, s], axis=-1)
    np.testing.assert_allclose(option_scores(doubled), option_scores(s) + np.log(2), atol=1e-12)
    np.testing.assert_allclose(item_levels(option_scores(doubled)), item_levels(option_scores(s)), atol=1e-12)


def test_the_order_of_paraphrases_does_not_matter():
    s = table()
    np.testing.assert_allclose(option_scores(s[..., ::-1]), option_scores(s), atol=1e-12)


def test_the_prior_is_taken_away():
    s, prior = option_scores(table(1)), option_scores(table(2))
    corrected = prior_corrected(s, prior)
    np.testing.assert_allclose(log_odds(corrected), log_odds(s) - log_odds(prior), atol=1e-12)
    np.testing.assert_allclose(item_levels(prior_corrected(s, s)), 0.5)  # a history that adds nothing
    assert np.isnan(item_levels(prior_corrected([-1.0, -2.0], [-np.inf, -1.0])))


def test_a_missing_paraphrase_leaves_the_item_out():
    s = table()
    s[2, 1, 0] = np.nan
    assert np.isnan(option_scores(s)[2]).all()  # the other option is not left standing alone
    d = item_levels(option_scores(s))
    assert np.isnan(d).tolist() == [False, False, True, False, False, False]
    found = level(d)
    assert found.unscored == 1
    assert found.value == pytest.approx(np.nanmean(d))
    assert np.isnan(level([np.nan, np.nan]).value)


def test_what_cannot_be_said():
    assert item_levels([-1.0, -np.inf]) == 1
    assert item_levels([-np.inf, -1.0]) == 0
    assert np.isnan(item_levels([-np.inf, -np.inf]))


def test_bad_tables_are_refused():
    with pytest.raises(NotFiniteError):
        option_scores([[np.inf, 0.0]])
    with pytest.raises(GaugeError, match="two options"):
        item_levels([-1.0])
    with pytest.raises(GaugeError, match="no such option"):
        item_levels([-1.0, -2.0], target=2)
    with pytest.raises(GaugeError, match="options"):
        option_scores([-1.0])
