"""Distances against scipy, floors against simulated halves, ratios against planted panels; groups and annotators."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.spatial.distance import jensenshannon
from scipy.stats import spearmanr, wasserstein_distance

from multitudes.core.errors import GaugeError
from multitudes.measure.errors import NotFiniteError, TooFewItemsError
from multitudes.measure.variance.alt_test import _rejected, alt_test
from multitudes.measure.variance.distance import (
    compare_with_people,
    cross_entropy,
    entropy,
    jsd,
    jsd_floor,
    smoothed,
    subsample,
    wasserstein,
)
from multitudes.measure.variance.group_bias import group_bias


def draw(rng, p, n):
    return rng.multinomial(n, p)


def crowd(rng, items, k=4, concentration=1.5):
    return rng.dirichlet(np.full(k, concentration), size=items)


def test_distances_equal_scipy():
    rng = np.random.default_rng(0)
    h, m = rng.dirichlet(np.ones(5), size=50), rng.dirichlet(np.ones(5), size=50)
    h[:10, 2] = 0
    h /= h.sum(axis=1, keepdims=True)
    assert jsd(h, m) == pytest.approx(jensenshannon(h, m, base=2, axis=1) ** 2, abs=1e-12)
    scale = np.arange(5) * 2.5
    expected = [wasserstein_distance(scale, scale, a, b) for a, b in zip(h, m, strict=True)]
    assert wasserstein(h, m, step=2.5) == pytest.approx(expected, abs=1e-12)
    assert jsd(h, h) == pytest.approx(0, abs=1e-15)
    assert (jsd(h, m) <= 1).all()


def test_soft_cross_entropy_by_hand():
    assert smoothed([3, 1, 0]).tolist() == pytest.approx([3.5 / 5.5, 1.5 / 5.5, 0.5 / 5.5])
    assert float(cross_entropy([0.5, 0.5, 0], smoothed([3, 1, 0]))) == pytest.approx(
        -0.5 * math.log2(3.5 / 5.5) - 0.5 * math.log2(1.5 / 5.5)
    )
    assert math.isinf(cross_entropy([1.0, 0.0], [0.0, 1.0]))


def test_entropies_of_few_answers_are_corrected():
    rng = np.random.default_rng(1)
    p = np.array([0.4, 0.3, 0.2, 0.1])
    truth = float(cross_entropy(p, p))
    c = rng.multinomial(20, p, size=20_000)
    plain = cross_entropy(c / 20, c / 20).mean()
    assert plain < truth - 0.1
    assert entropy(c).mean() == pytest.approx(truth, abs=0.02)


def test_subsamples_are_hypergeometric():
    rng = np.random.default_rng(2)
    counts = np.broadcast_to(np.array([7, 0, 5, 8]), (20_000, 4))
    taken = subsample(counts, np.int64(6), rng)
    assert (taken.sum(axis=1) == 6).all()
    assert (taken <= counts).all()
    assert taken.mean(axis=0) == pytest.approx(6 * np.array([7, 0, 5, 8]) / 20, abs=0.05)
    variance = 6 * (7 / 20) * (13 / 20) * (14 / 19)
    assert taken[:, 0].var() == pytest.approx(variance, rel=0.05)


def test_floor_formula_is_near_simulated_halves():
    """Four used categories, none rare: within 8 %; with rare ones it falls short, as stated."""
    rng = np.random.default_rng(3)
    p = np.array([0.4, 0.3, 0.2, 0.1])
    for a, b in ((40, 40), (60, 120)):
        found = jsd(rng.multinomial(a, p, size=20_000) / a, rng.multinomial(b, p, size=20_000) / b).mean()
        assert float(jsd_floor(4, a, b)) == pytest.approx(found, rel=0.08)
    people = rng.multinomial(80, np.tile(p, (300, 1)))
    c = compare_with_people(people, people, ordinal=False, seed=0)
    assert c.jsd_floor_formula == pytest.approx(c.jsd.floor.value, rel=0.08)
    rare = np.array([0.9, 0.09, 0.009, 0.001])
    people = rng.multinomial(40, np.tile(rare, (300, 1)))
    c = compare_with_people(people, people, ordinal=False, seed=0)
    assert abs(c.jsd_floor_formula / c.jsd.floor.value - 1) > 0.08


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("size", [15, 20, 500])
def test_a_panel_of_the_same_people_has_ratio_one(exact, size):
    rng = np.random.default_rng(4)
    p = crowd(rng, 400)
    model = p if exact else draw(rng, p, size)
    c = compare_with_people(draw(rng, p, 41), model, ordinal=True, seed=5, exact=exact)
    assert (c.n == (min(20, size) if not exact else 20)).all()
    for beside in (c.jsd, c.w1, c.kl):
        assert beside.ratio.value == pytest.approx(1, abs=0.06)
        assert beside.ratio.low < 1.02
        assert beside.ratio.high > 0.98
    assert (c.alpha_simulated is None) == exact


def test_without_equal_size_the_larger_panel_would_look_closer():
    """The tempting variant, whole panels: it must rank one crowd by panel size; equal sizes must not."""
    rng = np.random.default_rng(6)
    p = crowd(rng, 300)
    q = 0.9 * p + 0.1 * crowd(rng, 300)
    people = draw(rng, p, 40)
    naive, fair = {}, {}
    for size in (20, 400):
        panel = draw(rng, q, size)
        naive[size] = jsd(people / 40, panel / size).mean()
        fair[size] = compare_with_people(people, panel, ordinal=False, seed=7).jsd.value.value
    assert naive[400] < 0.75 * naive[20]
    assert fair[400] == pytest.approx(fair[20], rel=0.06)


def test_the_exact_side_is_drawn_like_a_panel():
    """An exact distribution has no noise: undrawn it would be nearer to the people than their halves are."""
    rng = np.random.default_rng(8)
    p = crowd(rng, 300)
    people = draw(rng, p, 40)
    undrawn = jsd(people / 40, p).mean()
    c = compare_with_people(people, p, ordinal=False, seed=9, exact=True)
    assert undrawn < 0.4 * c.jsd.floor.value
    assert c.jsd.ratio.value == pytest.approx(1, abs=0.06)


def test_a_planted_distance_is_found_in_every_measure():
    rng = np.random.default_rng(10)
    p = crowd(rng, 200)
    people, panel = draw(rng, p, 40), draw(rng, p[:, ::-1], 40)
    c = compare_with_people(people, panel, ordinal=True, seed=11, step=25.0)
    for beside in (c.jsd, c.w1, c.kl):
        assert beside.ratio.low > 1.5
    assert c.cross_entropy.value.value > c.cross_entropy.floor.value + 1
    assert c.cross_entropy.ratio is None
    assert c.kl.value.value == pytest.approx(c.cross_entropy.value.value - c.cross_entropy.floor.value)
    unscaled = compare_with_people(people, panel, ordinal=True, seed=11)
    assert c.w1.value.value == pytest.approx(25 * unscaled.w1.value.value)
    assert compare_with_people(people, panel, ordinal=False, seed=11).w1 is None


def test_values_are_means_over_items_of_distances_between_subsamples():
    """With people that all halves share, nothing is left to chance: the numbers follow by hand."""
    people = np.array([[10, 0], [0, 10]] * 5)
    panel = np.array([[0, 10], [0, 10]] * 5)
    c = compare_with_people(people, panel, ordinal=True, seed=0)
    assert c.jsd.value.value == 0.5
    assert c.w1.value.value == 0.5
    assert c.jsd.floor.value == 0
    assert c.jsd.ratio is None
    assert "never differ" in c.jsd.note
    assert c.kl.value.value == pytest.approx((-math.log2(0.5 / 6) - math.log2(5.5 / 6)) / 2)


def test_entropy_correlation_and_what_it_could_reach():
    rng = np.random.default_rng(12)
    flat = np.linspace(0, 1, 400)[:, None]
    p = flat / 4 + (1 - flat) * np.eye(4)[rng.integers(0, 4, 400)]
    people, panel = draw(rng, p, 40), draw(rng, p, 40)
    c = compare_with_people(people, panel, ordinal=False, seed=13)
    assert c.entropy_correlation.value.value == pytest.approx(
        spearmanr(entropy(people), entropy(panel))[0], abs=1e-12
    )
    assert c.entropy_correlation.floor.value == pytest.approx(c.entropy_correlation.value.value, abs=0.04)
    assert c.entropy_correlation.floor.value > 0.8
    assert c.entropy_correlation.value.low < c.entropy_correlation.value.value < c.entropy_correlation.value.high
    unrelated = compare_with_people(people, panel[::-1], ordinal=False, seed=13)
    assert unrelated.entropy_correlation.value.value < -0.5
    flat_panel = compare_with_people(people, np.full((400, 4), 10), ordinal=False, seed=13)
    assert math.isnan(flat_panel.entropy_correlation.value.value)
    assert "do not differ" in flat_panel.entropy_correlation.note


@pytest.mark.parametrize("mix", [0.0, 0.3])
def test_interval_of_the_ratio_covers(mix):
    """120 studies of 40 items, 40 people, 20 simulated: .95 stated, long-run .92 to .945."""
    rng = np.random.default_rng(14)

    def study(items):
        p = crowd(rng, items)
        q = (1 - mix) * p + mix * crowd(rng, items)
        return draw(rng, p, 40), draw(rng, q, 20)

    truth = compare_with_people(*study(10_000), ordinal=False, seed=0, splits=4, draws=2).jsd.ratio.value
    assert truth == pytest.approx(1, abs=0.02) if mix == 0 else truth > 1.15
    found = [compare_with_people(*study(40), ordinal=False, seed=s, draws=400).jsd.ratio for s in range(120)]
    assert 0.87 <= np.mean([e.low <= truth <= e.high for e in found]) <= 0.99


def test_thin_items_are_left_out_and_counted_and_few_give_no_interval():
    rng = np.random.default_rng(15)
    people, panel = rng.multinomial(10, [0.5, 0.5], size=12), rng.multinomial(10, [0.5, 0.5], size=12)
    people[0], panel[1] = [1, 0], [0, 0]
    c = compare_with_people(people, panel, ordinal=False, seed=0)
    assert c.unscored == 2
    assert c.jsd.value.n == 10
    assert c.jsd.value.unscored == 2
    few = compare_with_people(people[:7], panel[:7], ordinal=False, seed=0)
    assert few.jsd.ratio is not None
    assert few.jsd.ratio.low is None
    assert "few clusters" in few.jsd.ratio.note


@pytest.mark.parametrize(
    ("human", "simulated", "keywords", "error", "match"),
    [
        ([[1, 1]], [[1, 1, 1]], {}, GaugeError, "differ in shape"),
        ([[1, 1.5]], [[1, 1]], {}, GaugeError, "no counts"),
        ([[1, -1]], [[1, 1]], {}, GaugeError, "no counts"),
        ([[1, 1]], [[0.5, 0.5]], {}, GaugeError, "exact=True"),
        ([[1, 1]], [[0.5, 0.6]], {"exact": True}, GaugeError, "no distribution"),
        ([[1, 1]], [[np.nan, 0.6]], {"exact": True}, NotFiniteError, "not finite"),
        ([[np.inf, 1]], [[1, 1]], {}, NotFiniteError, "not finite"),
        ([[1, 0]], [[1, 1]], {}, TooFewItemsError, "no item"),
        ([1, 0], [[1, 1]], {}, GaugeError, "wrong shape"),
    ],
)
def test_bad_input_is_refused(human, simulated, keywords, error, match):
    with pytest.raises(error, match=match):
        compare_with_people(human, simulated, ordinal=False, seed=0, **keywords)


def test_a_thousand_items_take_less_than_a_second():
    import time

    rng = np.random.default_rng(16)
    p = crowd(rng, 1000, k=5)
    people, panel = draw(rng, p, 40), draw(rng, p, 100)
    start = time.process_time()
    compare_with_people(people, panel, ordinal=True, seed=0)
    assert time.process_time() - start < 2


# --- groups -------------------------------------------------------------------------------------------------


def test_group_biases_are_drawn_together_by_their_noise():
    rng = np.random.default_rng(17)
    sizes = {"big": 2000, "b": 400, "c": 400, "small": 40, "tiny": 29}
    group = np.repeat(list(sizes), list(sizes.values()))
    people = rng.normal(size=len(group))
    panel_group = np.repeat(list(sizes), 500)
    shift = {"big": 0.3, "b": -0.3, "c": 0.0, "small": 0.8, "tiny": 0.0}
    panel = rng.normal(size=2500) + np.array([shift[g] for g in panel_group])
    found = {b.group: b for b in group_bias(people, group, panel, panel_group)}
    assert found["tiny"].raw is None
    assert "29 people" in found["tiny"].note
    raw, pooled = ({g: getattr(found[g], f) for g in ("big", "b", "c", "small")} for f in ("raw", "pooled"))
    assert raw["big"] == pytest.approx(people[group == "big"].mean() * -1 + panel[panel_group == "big"].mean())
    moved = {g: abs(raw[g] - pooled[g]) for g in raw}
    assert moved["small"] > 4 * moved["big"]
    assert min(raw.values()) < pooled["small"] < raw["small"]
    assert all(found[g].low < pooled[g] < found[g].high for g in pooled)


def test_pooled_biases_err_less_and_their_intervals_hold():
    """150 panels of 12 groups of 30 to 80 people; .95 stated."""
    rng = np.random.default_rng(18)
    hits, raw_error, pooled_error = [], 0.0, 0.0
    for _study in range(150):
        sizes = rng.integers(30, 80, 12)
        truth = 0.1 + 0.15 * rng.normal(size=12)
        group = np.repeat(np.arange(12), sizes)
        panel_group = np.repeat(np.arange(12), 60)
        found = group_bias(rng.normal(size=len(group)), group, rng.normal(size=720) + truth[panel_group], panel_group)
        for b in found:
            t = truth[int(b.group)]
            hits.append(b.low <= t <= b.high)
            raw_error += (b.raw - t) ** 2
            pooled_error += (b.pooled - t) ** 2
    assert pooled_error < 0.8 * raw_error
    assert 0.90 <= np.mean(hits) <= 0.98


def test_pooling_by_hand_where_all_groups_are_equally_large():
    """τ² = var(d) - v, and Morris's two terms of the variance."""
    spread = np.repeat([-1.0, 1.0], 20)
    bias = np.array([0.1, 0.9, -0.4, 0.6, 0.0])
    group = np.repeat(np.arange(5), 40)
    found = group_bias(np.tile(spread, 5), group, np.concatenate([spread + b for b in bias]), group)
    v = 2 * spread.var(ddof=1) / 40
    drawn = 2 / 4 * v / bias.var(ddof=1)
    pooled = bias + drawn * (bias.mean() - bias)
    half = 1.959964 * np.sqrt(v * (1 - 4 / 5 * drawn) + 2 / 2 * drawn**2 * (bias - bias.mean()) ** 2)
    assert bias.var(ddof=1) > v
    assert [b.raw for b in found] == pytest.approx(bias)
    assert [b.pooled for b in found] == pytest.approx(pooled)
    assert [b.low for b in found] == pytest.approx(pooled - half, abs=1e-6)
    assert [b.high for b in found] == pytest.approx(pooled + half, abs=1e-6)


def test_two_groups_are_not_pooled():
    rng = np.random.default_rng(19)
    group = np.repeat(["a", "b"], 50)
    found = group_bias(rng.normal(size=100), group, rng.normal(size=100), group)
    assert all(b.raw == b.pooled and "too few groups" in b.note for b in found)
    with pytest.raises(NotFiniteError):
        group_bias([np.inf], ["a"], [1.0], ["a"])


# --- the alternative annotator test -------------------------------------------------------------------------


def test_alternative_annotator_test_by_hand():
    """Two annotators, 40 items: the simulator always agrees with the first, the second with him on half of them."""
    first = np.zeros(40)
    second = np.repeat([0.0, 1.0], 20)
    found = alt_test(np.column_stack([first, second]), first, epsilon=0.1)
    # Without the first: simulator and first are equal everywhere, so every item is a tie, d = 0 < ε.
    # Without the second: simulator wins 20 and ties 20, d = -1/2.
    assert found.p[0] == 0.0
    d = np.repeat([0.0, -1.0], 20)
    from scipy.stats import ttest_1samp

    assert found.p[1] == pytest.approx(ttest_1samp(d, 0.1, alternative="less").pvalue, rel=1e-9)
    assert (found.winning_rate, found.passed, found.advantage) == (1.0, True, 1.0)


def test_alternative_annotator_test_tells_good_from_bad_simulators():
    rng = np.random.default_rng(20)
    truth = rng.integers(0, 3, 100)

    def rater(error):
        return np.where(rng.random(100) < error, rng.integers(0, 3, 100), truth).astype(float)

    humans = np.column_stack([rater(0.3) for _j in range(5)])
    humans[rng.random(humans.shape) < 0.2] = np.nan
    good, bad = alt_test(humans, rater(0.1), epsilon=0.1), alt_test(humans, rater(0.9), epsilon=0.1)
    assert good.passed
    assert good.winning_rate == 1
    assert not bad.passed
    assert bad.winning_rate == 0
    assert good.advantage > bad.advantage
    numbers = alt_test(humans, rater(0.1), epsilon=0.1, metric="interval")
    assert numbers.passed


def test_alternative_annotator_test_needs_shared_items():
    humans = np.full((60, 3), np.nan)
    humans[:, 0], humans[:40, 1], humans[:29, 2] = 1, 1, 1
    found = alt_test(humans, np.ones(60), epsilon=0.1)
    assert (found.annotators, found.left_out) == ((0, 1), 1)
    with pytest.raises(TooFewItemsError, match="enough shared items"):
        alt_test(humans[:29], np.ones(29), epsilon=0.1)
    with pytest.raises(GaugeError, match="epsilon"):
        alt_test(humans, np.ones(60), epsilon=1.0)


def test_false_discovery_steps_up():
    c = 1 + 1 / 2 + 1 / 3 + 1 / 4
    bound = 0.05 / (4 * c)
    assert _rejected(np.array([0.9, bound * 2.9, bound * 2.9, bound * 2.9])) == 3  # only the third bound is met
    assert _rejected(np.array([bound * 1.01, 0.5, 0.5, 0.9])) == 0
