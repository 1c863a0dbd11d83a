"""Persona information against scikit-learn, shuffles, brute force and planted truths; runs that are no runs."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from multitudes.core.errors import GaugeError
from multitudes.measure.errors import CachedRunsError, NoRunVarianceError, OptionMassError, TooFewPersonasError
from multitudes.measure.jackknife import two_way_jackknife
from multitudes.measure.variance.components import collect, spreads
from multitudes.measure.variance.information import (
    count_answers,
    counted_information,
    expected_information,
    permuted_information,
)
from multitudes.measure.variance.option_information import (
    expected_identical_share,
    option_information,
    renormalised,
)
from multitudes.measure.variance.runs import check_runs, identical_share

# Dirichlet(a, a, a) personas: true PIR = 1 - (ψ(3a+1) - ψ(a+1))/ln 3, true Gini share = 1/(3a+1).
CONCENTRATION = {0.91: 0.0329, 0.50: 0.3268, 0.09: 3.1349, 0.01: 30.1175}


def draw(rng, concentration, items, personas, runs, options=3):
    return rng.multinomial(runs, rng.dirichlet([concentration] * options, size=(items, personas)))


def ragged(seed=0, items=6, personas=7, options=4):
    """Unequal cells, some of them empty."""
    rng = np.random.default_rng(seed)
    return rng.multinomial(rng.integers(0, 5, (items, personas)), rng.dirichlet(np.ones(options), (items, personas)))


def as_answers(counts):
    item, persona, option = (np.repeat(x.ravel(), counts.ravel()) for x in np.indices(counts.shape))
    return option, persona, item


def brute_information(table):
    """(I, H) of one persona x option table, in bits, from the definition."""
    joint = table / table.sum()
    outer = joint.sum(1, keepdims=True) * joint.sum(0, keepdims=True)
    there = joint > 0
    a = joint.sum(0)[joint.sum(0) > 0]
    return (joint[there] * np.log2(joint[there] / outer[there])).sum(), -(a * np.log2(a)).sum()


# --- counted ------------------------------------------------------------------------------------------------


def test_expected_information_equals_scikit_learn():
    from sklearn.metrics.cluster import contingency_matrix, expected_mutual_information

    counts = np.concatenate([ragged(), np.random.default_rng(1).multinomial(40, [0.7, 0.2, 0.1, 0], (6, 7))])
    found = expected_information(counts.sum(2), counts.sum(1))
    for table, bits in zip(counts, found, strict=True):
        option, persona, _ = as_answers(table[None])
        nats = expected_mutual_information(contingency_matrix(persona, option, sparse=True), len(option))
        assert bits == pytest.approx(nats / np.log(2), abs=1e-9)


def test_expected_information_equals_every_shuffle():
    rows, option = [3, 1, 2], [0, 0, 1, 1, 1, 2]
    persona = np.repeat([0, 1, 2], rows)
    every = []
    for order in set(itertools.permutations(option)):
        table = np.zeros((3, 3))
        np.add.at(table, (persona, list(order)), 1)
        every.append(brute_information(table)[0])
    assert expected_information([rows], [[2, 3, 1]])[0] == pytest.approx(np.mean(every), abs=1e-12)


def test_expected_information_refuses_margins_of_two_tables():
    with pytest.raises(GaugeError, match="margins"):
        expected_information([[2, 2]], [[2, 3]])


def test_shuffles_have_the_expected_mean_and_stay_within_their_item():
    counts = ragged(2)
    drawn = permuted_information(counts, seed=1, draws=4000)
    expected = expected_information(counts.sum(2), counts.sum(1)).sum()
    assert abs(drawn.mean() - expected) < 3 * drawn.std() / 4000**0.5
    # Items that differ in their favourite option: a shuffle across items would find information in every draw.
    split = np.zeros((2, 6, 2), dtype=int)
    split[0, :, 0] = split[1, :, 1] = 3
    assert permuted_information(split, seed=0, draws=20).max() == 0


def test_plug_in_information_is_useless_and_its_correction_is_not():
    """No persona signal, H about 1.3 bits: the plug-in shows .31 bits at 20 x 5 and .074 at 20 x 20."""
    rng = np.random.default_rng(3)
    for runs, plug_in in ((5, 0.309), (20, 0.074)):
        counts = rng.multinomial(runs, [0.62, 0.22, 0.16], size=(400, 20))
        found = counted_information(counts, draws=1)
        h = np.mean([brute_information(t)[1] for t in counts])
        assert h == pytest.approx(1.3, abs=0.03)  # the two numbers come from one data set each: SE .06 and .015
        assert found.plug_in * h == pytest.approx(plug_in, abs=0.03)
        assert found.pir.value == pytest.approx(0, abs=0.005)


@pytest.mark.parametrize(
    ("true", "runs", "plug_in", "minus", "adjusted", "kappa"),
    [
        (0.91, 2, 0.96, 0.38, 0.90, 0.90),
        (0.50, 2, 0.79, 0.21, 0.50, 0.51),
        (0.50, 5, 0.63, 0.40, 0.52, 0.50),
        (0.09, 5, 0.31, 0.08, 0.10, 0.09),
        (0.01, 2, 0.58, 0.00, 0.00, 0.00),
    ],
)
def test_adjusted_ratio_finds_the_truth_where_subtraction_does_not(true, runs, plug_in, minus, adjusted, kappa):
    """300 items of 50 personas; .015 is three standard errors here plus the rounding of the printed numbers."""
    counts = draw(np.random.default_rng(4), CONCENTRATION[true], 300, 50, runs)
    found = counted_information(counts, draws=1)
    h = sum(brute_information(t)[1] for t in counts)
    assert found.plug_in == pytest.approx(plug_in, abs=0.015)
    assert found.information / h == pytest.approx(minus, abs=0.015)
    assert found.pir.value == pytest.approx(adjusted, abs=0.02)
    assert found.kappa.value == pytest.approx(kappa, abs=0.02)
    assert found.kappa.value == pytest.approx(1 / (3 * CONCENTRATION[true] + 1), abs=0.015)
    assert abs(found.pir.value - true) < 0.03


def test_kappa_equals_one_hot_components_and_counting_pairs():
    counts = ragged(5)
    option, persona, item = as_answers(counts)
    found = counted_information(counts, draws=1)
    assert found.kappa.value == pytest.approx(
        spreads(collect(np.eye(4)[option], persona, item)).icc_within, abs=1e-12
    )
    differ, other = option[:, None] != option, ~np.eye(len(option), dtype=bool)
    same_item, same = item[:, None] == item, persona[:, None] == persona
    d_w, d_b = differ[same_item & same & other].mean(), differ[same_item & ~same].mean()
    assert found.kappa.value == pytest.approx(1 - d_w / d_b, abs=1e-12)


def test_kappa_is_nominal_alpha_with_personas_as_units():
    krippendorff = pytest.importorskip("krippendorff")
    counts = draw(np.random.default_rng(6), 0.5, 1, 4000, 2)
    alpha = krippendorff.alpha(value_counts=counts[0], level_of_measurement="nominal")
    # D_e takes pairs within personas too: equal up to 1/P.
    assert counted_information(counts, draws=1).kappa.value == pytest.approx(alpha, abs=2e-4)


def test_counts_of_labels_and_leaving_one_out_equal_computing_again():
    counts = ragged(7)
    option, persona, item = as_answers(counts)
    again = count_answers([f"o{x}" for x in option], persona, item)
    assert (again.n == counts).all()
    assert list(again.options) == ["o0", "o1", "o2", "o3"]

    def both(table):
        found = counted_information(table, draws=1)
        return found.pir.value, found.kappa.value

    whole = counted_information(counts, draws=1)
    n_p, n_i = counts.shape[1], counts.shape[0]
    persona_out = np.array([both(np.delete(counts, j, axis=1)) for j in range(n_p)])
    item_out = np.array([both(np.delete(counts, j, axis=0)) for j in range(n_i)])
    for k, e in enumerate((whole.pir, whole.kappa)):
        expected = two_way_jackknife(e.value, persona_out[:, k], item_out[:, k])
        assert (e.low, e.high) == pytest.approx(expected[1:3], abs=1e-10)
        assert "few clusters" in e.note


def test_permutation_p_equals_every_shuffle():
    """One item, 2 personas x 3 runs, 720 shuffles of which many are ties with the observed table."""
    table = np.array([[2, 1, 0], [0, 1, 2]])
    option, persona, _ = as_answers(table[None])
    every = []
    for order in itertools.permutations(option):
        shuffled = np.zeros((2, 3))
        np.add.at(shuffled, (persona, list(order)), 1)
        every.append(brute_information(shuffled)[0])
    exact = np.mean(np.array(every) >= brute_information(table)[0] - 1e-12)
    assert 0.1 < exact < 0.9
    found = counted_information(table[None], draws=20_000, seed=1).p
    assert found == pytest.approx(exact, abs=3 * (exact * (1 - exact) / 20_000) ** 0.5 + 1e-4)


def test_adjusted_ratio_and_kappa_cover_the_truth():
    """100 studies of 30 x 12 x 2; nominal .95, conservative, so fewer than 90 hits would be 1 in 100 at worst."""
    rng, hits = np.random.default_rng(8), np.zeros(2)
    for _ in range(100):
        found = counted_information(draw(rng, 0.3268, 12, 30, 2), draws=1)
        hits += [found.pir.low <= 0.5 <= found.pir.high, found.kappa.low <= 0.505 <= found.kappa.high]
    assert (hits >= 90).all()


def test_permutation_p_is_uniform_without_signal_and_small_with_it():
    """300 null studies: rejections at .05 within 3 SE of nominal. Personas with a habit must be found."""
    rng = np.random.default_rng(9)
    p = np.array([counted_information(draw(rng, 1e6, 4, 8, 5), draws=99, seed=s).p for s in range(300)])
    assert abs((p <= 0.05).mean() - 0.05) < 3 * (0.05 * 0.95 / 300) ** 0.5
    assert abs(p.mean() - 0.5) < 0.06
    assert counted_information(draw(rng, 0.5, 4, 20, 2), draws=999).p == 0.001


def test_different_runs_per_persona_bias_neither_measure():
    rng = np.random.default_rng(10)
    runs = np.tile([1, 2, 2, 6], 10)
    counts = rng.multinomial(runs, rng.dirichlet([0.3268] * 3, size=(300, 40)))
    found = counted_information(counts, draws=1)
    assert found.kappa.value == pytest.approx(0.505, abs=0.02)
    assert found.pir.value == pytest.approx(0.5, abs=0.04)
    null = rng.multinomial(runs, np.full(3, 1 / 3), size=(300, 40))
    assert counted_information(null, draws=1).pir.value == pytest.approx(0, abs=0.01)


def test_degenerate_counts_have_reasons_instead_of_values():
    once = draw(np.random.default_rng(11), 1, 5, 6, 1)
    found = counted_information(once)
    assert (found.pir, found.kappa, found.p) == (None, None, None)
    assert "asked twice" in found.note
    equal = np.zeros((4, 5, 2), dtype=int)
    equal[..., 0] = 2
    found = counted_information(equal)
    assert (found.pir, found.kappa, found.p, found.constant) == (None, None, None, 4)
    assert "no variance" in found.note
    counts = draw(np.random.default_rng(12), 0.5, 5, 12, 2)
    lonely = np.zeros((1, 12, 3), dtype=int)
    lonely[0, 0] = 1
    more = counted_information(np.concatenate([counts, lonely, 2 * np.eye(3, dtype=int)[np.zeros((1, 12), int)]]))
    assert (more.items, more.left_out, more.constant) == (6, 1, 1)
    assert more.pir.value == pytest.approx(counted_information(counts).pir.value)
    few = counted_information(counts[:2])
    assert few.pir.low is None
    assert "repeated cells" in few.note


def test_bad_counts_are_refused():
    with pytest.raises(TooFewPersonasError):
        counted_information(np.ones((3, 1, 2)))
    with pytest.raises(GaugeError, match="not counts"):
        counted_information(np.full((3, 4, 2), 0.5))
    with pytest.raises(GaugeError, match="missing"):
        count_answers(["a", None], ["p", "q"], ["i", "i"])
    with pytest.raises(GaugeError, match="lengths differ"):
        count_answers(["a"], ["p", "q"], ["i", "i"])


# --- exact --------------------------------------------------------------------------------------------------


def test_exact_form_equals_its_definition_with_missing_cells():
    rng = np.random.default_rng(13)
    mass = rng.dirichlet(np.ones(4), size=(7, 5)) * 0.95
    mass[rng.random((7, 5)) < 0.2] = np.nan
    found = option_information(mass)
    p = mass / 0.95
    i, h, d_b = [], [], []
    for q in range(5):
        seen = [x for x in p[:, q] if not np.isnan(x[0])]
        mean = np.mean(seen, axis=0)
        h.append(-(mean * np.log2(mean)).sum())
        i.append(h[-1] + np.mean([(x * np.log2(x)).sum() for x in seen]))
        d_b += [1 - a @ b for a, b in itertools.permutations(seen, 2)]
    d_w = np.mean([1 - x @ x for x in p.reshape(-1, 4) if not np.isnan(x[0])])
    assert found.pir.value == pytest.approx(sum(i) / sum(h), abs=1e-12)
    assert (found.d_within, found.d_between) == pytest.approx((d_w, np.mean(d_b)), abs=1e-12)
    assert found.kappa.value == pytest.approx(1 - d_w / np.mean(d_b), abs=1e-12)
    assert found.lost_mass == pytest.approx(0.05)
    assert found.unscored == int(np.isnan(mass[..., 0]).sum())

    def again(axis, j):
        less = option_information(np.delete(mass, j, axis=axis))
        return less.pir.value, less.kappa.value

    without_p, without_i = (np.array([again(a, j) for j in range(mass.shape[a])]) for a in (0, 1))
    for k, e in enumerate((found.pir, found.kappa)):
        expected = two_way_jackknife(e.value, without_p[:, k], without_i[:, k])
        assert (e.low, e.high) == pytest.approx(expected[1:3], abs=1e-10)


def test_exact_form_is_the_limit_of_many_runs_and_of_components():
    rng = np.random.default_rng(14)
    probs = rng.dirichlet([0.5] * 3, size=(12, 8))
    exact = option_information(probs)
    counts = rng.multinomial(2000, probs.transpose(1, 0, 2))
    sampled = counted_information(counts, draws=1)
    assert (exact.pir.value, exact.kappa.value) == pytest.approx((sampled.pir.value, sampled.kappa.value), abs=0.005)
    run_variance = 1 - (probs**2).sum(2)  # trace of the covariance of a one-hot draw
    who, what = (x.ravel() for x in np.indices((12, 8)))
    cells = collect(probs.reshape(-1, 3), who, what, run_variance=run_variance.ravel())
    assert exact.kappa.value == pytest.approx(spreads(cells).icc_within, abs=1e-12)
    assert exact.d_between == pytest.approx(spreads(cells).item, abs=1e-12)


def test_lost_mass_is_warned_of_and_then_refused():
    probs = np.random.default_rng(15).dirichlet(np.ones(3), size=(6, 4))
    assert "OptionMass" not in option_information(probs * 0.92).note
    warned = option_information(probs * 0.8)
    assert "OptionMassWarning: 20%" in warned.note
    assert warned.pir.value == pytest.approx(option_information(probs).pir.value)
    with pytest.raises(OptionMassError, match="60%"):
        option_information(probs * 0.4)
    one = probs.copy()
    one[0, 0] *= 0.3
    assert "more than half of it in 4% of the cells" in renormalised(one)[2]
    one[0, 0] = 0
    with pytest.raises(OptionMassError, match="1 cells"):
        renormalised(one)


@pytest.mark.parametrize(
    ("change", "match"),
    [((0, 0, 0, -0.1), "no probabilities"), ((0, 0, 0, 2.0), "no prob"), ((0, 0, 0, np.nan), "part")],
)
def test_masses_that_are_none_are_refused(change, match):
    probs = np.full((3, 3, 2), 0.5)
    probs[change[:3]] = change[3]
    with pytest.raises(GaugeError, match=match):
        option_information(probs)


def test_certain_and_equal_personas_have_no_ratio():
    sure = np.tile([1.0, 0.0], (6, 4, 1))
    found = option_information(sure)
    assert (found.pir, found.kappa) == (None, None)
    assert "no variance" in found.note
    apart = sure.copy()
    apart[:3] = [0.0, 1.0]
    found = option_information(apart)
    assert found.pir.value == pytest.approx(1)
    assert found.kappa.value == pytest.approx(1)
    with pytest.raises(TooFewPersonasError):
        option_information(sure[:1])


# --- runs that are no runs ----------------------------------------------------------------------------------


def test_temperature_zero_is_refused_with_what_to_do_instead():
    with pytest.raises(NoRunVarianceError) as caught:
        check_runs(0.5, temperature=0)
    assert all(x in str(caught.value) for x in ("(a)", "(b)", "(c)", "non-determinism"))
    with pytest.raises(GaugeError, match="not a temperature"):
        check_runs(0.5, temperature=float("nan"))


def test_copies_are_refused_unless_the_model_is_that_sure():
    with pytest.raises(CachedRunsError, match=r"99.5%.*say nothing"):
        check_runs(0.995, temperature=1)
    with pytest.raises(CachedRunsError, match="80% were expected"):
        check_runs(1.0, temperature=1, expected=0.8)
    check_runs(1.0, temperature=1, expected=0.9)
    check_runs(0.99, temperature=0.3)
    check_runs(None, temperature=1)
    check_runs(float("nan"), temperature=1)


def test_identical_share_of_sampled_runs_is_the_one_expected():
    probs = np.random.default_rng(16).dirichlet(np.ones(3), size=(40, 50))
    counts = np.random.default_rng(17).multinomial(3, probs.transpose(1, 0, 2))
    assert identical_share(counts) == pytest.approx(expected_identical_share(probs, 3), abs=3 * 0.5 / 2000**0.5)
    assert identical_share(np.ones((2, 2, 1))) is None
    with pytest.raises(GaugeError, match="two"):
        expected_identical_share(probs, 1)
