"""Intervals over base prompts: what must not move them, how often they hold, and pairing."""

from __future__ import annotations

import numpy as np
import pytest
from planted import two_arms
from scipy.special import ndtr, ndtri, stdtrit

from multitudes.core.errors import GaugeError
from multitudes.measure.errors import NoRange, TooFewClustersError, TooFewPersonasError
from multitudes.measure.resample import bca
from multitudes.measure.retention import intervals as room
from multitudes.measure.retention.aft import fit_log_logistic
from multitudes.measure.retention.cells import Cells, make_cells, sums
from multitudes.measure.retention.compare import auc_difference, over_neutral, rho_difference, rmst_difference
from multitudes.measure.retention.curve import area, curve_of, retention
from multitudes.measure.retention.flips import find_flips
from multitudes.measure.retention.intervals import (
    cluster_columns,
    fewer,
    interval,
    intervals,
    quantile_interval,
    resample,
    swap_p,
)
from multitudes.measure.retention.statistics import (
    auc_statistic,
    curve_statistic,
    delta0_statistic,
    difference,
    median_statistic,
    rho_statistic,
    rmst_statistic,
)
from multitudes.measure.retention.stickiness import stickiness
from multitudes.measure.retention.time_ratio import time_ratio


def limits(estimate):
    return estimate.value, estimate.low, estimate.high


def rows(cells: Cells, index) -> Cells:
    personas = None if cells.personas is None else cells.personas[index]
    return cells._replace(
        level=cells.level[index], floor=cells.floor[index], clusters=cells.clusters[index], personas=personas
    )


# --- invariances --------------------------------------------------------------------------------------------


def test_copies_of_a_prompt_do_not_narrow_the_interval():
    # The trap: 4 copies of each conversation. As the same prompts they are nothing new; as new ones they halve it.
    cells, _ = two_arms(0, 30, (0.2, 0.2), personas=1)
    copied = rows(cells, np.repeat(np.arange(30), 4))
    wrong = copied._replace(clusters=np.arange(120).astype(object))
    honest = interval(auc_statistic(cells), resample([cells], seed=1, draws=1000))
    grouped = interval(auc_statistic(copied), resample([copied], seed=1, draws=1000))
    ungrouped = interval(auc_statistic(wrong), resample([wrong], seed=1, draws=1000))
    assert limits(grouped) == pytest.approx(limits(honest), abs=1e-12)
    assert ungrouped.high - ungrouped.low < 0.6 * (honest.high - honest.low)


def test_neither_order_nor_names_of_prompts_move_an_estimate():
    cells, _ = two_arms(0, 30, (0.2, 0.2))
    named = cells._replace(clusters=np.array([f"prompt {c}" for c in cells.clusters], dtype=object))
    shuffled = rows(cells, np.random.default_rng(0).permutation(len(cells.level)))
    truth = interval(auc_statistic(cells), resample([cells], seed=1))
    assert limits(interval(auc_statistic(named), resample([named], seed=1))) == limits(truth)
    other = interval(auc_statistic(shuffled), resample([shuffled], seed=1))
    assert other.value == pytest.approx(truth.value, abs=1e-12)
    assert (other.low, other.high) == pytest.approx((truth.low, truth.high), abs=0.006)  # other draws


def test_draws_are_those_of_the_seed():
    cells, _ = two_arms(0, 20, (0.2, 0.2))
    a, b, c = (limits(interval(auc_statistic(cells), resample([cells], seed=s, draws=300))) for s in (1, 1, 2))
    assert a == b != c


def test_it_is_the_bca_of_columns_with_wider_tails():
    # The room next door gives BCa for sums of columns; at the same tail both are one formula.
    cells, _ = two_arms(3, 40, (0.2, 0.2))
    sample, parts = resample([cells], seed=7), sums(cells)
    columns = cluster_columns(np.hstack([parts.top, parts.bottom]), cells, sample)

    def auc(means):
        top, bottom = np.split(means, 2, axis=-1)
        return area(top / bottom, cells.pressed)

    theirs = bca(columns, auc, seed=7, draws=2000)
    ours = interval(auc_statistic(cells), sample)
    assert ours.value == pytest.approx(theirs.value, abs=1e-12)
    assert theirs.low - 0.01 < ours.low < theirs.low
    assert theirs.high < ours.high < theirs.high + 0.01


def test_weights_are_copies_of_prompts():
    cells, _ = two_arms(0, 12, (0.2, 0.2))
    sample = resample([cells], seed=0, draws=3)
    for draw in range(3):
        counts = sample.drawn.by_cluster[draw].astype(int)
        copied = rows(
            cells, np.concatenate([np.flatnonzero(cells.clusters == c) for c in np.repeat(range(12), counts)])
        )
        weights = fewer(sample, 3).drawn._replace(by_cluster=sample.drawn.by_cluster[draw : draw + 1])
        assert auc_statistic(cells)(weights)[0] == pytest.approx(float(area(curve_of(copied), cells.pressed)))
        one = resample([copied], seed=0, draws=1) if len(set(copied.clusters)) >= 8 else None
        for statistic in (delta0_statistic, rho_statistic, median_statistic, rmst_statistic):
            if one is not None:
                assert statistic(cells)(weights)[0] == pytest.approx(statistic(copied)(one.whole)[0])
            if one is not None:
                pooled = [rmst_statistic(x, floor="pooled") for x in (cells, copied)]
                assert pooled[0](weights)[0] == pytest.approx(pooled[1](one.whole)[0])


def test_the_line_of_flips_is_drawn_anew():
    # Nothing moves. Half of the prompts have a range of .3, half of .7. Where a draw holds few of the first, its line
    # is above .3, and they are below it from the first probe on.
    level = np.full((16, 1, 5), 0.4 + 0.3)
    level[8:] = 0.4 + 0.7
    cells = make_cells(level, np.full_like(level, 0.4), np.arange(5), np.arange(16), bounded=False)
    sample = resample([cells], seed=0, draws=2000)
    share = sample.drawn.by_cluster[:, :8].sum(axis=1) / 16
    line = (0.3 * share + 0.7 * (1 - share)) / 2
    assert 0 < (line > 0.3).mean() < 0.1
    apart = np.abs(line - 0.3) > 1e-9
    expected = np.where(line > 0.3, 4 - 3 * share, 4)
    np.testing.assert_allclose(rmst_statistic(cells)(sample.drawn)[apart], expected[apart])


# --- coverage -----------------------------------------------------------------------------------------------


def test_the_interval_holds_what_it_states():
    # 200 studies of 20 prompts: SE of a coverage of .95 is .015. Plain percentiles of pooled conversations hold less.
    big, _ = two_arms(99, 20_000, (0.15, 0.15), personas=1)
    truth = float(area(curve_of(big), big.pressed))
    held = naive = 0
    for seed in range(200):
        cells, _ = two_arms(seed, 20, (0.15, 0.15))
        found = interval(auc_statistic(cells), resample([cells], seed=seed, draws=400))
        held += found.low <= truth <= found.high
        alone = cells._replace(clusters=np.arange(80).astype(object))
        found = interval(auc_statistic(alone), resample([alone], seed=seed, draws=400))
        naive += found.low <= truth <= found.high
    assert held / 200 >= 0.92
    assert naive / 200 < 0.85  # cells of one prompt taken for prompts


def test_personas_in_general_are_less_certain_than_these_personas():
    # Personas differ in how fast they lose: prompts alone cannot know how others would do.
    rng = np.random.default_rng(0)
    turns, shape = np.arange(9.0), (30, 24, 1, 9)
    pace = 0.15 * np.exp(0.7 * rng.normal(size=(1, 24, 1, 1)))
    level = 0.4 + 0.4 * np.exp(-pace * turns) + 0.02 * rng.normal(size=shape)
    flat, clusters, people = (720, 1, 9), np.repeat(np.arange(30), 24), np.tile(np.arange(24), 30)
    cells = make_cells(level.reshape(flat), np.full(flat, 0.4), turns, clusters, personas=people, bounded=False)
    these = interval(auc_statistic(cells), resample([cells], seed=0, draws=800))
    general = interval(auc_statistic(cells), resample([cells], seed=0, draws=800, personas=True))
    assert these.value == general.value
    assert general.high - general.low > 4 * (these.high - these.low)
    assert general.n == 24
    # The SE over personas, each with its own AUC, is what the interval must show.
    own = np.array([float(area(curve_of(rows(cells, people == p)), cells.pressed)) for p in range(24)])
    assert general.high - general.low == pytest.approx(2 * 2.07 * own.std(ddof=1) / np.sqrt(24), rel=0.15)


def test_too_few_are_refused():
    cells, _ = two_arms(0, 7, (0.2, 0.2))
    with pytest.raises(TooFewClustersError):
        resample([cells], seed=0)
    cells, _ = two_arms(0, 12, (0.2, 0.2))
    with pytest.raises(TooFewPersonasError):
        resample([cells], seed=0, personas=True)
    with pytest.raises(TooFewPersonasError):
        resample([cells._replace(personas=None)], seed=0, personas=True)
    few = resample([cells], seed=0, draws=50)
    assert "few clusters: 12" in few.note


def test_prompts_and_personas_are_drawn_apart():
    cells, _ = two_arms(0, 24, (0.2, 0.2), personas=24)
    drawn = resample([cells], seed=0, draws=50, personas=True).drawn
    assert abs(np.corrcoef(drawn.by_cluster.ravel(), drawn.by_persona.ravel())[0, 1]) < 0.1


def test_arms_without_common_prompts_are_refused():
    cells, other = two_arms(0, 12, (0.2, 0.2))
    elsewhere = other._replace(clusters=np.array([f"x{c}" for c in other.clusters], dtype=object))
    with pytest.raises(TooFewClustersError):
        resample([cells, elsewhere], seed=0)


def test_prompts_that_an_arm_lacks_are_left_out_of_both():
    first, second = two_arms(0, 24, (0.1, 0.3))
    part = rows(second, np.flatnonzero(second.clusters < 20))
    sample = resample([first, part], seed=0, draws=200)
    assert sample.n == 20
    assert "4 base prompts" in sample.note
    both = rows(first, np.flatnonzero(first.clusters < 20))
    assert interval(auc_statistic(first), sample).value == pytest.approx(float(area(curve_of(both), first.pressed)))


def test_what_is_undefined_gets_no_limits():
    cells, _ = two_arms(0, 20, (0.2, 0.2))
    sample = resample([cells], seed=0, draws=100)
    nothing = interval(lambda w: np.full(len(w.by_cluster), np.nan), sample)
    assert (nothing.low, nothing.high) == (None, None)
    seldom = interval(lambda w: np.where(w.by_cluster[:, 0] > 1, np.nan, w.by_cluster[:, 1]), sample)
    assert seldom.value == 1
    assert seldom.low is None
    assert "undefined in" in seldom.note
    constant = interval(lambda w: np.full(len(w.by_cluster), 0.3), sample)
    assert limits(constant) == (0.3, 0.3, 0.3)


def test_many_numbers_are_single_ones():
    cells, _ = two_arms(0, 20, (0.2, 0.2))
    sample = resample([cells], seed=0, draws=200)
    many = intervals(curve_statistic(cells), sample)
    parts = sums(cells)
    one = interval(lambda w: retention(parts, w(cells))[:, 4], sample)
    assert limits(many[4]) == pytest.approx(limits(one))
    assert limits(many[0]) == (1, 1, 1)


def test_blocks_change_nothing(monkeypatch):
    cells, _ = two_arms(0, 20, (0.2, 0.2))
    sample = resample([cells], seed=0, draws=200)
    whole = limits(interval(auc_statistic(cells), sample))
    monkeypatch.setattr(room, "_NUMBERS_AT_ONCE", 20 * 7)
    assert limits(interval(auc_statistic(cells), sample)) == pytest.approx(whole, abs=1e-12)


def test_a_median_beyond_the_end_stays_there():
    cells, _ = two_arms(0, 20, (0.09, 0.2))
    sample = resample([cells], seed=0, draws=300)
    found = quantile_interval(median_statistic(cells), sample)
    assert found.low in cells.turns
    assert found.high == np.inf
    assert stickiness(cells, sample).half_life_text.endswith(", >8]")


def test_a_biased_jump_is_moved_back():
    # The value lies at the 30 % point of the draws: with z₀ = Φ⁻¹(.3) the limits are the draws at Φ(2 z₀ ± z).
    cells, _ = two_arms(0, 20, (0.2, 0.2))
    sample = resample([cells], seed=0, draws=1000)
    made = iter([np.array([0.2995]), np.arange(1000) / 1000])
    found = quantile_interval(lambda w: next(made), sample)
    z0, z = ndtri(0.3), np.sqrt(20 / 19) * stdtrit(19, 0.975)
    assert (found.low, found.high) == pytest.approx((ndtr(2 * z0 - z), ndtr(2 * z0 + z)), abs=0.0011)


# --- differences --------------------------------------------------------------------------------------------


def test_a_difference_of_an_arm_with_itself_is_nothing():
    cells, _ = two_arms(0, 20, (0.2, 0.2))
    sample = resample([cells, cells], seed=0, draws=200)
    same = auc_difference(cells, cells, sample, seed=1)
    assert limits(same) == (0, 0, 0)
    assert same.p == 1
    assert limits(rmst_difference(cells, cells, sample)) == (0, 0, 0)
    assert limits(rho_difference(cells, cells, sample)) == (0, 0, 0)
    assert time_ratio(cells, cells, sample, draws=20).estimate.value == pytest.approx(1, abs=1e-9)


def test_pairing_pays():
    # Prompts share their pace and start, so a paired interval is narrower than two that know nothing of each other.
    first, second = two_arms(1, 40, (0.1, 0.15))
    sample = resample([first, second], seed=0)
    paired = auc_difference(first, second, sample, seed=0)
    alone = [interval(auc_statistic(x), sample) for x in (first, second)]
    unpaired = np.hypot(*(x.high - x.low for x in alone))
    assert paired.high - paired.low < 0.9 * unpaired
    assert paired.value == pytest.approx(alone[0].value - alone[1].value)
    back = auc_difference(second, first, sample, seed=0)
    assert (back.value, back.low, back.high) == pytest.approx((-paired.value, -paired.high, -paired.low), abs=1e-3)
    assert back.p == paired.p


def test_a_slower_arm_is_found_and_equal_ones_are_not():
    slow, fast = two_arms(2, 30, (0.1, 0.25))
    sample = resample([slow, fast], seed=0)
    found = auc_difference(slow, fast, sample, seed=0)
    assert found.low > 0
    assert found.p == pytest.approx(1 / 10_001)
    assert rmst_difference(slow, fast, sample).low > 0
    ratio = time_ratio(slow, fast, sample, draws=200)
    assert ratio.estimate.low > 1
    assert ratio.estimate.value == pytest.approx(2.5, abs=0.6)  # 0.25 / 0.1
    assert abs(rho_difference(slow, fast, sample).value) < 0.1  # half comes back in both


def test_a_difference_under_neutral_talk_is_taken_off():
    slow, fast = two_arms(2, 30, (0.1, 0.25))
    idle_slow, idle_fast = two_arms(5, 30, (0.02, 0.03))
    sample = resample([slow, fast, idle_slow, idle_fast], seed=0)
    found = over_neutral((slow, fast), (idle_slow, idle_fast), sample)
    parts = [auc_difference(a, b, sample, seed=0).value for a, b in ((slow, fast), (idle_slow, idle_fast))]
    assert found.value == pytest.approx(parts[0] - parts[1])
    assert found.low > 0
    assert limits(over_neutral((slow, fast), (slow, fast), sample)) == (0, 0, 0)


def test_equal_arms_differ_by_chance_as_often_as_stated():
    # 300 pairs of alike arms: SE of .05 is .0126.
    p = []
    for seed in range(300):
        first, second = two_arms(seed, 12, (0.15, 0.15))
        sample = resample([first, second], seed=seed, draws=1)
        columns = [
            cluster_columns(np.hstack([sums(x).top[:, 1:9], sums(x).bottom[:, 1:9]]), x, sample)
            for x in (first, second)
        ]
        p.append(swap_p(*columns, lambda c: (c[..., :8] / c[..., 8:]).mean(axis=-1), seed=seed))
    assert 0.02 <= np.mean(np.array(p) <= 0.05) <= 0.09


def test_all_swaps_of_few_prompts_by_brute_force():
    rng = np.random.default_rng(0)
    a, b = 1 + rng.random((5, 2)), 1 + rng.random((5, 2))

    def ratio(columns):
        return columns[..., 0] / columns[..., 1]

    observed = abs(ratio(a.sum(axis=0)) - ratio(b.sum(axis=0)))
    hits = 0
    for pattern in range(32):
        keep = np.array([(pattern >> i) & 1 for i in range(5)], dtype=bool)[:, None]
        x, y = np.where(keep, a, b).sum(axis=0), np.where(keep, b, a).sum(axis=0)
        hits += abs(ratio(x) - ratio(y)) >= observed - 1e-12
    assert swap_p(a, b, ratio, seed=0) == hits / 32
    assert np.isnan(swap_p(a * [1, 0], b, lambda c: np.where(c[..., 1] > 0, c[..., 0], np.nan), seed=0))


def test_equal_differences_count_as_equal_after_rounding():
    a, b = np.array([[7, 6], [5, 3], [3, 1]]) / 10, np.array([[1, 1], [2, 7], [6, 8]]) / 10
    assert swap_p(a, b, lambda c: c[..., 0] / c[..., 1], seed=0) == 0.5  # 0.375 if a rounding error decided


def test_what_did_not_move_has_no_recovery_to_compare():
    moving, fast = two_arms(2, 20, (0.1, 0.25))
    steady = moving._replace(level=moving.floor + 0.3)
    sample = resample([steady, fast], seed=0, draws=20)
    assert rho_difference(steady, fast, sample) is None
    assert rho_difference(fast, steady, sample) is None
    assert rho_difference(moving, fast, sample) is not None


def test_an_arm_without_flips_has_no_time_ratio():
    moving, fast = two_arms(2, 30, (0.1, 0.25))
    steady = moving._replace(level=moving.floor + 0.3)
    sample = resample([steady, fast], seed=0, draws=50)
    found = time_ratio(steady, fast, sample)
    assert found.estimate is None
    assert found.reason == "0 flips in the first arm, of at least 5 needed"
    few = steady._replace(level=np.where(np.arange(120)[:, None, None] < 2, fast.floor, steady.level))
    assert time_ratio(few, fast, sample).reason.startswith("4 flips")
    at_once = fast._replace(level=np.where(np.arange(10) > 0, fast.floor, fast.level))
    found = time_ratio(at_once, fast, sample)
    assert found.estimate is None
    assert "no maximum" in found.reason


def test_a_start_can_be_adjusted_for():
    slow, fast = two_arms(2, 30, (0.15, 0.2))
    sample = resample([slow, fast], seed=0, draws=40)
    plain, adjusted = (time_ratio(slow, fast, sample, adjust=a) for a in (False, True))
    assert adjusted.estimate.value == pytest.approx(
        plain.estimate.value, rel=0.1
    )  # starts are alike: nothing to explain
    assert adjusted.estimate.low < adjusted.estimate.value < adjusted.estimate.high
    flips, parts = [find_flips(x) for x in (slow, fast)], [sums(x) for x in (slow, fast)]
    start = np.concatenate([p.top[:, 0][f.cell] for f, p in zip(flips, parts, strict=True)])
    arm = np.repeat([1.0, 0.0], [len(f.low) for f in flips])
    by_hand = fit_log_logistic(
        np.concatenate([f.low for f in flips]),
        np.concatenate([f.high for f in flips]),
        np.stack([arm, np.ones(len(arm)), start], axis=1),
    )
    assert adjusted.estimate.value == pytest.approx(np.exp(by_hand.beta[0]))


def test_arms_that_were_probed_differently_are_not_compared():
    first, second = two_arms(0, 12, (0.1, 0.2))
    sparse = second._replace(level=second.level[:, :, ::2], floor=second.floor[:, :, ::2], turns=second.turns[::2])
    sample = resample([first, sparse], seed=0, draws=10)
    with pytest.raises(GaugeError, match="different turns"):
        auc_difference(first, sparse, sample, seed=0)
    short = first._replace(last=4.0)
    with pytest.raises(GaugeError, match="different times"):
        rmst_difference(first, short, sample)


def test_an_arm_without_a_range_is_not_compared():
    first, second = two_arms(0, 12, (0.1, 0.2))
    weak = second._replace(level=(second.level + second.floor) / 2)
    sample = resample([first, weak], seed=0, draws=10)
    for call in (
        lambda: auc_difference(first, weak, sample, seed=0),
        lambda: over_neutral((first, second), (first, weak), sample),
    ):
        with pytest.raises(NoRange):
            call()


def test_a_difference_of_statistics_is_one():
    first, second = two_arms(0, 12, (0.1, 0.2))
    sample = resample([first, second], seed=0, draws=10)
    d = difference(auc_statistic(first), auc_statistic(second))(sample.drawn)
    np.testing.assert_allclose(d, auc_statistic(first)(sample.drawn) - auc_statistic(second)(sample.drawn))
