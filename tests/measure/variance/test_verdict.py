"""Verdicts on planted simulators: every state reached for the right reason, and no words but the fixed ones."""

from __future__ import annotations

import itertools
import math
import re

import numpy as np
import pytest

from multitudes.core.errors import GaugeError
from multitudes.measure.errors import MissingPlaceboError, NotFiniteError, RunDependenceError, ZeroVarianceError
from multitudes.measure.stats import Estimate
from multitudes.measure.variance.arms import arm_icc, delete_variance, half_width, icc_difference
from multitudes.measure.variance.components import collect, spreads
from multitudes.measure.variance.intervals import interval, without_each
from multitudes.measure.variance.questions import (
    STRICT,
    Answered,
    Margins,
    distribution,
    human_like_noise,
    log_rho,
    no_stereotyping,
    signal,
)
from multitudes.measure.variance.verdict import Arms, Enough, judge, overall, sentence

HUMAN = Estimate(0.99, 0.88, 1.13, 475)
FIXED = Margins()


def cells(rng, p, i, r=2, *, icc=0.5, trait=0.3, item=0.4):
    """A balanced normal arm with a given ICC_within."""
    y = (
        (icc * trait) ** 0.5 * rng.normal(size=(p, 1, 1))
        + (icc * (1 - trait)) ** 0.5 * rng.normal(size=(p, i, 1))
        + item**0.5 * rng.normal(size=(1, i, 1))
        + (1 - icc) ** 0.5 * rng.normal(size=(p, i, r))
    )
    return collect(y.ravel(), np.repeat(np.arange(p), i * r), np.tile(np.repeat(np.arange(i), r), p))


def arm(seed, p=50, i=20, r=2, **kw):
    return arm_icc(cells(np.random.default_rng(seed), p, i, r, **kw))


# --- intervals of arms and their differences ----------------------------------------------------------------


def test_one_arm_has_the_interval_of_the_two_way_jackknife():
    found = cells(np.random.default_rng(0), 20, 10)
    one = arm_icc(found)
    expected = interval(found, lambda g: g.icc_within)
    half = half_width([(delete_variance(x), len(x) - 1.0) for x in (one.without_persona, one.without_item)], 0.95)
    assert (one.value, one.value - half, one.value + half) == pytest.approx(expected[:3], abs=1e-12)


def test_difference_equals_leaving_out_by_hand():
    """V_p of each arm apart, items from both arms at once; t with Satterthwaite's degrees of freedom."""
    from scipy.stats import t

    rng = np.random.default_rng(1)
    a, b = cells(rng, 12, 8), cells(rng, 9, 8, icc=0.2)
    delta, ci = icc_difference(arm_icc(a), arm_icc(b), level=0.9)

    def v(x):
        return (len(x) - 1) / len(x) * ((x - x.mean()) ** 2).sum()

    by_item = without_each(a, "item").icc_within - without_each(b, "item").icc_within
    parts = [(v(without_each(x, "persona").icc_within), n - 1) for x, n in ((a, 12), (b, 9))] + [(v(by_item), 7)]
    total = sum(x for x, _ in parts)
    df = total**2 / sum(x**2 / n for x, n in parts)
    assert delta == pytest.approx(float(spreads(a).icc_within - spreads(b).icc_within), abs=1e-12)
    assert ci.high - delta == pytest.approx(t.ppf(0.95, df) * total**0.5, abs=1e-12)
    assert delta - ci.low == pytest.approx(ci.high - delta, abs=1e-12)


def test_items_are_paired_whatever_their_order():
    """What an item does to both arms cancels in V_i; pairing the wrong items loses that."""
    one = arm(2, 20, 10)
    turned = one._replace(items=one.items[::-1], without_item=one.without_item[::-1])
    same, again = icc_difference(one, one)[1], icc_difference(one, turned)[1]
    assert again == pytest.approx(same, abs=1e-12)
    unpaired = icc_difference(one, turned._replace(items=one.items))[1]
    assert unpaired.high > same.high * 1.1


def test_difference_covers_its_truth():
    """200 studies of 20 and 15 texts on 10 items, true Δ = .2: the 95 % interval holds at least .93."""
    rng = np.random.default_rng(3)
    hits = 0
    for _ in range(200):
        _, ci = icc_difference(arm_icc(cells(rng, 20, 10)), arm_icc(cells(rng, 15, 10, icc=0.3)))
        hits += ci.low <= 0.2 <= ci.high
    assert hits / 200 >= 0.93


def test_a_known_variance_has_infinite_degrees_of_freedom():
    assert float(half_width([(4.0, math.inf)], 0.95)) == pytest.approx(2 * 1.959964, abs=1e-6)
    assert float(half_width([(0.0, 5.0)], 0.95)) == 0


# --- the four questions -------------------------------------------------------------------------------------


def test_a_simulated_null_is_rarely_called_signal():
    """400 studies whose personas are drawn like the random texts: at most 5 % plus three Monte Carlo errors.

    The permutation test is let through in all of them: random texts do make the model differ.
    """
    rng = np.random.default_rng(4)
    states = []
    for _ in range(400):
        ours, other = arm_icc(cells(rng, 30, 12, icc=0.2)), arm_icc(cells(rng, 25, 12, icc=0.2))
        states.append(signal(ours, other, p=0.001, margins=FIXED).state)
    share = states.count("supported") / 400
    assert share <= 0.05 + 3 * (0.05 * 0.95 / 400) ** 0.5
    assert states.count("underpowered") > 200, "this small a study cannot rule out 0.10"


def test_signal_needs_both_the_interval_and_the_permutation_test():
    ours, other = arm(5, icc=0.5), arm(6, 25, icc=0.1)
    assert signal(ours, other, p=0.001, margins=FIXED).state == "supported"
    assert signal(ours, other, p=0.2, margins=FIXED).state == "underpowered"
    none = signal(arm(7, 100, 40, icc=0.1), arm(8, 100, 40, icc=0.1), p=0.001, margins=FIXED)
    assert (none.state, none.reason) == ("not supported", "no more signal than placebo")
    assert none.ci95.high < 0.10
    assert none.ci95.low < none.ci90.low
    little = signal(arm(9, 8, 6, icc=0.2), arm(10, 8, 6, icc=0.1), p=0.001, margins=FIXED)
    assert little.state == "underpowered"
    assert "few clusters: 8 personas, 6 items" in little.note


def test_signal_without_an_interval_is_underpowered_and_says_why():
    found = signal(arm(11, 4, 10), arm(12, 4, 10), p=0.001, margins=FIXED)
    assert (found.state, found.ci95, found.ci90) == ("underpowered", None, None)
    assert "no interval" in found.note


@pytest.mark.parametrize(
    ("icc", "state", "reason"),
    [
        (0.5, "supported", ""),
        (0.05, "not supported", "too noisy"),
        (0.0, "not supported", "too noisy"),  # ρ has no logarithm
        (0.9, "not supported", "too rigid"),
    ],
)
def test_planted_simulators_are_called_by_name(icc, state, reason):
    for seed in range(20, 26):
        found = human_like_noise(arm(seed, icc=icc), HUMAN, margins=FIXED)
        assert (found.state, found.reason) == (state, reason), found


def test_noise_just_outside_the_margin_is_not_called_human_like():
    """True λ at the margin: the two one-sided tests support it in at most 5 %, + 3 Monte Carlo errors of 300."""
    rng = np.random.default_rng(13)
    icc = 1 / (1 + 2.0 * 0.99)
    hits = 0
    for _ in range(300):
        rho = 0.99 * math.exp(0.064 * rng.normal())
        human = Estimate(rho, rho * math.exp(-1.96 * 0.064), rho * math.exp(1.96 * 0.064), 475)
        hits += human_like_noise(arm_icc(cells(rng, 40, 12, icc=icc)), human, margins=FIXED).state == "supported"
    assert hits / 300 <= 0.05 + 3 * (0.05 * 0.95 / 300) ** 0.5


def test_noise_interval_adds_peoples_uncertainty():
    ours = arm(14, icc=0.45)
    wide, narrow = Estimate(0.99, 0.5, 1.96, 50), Estimate(0.99, 0.98, 1.0, 50)
    one, two = (human_like_noise(ours, h, margins=FIXED) for h in (wide, narrow))
    v = [delete_variance(log_rho(x)) for x in (ours.without_persona, ours.without_item)]
    error = math.log(1.96 / 0.5) / (2 * 1.959964)
    half = half_width([(v[0], 49.0), (v[1], 19.0), (error**2, math.inf)], 0.90)
    assert one.ci90.high - one.value == pytest.approx(float(half), rel=1e-6)
    assert two.ci95.high - two.ci95.low < one.ci95.high - one.ci95.low
    assert one.value == two.value == pytest.approx(math.log((1 - ours.value) / ours.value / 0.99))
    assert (one.state, two.state) == ("underpowered", "supported")


def test_people_may_come_as_a_design_on_the_same_items():
    human = arm(15, 60, 20, icc=0.5)
    found = human_like_noise(arm(16, 60, 20, icc=0.5), human, margins=FIXED)
    assert found.state == "supported"
    assert found.reference == pytest.approx((1 - human.value) / human.value)
    rigid = human_like_noise(arm(17, 60, 20, icc=0.9), human, margins=FIXED)
    assert rigid.reason == "too rigid"
    assert human_like_noise(arm(18, 60, 20, icc=0.0), human, margins=FIXED).reason == "too noisy"
    with pytest.raises(GaugeError, match="different items"):
        human_like_noise(arm(16, 60, 19, icc=0.5), human, margins=FIXED)
    with pytest.raises(GaugeError, match="no noise ratio"):
        human_like_noise(arm(16, 60, 20), arm(19, 60, 20, icc=0.0), margins=FIXED)


def test_a_simulator_without_noise_is_too_rigid_and_a_strict_margin_is_stricter():
    sure = arm(30)
    sure = sure._replace(value=1.0, without_persona=np.ones(50), without_item=np.ones(20))
    found = human_like_noise(sure, HUMAN, margins=FIXED)
    assert (found.reason, found.value, found.ours) == ("too rigid", -math.inf, 0.0)
    near = arm(31, 100, 40, icc=0.41)
    assert human_like_noise(near, HUMAN, margins=FIXED).state == "supported"
    assert human_like_noise(near, HUMAN, margins=STRICT).state != "supported"


def test_without_repeats_of_people_noise_is_not_assessed():
    found = human_like_noise(arm(32), None, margins=FIXED)
    assert (found.state, found.value, found.reason) == ("not assessed", None, "no human repeats on these items")


@pytest.mark.parametrize(
    ("ours", "state"),
    [((0.02, 0.01, 0.03), "supported"), ((0.20, 0.15, 0.25), "not supported"), ((0.06, 0.01, 0.11), "underpowered")],
)
def test_stereotyping(ours, state):
    human = Estimate(0.01, 0.005, 0.02, 262)
    found = no_stereotyping(Estimate(*ours, 50), human, margins=FIXED)
    assert found.state == state
    assert found.ci95.high == pytest.approx(ours[0] - 0.01 + math.hypot(ours[2] - ours[0], 0.005))
    assert found.ci95.low == pytest.approx(ours[0] - 0.01 - math.hypot(ours[0] - ours[1], 0.01))
    assert no_stereotyping(Estimate(*ours, 50), None, margins=FIXED).state == "not assessed"
    assert no_stereotyping(Estimate(*ours, 50), Estimate(0.01, None, None, 5), margins=FIXED).state == "not assessed"
    assert no_stereotyping(Estimate(0.2, None, None, 5, 0, "few"), human, margins=FIXED).state == "underpowered"


@pytest.mark.parametrize(
    ("ratio", "state"),
    [
        ((1.2, 1.0, 1.5), "supported"),
        ((2.0, 1.51, 2.5), "not supported"),
        ((1.4, 1.2, 1.6), "underpowered"),
        ((1.2, None, None), "underpowered"),
    ],
)
def test_distribution(ratio, state):
    assert distribution(Estimate(*ratio, 20), margins=FIXED).state == state
    assert distribution(None, margins=FIXED).state == "not assessed"


# --- the whole verdict --------------------------------------------------------------------------------------


def arms(icc=0.5, **changed):
    given = {"persona": arm(40, icc=icc), "none": arm(41, 25, icc=0.0), "random_text": arm(42, 25, icc=0.1)}
    return Arms(**{**given, **changed})


def test_supported():
    found = judge(arms(), p=0.001, human=HUMAN)
    q1, q2 = found.answers[:2]
    assert found.state == "supported"
    assert found.sentence == (
        "Supported: between-persona differences exceed run noise and placebo "
        f"(Δ = {q1.value:.2f}), and the noise ratio is human-like (ρ = {q2.ours:.2f} against 0.99)."
    )
    assert [a.state for a in found.answers] == ["supported", "supported", "not assessed", "not assessed"]
    text = "\n".join(found.lines)
    for word in ("Q1 signal: supported", "(random texts)", "(people)", "Q3 no stereotyping: not assessed", "99 %",
                 "margins: Δ 0.1; ρ within a factor 2; R²_demo 0.05; distance 1.5 × floor"):  # fmt: skip
        assert word in text


def test_supported_without_repeats_of_people_drops_the_clause():
    found = judge(arms(icc=0.3), p=0.001)
    assert re.fullmatch(
        r"Supported: between-persona differences exceed run noise and placebo \(Δ = 0\.\d\d\)\.", found.sentence
    )
    assert any("Q2 human-like noise: not assessed (no human repeats on these items)" in x for x in found.lines)


@pytest.mark.parametrize(("icc", "why"), [(0.9, "too rigid"), (0.04, "too noisy")])
def test_not_supported_names_the_reason(icc, why):
    found = judge(arms(icc=icc), p=0.001, human=HUMAN)
    assert found.state == "not supported"
    assert found.sentence.startswith("Not supported: ")
    assert why in found.sentence.split("because ")[1]


def test_all_reasons_are_given_in_their_own_words():
    far, stereotyped = Estimate(3.0, 2.5, 3.5, 20), Estimate(0.4, 0.35, 0.45, 50)
    found = judge(
        arms(icc=0.9), p=0.001, human=HUMAN, demographics=stereotyped, distance=far,
        human_demographics=Estimate(0.02, 0.01, 0.03, 262),
    )  # fmt: skip
    assert found.sentence.endswith(
        "because too rigid and demographics explain more than in people and "
        "farther from people than 1.5 × their own disagreement."
    )


def test_underpowered_names_the_design_that_would_decide():
    few = Arms(arm(50, 10, 6, icc=0.3), arm(51, 10, 6, icc=0.0), arm(52, 10, 6, icc=0.2))
    found = judge(few, p=0.001, enough=Enough(50, 20, 2, 12.5))
    assert found.state == "underpowered"
    assert found.sentence == ("Underpowered: the data cannot tell; P = 50, I = 20, R = 2 (cost 12.50 USD) would.")
    assert judge(few, p=0.001, enough=Enough(50, 20, 2)).sentence.endswith("P = 50, I = 20, R = 2 would.")
    assert "no design" in judge(few, p=0.001).sentence


def test_missing_placebos_are_refused_unless_waived():
    full = arms()
    for broken, name in (
        (full._replace(none=None), "none"),
        (full._replace(random_text=None), "random_text"),
        (full._replace(random_text=None, demographics=full.random_text), "random_text"),
    ):
        with pytest.raises(MissingPlaceboError, match=name):
            judge(broken, p=0.001)
        with pytest.raises(MissingPlaceboError):
            judge(broken, p=0.001, waiver="  ")
        found = judge(broken, p=0.001, waiver="the provider was down")
        assert found.waiver == "the provider was down"
        assert "the provider was down" in found.lines[-1]


def test_without_random_texts_nothing_is_supported():
    shuffled = arms()._replace(random_text=None, shuffled=arm(43, 25, icc=0.1))
    found = judge(shuffled, p=0.001, human=HUMAN)
    assert [a.state for a in found.answers[:2]] == ["not assessed", "supported"]
    assert found.state == "underpowered"
    assert any("shuffled personas" in x and "decides nothing" in x for x in found.lines)


def cached(kind, rng):
    """The arm without personas from a broken backend: 25 pseudo-personas, 20 items, 2 runs."""
    y = rng.normal(size=(25, 20, 2))
    if kind == "persona":  # one cache per pseudo-persona: its runs are one answer
        y[:] = y[:, :, :1]
    elif kind == "drift":  # the model changes over the study, pseudo-personas were asked one after the other
        y += np.linspace(-1, 1, 25)[:, None, None]
    elif kind == "run":  # one cache entry, or seed, per run: all pseudo-personas get it
        y[:] = y[:1]
    return collect(y.ravel(), np.repeat(np.arange(25), 40), np.tile(np.repeat(np.arange(20), 2), 25))


@pytest.mark.parametrize("kind", ["persona", "drift", "run"])
def test_dependent_calls_invalidate_the_study(kind):
    broken = arms(none=arm_icc(cached(kind, np.random.default_rng(44))))
    with pytest.raises(RunDependenceError, match="depend on each other"):
        judge(broken, p=0.001, waiver="a waiver does not help")


def test_independent_calls_rarely_look_dependent():
    """200 sound arms without personas: at most 2 % alarms (1 % stated, conservative) + 3 Monte Carlo errors."""
    rng = np.random.default_rng(45)
    full = arms()
    alarms = 0
    for _ in range(200):
        try:
            judge(full._replace(none=arm_icc(cached("", rng))), p=0.001)
        except RunDependenceError:
            alarms += 1
    assert alarms / 200 <= 0.01 + 3 * (0.01 * 0.99 / 200) ** 0.5


def test_a_constant_arm_and_unrepeated_answers_are_refused():
    who, what = np.repeat(np.arange(6), 8), np.tile(np.repeat(np.arange(4), 2), 6)
    with pytest.raises(ZeroVarianceError, match="cache or a fixed seed"):
        arm_icc(collect(what.astype(float), who, what))
    with pytest.raises(GaugeError, match="nobody was asked twice"):
        arm_icc(collect(np.random.default_rng(0).normal(size=24), who[::2], what[::2]))


def test_different_items_bad_numbers_and_bad_margins_are_refused():
    with pytest.raises(GaugeError, match="different items"):
        judge(arms(random_text=arm(46, 25, 19, icc=0.1)), p=0.001)
    with pytest.raises(GaugeError, match="'p'"):
        judge(arms(), p=1.5)
    with pytest.raises(NotFiniteError):
        judge(arms(), p=0.1, distance=Estimate(math.nan, None, None, 3))
    for human in (Estimate(0.0, 0.0, 1.0, 5), Estimate(1.0, None, None, 5), Estimate(1.0, 0.5, math.inf, 5)):
        with pytest.raises(GaugeError, match="people's ρ"):
            judge(arms(), p=0.1, human=human)
    for wrong in ({"q2": 1.0}, {"q1": 0.0}, {"q4": math.nan}, {"q3": -1}):
        with pytest.raises(GaugeError, match="margin"):
            Margins(**wrong)
    with pytest.raises(AttributeError):
        FIXED.q1 = 0.5
    assert (FIXED.q1, FIXED.q2, FIXED.q3, FIXED.q4, STRICT.q2) == (0.10, 2.0, 0.05, 1.5, 1.5)


# --- the words ----------------------------------------------------------------------------------------------

REASONS = {
    "Q1": ["no more signal than placebo"], "Q2": ["too noisy", "too rigid"],
    "Q3": ["demographics explain more than in people"],
    "Q4": ["farther from people than 1.5 × their own disagreement"],
}  # fmt: skip
FORBIDDEN = re.compile(r"no effect|human-level|no difference|proves|ρ [<>]|significant", re.IGNORECASE)


def test_every_combination_of_answers_has_one_of_three_sentences_in_fixed_words():
    options = []
    for question, reasons in REASONS.items():
        options.append(
            [Answered(question, s, 0.3, ours=0.9, reference=1.1) for s in ("supported", "underpowered")]
            + [Answered(question, "not supported", 0.3, ours=0.9, reference=1.1, reason=r) for r in reasons]
            + [Answered(question, "not assessed", reason="nothing to compare")]
        )
    seen = set()
    for answers in itertools.product(*options):
        state = overall(answers)
        text = sentence(state, answers, Enough(50, 20, 2))
        states = {a.question: a.state for a in answers}
        seen.add(state)
        assert text.startswith({"supported": "Supported: ", "not supported": "Not supported: ",
                                "underpowered": "Underpowered: the data cannot tell"}[state])  # fmt: skip
        assert not FORBIDDEN.search(text)
        assert text.count(".") - len(re.findall(r"\d\.\d", text)) == 1, "one sentence"
        if "not supported" in states.values():
            assert state == "not supported"
            assert all(a.reason in text for a in answers if a.state == "not supported")
        elif state == "supported":
            assert states["Q1"] == "supported"
            assert "underpowered" not in states.values()
            assert ("human-like" in text) == (states["Q2"] == "supported")
        else:
            assert "underpowered" in states.values() or states["Q1"] == "not assessed"
    assert seen == {"supported", "not supported", "underpowered"}


@pytest.mark.parametrize("icc", [0.04, 0.3, 0.5, 0.9])
def test_lines_say_nothing_forbidden_either(icc):
    found = judge(arms(icc=icc, shuffled=arm(47, 25, icc=0.2), demographics=arm(48, 25)), p=0.001, human=HUMAN)
    assert not any(FORBIDDEN.search(line) for line in found.lines)
    assert not any("nan" in line for line in found.lines)
