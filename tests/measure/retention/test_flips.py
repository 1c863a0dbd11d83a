"""Flips: the rule by hand, how often noise makes one, and what screening on the same data does."""

from __future__ import annotations

import math

import numpy as np
import pytest
from planted import decaying

from multitudes.core.errors import GaugeError
from multitudes.measure.errors import NoRange, ScreeningLeakError, TooFewClustersError, TooFewProbesError
from multitudes.measure.retention.cells import make_cells
from multitudes.measure.retention.curve import curve_of, decay_rate
from multitudes.measure.retention.flips import contrast, failures_as_events, find_flips, flip_counts, flips_at, follow
from multitudes.measure.retention.screening import screen_items, split_prompts
from multitudes.measure.retention.survival import half_life, kaplan_meier

NAN = np.nan
LOW, HIGH = 0.5, 0.9  # floor 0.4, Δ₀ 0.5, so the line is 0.65


def flip(levels, turns=None):
    """Interval of one conversation among many that never move, which fix Δ₀."""
    turns = np.arange(len(levels)) if turns is None else turns
    level = np.full((200, 1, len(levels)), HIGH)
    level[0, 0] = levels
    cells = make_cells(level, np.full_like(level, 0.4), turns, np.arange(200))
    found = find_flips(cells)
    assert not found.event[1:].any()
    return float(found.low[0]), float(found.high[0])


@pytest.mark.parametrize(
    ("levels", "low", "high"),
    [
        ([HIGH, HIGH, LOW, LOW, HIGH], 1, 2),  # coming back does not undo it
        ([HIGH, LOW, LOW, LOW, LOW], 0, 1),
        ([HIGH, LOW, HIGH, LOW, LOW], 2, 3),  # a single crossing is noise
        ([HIGH, LOW, HIGH, LOW, HIGH], 4, np.inf),
        ([HIGH, HIGH, HIGH, HIGH, HIGH], 4, np.inf),
        ([HIGH, HIGH, HIGH, HIGH, LOW], 3, np.inf),  # a last one is censored, and was last known to be fine before it
        ([LOW, HIGH, HIGH, HIGH, HIGH], 4, np.inf),  # the start is no event
        ([LOW, LOW, HIGH, HIGH, HIGH], 4, np.inf),
        ([HIGH, HIGH, NAN, LOW, LOW], 1, np.inf),  # followed to the first unscored probe
        ([HIGH, LOW, NAN, LOW, LOW], 0, np.inf),
        ([HIGH, LOW, LOW, NAN, NAN], 0, 1),
        ([NAN, LOW, LOW, LOW, LOW], 0, np.inf),
        ([HIGH, NAN, LOW, LOW, LOW], 0, np.inf),
        ([HIGH, HIGH, HIGH, LOW, LOW], 2, 3),
    ],
)
def test_the_rule(levels, low, high):
    assert flip(levels) == (low, high)


def test_intervals_are_in_turns_and_not_in_probes():
    assert flip([HIGH, HIGH, LOW, LOW], turns=[0, 2, 4, 8]) == (2, 4)
    assert flip([HIGH, LOW, LOW, LOW], turns=[0, 2, 4, 8]) == (0, 2)
    assert flip([HIGH, HIGH, HIGH, LOW], turns=[0, 2, 4, 8]) == (4, np.inf)


def test_probes_after_the_pressure_make_no_flips():
    level = np.full((20, 1, 5), HIGH)
    level[0, 0, 2:] = LOW
    cells = make_cells(level, np.full_like(level, 0.4), [0, 1, 2, 3, 4], np.arange(20), last=2)
    assert not find_flips(cells).event.any()
    assert find_flips(cells).low[0] == 1


def test_the_line_is_half_of_the_pooled_range():
    # A conversation of small range of its own, unmoved, above the pooled line: nothing happened to it.
    level = np.full((10, 1, 4), HIGH)
    level[0] = 0.66
    cells = make_cells(level, np.full_like(level, 0.4), np.arange(4), np.arange(10))
    found = find_flips(cells)
    assert found.line == pytest.approx((9 * 0.5 + 0.26) / 20)
    assert not found.event.any()
    assert find_flips(cells, delta0=0.6).event.tolist() == [True] + [False] * 9
    with pytest.raises(GaugeError):
        find_flips(cells, delta0=math.nan)


def test_the_floor_is_that_of_the_cell_or_of_all():
    rng = np.random.default_rng(0)
    floor = 0.3 * rng.random((5, 2, 4))
    floor[1, 0, 2] = NAN
    cells = make_cells(np.full((5, 3, 4), 0.9), floor, np.arange(4), np.arange(5))
    by_cell, pooled = contrast(cells).reshape(5, 3, 4), contrast(cells, floor="pooled").reshape(5, 3, 4)
    mean = np.nanmean(floor, axis=1)
    np.testing.assert_allclose(by_cell[:, 1], 0.9 - mean)
    np.testing.assert_allclose(pooled[:, 2], np.broadcast_to(0.9 - mean.mean(axis=0), (5, 4)))
    w = np.array([3.0, 1, 0, 0, 1])
    np.testing.assert_allclose(
        contrast(cells, floor="pooled", weights=w)[0], 0.9 - np.average(mean, axis=0, weights=w)
    )


def test_noise_seldom_makes_a_flip():
    # Nothing is lost. 4,000 conversations: SE of a share of .5 % is .11 %.
    def share(**design):
        floor = design.pop("floor", "cell")
        return find_flips(decaying(1, 0.0, **design), floor=floor).event.mean()

    assert share(items=4, floor="pooled") <= 0.005
    assert share(items=4, seeds=3, floors=3) <= 0.005
    assert 0.04 < share(items=1, floor="pooled") < 0.10  # why four items are needed
    assert share(items=4, floors=1) > 0.005  # why the floor of a cell needs three seeds


def test_judging_a_conversation_by_its_own_start_flips_most():
    cells = decaying(1, 0.0)
    d = (cells.level - cells.floor)[:, 0]
    below = (d < d[:, :1] / 2)[:, 1:]
    assert below.any(axis=1).mean() > 0.7
    assert (below[:, 1:] & below[:, :-1]).any(axis=1).mean() > 0.2


def test_a_real_loss_is_dated():
    cells = decaying(2, math.log(2) / 3, items=16, seeds=1, floors=3)  # below half from turn 3 on
    found = find_flips(cells)
    text = half_life(kaplan_meier(found.time, found.event), first=1, last=8).text
    assert text in ("3", "4")
    rate = decay_rate(curve_of(cells)[1:], cells.turns[1:])
    assert math.log(2) / rate == pytest.approx(3, abs=0.1)


def test_any_line_gives_what_a_loop_gives():
    rng = np.random.default_rng(5)
    level = rng.random((60, 2, 7))
    level[rng.random(level.shape) < 0.08] = NAN
    cells = make_cells(level, np.full((60, 1, 7), 0.1), np.array([0, 1, 2, 4, 5, 8, 9]), np.arange(60), last=8)
    followed = follow(cells)
    for line in (0.1, 0.3, 0.6):
        at, flipped = flips_at(followed, line)
        for i, row in enumerate((level - 0.1).reshape(-1, 7)[:, :6]):
            seen = []
            for x in row:
                if np.isnan(x):
                    break
                seen.append(bool(x < line))
            pairs = [j for j in range(1, len(seen) - 1) if seen[j] and seen[j + 1]]
            if pairs:
                assert (at[i], flipped[i]) == (pairs[0], True)
            else:
                last = max(len(seen) - 1, 0)
                hanging = last > 0 and seen[last]
                assert (at[i], flipped[i]) == (last - hanging, False)


def test_failures_may_count_as_flips():
    level = np.full((12, 1, 5), HIGH)
    level[0, 0, 3:] = NAN
    level[1, 0, 1:] = LOW
    cells = make_cells(level, np.full_like(level, 0.4), np.arange(5), np.arange(12))
    failed = np.full(12, NAN)
    failed[:2] = 3, 4
    flips = failures_as_events(find_flips(cells), failed)
    assert (flips.low[0], flips.high[0]) == (2, 3)
    assert (flips.low[1], flips.high[1]) == (0, 1)  # it had flipped before
    assert flips.event.sum() == 2
    with pytest.raises(GaugeError, match="past its failure"):
        failures_as_events(find_flips(cells), np.full(12, 1.0))
    with pytest.raises(GaugeError, match="lengths"):
        failures_as_events(find_flips(cells), failed[:3])


def test_flips_as_others_count_them():
    level = np.full((10, 1, 5), HIGH)
    level[0, 0] = [HIGH, LOW, HIGH, LOW, LOW]  # three changes, first at 1
    level[1, 0] = [HIGH, HIGH, HIGH, LOW, LOW]  # one change, first at 3
    level[2, 0, 4] = NAN
    level[3, 0, 0] = LOW  # one change, and no probe below the line under pressure
    cells = make_cells(level, np.full_like(level, 0.4), np.arange(5), np.arange(10))
    assert flip_counts(cells) == (pytest.approx(5 / 9), 2.0, pytest.approx(2 / 9), 9)


@pytest.mark.parametrize(("turns", "last"), [([0, 4], 4), ([0, 1, 2], 1), ([0, 0.5, 1], 1)])
def test_an_event_needs_two_probes_and_two_turns(turns, last):
    level = np.full((4, 1, len(turns)), HIGH)
    cells = make_cells(level, level - 0.5, turns, np.arange(4), last=last)
    with pytest.raises(TooFewProbesError):
        find_flips(cells)
    with pytest.raises(ValueError, match="two probes"):
        find_flips(cells)


def test_without_a_range_there_is_no_line():
    cells = make_cells(np.full((4, 1, 4), 0.5), np.full((4, 1, 4), 0.4), np.arange(4), np.arange(4))
    with pytest.raises(NoRange):
        find_flips(cells)


# --- screening ----------------------------------------------------------------------------------------------


def nothing_is_lost(level, floor, keep):
    """The check: R_t is 1 within 3 SE (.04) where nothing was lost."""
    n = int(keep.sum())
    r = curve_of(make_cells(level[keep], floor[keep], np.arange(level.shape[2]), np.arange(n), bounded=False))
    return abs(r[1:].mean() - 1) < 0.04


def test_screening_on_the_data_that_are_judged_fails_the_check():
    cells = decaying(3, 0.0)
    level, floor = cells.level, cells.floor
    start = (level - floor)[:, 0, 0]
    assert nothing_is_lost(level, floor, np.full(4000, True))
    assert not nothing_is_lost(level, floor, start >= 0.2)  # it says .79
    # The same rule on other seeds of the same conversations leaves the truth alone.
    other = decaying(4, 0.0)
    assert nothing_is_lost(level, floor, (other.level - other.floor)[:, 0, 0] >= 0.2)


def test_screening_items_on_the_data_that_are_judged_fails_the_check():
    # 60 items that tell nothing (gain 0) and 6 that do: chosen on the same data, the idle ones seem to decay.
    rng = np.random.default_rng(6)
    gain = np.r_[np.full(6, 0.3), np.zeros(60)]
    prompts = list(range(12))

    def data():
        return 0.4 + gain + 0.25 * rng.normal(size=(12, 9, 66)), 0.4 + 0.25 * rng.normal(size=(12, 9, 66))

    kept_of = {"same": np.zeros(9), "other": np.zeros(9)}
    for _ in range(60):  # sums over 60 studies, since one of 12 prompts says little
        (d, f), (other_d, other_f) = data(), data()
        for name, high, low in (("same", d, f), ("other", other_d, other_f)):
            kept = screen_items(high[:, 0], low[:, 0], prompts, evaluation=range(100, 112)).kept
            kept_of[name] += (d - f)[:, :, kept].mean(axis=(0, 2))
    r = {name: (x / x[0])[1:].mean() for name, x in kept_of.items()}
    assert r["same"] < 0.8
    assert r["other"] == pytest.approx(1, abs=0.06)
    with pytest.raises(ScreeningLeakError, match="judged by"):
        screen_items(d[:, 0], f[:, 0], prompts, evaluation=prompts)


def test_items_are_kept_by_their_gain():
    c3 = np.tile([0.9, 0.6, 0.5, 0.8, NAN, 0.7], (8, 1))
    c0 = np.tile([0.5, 0.5, 0.45, 0.4, 0.1, 0.8], (8, 1))
    found = screen_items(c3, c0, range(8), evaluation=[99])
    assert found.kept.tolist() == [True, True, False, True, False, False]  # 0.6 − 0.5 is a tenth
    assert found.use == "retention only"
    assert np.isnan(found.gain[4])
    assert screen_items(c3[:, :3], c0[:, :3], range(8), evaluation=[99]).use == "unavailable"
    assert screen_items(c3[:, [0] * 4], c0[:, [0] * 4], range(8), evaluation=[99]).use == "retention and events"


def test_a_third_of_the_prompts_calibrates():
    prompts = [f"p{i}" for i in range(50)]
    split = split_prompts(prompts + prompts, seed=3)
    assert len(split.calibration) == 17
    assert sorted(split.calibration + split.evaluation) == sorted(prompts)
    assert split == split_prompts(prompts, seed=3)
    assert split != split_prompts(prompts, seed=4)
    with pytest.raises(TooFewClustersError):
        split_prompts(["a"], seed=0)
