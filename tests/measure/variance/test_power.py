"""Powers against the known table, against simulated answers, and against the verdict itself; cost by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats as sps

from multitudes.core.errors import GaugeError
from multitudes.measure.stats import Estimate
from multitudes.measure.variance.arms import arm_icc
from multitudes.measure.variance.components import Components, collect, components, spreads
from multitudes.measure.variance.planner import (
    EMBEDDED,
    GRID,
    Rates,
    Tokens,
    arm_cost,
    formula_power,
    from_pilot,
    plan,
    study_cost,
)
from multitudes.measure.variance.power import (
    DEFAULT,
    Assumed,
    Design,
    Drawn,
    _balanced_icc,
    _exceeds,
    _human_like,
    draw_icc,
    from_icc,
    icc_error,
    measured_icc,
    noise_power,
    one_item_power,
    runs_for_reliability,
    signal_power,
    simulate_power,
    trait_power,
)
from multitudes.measure.variance.questions import Margins, human_like_noise, signal
from multitudes.models.budget import Prices

# --- the table: rows as published, unit variance within an item -----------------------------------------------


@pytest.mark.parametrize(
    ("personas", "runs", "icc", "above", "power"),
    [(50, 5, 0.10, 0, 0.64), (20, 20, 0.10, 0, 0.96), (20, 5, 0.20, 0, 0.74),
     (20, 5, 0.70, 0.5, 0.68), (50, 5, 0.70, 0.5, 0.95), (100, 10, 0.60, 0.5, 0.81)],
)  # fmt: skip
def test_one_item_power(personas, runs, icc, above, power):
    assert one_item_power(personas, runs, icc, above=above) == pytest.approx(power, abs=0.01)


@pytest.mark.parametrize(
    ("design", "persona", "power"),
    [
        (Design(20, 5, 1, 5), 0.02, 0.23), (Design(20, 5, 1, 5), 0.05, 0.59),
        (Design(20, 10, 1, 5), 0.02, 0.52), (Design(20, 10, 1, 5), 0.05, 0.92),
        (Design(20, 20, 1, 2), 0.02, 0.55), (Design(20, 20, 1, 2), 0.05, 0.93),
        (Design(50, 20, 1, 2), 0.02, 0.86), (Design(50, 20, 1, 2), 0.05, 1.00),
        (Design(50, 20, 1, 4), 0.02, 0.98),
    ],
)  # fmt: skip
def test_crossed_power(design, persona, power):
    assumed = Assumed(persona, 0.10, 1 - 0.10 - persona)
    assert trait_power(assumed, design) == pytest.approx(power, abs=0.01)


@pytest.mark.parametrize(
    ("personas", "items", "error", "strict", "loose"),
    [(25, 20, 0.053, 0.14, 0.86), (50, 20, 0.037, 0.61, 0.99), (100, 40, 0.021, 0.98, 1.0), (200, 40, 0.014, 1, 1)],
)
def test_standard_errors_and_power_of_q2(personas, items, error, strict, loose):
    """Standard errors as the jackknife states them, which is what the table holds; human error from the colours."""
    stated = icc_error(from_icc(0.5), Design(personas, items)).stated
    assert stated == pytest.approx(error, abs=0.001)
    assert noise_power(stated, 0.5, 1.5) == pytest.approx(strict, abs=0.01)
    assert noise_power(stated, 0.5, 2.0) == pytest.approx(loose, abs=0.01)


def test_runs_for_a_reliable_mean():
    assert [runs_for_reliability(icc) for icc in (0.1, 0.3, 0.5)] == [36, 10, 4]


# --- against simulated answers ------------------------------------------------------------------------------


def within(share, power, n):
    return abs(share - power) <= 3 * (max(power * (1 - power), 1e-4) / n) ** 0.5


@pytest.mark.parametrize(("p", "r", "icc", "above"), [(20, 5, 0.2, 0.0), (15, 3, 0.3, 0.0), (20, 5, 0.7, 0.5)])
def test_one_item_power_agrees_with_five_thousand_simulated_items(p, r, icc, above):
    rng = np.random.default_rng(0)
    y = icc**0.5 * rng.normal(size=(5000, p, 1)) + (1 - icc) ** 0.5 * rng.normal(size=(5000, p, r))
    between = r * y.mean(2).var(axis=1, ddof=1)
    run = y.var(axis=2, ddof=1).mean(axis=1)
    critical = sps.f.isf(0.05, p - 1, p * (r - 1)) * (1 + r * above / (1 - above))
    share = (between / run > critical).mean()
    assert within(share, one_item_power(p, r, icc, above=above), 5000)


@pytest.mark.parametrize("design", [Design(20, 5, 1, 5), Design(12, 8, 1, 2), Design(10, 6, 2, 2)])
def test_crossed_power_agrees_with_five_thousand_simulated_studies(design):
    rng = np.random.default_rng(1)
    p, i, v, r = design
    a = Assumed(0.05, 0.10, 0.85, 0.05 if v > 1 else 0.0)
    shape = (5000, p, i)
    cell = a.persona**0.5 * rng.normal(size=(5000, p, 1)) + a.interaction**0.5 * rng.normal(size=shape)
    cell = cell + (a.wording + a.run / r) ** 0.5 * rng.normal(size=(*shape, v)).mean(axis=3)
    who, mean = cell.mean(2), cell.mean((1, 2))
    ms_p = i * ((who - mean[:, None]) ** 2).sum(1) / (p - 1)
    rest = cell - who[:, :, None] - cell.mean(1)[:, None] + mean[:, None, None]
    ms_pi = (rest**2).sum((1, 2)) / ((p - 1) * (i - 1))
    share = (ms_p / ms_pi > sps.f.isf(0.05, p - 1, (p - 1) * (i - 1))).mean()
    assert within(share, trait_power(a, design), 5000)


@pytest.mark.parametrize(
    ("assumed", "design"),
    [
        (from_icc(0.5), Design(25, 20, 1, 2)),
        (from_icc(0.2, trait_share=0.8), Design(40, 15, 1, 3)),
        (from_icc(0.3)._replace(wording=0.1), Design(30, 10, 2, 2)),
        (from_icc(0.3)._replace(wording=0.1), Design(30, 10, 1, 2)),
    ],
)
def test_standard_errors_agree_with_simulation(assumed, design):
    """1,500 studies: sampling error and the delete-one error of items within 3 SE plus 3 % for the first order."""
    found = draw_icc(assumed, design, draws=1500, rng=np.random.default_rng(2))
    error = icc_error(assumed, design)
    assert found.value.mean() == pytest.approx(measured_icc(assumed, design), abs=0.005)
    assert found.value.std() == pytest.approx(error.sampling, rel=0.03 + 3 / 3000**0.5)
    n = design.items
    by_item = (n - 1) / n * ((found.without_item - found.without_item.mean(1, keepdims=True)) ** 2).sum(1)
    assert by_item.mean() ** 0.5 == pytest.approx(error.by_item, rel=0.06)


@pytest.mark.parametrize("v", [1, 2])
def test_balanced_form_equals_the_pair_estimator_and_its_deletions(v):
    """ICC from sums of squares against the engine on the answers; by brute force with two wordings."""
    rng = np.random.default_rng(3)
    p, i, r = 7, 5, 3
    y = rng.normal(size=(p, 1, 1, 1)) + rng.normal(size=(p, i, 1, 1)) + rng.normal(size=(p, i, v, r))

    def balanced(y):
        cell = y.mean(3)
        centred = cell - cell.mean(0)
        run = ((y - cell[..., None]) ** 2).sum()
        sums = [np.array((centred.mean(2) ** 2).sum()), np.array((centred**2).mean(2).sum())]
        return float(_balanced_icc(sums, np.array(run), Design(*y.shape)))

    def by_pairs(y):
        flat, who, what, how = (x.ravel() for x in (y, *np.indices(y.shape)[:3]))
        half = (flat[:, None] - flat[None]) ** 2 / 2
        same = [x[:, None] == x[None] for x in (who, what, how)]
        run = half[same[0] & same[1] & same[2] & ~np.eye(len(flat), dtype=bool)].mean()
        if y.shape[2] == 1:
            return 1 - run / half[~same[0] & same[1]].mean()
        signal = half[~same[0] & same[1] & ~same[2]].mean() - half[same[0] & same[1] & ~same[2]].mean()
        return signal / (signal + run)

    assert balanced(y) == pytest.approx(by_pairs(y), abs=1e-12)
    if v == 1:
        flat, who, what = (x.ravel() for x in (y, *np.indices(y.shape)[:2]))
        assert balanced(y) == pytest.approx(float(spreads(collect(flat, who, what)).icc_within), abs=1e-12)


class WithoutFirst:
    """A generator that draws one more along ``axis`` and throws the first away: the same study without it."""

    def __init__(self, axis):
        self.rng, self.axis = np.random.default_rng(4), axis

    def _cut(self, draw, size):
        if size[self.axis] == 1:  # effects that are shared along this axis
            return draw(size)
        more = tuple(n + (k == self.axis) for k, n in enumerate(size))
        return np.delete(draw(more), 0, axis=self.axis)

    def normal(self, *, size):
        return self._cut(lambda s: self.rng.normal(size=s), size)

    def chisquare(self, df, *, size):
        return self._cut(lambda s: self.rng.chisquare(df, size=s), size)


@pytest.mark.parametrize("v", [1, 2])
def test_drawn_deletions_are_those_of_the_study_without_one(v):
    assumed = from_icc(0.4)._replace(wording=0.1)
    full = draw_icc(assumed, Design(6, 4, v, 2), draws=3, rng=np.random.default_rng(4))
    for found, axis, smaller in (
        (full.without_persona, 1, Design(5, 4, v, 2)),
        (full.without_item, 2, Design(6, 3, v, 2)),
    ):
        again = draw_icc(assumed, smaller, draws=3, rng=WithoutFirst(axis))
        assert found[:, 0] == pytest.approx(again.value, abs=1e-12)


def studies(rng, n, p, i, r, icc):
    """n studies as the verdict takes them, and the same as the simulation holds them."""
    arms = []
    for _ in range(n):
        y = (icc / 3) ** 0.5 * rng.normal(size=(p, 1, 1)) + (2 * icc / 3) ** 0.5 * rng.normal(size=(p, i, 1))
        y = y + (1 - icc) ** 0.5 * rng.normal(size=(p, i, r))
        arms.append(
            arm_icc(collect(y.ravel(), np.repeat(np.arange(p), i * r), np.tile(np.repeat(np.arange(i), r), p)))
        )
    fields = ("value", "without_persona", "without_item")
    return arms, Drawn(*(np.array([getattr(a, f) for a in arms]) for f in fields))


@pytest.mark.parametrize(("icc", "margin"), [(0.4, 2.0), (0.08, 2.0), (0.5, 2.5), (0.12, 20.0)])
def test_simulation_decides_as_the_verdict_does(icc, margin):
    rng = np.random.default_rng(5)
    ours, drawn = studies(rng, 40, 20, 8, 2, icc)
    other, placebo = studies(rng, 40, 15, 8, 2, 0.1)
    margins = Margins(q2=margin)
    q1 = [signal(a, b, p=0.001, margins=margins).state == "supported" for a, b in zip(ours, other, strict=True)]
    assert _exceeds(drawn, placebo).tolist() == q1
    rho, error = (1 - icc) / icc, 0.064
    human = Estimate(rho, rho * math.exp(-1.959964 * error), rho * math.exp(1.959964 * error), 475)
    q2 = [human_like_noise(a, human, margins=margins).state == "supported" for a in ours]
    assert _human_like(drawn, np.full(40, math.log(rho)), error, margin).tolist() == q2
    assert icc < 0.1 or 0 < sum(q2) < 40, "a design in which both answers occur"


def test_five_thousand_simulated_studies_agree_with_the_answers_themselves():
    """Power by cell means and cell variances against the engine on 600 sets of answers."""
    rng = np.random.default_rng(6)
    _, ours = studies(rng, 600, 25, 10, 2, 0.35)
    _, other = studies(rng, 600, 25, 10, 2, 0.1)
    power = simulate_power(from_icc(0.35), from_icc(0.1), Design(25, 10, 1, 2), draws=5000, seed=1)
    people = math.log(0.65 / 0.35) + 0.064 * rng.normal(size=600)
    for share, planned in (
        (_exceeds(ours, other).mean(), power.q1),
        (_human_like(ours, people, 0.064, 2.0).mean(), power.q2),
    ):
        assert 0.1 < planned < 0.95
        assert abs(share - planned) <= 3 * (planned * (1 - planned) * (1 / 600 + 1 / 5000)) ** 0.5


@pytest.mark.parametrize(
    ("icc", "design"),
    [
        (0.3, Design(50, 20, 1, 2)),
        (0.2, Design(50, 20, 2, 2)),
        (0.3, Design(75, 10, 1, 3)),
        (0.5, Design(25, 10, 2, 2)),
    ],
)
def test_planned_power_agrees_with_five_thousand_simulated_studies(icc, design):
    """200 studies against 5,000 others within 3 SE; the formula for Q1 within .03, the one for Q2 not above."""
    assumed, placebo = from_icc(icc), from_icc(0.1)
    planned = simulate_power(assumed, placebo, design, draws=200, seed=0)
    often = simulate_power(assumed, placebo, design, draws=5000, seed=7)
    for few, many in zip(planned, often, strict=True):
        assert abs(few - many) <= 3 * (max(many * (1 - many), 0.002) * (1 / 200 + 1 / 5000)) ** 0.5
    formula = formula_power(assumed, placebo, design)
    assert formula.q1 == pytest.approx(often.q1, abs=0.03)
    assert often.q2 - 0.10 <= formula.q2 <= often.q2 + 0.02


def test_power_of_q2_is_exact_where_the_interval_is_honest():
    """5,000 draws of λ with the variance that its interval states."""
    rng = np.random.default_rng(8)
    s = math.hypot(0.053 / 0.25, 0.064)
    for factor in (1.5, 2.0):
        share = (np.abs(s * rng.normal(size=5000)) + sps.norm.ppf(0.95) * s < math.log(factor)).mean()
        assert within(share, noise_power(0.053, 0.5, factor), 5000)


def test_power_grows_with_everything_and_is_small_without_signal():
    low, high = from_icc(0.2), from_icc(0.3)
    base = Design(25, 10, 1, 2)
    power = [signal_power(high, low, d, placebo_personas=25) for d in (base, Design(50, 10), Design(50, 20))]
    assert power == sorted(power)
    null = simulate_power(low, low, base, draws=2000, seed=9)
    assert null.q1 <= 0.025 + 3 * (0.025 * 0.975 / 2000) ** 0.5
    alone = simulate_power(high, low, base, human=None, draws=50)
    assert (alone.q2, alone.both) == (None, alone.q1)
    assert noise_power(0.05, 0.0, 2.0) == 0
    assert simulate_power(from_icc(0.0), from_icc(0.0), base, draws=50).q2 == 0


# --- cost and plan ------------------------------------------------------------------------------------------


def test_the_default_design_costs_what_it_is_said_to():
    persona, study = arm_cost(DEFAULT), study_cost(DEFAULT)
    assert DEFAULT == (50, 20, 2, 2)
    assert (persona.calls, study.calls) == (4000, 10000)
    assert persona.prefill == 50 * 150 + 4000 * 60
    assert persona.prompt == 4000 * 210
    assert persona.decode == 4000 * 8
    assert persona.seconds == pytest.approx(247_500 / 293 + 32_000 / 124)
    assert persona.seconds / 60 == pytest.approx(18, abs=0.5)
    assert arm_cost(DEFAULT, prefix_reuse=False).seconds / 60 == pytest.approx(52, abs=0.5)
    assert study.seconds / 60 == pytest.approx(46, abs=0.5)
    assert study.prefill == 100 * 150 + 10_000 * 60, "the arm without personas has no text"
    assert study.usd is None
    money = study_cost(DEFAULT, Tokens(100, 10, 5), prices=Prices(2.0, 10.0), rates=Rates(1.0, 1.0))
    assert money.prompt == 8000 * 110 + 2000 * 10
    assert money.usd == pytest.approx((money.prompt * 2 + 50_000 * 10) / 1e6)
    assert money.seconds == money.prefill + money.decode


def test_the_plan_is_the_cheapest_that_passes():
    made = plan(from_icc(0.3), icc_low=0.2)
    assert made.best.simulated.both >= 0.8
    assert made.unfavourable.both < made.best.simulated.both
    seconds = [c.cost.seconds for c in made.alternatives]
    assert seconds == sorted(seconds)
    assert DEFAULT in [c.design for c in made.alternatives]
    cheaper = [d for d in GRID if study_cost(d).seconds < made.best.cost.seconds]
    passing = [d for d in cheaper if formula_power(made.assumed, made.placebo, d).both >= 0.8]
    assert all(simulate_power(made.assumed, made.placebo, d, draws=200, seed=0).both < 0.8 for d in passing)
    assert made.enough == (*(made.best.design[k] for k in (0, 1, 3)), None)
    assert made == plan(from_icc(0.3), icc_low=0.2), "the same plan again"


def test_a_design_that_fails_when_simulated_is_passed_over(monkeypatch):
    """The formula is only a screen: with simulated powers that are low for two items short of three, go on."""
    from multitudes.measure.variance import planner

    seen = []

    def pessimist(assumed, placebo, design, **_):
        seen.append(design)
        return planner.Power(0.9, 0.9, 0.5 if len(seen) <= 4 else 0.85)

    monkeypatch.setattr(planner, "simulate_power", pessimist)
    made = plan(from_icc(0.5))
    assert made.best.design == seen[4]
    assert len(seen) == 6, "three at a time"


def test_money_changes_what_is_cheapest():
    dear_prompts = plan(from_icc(0.3), prices=Prices(10.0, 0.0), tokens=Tokens(10_000, 10, 1))
    assert dear_prompts.best.cost.usd == min(
        c.cost.usd for c in dear_prompts.alternatives if c.simulated and c.simulated.both >= 0.8
    )
    assert dear_prompts.enough.usd == dear_prompts.best.cost.usd


def test_where_nothing_helps_the_plan_says_so():
    made = plan(from_icc(0.11))
    assert made.best is None
    assert made.enough is None
    assert made.unfavourable is None
    assert max(c.formula.both for c in made.alternatives) == max(
        formula_power(made.assumed, made.placebo, d).both for d in GRID
    )


def test_a_pilot_gives_assumptions():
    rng = np.random.default_rng(10)
    y = rng.normal(size=(10, 1, 1)) + rng.normal(size=(10, 10, 1)) + rng.normal(size=(10, 10, 5))
    found = components(
        spreads(collect(y.ravel(), np.repeat(np.arange(10), 50), np.tile(np.repeat(np.arange(10), 5), 10)))
    )
    assert from_pilot(found) == (found.persona, found.interaction, found.run, 0.0)
    assert from_pilot(Components(-0.1, 0.2, 0.3, 0.5, 0.8)).persona == 0
    with pytest.raises(GaugeError, match="out of range"):
        from_pilot(Components(0.1, 0.2, math.nan, math.nan, 0.8))


def test_bad_assumptions_are_refused():
    fine = from_icc(0.3)
    for call, match in (
        (lambda: from_icc(1.0), "ICC"),
        (lambda: from_icc(-0.1), "ICC"),
        (lambda: plan(fine._replace(run=0.0)), "run"),
        (lambda: plan(fine._replace(persona=-1.0)), "persona"),
        (lambda: plan(fine, power=1.0), "power"),
        (lambda: plan(fine, placebo_icc=0.3), "placebo"),
        (lambda: simulate_power(fine, fine, Design(50, 20, 1, 1)), "runs"),
        (lambda: simulate_power(fine, fine, Design(2, 20, 1, 2)), "personas"),
    ):
        with pytest.raises(GaugeError, match=match):
            call()


def test_another_icc_keeps_the_mix():
    moved = Assumed(0.2, 0.2, 0.6, 0.1).at_icc(0.2)
    assert moved == pytest.approx((0.1, 0.1, 0.8, 0.1))
    assert Assumed(0.0, 0.0, 1.0).at_icc(0.3).icc == pytest.approx(0.3)
    assert EMBEDDED == (293.0, 124.0)
