"""Nested ridge against scikit-learn; planted signals, leaks and nulls; what is refused."""

from __future__ import annotations

import doctest
from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import Ridge, RidgeCV
from sklearn.model_selection import GroupKFold

from multitudes.core.errors import GaugeError
from multitudes.measure import ridge
from multitudes.measure.drift_prediction import DriftPrediction, _rows, _shuffled, predict_drift, r2
from multitudes.measure.errors import (
    DuplicateKeyError,
    NotFiniteError,
    TooFewClustersError,
    TooFewGroups,
    ZeroVarianceError,
    ZeroVectorError,
)
from multitudes.measure.ridge import ALPHAS, group_folds, in_sample_ridge, nested_ridge

Data = dict[str, Any]


def talks(seed: int = 0, *, personas: int = 20, per: int = 5, turns: int = 6, e: int = 8) -> Data:
    """Messages and z that have nothing to do with each other."""
    rng = np.random.default_rng(seed)
    c = personas * per
    conversation = np.repeat(np.arange(c), turns)
    n = c * turns
    return {
        "z": rng.normal(size=n), "embeddings": rng.normal(size=(n, e)), "personas": conversation // per,
        "conversations": conversation, "turns": np.tile(np.arange(turns), c),
    }  # fmt: skip


def predict(data: Data, *, seed: int = 0, shuffles: int = 19, draws: int = 200, **options: Any) -> DriftPrediction:
    return predict_drift(**{**data, **options}, seed=seed, shuffles=shuffles, draws=draws)


# --- nested ridge -------------------------------------------------------------------------------------------------


def uneven(seed: int = 0) -> tuple[np.ndarray, ...]:
    """Groups of different sizes, so that the order of equals cannot matter."""
    rng = np.random.default_rng(seed)
    persona = np.repeat(np.arange(12), np.arange(9, 21))
    start = np.flatnonzero(np.diff(persona, prepend=-1))
    conversation = persona * 3 + np.minimum((np.arange(len(persona)) - start[persona]) // (3 + persona // 4), 2)
    x = rng.normal(size=(len(persona), 10))
    y = x[:, :3].sum(axis=1) + 2 * rng.normal(size=len(persona)) + rng.normal(size=12)[persona]
    return x, y, persona, conversation


def test_folds_are_those_of_scikit_learn():
    x, _, persona, _ = uneven()
    folds = group_folds(persona, 5)
    oracle = {frozenset(test.tolist()) for _, test in GroupKFold(5).split(x, groups=persona)}
    assert {frozenset(np.flatnonzero(folds == k).tolist()) for k in range(5)} == oracle


@pytest.mark.parametrize("e", [10, 300])  # 300: more columns than rows
def test_held_out_predictions_are_those_of_ridgecv_inside_group_folds(e):
    x, y, persona, conversation = uneven()
    x = np.hstack([x, np.random.default_rng(1).normal(size=(len(x), e - 10))])
    found = nested_ridge(x, y[:, None], outer=persona, inner=conversation)
    expected = np.empty_like(y)
    chosen = []
    for train, test in GroupKFold(5).split(x, groups=persona):
        # The inner folds are handed over: with equal group sizes scikit-learn breaks ties in an order of its own.
        inside = group_folds(conversation[train], 5)
        splits = [(np.flatnonzero(inside != k), np.flatnonzero(inside == k)) for k in range(5)]
        fit = RidgeCV(ALPHAS, cv=splits, scoring="neg_mean_squared_error").fit(x[train], y[train])
        expected[test] = fit.predict(x[test])
        chosen.append(fit.alpha_)
        np.testing.assert_allclose(found.train_mean[test, 0], y[train].mean(), atol=1e-12)
    np.testing.assert_allclose(found.predicted[:, 0], expected, atol=1e-8)
    assert sorted(found.alphas[:, 0]) == pytest.approx(sorted(chosen))
    assert len(set(chosen)) > 1 or e == 300  # the penalty is chosen anew in every fold


def test_no_group_is_on_both_sides():
    x, y, persona, conversation = uneven()
    found = nested_ridge(x, y[:, None], outer=persona, inner=conversation)
    assert all(len(np.unique(found.fold[persona == p])) == 1 for p in range(12))
    assert len(np.unique(found.fold)) == 5
    assert len(np.unique(group_folds(["a", "b", "b"], 5))) == 2
    with pytest.raises(TooFewClustersError):
        group_folds(["a", "a"], 5)


def test_targets_do_not_touch_each_other():
    x, y, persona, conversation = uneven()
    both = nested_ridge(x, np.column_stack([y, y**2]), outer=persona, inner=conversation)
    for k, target in enumerate((y, y**2)):
        alone = nested_ridge(x, target[:, None], outer=persona, inner=conversation)
        np.testing.assert_allclose(both.predicted[:, [k]], alone.predicted, atol=1e-10)


def test_in_sample_predictions_are_those_of_one_ridge():
    x, y, _, conversation = uneven()
    inside = group_folds(conversation, 5)
    splits = [(np.flatnonzero(inside != k), np.flatnonzero(inside == k)) for k in range(5)]
    alpha = RidgeCV(ALPHAS, cv=splits, scoring="neg_mean_squared_error").fit(x, y).alpha_
    found = in_sample_ridge(x, y[:, None], inner=conversation)[:, 0]
    np.testing.assert_allclose(found, Ridge(alpha).fit(x, y).predict(x), atol=1e-8)


def test_rows_with_nan_are_refused():
    x, y, persona, conversation = uneven()
    with pytest.raises(NotFiniteError):
        nested_ridge(x, np.where(y > 1, np.nan, y)[:, None], outer=persona, inner=conversation)


# --- prediction ---------------------------------------------------------------------------------------------------


def test_r2_of_a_known_prediction():
    assert r2(np.array([0.0, 2.0]), np.array([0.0, 1.0]), np.array([1.0, 1.0])) == 0.5
    assert np.isnan(r2(np.ones(2), np.zeros(2), np.ones(2)))


def test_a_planted_signal_is_found_on_new_personas():
    data = talks(e=6)
    x = data["embeddings"] / np.linalg.norm(data["embeddings"], axis=1, keepdims=True)
    data["z"] = 3 * x[:, 0] + data["z"]
    truth = 9 / 6 / (9 / 6 + 1)
    found = predict(data, shuffles=199)
    assert found.r2_out.value == pytest.approx(truth, abs=0.08)
    assert found.r2_out.low < truth < found.r2_out.high
    assert found.r2_in_sample > found.r2_out.value
    assert found.p == 1 / 200
    assert found.exchangeable == 1
    assert found.r2_change.value > 0.2  # the change holds the same signal, half of its variance being the last turn's
    assert abs(found.r2_history) < 0.05
    assert (found.n_turns, found.n_personas, found.n_conversations, found.unscored) == (600, 20, 100, 0)
    again = predict({**data, "embeddings": data["embeddings"] * np.arange(1, 601)[:, None]}, shuffles=199)
    assert again.r2_out == pytest.approx(found.r2_out)  # only directions of messages count


def test_numbers_do_not_depend_on_where_zero_lies():
    data = talks()
    a, b = predict(data), predict({**data, "z": data["z"] + 50})
    assert b.r2_in_sample == pytest.approx(a.r2_in_sample, abs=1e-9)
    assert b.r2_out.value == pytest.approx(a.r2_out.value, abs=1e-9)
    assert b.r2_change.value == pytest.approx(a.r2_change.value, abs=1e-9)


def test_the_change_is_predicted_over_turns_that_have_one_before():
    data = talks()
    found = predict(data)
    later = data["turns"] > 0
    step = np.diff(data["z"], prepend=0.0)[later]
    x = data["embeddings"] / np.linalg.norm(data["embeddings"], axis=1, keepdims=True)
    fits = nested_ridge(x[later], step[:, None], outer=data["personas"][later], inner=data["conversations"][later])
    assert found.r2_change.value == pytest.approx(float(r2(step, fits.predicted[:, 0], fits.train_mean[:, 0])))
    assert found.r2_change.n == 20
    assert predict(talks(personas=10, per=5, turns=2)).r2_change is None  # 50 changes


def test_a_planted_group_leak_is_in_sample_only():
    """Messages say who speaks, and z is a constant of the speaker: nothing can be said of a new one."""
    data = talks(personas=20, e=40)
    rng = np.random.default_rng(3)
    data["embeddings"] = rng.normal(size=(20, 40))[data["personas"]] + 0.1 * data["embeddings"]
    data["z"] = rng.normal(size=20)[data["personas"]] + 0.2 * data["z"]
    found = predict(data)
    assert found.r2_in_sample > 0.9
    assert found.r2_out.value <= 0
    # Folds that split personas would have reported the leak as prediction.
    leaky = nested_ridge(
        data["embeddings"], data["z"][:, None], outer=data["conversations"], inner=data["conversations"]
    )
    assert r2(data["z"], leaky.predicted[:, 0], leaky.train_mean[:, 0]) > 0.8


def test_without_a_signal_r2_is_at_most_slightly_positive_and_p_is_not_small():
    """60 null data sets with conversation effects in messages and z: p <= .10 in at most .10 + 3 SE of them."""
    values, ps = [], []
    for s in range(60):
        rng = np.random.default_rng(s)
        data = talks(s, personas=10, per=4, turns=4, e=4)
        group = data["conversations"]
        data["embeddings"] = data["embeddings"] + rng.normal(size=(40, 4))[group]
        data["z"] = 0.5 * data["z"] + rng.normal(size=40)[group]
        found = predict(data, seed=s, shuffles=19, draws=50)
        values.append(found.r2_out.value)
        ps.append(found.p)
    assert np.mean(values) < 0
    assert np.mean(np.array(ps) <= 0.10) <= 0.217
    assert np.ptp(ps) > 0.7


def test_shuffles_move_whole_conversations_turn_by_turn():
    data = talks(personas=10, per=4, turns=4)
    z = data["z"].copy()
    z[[2, 6]] = np.nan  # conversations 0 and 1 lack turn 2
    z[11] = np.nan  # conversation 2 lacks turn 3: nobody else does
    order = np.random.default_rng(0).permutation(len(z))  # rows need no order
    data = {k: v[order] for k, v in {**data, "z": z}.items()}
    rows, scored, _ = _rows(**data, domains=None)
    source, movable = _shuffled(rows, seed=0, shuffles=50)
    assert movable == pytest.approx(39 / 40)
    assert scored.sum() == len(rows.y) == 157
    assert (np.sort(source, axis=1) == np.arange(157)).all()
    assert (rows.turn[source] == rows.turn).all()
    for row in source:
        pairs = set(zip(rows.conversation.tolist(), rows.conversation[row].tolist(), strict=True))
        assert len(pairs) == 40  # every conversation receives from one
        assert (2, 2) in pairs
        assert {b for a, b in pairs if a in (0, 1)} == {0, 1}
    assert len({tuple(row) for row in source.tolist()}) == 50


def test_baselines_know_what_they_should():
    data = talks(personas=20, per=4, turns=6)
    conversation = data["conversations"]
    domain = np.array(["coding", "writing", "therapy", "philosophy"])[conversation % 4]
    by_domain = {**data, "z": np.array([0.0, 1.0, 2.0, 3.0])[conversation % 4] + 0.5 * data["z"], "domains": domain}
    found = predict(by_domain)
    assert found.r2_domain == pytest.approx(1.25 / 1.5, abs=0.04)
    assert found.r2_out.value < 0.05
    walk = data["z"].reshape(-1, 6).cumsum(axis=1).reshape(-1)
    found = predict({**data, "z": walk, "domains": domain})
    steps = np.arange(6).mean() / (np.arange(6).mean() + 1)  # variance known from the turn before, of all of it
    assert found.r2_history == pytest.approx(steps, abs=0.08)
    assert found.r2_domain < 0.05
    assert found.r2_change.value < 0.03
    assert predict(data).r2_domain is None
    assert predict(data, domains=np.zeros(480)).r2_domain is None


def test_messages_that_say_the_domain_only_predict_nothing_within_it():
    data = talks(personas=20, per=4, turns=6, e=8)
    d = data["conversations"] % 4
    data["embeddings"] = np.eye(8)[d] + 0.01 * data["embeddings"]
    data["z"] = 2.0 * d + data["z"]
    found = predict(data, domains=np.array(["a", "b", "c", "d"])[d])
    assert found.r2_out.value > 0.7
    assert set(found.r2_within) == {"a", "b", "c", "d"}
    assert all(-0.2 < v < 0.05 for v in found.r2_within.values())


def test_within_a_domain_the_baseline_is_its_training_mean():
    data = talks(personas=20, per=4, turns=6)
    domain = np.where(data["conversations"] % 2, "x", "y")
    found = predict(data, domains=domain)
    fits = nested_ridge(
        data["embeddings"] / np.linalg.norm(data["embeddings"], axis=1, keepdims=True), data["z"][:, None],
        outer=data["personas"], inner=data["conversations"],
    )  # fmt: skip
    mine = domain == "x"
    base = np.array([data["z"][mine & (fits.fold != f)].mean() for f in fits.fold])
    assert found.r2_within["x"] == pytest.approx(float(r2(data["z"][mine], fits.predicted[mine, 0], base[mine])))
    lone = np.where(data["personas"] == 3, "lone", "rest")  # one persona: never in its own training rows
    assert np.isnan(predict(data, domains=lone).r2_within["lone"])


def test_unscored_turns_are_left_out_and_counted():
    data = talks()
    z = data["z"].copy()
    z[::7] = np.nan
    found = predict({**data, "z": z})
    assert found.unscored == np.isnan(z).sum()
    assert found.n_turns == 600 - found.unscored
    np.testing.assert_array_equal(np.isnan(found.predicted), np.isnan(z))
    broken = data["embeddings"].copy()
    broken[::7] = np.nan  # messages before unscored turns are not looked at
    assert predict({**data, "z": z, "embeddings": broken}).r2_out == found.r2_out


def test_the_turn_before_is_the_one_of_the_same_conversation():
    data = talks(personas=10, per=2, turns=6)
    z = data["z"].copy()
    z[3] = np.nan
    _, scored, before = _rows(**{**data, "z": z}, domains=None)
    expected = np.where(data["turns"] == 0, np.nan, np.roll(z, 1))[scored]
    np.testing.assert_array_equal(before, expected)
    assert np.isnan(before[3])  # turn 4, whose turn before is unscored


def test_few_personas_have_a_value_and_no_interval():
    found = predict(talks(personas=6, per=4, turns=6))
    assert found.r2_out.low is None
    assert "few clusters" in found.r2_out.note


def test_what_is_too_little_or_broken_is_refused():
    data = talks(personas=10, per=2, turns=5)
    predict(data)
    z = data["z"].copy()
    z[0] = np.nan
    with pytest.raises(TooFewGroups, match="99 scored turns"):
        predict({**data, "z": z})
    with pytest.raises(TooFewGroups, match="4 personas"):
        predict(talks(personas=4, per=5, turns=6))
    with pytest.raises(ZeroVarianceError):
        predict({**data, "z": np.ones(100)})
    zero = data["embeddings"].copy()
    zero[3] = 0
    with pytest.raises(ZeroVectorError):
        predict({**data, "embeddings": zero})
    with pytest.raises(NotFiniteError):
        predict({**data, "embeddings": np.where(zero == 0, np.inf, zero)})
    with pytest.raises(DuplicateKeyError):
        predict({**data, "turns": np.zeros(100)})
    with pytest.raises(GaugeError, match="more than one persona"):
        predict({**data, "personas": np.arange(100)})
    with pytest.raises(GaugeError, match="more than one domain"):
        predict(data, domains=np.arange(100))
    with pytest.raises(GaugeError, match="wrong shape"):
        predict({**data, "personas": np.zeros(99)})


def test_examples_run():
    assert doctest.testmod(ridge).failed == 0
