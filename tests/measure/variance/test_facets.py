"""Any set of facets against brute force over all pairs, analysis of variance and planted truths."""

from __future__ import annotations

import math
from itertools import combinations

import numpy as np
import pytest

from multitudes.core.errors import GaugeError
from multitudes.measure.errors import (
    DisconnectedDesignError,
    DuplicateKeyError,
    NotFiniteError,
    TooFewItemsError,
    TooFewPersonasError,
    ZeroVarianceError,
)
from multitudes.measure.variance import facets as module
from multitudes.measure.variance.anova import balanced_components
from multitudes.measure.variance.components import collect, components, spreads
from multitudes.measure.variance.facet_intervals import facet_interval, facet_without_each
from multitudes.measure.variance.facets import admissible, collect_facets, components_of, facet_components

PIV = ("persona", "item", "wording")
NESTED = {"wording": "item"}


def grid(*sizes):
    return [x.ravel() for x in np.meshgrid(*map(np.arange, sizes), indexing="ij")]


def design(p, i, v, r):
    """Labels of a full design; wording labels start again in each item."""
    who, what, how, when = grid(p, i, v, r)
    return {"persona": who, "item": what, "wording": how}, when


def planted(rng, labels, truth, d=1):
    """Normal answers whose effects are drawn for each combination of the facets named by a key; "" is the run."""
    y = np.zeros((len(labels["persona"]), d))
    initial = {name[0]: column for name, column in labels.items()}
    for key, variance in truth.items():
        columns = np.stack([initial[k] for k in key], axis=1) if key else np.arange(len(y))[:, None]
        _, code = np.unique(columns, axis=0, return_inverse=True)
        y += variance**0.5 * rng.normal(size=(code.max() + 1, d))[code.ravel()]
    return y if d > 1 else y[:, 0]


def brute_force(y, labels, nested):
    """G and pair number of each admissible set, and the components, by going through all pairs."""
    y = y.reshape(len(y), -1)
    found = {s: [] for s in admissible(tuple(labels), nested)}
    for a, b in combinations(range(len(y)), 2):
        shared = {f for f in labels if labels[f][a] == labels[f][b]}
        shared -= {f for f in shared if f in nested and nested[f] not in shared}
        found[tuple(f for f in labels if f in shared)].append(((y[a] - y[b]) ** 2).sum() / 2)
    g = {s: np.mean(x) if x else math.nan for s, x in found.items()}
    sigma2 = {}
    for s in sorted(g, key=len)[1:]:
        sigma2[s] = g[()] - g[s] - sum(v for k, v in sigma2.items() if set(k) < set(s))
    return g, {s: len(x) for s, x in found.items()}, sigma2


# --- the estimator ------------------------------------------------------------------------------------------


def test_admissible_sets_are_closed_under_union_and_intersection():
    for nested, size in (({}, 8), (NESTED, 6), ({"wording": "item", "item": "persona"}, 4)):
        sets = [frozenset(s) for s in admissible(PIV, nested)]
        assert len(sets) == size
        assert all(a | b in sets and a & b in sets for a in sets for b in sets)
        assert all(parent in s for s in sets for child, parent in nested.items() if child in s)


@pytest.mark.parametrize("nested", [{}, NESTED])
@pytest.mark.parametrize("kind", ["numbers", "vectors", "one-hot"])
def test_60_answers_with_40_percent_missing_equal_brute_force(nested, kind):
    rng = np.random.default_rng(1)
    labels, _ = design(5, 5, 2, 2)
    keep = rng.permutation(100)[:60]
    labels = {k: v[keep] for k, v in labels.items()}
    y = rng.normal(size=(60, 3)) if kind == "vectors" else 1e4 + rng.normal(size=60)
    y = np.eye(4)[rng.integers(0, 4, 60)] if kind == "one-hot" else y
    found = facet_components(y, labels, nested=nested)
    g, pairs, sigma2 = brute_force(y, labels, nested)
    assert found.pairs == pairs
    assert sum(pairs.values()) == 60 * 59 / 2
    tolerance = {"abs": 1e-10}
    assert found.spread == pytest.approx(g, **tolerance)
    assert found.sigma2 == pytest.approx(sigma2, **tolerance)
    assert found.run == pytest.approx(g[PIV], **tolerance)
    assert found.full_and_run == pytest.approx(g[PIV] + sigma2[PIV], **tolerance)
    assert (found.answers, found.unscored) == (60, 0)


@pytest.mark.parametrize("d", [1, 3, 20])
def test_persona_and_item_alone_equal_the_closed_form(d):
    rng = np.random.default_rng(2)
    p, i = rng.integers(0, 9, 200), rng.integers(0, 6, 200)
    y = rng.normal(size=(200, d)) + p[:, None]
    found = facet_components(y, {"persona": p, "item": i})
    g = spreads(collect(y, p, i))
    c = components(g)
    assert list(found.spread.values()) == pytest.approx([g.neither, g.persona, g.item, g.run], abs=1e-12)
    assert [*found.sigma2.values(), found.run, found.full_and_run] == pytest.approx(list(c), abs=1e-12)


def test_four_facets_with_a_chain_of_nesting_equal_brute_force():
    rng = np.random.default_rng(3)
    n = 90
    labels = {"wording": rng.integers(0, 2, n), "persona": rng.integers(0, 4, n), "item": rng.integers(0, 2, n)}
    labels["domain"] = rng.integers(0, 2, n)
    own = {**labels, "item": labels["domain"] * 2 + labels["item"]}
    own["wording"] = own["item"] * 2 + labels["wording"]
    nested = {"wording": "item", "item": "domain"}
    y = rng.normal(size=n)
    found = facet_components(y, labels, nested=nested)
    g, pairs, sigma2 = brute_force(y, own, nested)
    assert found.pairs == pairs
    assert found.sigma2 == pytest.approx(sigma2, abs=1e-10)
    assert found.variance("wording") == found.sigma2["wording", "item", "domain"]
    assert g.keys() == found.spread.keys()


def test_labels_in_any_order_and_a_common_level_change_nothing():
    rng = np.random.default_rng(4)
    labels, _ = design(6, 4, 2, 2)
    y = planted(rng, labels, {"p": 1, "i": 1, "": 1})
    expected = facet_components(y, labels, nested=NESTED)
    order = rng.permutation(len(y))
    renamed = {"item": labels["item"][order] * 7, "wording": np.array([f"w{x}" for x in labels["wording"][order]])}
    moved = facet_components(y[order] * 3 + 1e6, {"persona": labels["persona"][order], **renamed}, nested=NESTED)
    for key, value in expected.sigma2.items():
        assert moved.sigma2[key] == pytest.approx(9 * value, abs=1e-7)
    assert moved.variance("item", "persona") == moved.sigma2["persona", "item"]


def test_a_facet_that_does_nothing_adds_nothing_to_balanced_components():
    rng = np.random.default_rng(5)
    labels, _ = design(12, 8, 3, 2)
    y = planted(rng, labels, {"p": 0.5, "i": 0.5, "pi": 0.5, "": 1})
    two = balanced_components(y.reshape(12, 8, 6))
    three = facet_components(y, labels, nested=NESTED)
    assert three.variance("persona") == pytest.approx(two.persona, abs=1e-10)  # same marginal means
    assert three.variance("wording") == pytest.approx(0, abs=0.05)
    assert three.variance("persona", "wording") == pytest.approx(0, abs=0.15)


def test_exact_form_is_the_limit_of_many_runs_and_takes_orders_as_wordings():
    """Three distributions of every persona and item (option orders) against 300 sampled runs of each."""
    rng = np.random.default_rng(6)
    labels, _ = design(8, 5, 3, 1)
    probs = rng.dirichlet(np.ones(4), size=120)
    runs = 300
    drawn = (rng.random((120, runs, 1)) > probs.cumsum(1)[:, None]).sum(2).clip(max=3)
    sampled = facet_components(np.eye(4)[drawn.ravel()], {k: np.repeat(v, runs) for k, v in labels.items()})
    exact = facet_components(probs, labels, run_variance=1 - (probs**2).sum(1))
    # A trace: ½ E‖o - o'‖² is the chance that two runs differ, 1 - ‖p‖².
    assert exact.run == pytest.approx((1 - (probs**2).sum(1)).mean(), abs=1e-12)
    assert exact.run == pytest.approx(sampled.run, abs=0.01)
    for key, value in exact.sigma2.items():
        assert value == pytest.approx(sampled.sigma2[key], abs=0.01)
    assert exact.repeated_cells == exact.cells == 120


def test_one_run_leaves_the_full_set_and_runs_together():
    rng = np.random.default_rng(7)
    labels, when = design(6, 5, 2, 3)
    y = rng.normal(size=len(when))
    once = {k: v[when == 0] for k, v in labels.items()}
    found = facet_components(y[when == 0], once, nested=NESTED)
    assert math.isnan(found.run)
    assert math.isnan(found.sigma2[PIV])
    assert math.isfinite(found.full_and_run)
    assert found.repeated_cells == 0
    again = {k: np.append(v, v[:1]) for k, v in once.items()}
    assert facet_components(np.append(y[when == 0], 0.0), again, nested=NESTED).repeated_cells == 1


def test_one_wording_per_persona_and_item_leaves_what_it_cannot_tell_undefined():
    rng = np.random.default_rng(8)
    p, i = grid(10, 6)
    labels = {"persona": p, "item": i, "wording": rng.integers(0, 2, 60)}
    found = facet_components(rng.normal(size=60), labels, nested=NESTED)
    assert found.pairs["persona", "item"] == 0
    assert math.isnan(found.variance("persona", "item"))
    assert math.isfinite(found.variance("persona"))
    assert math.isfinite(found.variance("wording"))


def test_unscored_answers_are_left_out_and_counted():
    rng = np.random.default_rng(9)
    labels, _ = design(6, 5, 2, 2)
    y = rng.normal(size=(120, 2))
    gone = rng.random(120) < 0.2
    y[gone, 1] = np.nan
    found = facet_components(y, labels, nested=NESTED)
    rest = facet_components(y[~gone], {k: v[~gone] for k, v in labels.items()}, nested=NESTED)
    assert found.unscored == gone.sum() > 0
    assert found.sigma2 == rest.sigma2


def test_sparse_labels_take_the_path_that_renumbers(monkeypatch):
    rng = np.random.default_rng(10)
    n = 400
    labels = {f: rng.integers(0, 30, n) for f in PIV}
    y = rng.normal(size=n)
    sparse = facet_components(y, labels)
    monkeypatch.setattr(module, "_DENSE", 10**9)
    assert facet_components(y, labels).sigma2 == pytest.approx(sparse.sigma2, abs=1e-12)


NESTED_TRUTH = {"p": 0.2, "i": 0.3, "iw": 0.1, "pi": 0.15, "piw": 0.1, "": 0.4}
CROSSED_TRUTH = {"p": 0.2, "i": 0.3, "w": 0.1, "pi": 0.15, "pw": 0.1, "iw": 0.1, "piw": 0.1, "": 0.4}


@pytest.mark.parametrize(("truth", "nested"), [(NESTED_TRUTH, NESTED), (CROSSED_TRUTH, {})])
@pytest.mark.parametrize("missing", ["40 percent", ".15 to .85 over personas"])
def test_2000_data_sets_are_unbiased(truth, nested, missing):
    """A vector of 20 independent data sets gives 20 times their mean; 100 patterns of missing answers."""
    rng = np.random.default_rng(11)
    labels, _ = design(12, 8, 3, 2)
    kept = 0.6 if missing == "40 percent" else (0.15 + 0.7 * labels["persona"] / 11)
    found = []
    for _ in range(100):
        there = rng.random(len(labels["item"])) < kept
        rest = {k: v[there] for k, v in labels.items()}
        c = facet_components(planted(rng, rest, truth, 20), rest, nested=nested)
        found.append([*c.sigma2.values(), c.run])
    names = {tuple(f for f in PIV if f[0] in key): value for key, value in truth.items() if key}
    expected = [names[key] for key in c.sigma2] + [truth[""]]
    error = np.std(found, axis=0, ddof=1) / 10
    assert (np.abs(np.mean(found, axis=0) - 20 * np.array(expected)) < 3 * error).all()
    assert (error < 0.5).all()  # 20 data sets each: .025 on the scale of one


# --- intervals ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("nested", [{}, NESTED])
@pytest.mark.parametrize("exact", [False, True])
def test_leaving_a_level_out_equals_computing_again(nested, exact):
    rng = np.random.default_rng(12)
    labels, when = design(6, 5, 2, 3)
    keep = (rng.random(len(when)) < 0.8) & ((when == 0) | (not exact))
    labels = {k: v[keep] for k, v in labels.items()}
    y = rng.normal(size=(keep.sum(), 2))
    noise = rng.random(keep.sum()) if exact else None
    cells = collect_facets(y, labels, nested=nested, run_variance=noise)
    for facet in ("persona", "item"):
        found = facet_without_each(cells, facet)
        for j in np.unique(labels[facet]):
            rest = labels[facet] != j
            again = facet_components(
                y[rest],
                {k: v[rest] for k, v in labels.items()},
                nested=nested,
                run_variance=None if noise is None else noise[rest],
            )
            for key, value in again.sigma2.items():
                assert found.sigma2[key][j] == pytest.approx(value, abs=1e-10, nan_ok=True)
            assert {k: v[j] for k, v in found.pairs.items()} == again.pairs
            assert found.run[j] == pytest.approx(again.run, abs=1e-10)


def test_interval_is_that_of_the_closed_form_for_two_facets():
    from multitudes.measure.variance.intervals import interval

    rng = np.random.default_rng(13)
    p, i, _ = grid(14, 11, 2)
    y = rng.normal(size=308) + rng.normal(size=14)[p]
    found = facet_interval(collect_facets(y, {"persona": p, "item": i}), lambda c: c.variance("persona"))
    assert found == pytest.approx(interval(collect(y, p, i), lambda g: g.neither - g.persona), abs=1e-10)


def test_two_way_intervals_cover_the_persona_variance_with_wordings():
    rng = np.random.default_rng(14)
    labels, _ = design(20, 12, 2, 2)
    hits = 0
    for _ in range(150):
        y = planted(rng, labels, NESTED_TRUTH)
        e = facet_interval(collect_facets(y, labels, nested=NESTED), lambda c: c.variance("persona", "item"))
        hits += e.low <= NESTED_TRUTH["pi"] <= e.high
    assert hits / 150 >= 0.93


def test_small_designs_have_flags_or_no_interval():
    rng = np.random.default_rng(15)
    for p, i, expected in ((4, 9, "no interval"), (9, 2, "no interval"), (9, 9, "few clusters: 9 personas, 9 items")):
        labels, when = design(p, i, 2, 2)
        found = facet_interval(collect_facets(rng.normal(size=len(when)), labels), lambda c: c.run)
        assert expected in found.note
        assert (found.low is None) == ("no interval" in expected)


def test_intervals_of_nothing_are_refused():
    labels, when = design(6, 5, 2, 1)
    with pytest.raises(ZeroVarianceError):
        facet_interval(collect_facets(np.full(len(when), 0.1), labels), lambda c: c.run)
    cells = collect_facets(np.random.default_rng(16).normal(size=len(when)), labels)
    with pytest.raises(GaugeError, match="share exactly persona and item and wording"):
        facet_interval(cells, lambda c: c.run)
    with pytest.raises(GaugeError, match="unknown facet"):
        facet_interval(cells, lambda c: c.variance("persona"), item="question")


# --- degenerate inputs --------------------------------------------------------------------------------------


def test_equal_answers_have_no_variance_at_all():
    labels, when = design(5, 4, 2, 2)
    found = facet_components(np.full(len(when), 1e6 + 0.1), labels, nested=NESTED)
    assert set(found.sigma2.values()) == {0.0}
    by_item = facet_components(0.1 * labels["item"] + 1e3 / 3, labels, nested=NESTED)
    assert by_item.run == by_item.spread["item", "wording"] == 0
    assert by_item.variance("item") > 0


def test_one_facet_is_the_one_way_design():
    y, p = [1.0, 2.0, 4.0, 6.0, 5.0, 9.0], [0, 0, 1, 1, 2, 2]
    found = facet_components(y, {"persona": p})
    ms_within, ms_between = (0.5 + 2 + 8) / 3, 2 * ((1.5 - 4.5) ** 2 + (5 - 4.5) ** 2 + (7 - 4.5) ** 2) / 2
    assert found.run == pytest.approx(ms_within, abs=1e-12)
    assert found.variance("persona") == pytest.approx((ms_between - ms_within) / 2, abs=1e-12)


FULL, _ = design(3, 3, 2, 1)
Y = np.arange(18.0) ** 1.5


@pytest.mark.parametrize(
    ("y", "labels", "keywords", "error", "match"),
    [
        (Y, FULL | {"persona": np.zeros(18)}, {}, TooFewPersonasError, "two personas"),
        (Y, FULL | {"item": np.zeros(18)}, {}, TooFewItemsError, "one_way"),
        (Y, FULL | {"wording": np.zeros(18)}, {}, GaugeError, "two wordings"),
        (Y, FULL | {"wording": FULL["item"]}, {"nested": NESTED}, GaugeError, "single wording"),
        (Y * np.nan, FULL, {}, TooFewPersonasError, "0 personas"),
        (np.where(Y > 60, np.inf, Y), FULL, {}, NotFiniteError, "infinite"),
        (Y, FULL | {"item": np.where(Y > 60, np.nan, FULL["item"])}, {}, NotFiniteError, "missing label"),
        (Y, FULL | {"item": np.array([None, *"abcdefghijklmnopq"], dtype=object)}, {}, NotFiniteError, "missing"),
        (Y, FULL, {"run": [0, 0, 0]}, GaugeError, "lengths differ"),
        (np.tile(Y, 2), {k: np.tile(v, 2) for k, v in FULL.items()}, {"run": [0] * 36}, DuplicateKeyError, "18 rep"),
        (Y, FULL, {"run_variance": np.full(18, -1.0)}, GaugeError, "negative"),
        (Y, FULL, {"run_variance": np.full(18, np.inf)}, NotFiniteError, "infinite"),
        (Y, FULL | {"item": np.zeros((18, 2))}, {}, GaugeError, "wrong shape"),
        (["a"] * 18, FULL, {}, GaugeError, "not an array of numbers"),
        (Y, {}, {}, GaugeError, "at least one facet"),
        (Y, FULL | {"run": FULL["item"]}, {}, GaugeError, "no facet"),
        (Y, FULL, {"nested": {"wording": "question"}}, GaugeError, "unknown facet"),
        (Y, FULL, {"nested": {"wording": "item", "item": "wording"}}, GaugeError, "nested in itself"),
    ],
)
def test_bad_designs_are_refused(y, labels, keywords, error, match):
    with pytest.raises(error, match=match):
        facet_components(y, labels, **keywords)


def test_groups_that_share_nothing_are_named():
    labels = {"persona": np.array(list("aabbccdd")), "item": np.array([0, 1, 0, 1, 2, 3, 2, 3])}
    with pytest.raises(DisconnectedDesignError, match="personas a, b; group with personas c, d"):
        facet_components(np.arange(8.0), labels)
    labels, _ = design(4, 3, 2, 1)
    one_template_each = {k: v[labels["persona"] % 2 == labels["wording"]] for k, v in labels.items()}
    with pytest.raises(DisconnectedDesignError, match="personas and wordings"):
        facet_components(np.arange(12.0), one_template_each)


def test_run_labels_that_differ_are_no_repeats():
    labels, when = design(3, 3, 2, 2)
    assert components_of(collect_facets(np.arange(36.0), labels, run=when)).repeated_cells == 18
