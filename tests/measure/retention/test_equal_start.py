"""B − A at an equal start: exact without noise, honest about its interval, and what noise in the start does to it."""

import numpy as np
import pytest

from multitudes.core.errors import GaugeError
from multitudes.measure.errors import NoRange
from multitudes.measure.retention.cells import make_cells
from multitudes.measure.retention.compare import auc_difference
from multitudes.measure.retention.equal_start import gain_at_equal_start
from multitudes.measure.retention.intervals import resample

TURNS = np.array([0.0, 2.0, 4.0])


def arms(seed, *, prompts=24, gain=0.0, lift=0.0, flat=0.0, slope=0.5, noise=0.0, start_noise=0.0, extra=0):
    """Two arms on the same prompts: kept = flat + slope · start, + gain in the first, which starts ``lift`` higher.

    ``noise`` is added to what is kept, ``start_noise`` to the start as it is read; ``extra`` prompts are the first
    arm's alone.
    """
    rng = np.random.default_rng(seed)
    out = []
    shared = rng.normal(size=prompts)
    for is_first in (1, 0):
        n = prompts + extra * is_first
        own = np.concatenate([shared, rng.normal(size=n - prompts)])
        start = 0.5 + 0.08 * own + 0.04 * rng.normal(size=n) + lift * is_first
        kept = flat + slope * start + gain * is_first
        rows = np.stack([start + start_noise * rng.normal(size=n), *(kept + noise * rng.normal(size=(2, n)))], axis=1)
        out.append(make_cells(rows[:, None], np.zeros((n, 1, 3)), TURNS, np.arange(n), bounded=False))
    return out


def found(pair, seed=0, draws=400):
    return gain_at_equal_start(*pair, resample(pair, seed=seed, draws=draws))


def test_a_higher_start_alone_is_no_gain():
    """What is kept is one line of the start in both arms: the plain difference sees a loss, the adjusted nothing."""
    pair = arms(1, lift=0.2, flat=0.2, slope=0.3)
    sample = resample(pair, seed=0, draws=50)
    assert auc_difference(*pair, sample, seed=0).value < -0.08
    assert found(pair).value == pytest.approx(0, abs=1e-12)


def test_a_planted_gain_is_read_in_shares_of_the_common_start():
    pair = arms(2, gain=0.09, lift=0.1, flat=0.1, slope=0.4)
    starts = [c.level[:, 0, 0].mean() for c in pair]
    assert found(pair).value == pytest.approx(0.09 / np.mean(starts), abs=1e-12)


def test_with_equal_starts_it_is_the_plain_difference():
    first, second = arms(3, gain=0.05, noise=0.05)
    first = first._replace(level=np.concatenate([second.level[:, :, :1], first.level[:, :, 1:]], axis=2))
    plain = auc_difference(first, second, resample((first, second), seed=0, draws=50), seed=0)
    assert found((first, second)).value == pytest.approx(plain.value, abs=1e-12)


def test_starts_that_nobody_varies_in():
    """Equal and constant: nothing to adjust. Constant and unequal: no line can be drawn through it."""
    flat = [c._replace(level=np.concatenate([np.full((24, 1, 1), 0.5), c.level[:, :, 1:]], axis=2))
            for c in arms(4, noise=0.05)]  # fmt: skip
    assert np.isfinite(found(flat).value)
    higher = flat[0]._replace(level=np.concatenate([np.full((24, 1, 1), 0.6), flat[0].level[:, :, 1:]], axis=2))
    lost = found((higher, flat[1]))
    assert np.isnan(lost.value)
    assert (lost.low, lost.high) == (None, None)


def test_what_is_censored_leaves_start_and_end():
    """Without noise in the line, lost conversations change nothing but the common start of the turn."""
    pair = arms(5, gain=0.1, slope=0.5, flat=0.1)
    level = pair[0].level.copy()
    level[:12, :, 2] = np.nan
    assert found((pair[0]._replace(level=level), pair[1])).value == pytest.approx(found(pair).value, rel=0.05)
    scale = [np.mean([c.level[k:, 0, 0].mean() for c, k in zip(pair, (j, 0), strict=True)]) for j in (0, 12)]
    assert found((pair[0]._replace(level=level), pair[1])).value == pytest.approx(
        np.mean([0.1 / s for s in scale]), abs=1e-12
    )


def test_prompts_that_one_arm_lacks_are_left_out():
    pair = arms(6, gain=0.1, noise=0.05, extra=6)
    cut = pair[0]._replace(level=pair[0].level[:24], floor=pair[0].floor[:24], clusters=pair[0].clusters[:24])
    assert found(pair).value == pytest.approx(found((cut, pair[1])).value, abs=1e-12)


def test_the_interval_holds_what_it_states():
    """120 data sets with noise in what is kept: coverage .95, three standard errors are .06."""
    hits = 0
    for k in range(120):
        pair = arms(100 + k, gain=0.06, lift=0.08, flat=0.1, noise=0.1)
        truth = 0.06 / (0.5 + 0.04)
        one = found(pair, seed=k, draws=300)
        hits += one.low <= truth <= one.high
    assert 0.88 <= hits / 120 <= 1.0


def test_noise_in_the_start_leaves_part_of_the_difference_in():
    """Reliability of the start here is .0080 / (.0080 + .0081) ≈ .5, so half of slope · lift stays: as documented."""
    gap = [found(arms(300 + k, lift=0.2, flat=0.1, slope=0.5, start_noise=0.09, prompts=200), draws=50).value
           for k in range(40)]  # fmt: skip
    assert np.mean(gap) == pytest.approx(0.5 * 0.5 * 0.2 / 0.6, abs=0.02)


def test_arms_that_cannot_be_compared_are_refused():
    pair = arms(7)
    sample = resample(pair, seed=0, draws=50)
    with pytest.raises(NoRange):
        gain_at_equal_start(pair[0], pair[1]._replace(floor=pair[1].level), sample)
    with pytest.raises(GaugeError):
        gain_at_equal_start(pair[0], pair[1]._replace(turns=np.array([0.0, 1.0, 4.0])), sample)
