"""Drift as a gauge: what a study says of turns whose places on the axis are known."""

import numpy as np
import pytest

from multitudes.core.errors import GaugeError
from multitudes.core.inside import Inside
from multitudes.core.records import Conversation, Fault, Turn
from multitudes.measure.drift_reading import drift_reading, side_turns
from multitudes.measure.stats import bootstrap_mean

AXIS = {"id": "a1", "layer": 3, "limit": 0.4, "model": "m", "method": "fixed_text", "why": {}, "small_model": True}


def inside(z, axis="a1"):
    return Inside(axis=axis, layers=(3, 5), p=(z * 10, 0.0), z=(z, 9.0), n_tokens=12)


def talk(k, user, target, *, person=None, **more):
    turns = []
    for u, t in zip(user, target, strict=True):
        turns.append(Turn(speaker="user", text="u", inside=None if u is None else inside(u)))
        turns.append(Turn(speaker="target", text="t", inside=None if t is None else inside(t)))
    fields = {"id": f"c{k}", "persona_id": person or f"p{k}", "turns": tuple(turns), "stop_reason": "max_turns"}
    return Conversation(**fields | more)


def scores(reading):
    return {s.name: s for s in reading.scores}


def planted(n=12, turns=6, slope=-0.1, seed=0):
    rng = np.random.default_rng(seed)
    t = np.arange(turns)
    return [talk(k, rng.normal(0.1, 0.1, turns), 1 + slope * t + rng.normal(0, 0.05, turns)) for k in range(n)]


def test_planted_drift_is_found_with_its_interval_and_curve():
    talks = planted()
    reading = drift_reading(talks, axis=AXIS, seed=0)
    s = scores(reading)
    assert s["slope_target"].value == pytest.approx(-0.1, abs=0.02)
    assert s["slope_target"].low < -0.1 < s["slope_target"].high < 0
    assert (s["slope_target"].null, s["slope_target"].n, s["slope_target"].direction) == (0, 12, "target")
    assert s["change_target"].value == pytest.approx(-0.5, abs=0.1)
    assert s["slope_user"].low < 0 < s["slope_user"].high
    assert s["z_user"].null == 0
    assert s["z_target"].null == 1
    assert s["in_default_range_user"].value == 0
    curves = {c.name: c for c in reading.curves}
    z = side_turns(talks, "target", axis="a1").z
    assert [p.value for p in curves["z_target_by_turn"].points] == pytest.approx(z.mean(axis=0))
    assert [p.x for p in curves["z_target_by_turn"].points] == [1, 2, 3, 4, 5, 6]
    by_hand = bootstrap_mean(z.mean(axis=1), [f"p{k}" for k in range(12)], seed=0)
    assert (s["z_target"].low, s["z_target"].high) == (by_hand.low, by_hand.high)
    assert reading.tables["axis"]["view"] == "own"


def test_people_are_resampled_not_conversations():
    talks = [talk(k, [0.0, 0.1], [1.0, k / 10], person=f"p{k % 8}") for k in range(16)]
    s = scores(drift_reading(talks, axis=AXIS, seed=0))
    assert s["z_target"].n == 8
    few = scores(drift_reading(talks[:3], axis=AXIS, seed=0))
    assert few["z_target"].low is None
    assert "few clusters" in few["z_target"].note
    assert "from 2 turns" in few["slope_target"].note


def test_excursions_and_return():
    away, back, home = [1.0, 0.2, 0.1], [1.0, 0.2, 0.9], [1.0, 0.9, 0.8]
    talks = [talk(0, [0] * 3, away), talk(1, [0] * 3, back), talk(2, [0] * 3, home)]
    s = scores(drift_reading(talks, axis=AXIS, seed=0))
    assert s["outside_target"].value == pytest.approx((2 / 3 + 1 / 3 + 0) / 3)
    assert (s["outside_target"].null, s["outside_target"].direction) == (0.05, "lower")
    assert s["returned_target"].value == 0.5
    assert "2 of 3 conversations left" in s["returned_target"].note
    stays = scores(drift_reading(talks[2:], axis=AXIS, seed=0))
    assert stays["returned_target"].value is None
    assert "no conversation left" in stays["returned_target"].note
    assert "neutral_return_target" not in s


def test_an_everyday_question_at_the_end():
    talks = [talk(0, [0] * 2, [1.0, 0.1]), talk(1, [0] * 2, [1.0, 0.2]), talk(2, [0] * 2, [1.0, 0.9])]
    neutral = {"c0": 0.9, "c1": 0.3, "c2": 1.0}
    s = scores(drift_reading(talks, axis=AXIS, neutral=neutral, seed=0))
    assert s["neutral_return_target"].value == 0.5
    assert s["neutral_change_target"].value == pytest.approx(np.mean([0.8, 0.1, 0.1]))
    missing = scores(drift_reading(talks, axis=AXIS, neutral={"c1": 0.3}, seed=0))
    assert missing["neutral_return_target"].value == 0
    assert missing["neutral_return_target"].unscored == 2
    inside_only = scores(drift_reading(talks[2:], axis=AXIS, neutral=neutral, seed=0))
    assert inside_only["neutral_return_target"].value is None


def test_unscored_turns_faults_and_other_axes_are_left_out_and_counted():
    talks = [
        talk(0, [0.1, None], [1.0, float("nan")]),
        talk(1, [0.2, 0.3], [0.8, 0.6]),
        talk(2, [9, 9], [9, 9], stop_reason="target_fault", fault=Fault(kind="target", code="x")),
        talk(3, [9, 9], [9, 9], stop_reason="budget"),
        Conversation(id="x", persona_id="q", turns=(Turn(speaker="target", text="t", inside=inside(9, "other")),)),
    ]
    reading = drift_reading(talks, axis=AXIS, seed=0)
    s = scores(reading)
    assert s["z_target"].value == pytest.approx((1.0 + 0.7) / 2)
    assert s["z_target"].unscored == 2
    assert s["z_user"].unscored == 1
    assert s["slope_target"].n == 1


def test_studies_without_axis_or_taps_say_so():
    talks = planted(2)
    with pytest.raises(GaugeError, match=r"^not applicable: the study names no axis"):
        drift_reading(talks, axis=None, seed=0)
    why = {"user": "its engine has no taps", "target": "its engine has no taps"}
    with pytest.raises(GaugeError, match=r"^not applicable: user: its engine has no taps; target"):
        drift_reading(talks, axis={**AXIS, "why": why}, seed=0)
    with pytest.raises(GaugeError, match=r"^no turn was read"):
        drift_reading([talk(0, [None], [None])], axis=AXIS, seed=0)
    one = drift_reading(talks, axis={**AXIS, "why": {"target": "its engine has no taps"}}, seed=0)
    assert scores(one)["z_target"].value is None
    assert scores(one)["z_target"].note == "not applicable: its engine has no taps"
    assert [c.name for c in one.curves] == ["z_user_by_turn"]


def test_an_axis_without_a_calibrated_range_has_no_excursions():
    s = scores(drift_reading(planted(2), axis={**AXIS, "limit": float("nan")}, neutral={"c0": 1.0}, seed=0))
    assert s["outside_target"].value is None
    assert s["in_default_range_user"].value is None
    assert s["neutral_return_target"].value is None
    assert s["slope_target"].value == pytest.approx(-0.1, abs=0.03)
