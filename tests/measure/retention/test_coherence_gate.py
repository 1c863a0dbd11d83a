"""The coherence gate: its rules at their edges, and what becomes of a conversation that fails."""

from __future__ import annotations

import numpy as np
import pytest

from multitudes.core.errors import GaugeError
from multitudes.measure.errors import IncoherentArm
from multitudes.measure.retention.cells import make_cells
from multitudes.measure.retention.coherence import (
    calibrate_gate,
    censor,
    check_coherent,
    distinct_share,
    first_failure,
    share_broken,
    share_failed,
    why_incoherent,
)
from multitudes.measure.retention.curve import curve_of

FINE = "the oven is warm enough now so put the bread in the middle".split()


def test_distinct_shares_by_hand():
    assert distinct_share(FINE) == 1
    assert distinct_share("a b c a b c".split()) == 3 / 4
    assert distinct_share("a a a a a".split()) == 1 / 3
    assert distinct_share("a b".split()) is None
    assert distinct_share("a b c a b".split(), gram=2) == 3 / 4


def test_the_rules_at_their_edges():
    assert why_incoherent(FINE) == ""
    assert why_incoherent(["yes", "sir"]).startswith("too short")
    assert why_incoherent(["yes", "dear", "sir"]) == ""
    assert why_incoherent(["ha"] * 11) == ""  # too short for a share
    assert why_incoherent(["ha"] * 12).startswith("repeats itself")
    half = "a b c d e f g a b c d e f g a".split()  # 13 3-grams, 7 distinct
    assert why_incoherent(half) == ""
    assert why_incoherent([*half, "b"]) == ""  # 7 of 14, the least that passes
    assert why_incoherent([*half, "b", "c"]).startswith("repeats itself")  # 7 of 15
    assert why_incoherent(FINE, mean_nll=4.0, max_nll=4.0) == ""
    assert why_incoherent(FINE, mean_nll=4.01, max_nll=4.0).startswith("unlikely words")
    assert why_incoherent(FINE, judged=50) == ""
    assert why_incoherent(FINE, judged=49).startswith("judged incoherent")
    assert why_incoherent(FINE, mean_nll=np.nan, max_nll=4.0, judged=np.nan) == ""  # unscored fails nothing


def test_the_limit_is_the_99th_percentile_of_sound_replies():
    nll = np.linspace(1, 3, 201)
    gate = calibrate_gate([["ha"] * 20, ["hm"]] + [FINE] * 199, nll)
    assert gate.max_nll == pytest.approx(np.percentile(nll, 99))
    assert gate.false_alarms == pytest.approx(4 / 201)  # the top two by NLL, one that repeats itself, one too short
    assert gate.n == 201
    with pytest.raises(GaugeError, match="scored"):
        calibrate_gate([FINE], [np.nan])


def test_a_conversation_is_censored_where_it_fails():
    coherent = np.array([[True, True, True, True], [True, False, True, True], [False, True, True, True]])
    failed = first_failure(coherent, [0, 1, 2, 3])
    np.testing.assert_array_equal(failed, [np.nan, 1, 0])
    d = censor(np.full((3, 2), 0.8), [0, 2], failed)
    np.testing.assert_array_equal(np.isnan(d), [[False, False], [False, True], [True, True]])
    np.testing.assert_array_equal(np.isnan(censor(d, [0, 2], np.full(3, np.nan))), np.isnan(d))
    # Probed turns may be fewer than replies: a failure between probes censors the next.
    assert np.isnan(censor([0.9, 0.9, 0.9], [0, 2, 4], 3.0)).tolist() == [False, False, True]


def test_a_failed_conversation_does_not_move_the_curve():
    rng = np.random.default_rng(0)
    level = np.repeat(0.7 + 0.3 * rng.random((20, 3, 1)), 5, axis=2)
    failed = np.where(rng.random((20, 3)) < 0.3, 2.0, np.nan)
    broken = level.copy()
    broken[~np.isnan(failed), 2:] = 0.0  # gibberish answers every probe with 0
    cells = [
        make_cells(x, np.full((20, 1, 5), 0.3), np.arange(5), np.arange(20))
        for x in (broken, censor(broken, np.arange(5), failed))
    ]
    assert curve_of(cells[0])[3] < 0.7
    np.testing.assert_allclose(curve_of(cells[1]), 1)


def test_shares_of_failure():
    coherent = [[True, True, False, False], [True, True, True, True]]
    assert share_failed(coherent, [0, 1, 2, 3]) == 1 / 7  # the reply after the failure counts no more
    assert share_broken(coherent) == 0.5


def test_an_incoherent_arm_is_named():
    assert check_coherent(0.2) == 0.2
    with pytest.raises(IncoherentArm, match="21% failed") as caught:
        check_coherent(0.21, arm="C5")
    assert (caught.value.share, caught.value.arm) == (0.21, "C5")
