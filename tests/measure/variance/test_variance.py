"""Components against ANOVA, REML, brute force and planted truths; intervals against simulation; people as anchors."""

from __future__ import annotations

import json
import math
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from multitudes.core.errors import GaugeError
from multitudes.core.records import Reading, Score
from multitudes.measure.errors import (
    DisconnectedDesignError,
    DuplicateKeyError,
    NotFiniteError,
    TooFewItemsError,
    TooFewPersonasError,
)
from multitudes.measure.variance.components import HUMAN_ANCHORS, collect, components, identical_run_share, spreads
from multitudes.measure.variance.intervals import interval
from multitudes.measure.variance.reading import variance_reading

TRUTH = {"p": 0.10, "i": 0.40, "pi": 0.10, "e": 0.40}


def simulate(rng, p, i, r, *, truth=TRUTH, d=1):
    """Balanced normal answers with the given components; (y, persona, item, run)."""
    sd = {k: v**0.5 for k, v in truth.items()}
    y = (
        sd["p"] * rng.normal(size=(p, 1, 1, d))
        + sd["i"] * rng.normal(size=(1, i, 1, d))
        + sd["pi"] * rng.normal(size=(p, i, 1, d))
        + sd["e"] * rng.normal(size=(p, i, r, d))
    )
    who, what, when = (x.ravel() for x in np.meshgrid(np.arange(p), np.arange(i), np.arange(r), indexing="ij"))
    return (y.reshape(-1, d) if d > 1 else y.ravel()), who, what, when


def brute_force(y, persona, item):
    """(G_e, G_p, G_i, G_0) over all pairs."""
    y = np.asarray(y, dtype=float).reshape(len(y), -1)
    half = ((y[:, None] - y[None]) ** 2).sum(-1) / 2
    p, i = persona[:, None] == persona[None], item[:, None] == item[None]
    other = ~np.eye(len(y), dtype=bool)
    return [half[mask & other].mean() for mask in (p & i, p & ~i, ~p & i, ~p & ~i)]


# --- the estimator ------------------------------------------------------------------------------------------


def test_balanced_components_equal_analysis_of_variance():
    rng = np.random.default_rng(0)
    P, I, R = 30, 20, 5  # noqa: E741
    y, p, i, _ = simulate(rng, P, I, R)
    c = components(spreads(collect(y, p, i)))
    cube = y.reshape(P, I, R)
    cell, who, what, mean = cube.mean(2), cube.mean((1, 2)), cube.mean((0, 2)), cube.mean()
    ms_p = I * R * ((who - mean) ** 2).sum() / (P - 1)
    ms_i = P * R * ((what - mean) ** 2).sum() / (I - 1)
    ms_pi = R * ((cell - who[:, None] - what[None] + mean) ** 2).sum() / ((P - 1) * (I - 1))
    ms_e = ((cube - cell[..., None]) ** 2).sum() / (P * I * (R - 1))
    anova = ((ms_p - ms_pi) / (I * R), (ms_i - ms_pi) / (P * R), (ms_pi - ms_e) / R, ms_e)
    assert c[:4] == pytest.approx(anova, abs=1e-10)


def test_balanced_components_equal_restricted_maximum_likelihood():
    import pandas as pd
    import statsmodels.formula.api as smf

    y, p, i, _ = simulate(np.random.default_rng(1), 12, 8, 3, truth={"p": 0.4, "i": 0.3, "pi": 0.3, "e": 0.4})
    c = components(spreads(collect(y, p, i)))
    assert min(c[:4]) > 0.01, "both estimators agree only where no component is at its bound"
    frame = pd.DataFrame({"y": y, "p": p, "i": i, "pi": p * 8 + i, "one": 1})
    parts = {"p": "0 + C(p)", "i": "0 + C(i)", "pi": "0 + C(pi)"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fit = smf.mixedlm("y ~ 1", frame, groups="one", vc_formula=parts, re_formula="0").fit(reml=True)
    found = dict(zip(fit.model.exog_vc.names, fit.vcomp, strict=True))
    assert (c.persona, c.item, c.interaction, c.run) == pytest.approx(
        (found["p"], found["i"], found["pi"], fit.scale), abs=5e-4
    )


def test_golden_values_of_restricted_maximum_likelihood():
    """30 x 20 x 5 answers; statsmodels 0.15.0 MixedLM took 18 CPU-seconds for them, so its values stand here."""
    y, p, i, _ = simulate(np.random.default_rng(0), 30, 20, 5)
    c = components(spreads(collect(y, p, i)))
    assert c[:4] == pytest.approx((0.0865946, 0.3693487, 0.0897217, 0.4003215), abs=5e-4)


def planted_vectors(rng, p, i, d):
    """Answers with the components of TRUTH for given labels: d data sets side by side."""
    sd = {k: v**0.5 for k, v in TRUTH.items()}
    cell = p * (i.max() + 1) + i
    return (
        sd["p"] * rng.normal(size=(p.max() + 1, d))[p]
        + sd["i"] * rng.normal(size=(i.max() + 1, d))[i]
        + sd["pi"] * rng.normal(size=(cell.max() + 1, d))[cell]
        + sd["e"] * rng.normal(size=(len(p), d))
    )


@pytest.mark.parametrize("missing", ["none", "40 percent", ".15 to .85 over personas"])
def test_2000_data_sets_are_unbiased(missing):
    rng = np.random.default_rng(20)
    p, i, _ = (x.ravel() for x in np.meshgrid(np.arange(20), np.arange(10), np.arange(3), indexing="ij"))
    kept = {"none": 1.0, "40 percent": 0.6}.get(missing, 0.15 + 0.7 * p / 19)
    found = []
    for _ in range(100):
        there = rng.random(len(p)) < kept
        y = planted_vectors(rng, p[there], i[there], 20)
        found.append(components(spreads(collect(y, p[there], i[there])))[:4])
    error = np.std(found, axis=0, ddof=1) / 10
    assert (np.abs(np.mean(found, axis=0) - 20 * np.array(list(TRUTH.values()))) < 3 * error).all()
    assert (error / 20 < [0.004, 0.006, 0.003, 0.003]).all()  # else 3 standard errors would prove nothing


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 3), st.floats(-1e6, 1e6), st.floats(0.1, 10))
def test_unbalanced_spreads_equal_brute_force_and_ignore_level_and_order(seed, d, level, scale):
    rng = np.random.default_rng(seed)
    n = 60
    p, i = rng.integers(0, 6, n), rng.integers(0, 4, n)
    y = rng.normal(size=(n, d))
    expected = brute_force(y, p, i)
    assert list(spreads(collect(y, p, i))) == pytest.approx(expected, abs=1e-10)
    order = rng.permutation(n)
    moved = spreads(collect(scale * y[order] + level, p[order] + 100, [f"item {x}" for x in i[order]]))
    assert list(moved) == pytest.approx([scale**2 * g for g in expected], rel=1e-7)


def test_components_are_unbiased_when_whole_cells_and_runs_are_missing():
    """2,000 data sets, keep-probability rising from .15 to .85 over personas; means within 3 SE of the truth."""
    rng = np.random.default_rng(2)
    found = []
    for _ in range(2000):
        y, p, i, _ = simulate(rng, 12, 10, 2)
        keep = rng.random(len(y)) < 0.15 + 0.7 * p / 11
        try:
            found.append(components(spreads(collect(y[keep], p[keep], i[keep])))[:4])
        except GaugeError:  # a design that fell apart
            continue
    a = np.array(found)
    assert len(a) > 1800
    error = a.std(0) / np.sqrt(len(a))
    assert (np.abs(a.mean(0) - list(TRUTH.values())) < 3 * error).all()


def test_averaging_runs_first_hides_the_noise():
    """The tempting variant: compare persona means. It must be told apart, and the true one must not."""
    y, p, i, _ = simulate(np.random.default_rng(3), 60, 30, 2)
    c = collect(y, p, i)
    assert spreads(c).icc_within == pytest.approx(1 / 3, abs=0.06)
    means = y.reshape(60, 30, 2).mean(2)
    between = components(spreads(collect(means.ravel(), p[::2], i[::2])))
    hidden = (between.persona + between.interaction_and_run) / (between.persona + between.interaction_and_run + 0)
    assert hidden == 1
    assert between.interaction_and_run == pytest.approx(components(spreads(c)).interaction + 0.4 / 2, abs=0.06)


def test_one_hot_answers_give_the_gini_form():
    rng = np.random.default_rng(4)
    p, i = np.repeat(np.arange(12), 12), np.tile(np.repeat(np.arange(4), 3), 12)
    label = (rng.integers(0, 3, 144) + p) % 3
    g = spreads(collect(np.eye(3)[label], p, i))
    differ = label[:, None] != label[None]
    same_p, same_i, other = p[:, None] == p, i[:, None] == i, ~np.eye(144, dtype=bool)
    assert g.run == pytest.approx(differ[same_p & same_i & other].mean(), abs=1e-12)
    assert g.item == pytest.approx(differ[~same_p & same_i].mean(), abs=1e-12)
    assert g.icc_within == pytest.approx(1 - g.run / g.item, abs=1e-12)


def test_exact_form_is_the_limit_of_many_runs():
    """Means and variances of option distributions against 400 sampled runs of the same distributions."""
    rng = np.random.default_rng(5)
    P, I, R = 15, 8, 400  # noqa: E741
    probs = rng.dirichlet(np.ones(5), size=(P, I))
    x = np.arange(5) / 4
    mean, variance = probs @ x, probs @ x**2 - (probs @ x) ** 2
    p, i = np.repeat(np.arange(P), I), np.tile(np.arange(I), P)
    cells = collect(mean.ravel(), p, i, run_variance=variance.ravel())
    exact = components(spreads(cells))
    draws = (rng.random((P, I, R, 1)) > probs.cumsum(-1)[:, :, None]).sum(-1).clip(max=4) / 4
    sampled = components(spreads(collect(draws.ravel(), np.repeat(p, R), np.repeat(i, R))))
    assert exact[:4] == pytest.approx(sampled[:4], abs=0.004)
    assert exact.run == pytest.approx(variance.mean(), abs=1e-12)
    between = components(spreads(collect(mean.ravel(), p, i)))
    assert (exact.persona, exact.item) == pytest.approx((between.persona, between.item), abs=1e-12)
    assert exact.interaction == pytest.approx(between.interaction_and_run, abs=1e-12)
    shares = spreads(cells)
    expected = (exact.persona + exact.interaction) / (exact.persona + exact.interaction + exact.run)
    assert shares.icc_within == pytest.approx(expected, abs=1e-12)


# --- the reading --------------------------------------------------------------------------------------------


def by_name(reading: Reading) -> dict[str, Score]:
    return {s.name: s for s in reading.scores}


def test_reading_states_everything_and_survives_json():
    y, p, i, r = simulate(np.random.default_rng(11), 20, 12, 2)
    y[5] = np.nan
    reading = variance_reading(y, p, i, run=r)
    scores = by_name(reading)
    assert {"icc_within", "rho", "tau", "sigma2_persona", "sigma2_item", "sigma2_interaction", "sigma2_run"} == set(
        scores
    )
    assert scores["rho"].value == pytest.approx(1 / scores["icc_within"].value - 1)
    assert scores["rho"].low == pytest.approx(1 / scores["icc_within"].high - 1)
    assert scores["rho"].null == math.inf
    for s in reading.scores:
        assert (s.n, s.unscored) == (20, 1)
        assert s.estimator
        assert s.interval
    bars = [(row["quantity"], row["who"].split(":")[0]) for row in reading.tables["bars"]]
    assert ("icc_within", "simulated") in bars
    assert ("icc_within", "people") in bars
    assert Reading.model_validate_json(reading.model_dump_json()) == reading


def test_asking_once_cannot_tell_noise_from_interaction():
    y, p, i, r = simulate(np.random.default_rng(12), 15, 12, 1)
    scores = by_name(variance_reading(y, p, i, run=r))
    assert scores["icc_within"].value is None
    assert "asked twice" in scores["icc_within"].note
    assert scores["tau"].value is not None
    assert "sigma2_run" not in scores
    assert scores["sigma2_interaction_and_run"].value > 0


def test_identical_runs_are_no_runs():
    y, p, i, _ = simulate(np.random.default_rng(13), 10, 10, 1)
    cells = collect(np.repeat(y, 2), np.repeat(p, 2), np.repeat(i, 2))
    assert identical_run_share(cells) == 1
    scores = by_name(variance_reading(np.repeat(y, 2), np.repeat(p, 2), np.repeat(i, 2)))
    assert scores["icc_within"].value is None
    assert "identical" in scores["icc_within"].note
    assert scores["sigma2_run"].value == pytest.approx(0, abs=1e-12)


def test_answers_without_variance_have_no_shares():
    p, i = np.repeat(np.arange(6), 10), np.tile(np.repeat(np.arange(5), 2), 6)
    scores = by_name(variance_reading(np.full(60, 0.1), p, i))
    for name in ("icc_within", "rho", "tau"):
        assert scores[name].value is None
        assert "no variance" in scores[name].note
    assert scores["sigma2_persona"].value == 0
    by_item = by_name(variance_reading(i / 3 + 1e3, p, i))  # people agree on every item; rounding must not differ
    assert by_item["icc_within"].value is None
    assert by_item["sigma2_item"].value > 0
    for level in (0.0, 1e3, 1e6):  # whatever rounding leaves of equal answers is no spread
        g = spreads(collect(np.sqrt(i + 2.0) + level, p, i))
        assert g.run == g.item == 0


def test_no_signal_gives_a_negative_share_as_it_is_and_infinite_noise():
    rng = np.random.default_rng(14)
    y, p, i, _ = simulate(rng, 12, 10, 2, truth={"p": 0, "i": 0.1, "pi": 0, "e": 1})
    cube = y.reshape(120, 2)
    y = np.stack([cube.mean(1) * 0.1 - 1, cube.mean(1) * 0.1 + 1], 1).ravel()  # runs differ more than people
    scores = by_name(variance_reading(y, p, i))
    assert scores["icc_within"].value < 0
    assert scores["rho"].value == math.inf
    assert "no persona signal" in scores["rho"].note


def test_thin_and_lopsided_designs_are_flagged():
    y, p, i, _ = simulate(np.random.default_rng(15), 12, 30, 1)
    again = np.arange(5)
    scores = by_name(variance_reading(np.append(y, y[again] + 0.1), np.append(p, p[again]), np.append(i, i[again])))
    assert "5 repeated cells" in scores["icc_within"].note
    many = np.repeat(np.arange(30), 20)
    scores = by_name(
        variance_reading(
            np.append(y, np.random.default_rng(1).normal(size=600)),
            np.append(p, np.zeros(600, dtype=int)),
            np.append(i, many),
        )
    )
    assert "one persona gave" in scores["tau"].note


FOUR = [1.0, 2.0, 3.0, 4.0]


@pytest.mark.parametrize(
    ("y", "p", "i", "keywords", "error", "match"),
    [
        ([1.0, 2.0], [0, 0], [0, 1], {}, TooFewPersonasError, "two personas"),
        ([1.0, 2.0], [0, 1], [0, 0], {}, TooFewItemsError, "two items"),
        ([1.0, np.nan], [0, 1], [0, 1], {}, TooFewPersonasError, "two personas"),
        ([], [], [], {}, TooFewPersonasError, "0 personas"),
        ([1.0, np.inf], [0, 1], [0, 1], {}, NotFiniteError, "infinite"),
        (FOUR, [0, 0, 1, np.nan], [0, 1, 0, 1], {}, NotFiniteError, "'persona' has a missing label"),
        (FOUR, [0, 0, 1, 1], np.array(["a", "b", None, "a"], dtype=object), {}, NotFiniteError, "'item' has"),
        (FOUR, ["a", "a", "b", "b"], [0, 1, 2, 3], {}, DisconnectedDesignError, "share nothing"),
        (FOUR, [0, 0, 1, 1], [0, 1, 0, 0], {"run": [0, 0, 0, 0]}, DuplicateKeyError, "twice"),
        (FOUR, [0, 0, 1, 1], [0, 1, 0, 0], {"run": [0, 0, 0]}, GaugeError, "lengths differ"),
        (FOUR, [0, 0, 1, 1], [0, 1, 0, 0], {"run_variance": [0, 0, 0, 0]}, GaugeError, "one distribution"),
        ([1.0, 2.0, 3.0], [0, 0, 1], [0, 1, 0], {"run_variance": [0, 0, -1]}, GaugeError, "negative"),
        ([1.0, 2.0, 3.0], [0, 0, 1], [0, 1, 0], {"run_variance": [0, 0, np.inf]}, NotFiniteError, "infinite"),
        ([1.0, 2.0], [0], [0, 1], {}, GaugeError, "lengths differ"),
        (np.zeros((2, 2, 2)), [0, 1], [0, 1], {}, GaugeError, "wrong shape"),
        (FOUR, [[0], [0], [1], [1]], [0, 1, 0, 1], {}, GaugeError, "wrong shape"),
        (list("abcd"), [0, 0, 1, 1], [0, 1, 0, 1], {}, GaugeError, "not an array of numbers"),
    ],
)
def test_bad_designs_are_refused(y, p, i, keywords, error, match):
    with pytest.raises(error, match=match):
        collect(y, p, i, **keywords)


# --- people -------------------------------------------------------------------------------------------------


def test_shares_of_people_rating_offensiveness(shared_data):
    """Published data: person .196, item .286, rest .518 of the total, hence .274 within an item."""
    ratings = shared_data / "disagreement" / "popquorn_offensiveness_ratings.jsonl"
    if not ratings.is_file():
        pytest.skip(f"real ratings are not here: {ratings}")
    rows = [json.loads(line) for line in ratings.read_text().splitlines()]
    columns = [[row[key] for row in rows] for key in ("rating", "annotator", "item")]
    cells = collect(*columns)
    c = components(spreads(cells))
    parts = np.array([c.persona, c.item, c.interaction_and_run])
    assert parts / parts.sum() == pytest.approx([0.196, 0.286, 0.518], abs=0.002)
    assert math.isnan(c.run)
    anchor = next(a for a in HUMAN_ANCHORS if a.value == 0.274)
    e = interval(cells, lambda g: g.tau)
    assert (e.value, e.low, e.high) == pytest.approx((anchor.value, anchor.low, anchor.high), abs=0.001)


def test_ten_thousand_answers_take_milliseconds():
    import time

    y, p, i, _ = simulate(np.random.default_rng(16), 50, 20, 10)
    start = time.process_time()
    cells = collect(y, p, i)
    interval(cells, lambda g: g.icc_within)
    assert time.process_time() - start < 0.2
