"""The verdict: each word needs all of its conditions, and losses come first. And how many prompts it takes."""

from __future__ import annotations

import numpy as np
import pytest
from planted import two_arms

from multitudes.core.errors import GaugeError
from multitudes.measure import errors
from multitudes.measure.errors import TooFewClustersError
from multitudes.measure.retention.compare import auc_difference, over_neutral, rho_difference
from multitudes.measure.retention.intervals import resample
from multitudes.measure.retention.power import detectable, prompts_needed
from multitudes.measure.retention.verdict import Pressed, judge
from multitudes.measure.stats import Difference, Estimate

UP = Difference(0.20, 0.12, 0.28, 0.0001, 50)
FLAT = Difference(0.01, -0.03, 0.04, 0.6, 50)
WIDE = Difference(0.04, -0.10, 0.18, 0.4, 50)
DOWN = Difference(-0.15, -0.22, -0.08, 0.0001, 50)
YES, NO = Estimate(0.3, 0.1, 0.5, 50), Estimate(0.1, -0.1, 0.3, 50)
SAME = Estimate(0.0, -0.04, 0.04, 50)


def win(name, **change):
    return Pressed(name, UP, YES, YES)._replace(**change)


def verdict(*family, matched=True, failed=None, clusters=50):
    return judge(family, matched=matched, failed=failed or {}, clusters=clusters)


def test_the_three_words():
    assert verdict(win("P1"), win("P2"), Pressed("P4", FLAT)).words == "outlasts prompting"
    assert verdict(Pressed("P1", FLAT), Pressed("P2", FLAT), win("P4")).words == "like prompting"
    assert verdict(Pressed("P1", WIDE), Pressed("P2", WIDE), win("P4")).words == "undecided"


def test_half_is_no_majority():
    assert verdict(win("P1"), Pressed("P2", WIDE)).words == "undecided"
    assert verdict(Pressed("P1", FLAT), Pressed("P2", WIDE)).words == "undecided"


@pytest.mark.parametrize(
    "change",
    [
        {"rho": NO},
        {"rho": None},
        {"rho": Estimate(0.3, None, None, 50)},
        {"over_neutral": NO},
        {"over_neutral": None},
        {"auc": UP._replace(p=0.03)},  # Holm: 3 · .03
        {"auc": UP._replace(p=np.nan)},
        {"auc": DOWN},
    ],
)
def test_to_outlast_takes_all_conditions(change):
    assert verdict(win("P1"), win("P2"), Pressed("P4", WIDE)).words == "outlasts prompting"
    assert verdict(win("P1"), win("P2", **change), Pressed("P4", WIDE)).words == "undecided"


def test_a_pressure_that_was_not_measured_stays_in_the_family():
    lost = Pressed("P7", Difference(np.nan, None, None, np.nan, 0))
    close = UP._replace(p=0.02)
    assert verdict(win("P1", auc=close), win("P2", auc=close)).words == "outlasts prompting"
    assert verdict(win("P1", auc=close), win("P2", auc=close), lost).words == "undecided"  # .02 · 3
    assert "not tested" in verdict(win("P1"), lost).pressures[1].line


def test_what_was_never_lost_need_not_come_back():
    whole = win("P1", rho=None, never_lost=True)
    assert verdict(whole).words == "outlasts prompting"
    assert "ρ: not displaced, prompting was" in verdict(whole).pressures[0].line


def test_reversed_pressures_come_first_and_stay_in_the_sentence():
    worse = Pressed("P6", DOWN._replace(value=-0.3))
    found = verdict(win("P1"), Pressed("P5", DOWN), win("P2"), worse, win("P4"))
    assert found.words == "outlasts prompting"
    assert [p.pressure for p in found.pressures] == ["P6", "P5", "P1", "P2", "P4"]
    assert found.sentence == "outlasts prompting (reversed under P6, P5)"
    assert found.pressures[0].line.startswith("P6 (reversed): AUC_R difference −0.30")


def test_losing_everywhere_is_not_like_prompting():
    found = verdict(Pressed("P1", DOWN), Pressed("P2", DOWN))
    assert found.words == "undecided"
    assert found.sentence == "undecided (reversed under P1, P2)"


def test_as_trained_is_added():
    assert verdict(win("P1", as_trained=SAME)).sentence == "outlasts prompting, as trained"
    assert not verdict(win("P1", as_trained=NO)).as_trained
    assert not verdict(win("P1"), win("P2", as_trained=SAME)).as_trained
    assert verdict(Pressed("P1", FLAT, as_trained=SAME)).sentence == "like prompting, as trained"


def test_no_verdict_without_its_conditions():
    ways = [
        ({"matched": False}, "unmatched"),
        ({"failed": {"C5": 0.21, "C3": 0.0}}, "C5 is incoherent (21%"),
        ({"clusters": 19}, "19 base prompts"),
    ]
    for change, why in ways:
        found = verdict(win("P1", as_trained=SAME), **change)
        assert found.words == "no verdict"
        assert why in found.sentence
        assert not found.as_trained
        assert "0.20 [0.12, 0.28]" in found.pressures[0].line  # the numbers are still there
    assert verdict(win("P1"), failed={"C5": 0.2}, clusters=20).words == "outlasts prompting"


def test_below_eight_prompts_nothing_is_said():
    with pytest.raises(TooFewClustersError):
        verdict(win("P1"), clusters=7)
    assert verdict(win("P1"), clusters=8).words == "no verdict"


def test_a_family_is_pressures_each_once():
    with pytest.raises(GaugeError):
        verdict()
    with pytest.raises(GaugeError):
        verdict(win("P1"), win("P1"))


def compared(seed, rates, neutral):
    first, second = two_arms(seed, 24, rates)
    idle = two_arms(seed + 1000, 24, neutral)
    sample = resample([first, second, *idle], seed=seed, draws=300)
    return Pressed(
        f"P{seed}",
        auc_difference(first, second, sample, seed=seed),
        rho_difference(first, second, sample),
        over_neutral((first, second), idle, sample),
    )


def test_arms_that_are_alike_never_outlast():
    # 40 studies of 3 pressures; both arms lose alike and half comes back.
    words = [
        verdict(*(compared(10 * s + k, (0.15, 0.15), (0.02, 0.02)) for k in range(3)), clusters=24).words
        for s in range(40)
    ]
    assert "outlasts prompting" not in words


def test_lasting_longer_also_when_left_alone_is_no_resistance():
    # The first arm simply fades less, pressed or not: the difference under neutral talk takes all of it.
    idle = [compared(s, (0.05, 0.20), (0.05, 0.20)) for s in range(3)]
    assert all(x.auc.p < 0.01 for x in idle)
    assert verdict(*idle, clusters=24).words == "undecided"


# --- power --------------------------------------------------------------------------------------------------


def test_the_worked_example():
    assert prompts_needed(0.10, 0.3, 0.3) == 99
    assert prompts_needed(0.20, 0.3, 0.3) == 25
    assert prompts_needed(0.10, 0.3, 0.3, tests=6) > 140
    assert detectable(99, 0.3, 0.3) == pytest.approx(0.1, abs=0.001)
    assert prompts_needed(detectable(57, 0.2, 0.5), 0.2, 0.5) == 57


def test_the_power_is_what_it_says():
    # 2,000 studies of 99 paired prompts: SE of a power of .80 is .009.
    rng = np.random.default_rng(0)
    n = prompts_needed(0.10, 0.3, 0.3)
    z = rng.multivariate_normal([0.1, 0], 0.09 * np.array([[1, 0.3], [0.3, 1]]), size=(2000, n))
    d = z[..., 0] - z[..., 1]
    found = np.abs(d.mean(axis=1)) > 1.96 * d.std(axis=1, ddof=1) / np.sqrt(n)
    assert found.mean() == pytest.approx(0.8, abs=0.03)


@pytest.mark.parametrize("bad", [{"difference": 0}, {"sd": -1}, {"correlation": 1}, {"power": 1}, {"tests": 0}])
def test_impossible_designs_are_refused(bad):
    with pytest.raises(GaugeError):
        prompts_needed(**({"difference": 0.1, "sd": 0.3, "correlation": 0.3} | bad))


# --- errors -------------------------------------------------------------------------------------------------


def test_every_error_has_a_name_and_its_numbers():
    assert errors.NoRange(0.1, 0.2, persona="ann", disposition="id").delta0 == 0.1
    assert errors.NoLengthMatch("P1", 3).turn == 3
    assert "turn 3" in str(errors.NoLengthMatch("P1", 3))
    for kind in (errors.OneSidedBattery, errors.ProbeLeak, errors.IncoherentArm, errors.NoRange):
        assert issubclass(kind, GaugeError)
    assert issubclass(errors.Unmatched, UserWarning)
    assert issubclass(errors.TooFewProbesError, ValueError)
