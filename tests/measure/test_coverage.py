"""Coverage against tables, closed forms and brute force; obedience and caricature against what they must not miss."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import qmc

from multitudes.core.errors import GaugeError
from multitudes.core.records import Reading, Score
from multitudes.measure.coverage import (
    calibrated_radius,
    centred_discrepancy,
    probe_points,
    round_to_lattice,
    split_loss,
    support_coverage,
)
from multitudes.measure.coverage_reading import coverage_reading
from multitudes.measure.placement_fit import extreme_share, fit_placement, in_corner, passes_gates, verdict

N = 25
ITEMS, LABELS = 4, 5
LATTICE = ITEMS * (LABELS - 1) + 1


def sobol(n: int, k: int, seed: int) -> np.ndarray:
    return qmc.Sobol(k, rng=seed).random_base2((n - 1).bit_length())[:n]


def answers(position: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Four five-level items per axis around a position, with a jitter of .15, averaged."""
    items = np.clip(position, 0, 1)[..., None] + 0.15 * rng.normal(size=(*position.shape, ITEMS))
    return (np.round(np.clip(items, 0, 1) * (LABELS - 1)) / (LABELS - 1)).mean(-1)


def respond(kind: str, t: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    if kind == "faithful":
        return answers(t, rng)
    if kind == "gain .5":
        return answers(0.5 + 0.5 * (t - 0.5), rng)
    if kind == "gain 2.5":
        return answers(0.5 + 2.5 * (t - 0.5), rng)
    if kind == "random items":
        return (rng.integers(0, LABELS, size=(*t.shape, ITEMS)) / (LABELS - 1)).mean(-1)
    if kind == "random axes":
        return rng.integers(0, LABELS, size=t.shape) / (LABELS - 1)
    if kind == "blind":
        return answers(np.full_like(t, 0.6), rng)
    return np.where(rng.random(t.shape) < 0.5, 0.0, 1.0)  # corners


# --- the calibrated radius ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("n", "lattice", "table"),
    [
        (25, None, {1: 0.043, 2: 0.198, 3: 0.363, 4: 0.514}),
        (25, 17, {1: 0.056, 2: 0.201, 3: 0.364}),
        (25, 5, {1: 0.124, 2: 0.239, 3: 0.387}),
        (100, None, {2: 0.0925, 3: 0.212}),
    ],
)
def test_radii_equal_the_table(n, lattice, table):
    for k, expected in table.items():
        found = calibrated_radius(n, k, None if lattice is None else (lattice,) * k)
        assert found == pytest.approx(expected, abs=0.005)


@pytest.mark.parametrize("k", [2, 3])
def test_fresh_sobol_populations_score_the_calibrated_share(k):
    found = [support_coverage(sobol(N, k, seed)).coverage.value for seed in range(20)]
    assert np.mean(found) == pytest.approx(0.99, abs=0.015)


def test_without_lattice_calibration_a_five_level_item_caps_coverage():
    """100 people on all 25 cells: 9 whole, 12 half and 4 quarter discs, 16πr² = .43, not what they deserve."""
    cells = np.stack(np.meshgrid(np.arange(5) / 4, np.arange(5) / 4), -1).reshape(-1, 2)
    found = support_coverage(np.tile(cells, (4, 1)), lattice=(5, 5))
    assert found.raw == pytest.approx(16 * np.pi * found.radius_raw**2, abs=0.003)
    assert found.raw == pytest.approx(0.43, abs=0.01)
    assert found.coverage.value > 0.98


# --- coverage -----------------------------------------------------------------------------------------------


@settings(max_examples=10, deadline=None)
@given(st.integers(1, 3), st.sampled_from([2, 9, 40]), st.booleans(), st.integers(0, 10**6))
def test_coverage_and_lone_shares_equal_brute_force(k, n, tied, seed):
    rng = np.random.default_rng(seed)
    z = rng.integers(0, 4, (n, k)) / 3 if tied else rng.random((n, k))
    z[rng.random(n) < 0.1, 0] = np.nan  # one missing axis is enough to cover nothing
    found = support_coverage(z)
    u = probe_points(k)
    near = (
        np.sqrt(((u[:, None] - np.where(np.isnan(z).any(1, keepdims=True), 9.0, z)[None]) ** 2).sum(-1))
        <= found.radius
    ).astype(int)
    assert found.coverage.value == pytest.approx(near.any(1).mean(), abs=1e-4)  # a probe may sit on the rim
    lone = [near.any(1).mean() - np.delete(near, j, axis=1).any(1).mean() for j in range(n)]
    assert found.loss == pytest.approx(np.array(lone), abs=1e-4)


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 10**6))
def test_order_of_people_axes_and_direction_do_not_matter(seed):
    rng = np.random.default_rng(seed)
    z = rng.beta(2, 4, (30, 3))
    base = support_coverage(z).coverage.value
    assert support_coverage(z[rng.permutation(30)]).coverage.value == base
    assert support_coverage(z[:, [2, 0, 1]]).coverage.value == pytest.approx(base, abs=0.01)
    assert support_coverage(1 - z).coverage.value == pytest.approx(base, abs=0.01)
    cd2 = centred_discrepancy(z)[0]
    assert centred_discrepancy(1 - z[rng.permutation(30)][:, [2, 0, 1]])[0] == pytest.approx(cd2, abs=1e-12)


@pytest.mark.parametrize(
    ("kind", "two", "three", "r", "beta"),
    [
        ("faithful", 0.98, 0.99, 0.97, 0.96),
        ("gain .5", 0.72, 0.86, 0.88, 0.50),
        ("gain 2.5", 0.80, 0.86, 0.94, 1.28),
        ("random items", 0.75, 0.84, 0, 0),
        ("random axes", 0.86, 0.91, 0, 0),
        ("blind", 0.40, 0.50, 0, 0),
        ("corners", 0.13, 0.20, 0, 0),
    ],
)
def test_reference_populations(kind, two, three, r, beta):
    """Means over 24 populations; the SD of one is .01 to .07, so .03 is two to four standard errors."""
    rng = np.random.default_rng(8)
    for k, expected in ((2, two), (3, three)):
        found, fits = [], []
        for seed in range(24):
            t = sobol(N, k, 100 + seed)
            z = respond(kind, t, rng)
            found.append(support_coverage(z, lattice=(LATTICE,) * k).coverage.value)
            fits.append(fit_placement(t, z))
        assert np.mean(found) == pytest.approx(expected, abs=0.03)
        assert np.mean([f.r_mean.value for f in fits]) == pytest.approx(r, abs=0.09 if r == 0 else 0.03)
        assert np.mean([f.gain_mean.value for f in fits]) == pytest.approx(beta, abs=0.15 if r == 0 else 0.05)


def test_jackknife_knows_the_sampling_spread_and_a_bootstrap_of_coverage_would_be_biased():
    """300 populations of 25 independent people. Delete-one: SE near the true SD, interval holds >= 90 %.

    The broken variant (resampling people) must be seen: its mean lies more than two SD below the value.
    """
    rng = np.random.default_rng(9)
    populations = rng.beta(5, 3, (300, N, 2))
    found = [support_coverage(z).coverage for z in populations]
    values = np.array([e.value for e in found])
    half = np.array([(e.high - e.low) / 2 for e in found])
    inside = np.mean([e.low <= values.mean() <= e.high for e in found])
    assert inside > 0.88  # .91 in a long run, binomial SE .017
    assert half.mean() / 2.064 == pytest.approx(values.std(), rel=0.2)
    uniform = rng.random((N, 2))
    value = support_coverage(uniform).coverage.value
    resampled = [support_coverage(uniform[rng.integers(0, N, N)]).coverage.value for _ in range(60)]
    assert np.mean(resampled) < value - 0.05


def test_unscored_people_cover_nothing_and_count():
    z = sobol(32, 2, 5)
    half = z.copy()
    half[16:, 1] = np.nan
    found = support_coverage(half)
    assert found.radius == calibrated_radius(32, 2), "the radius is that of the nominal number"
    assert found.coverage.unscored == 16
    assert found.coverage.value < support_coverage(z[:16]).coverage.value, "dropping them would flatter"
    nobody = support_coverage(np.full((10, 2), np.nan))
    assert nobody.coverage.value == 0


def test_loss_splits_into_placement_and_expression():
    rng = np.random.default_rng(10)
    t = sobol(N, 2, 11) * 0.7
    z = respond("faithful", t, rng)
    split, found = split_loss(z, t, lattice=(17, 17)), support_coverage(z, lattice=(17, 17))
    assert split.placement + split.expression.value == pytest.approx(1 - found.coverage.value, abs=1e-12)
    assert split.placement > 0.2
    radius = calibrated_radius(N, 2, (17, 17))
    near = [
        np.linalg.norm(probe_points(2)[:, None] - x[None], axis=-1) <= radius
        for x in (round_to_lattice(t, (17, 17)), z)
    ]
    deleted = [np.subtract(*(np.delete(a, j, 1).any(1).mean() for a in near)) for j in range(N)]
    half = 2.0638985616 * (24 / 25 * ((np.array(deleted) - np.mean(deleted)) ** 2).sum()) ** 0.5
    assert split.expression.high - split.expression.value == pytest.approx(half, abs=1e-6)
    perfect = split_loss(round_to_lattice(t, (17, 17)), t, lattice=(17, 17))
    assert perfect.expression.value == 0


@pytest.mark.parametrize("k", [1, 2, 4])
def test_discrepancy_closed_forms(k):
    centre, _, _ = centred_discrepancy(np.full((1, k), 0.5))
    assert centre == pytest.approx((13 / 12) ** k - 1, abs=1e-12)
    rng = np.random.default_rng(k)
    drawn = np.array([centred_discrepancy(rng.random((N, k)))[0] for _ in range(400)])
    expected = centred_discrepancy(rng.random((N, k)))[1]
    assert expected == pytest.approx(((5 / 4) ** k - (13 / 12) ** k) / N)
    assert drawn.mean() == pytest.approx(expected, abs=3.5 * drawn.std() / 20)


def test_discrepancy_equals_its_formula():
    z = np.random.default_rng(12).random((7, 3))
    a = np.abs(z - 0.5)
    pairs = 1 + a[:, None] / 2 + a[None] / 2 - np.abs(z[:, None] - z[None]) / 2
    formula = (13 / 12) ** 3 - 2 / 7 * (1 + a / 2 - a**2 / 2).prod(1).sum() + pairs.prod(2).sum() / 49
    assert centred_discrepancy(z)[0] == pytest.approx(formula, abs=1e-12)
    with_gap = np.vstack([z, [np.nan, 0.1, 0.1]])
    assert centred_discrepancy(with_gap)[0] == pytest.approx(formula, abs=1e-12)
    assert centred_discrepancy(np.full((2, 3), np.nan)) == (None, None, 0)


# --- adherence and gain -------------------------------------------------------------------------------------


@pytest.mark.parametrize("g", [1.0, 1.29, 2.5, 20.0])
def test_clipped_gain_has_its_closed_form_and_adherence_cannot_see_it(g):
    t = (np.arange(100_000)[:, None] + 0.5) / 100_000
    fit = fit_placement(t, np.clip(0.5 + g * (t - 0.5), 0, 1))
    assert fit.gain_mean.value == pytest.approx(1.5 - 0.5 / g**2, abs=1e-3)
    assert fit.r_mean.value > 0.866 - 1e-3


def test_fit_equals_least_squares_and_correlation_and_its_own_deletions():
    rng = np.random.default_rng(13)
    t, z = rng.random((20, 2)), rng.random((20, 2))
    z[3, 0] = np.nan
    fit = fit_placement(t, z)
    keep = ~np.isnan(z[:, 0])
    slope, _ = np.polyfit(t[keep, 0], z[keep, 0], 1)
    assert fit.gain[0].value == pytest.approx(slope, abs=1e-12)
    assert fit.r[0].value == pytest.approx(np.corrcoef(t[keep, 0], z[keep, 0])[0, 1], abs=1e-12)
    assert (fit.r[0].n, fit.r[0].unscored, fit.r[1].n) == (19, 1, 20)
    deleted = [np.polyfit(np.delete(t[:, 1], j), np.delete(z[:, 1], j), 1)[0] for j in range(20)]
    variance = 19 / 20 * ((np.array(deleted) - np.mean(deleted)) ** 2).sum()
    assert (fit.gain[1].high - fit.gain[1].value) == pytest.approx(2.0930240544 * variance**0.5, abs=1e-9)


def test_intervals_of_adherence_and_gain_cover():
    """400 populations of 25 with dependent axes: .95 must give .92 to .98 (2.5 SE)."""
    rng = np.random.default_rng(14)

    def draw(n: int) -> tuple[np.ndarray, np.ndarray]:
        t = rng.random((n, 3))
        halo = rng.normal(size=(n, 1))  # a persona's mood moves all axes
        return t, np.clip(0.5 + 0.8 * (t - 0.5) + 0.12 * halo + 0.12 * rng.normal(size=(n, 3)), 0, 1)

    t, z = draw(300_000)
    big = fit_placement(t, z)
    r_true, gain_true = big.r_mean.value, big.gain_mean.value
    fits = [fit_placement(*draw(N)) for _ in range(400)]
    assert 0.92 <= np.mean([f.r_mean.low <= r_true <= f.r_mean.high for f in fits]) <= 0.98
    assert 0.92 <= np.mean([f.gain_mean.low <= gain_true <= f.gain_mean.high for f in fits]) <= 0.98
    shuffled = [fit_placement(t[:N], z[rng.permutation(N)]).r_mean.value for _ in range(200)]
    assert np.std([fit_placement(t[:N, :1], z[rng.permutation(N), :1]).r_mean.value for _ in range(400)]) == (
        pytest.approx(1 / np.sqrt(N - 1), rel=0.12)
    )
    assert abs(np.mean(shuffled)) < 0.05


def test_extremes_and_corners_have_their_closed_forms():
    t = (np.arange(200_000) + 0.5) / 200_000

    def one_hot(position: np.ndarray) -> np.ndarray:
        return np.eye(5)[np.round(np.clip(position, 0, 1) * 4).astype(int)]

    assert extreme_share(one_hot(t)).mean() == pytest.approx(0.25, abs=1e-4)
    assert extreme_share(one_hot(0.5 + 2.5 * (t - 0.5))).mean() == pytest.approx(0.70, abs=1e-3)
    assert in_corner(sobol(4096, 2, 3)).mean() == pytest.approx(0.04, abs=0.003)
    assert np.isnan(in_corner([[0.0, np.nan]])[0])
    with pytest.raises(GaugeError, match="sum to 1"):
        extreme_share([[0.5, 0.1]])


@pytest.mark.parametrize(
    ("kind", "word", "passed"),
    [
        ("faithful", "", True),
        ("gain .5", "flattened", False),
        ("gain 2.5", "caricature", False),
        ("random axes", "diverse, not obedient", False),
        ("random items", "diverse, not obedient", False),
        ("blind", "flattened", False),
    ],
)
def test_every_failure_is_called_by_its_name(kind, word, passed):
    rng = np.random.default_rng(15)
    t = sobol(64, 3, 16)
    z = respond(kind, t, rng)
    fit = fit_placement(t, z)
    assert verdict(support_coverage(z, lattice=(17,) * 3).coverage.value, fit) == word
    assert passes_gates(fit) is passed


# --- degenerate input and the reading -----------------------------------------------------------------------


def by_name(reading: Reading) -> dict[str, Score]:
    return {s.name: s for s in reading.scores}


def test_reading_states_everything_and_survives_json():
    rng = np.random.default_rng(17)
    t = sobol(N, 2, 18)
    z = respond("random axes", t, rng)
    z[0, 0] = np.nan
    probs = np.eye(5)[rng.integers(0, 5, 200)]
    reading = coverage_reading(
        z, t, dimension_ids=["trust", "thrift"], lattice=(17, 17), answer_probs=probs,
        answer_personas=np.repeat(np.arange(N), 8),
    )  # fmt: skip
    scores = by_name(reading)
    assert {"coverage", "coverage_raw", "coverage_of_targets", "loss_placement", "loss_expression", "adherence",
            "adherence.trust", "gain", "gain.thrift", "extremity", "corner_mass", "cd2"} <= set(scores)  # fmt: skip
    assert "diverse, not obedient" in scores["coverage"].note
    assert scores["coverage"].unscored == 1
    for s in reading.scores:
        assert s.estimator
        assert s.unit
        assert bool(s.interval) == (s.low is not None)
    table = reading.tables["persona_map"]
    assert table["axes"] == ["trust", "thrift"]
    assert table["z"][0][0] is None
    assert len(table["personas"]) == len(table["t"]) == N
    assert Reading.model_validate_json(reading.model_dump_json()) == reading


def test_constant_answers_have_no_adherence_and_say_why():
    t = sobol(N, 2, 19)
    scores = by_name(coverage_reading(np.full((N, 2), 0.5), t, dimension_ids=["a", "b"]))
    assert scores["adherence"].value is None
    assert scores["gain.a"].value is None
    assert "constant" in scores["adherence"].note
    assert "constant" in scores["coverage"].note
    assert scores["coverage"].value == pytest.approx(scores["coverage"].null), "one point is the null"
    one_axis = np.column_stack([t[:, 0], np.full(N, 0.5)])
    scores = by_name(coverage_reading(one_axis, t, dimension_ids=["a", "b"]))
    assert scores["adherence"].value == pytest.approx(1)
    assert scores["adherence.b"].value is None
    assert not passes_gates(fit_placement(t, one_axis))


def test_one_axis_one_person_and_no_targets():
    scores = by_name(coverage_reading([[0.1], [0.2]], dimension_ids=["a"]))
    assert 0 < scores["coverage"].value < 1
    assert scores["adherence"].value is None
    scores = by_name(coverage_reading([[0.5, 0.5]], [[0.4, 0.4]], dimension_ids=["a", "b"]))
    assert scores["coverage"].low is None
    assert scores["coverage"].value > 0.9  # one person, and the radius of one person
    assert scores["gain"].value is None


@pytest.mark.parametrize(
    ("z", "keywords", "match"),
    [
        (np.zeros((0, 2)), {}, "empty"),
        (np.zeros(3), {}, "wrong shape"),
        ([[1.1, 0.0]], {}, "out of range"),
        ([[np.inf, 0.0]], {}, "out of range"),
        ([[0.5, 0.5]], {"lattice": (17,)}, "lattice"),
        ([[0.5, 0.5]], {"lattice": (17, 1)}, "lattice"),
    ],
)
def test_bad_input_is_refused(z, keywords, match):
    with pytest.raises(GaugeError, match=match):
        support_coverage(z, **keywords)


def test_ids_and_targets_must_fit():
    with pytest.raises(GaugeError, match="ids do not fit"):
        coverage_reading([[0.5, 0.5]], dimension_ids=["a"])
    with pytest.raises(GaugeError, match="differ in shape"):
        fit_placement([[0.5]], [[0.5, 0.5]])
    assert support_coverage([[1 + 1e-10, -1e-10]]).coverage.value >= 0  # rounding is not an error


def test_tied_people_are_not_slower_than_untied_ones():
    """50,000 people on 25 cells once took seconds; the distinct-rows step makes them the cheaper case."""
    import time

    rng = np.random.default_rng(20)
    tied, loose = rng.integers(0, 5, (50_000, 2)) / 4, rng.random((50_000, 2))
    calibrated_radius(50_000, 2)
    took = []
    for z in (tied, loose):
        start = time.process_time()
        support_coverage(z)
        took.append(time.process_time() - start)
    assert took[0] < took[1] + 0.5
