"""R²_demo against least squares written out, refits, people, and what shuffled demographics would show."""

from __future__ import annotations

import json

import numpy as np
import pytest

from multitudes.core.errors import GaugeError
from multitudes.measure.errors import NotFiniteError, TooFewItemsError, TooFewPersonasError
from multitudes.measure.jackknife import two_way_jackknife
from multitudes.measure.variance.demographics import JOINT, demographic_shares, first_component_share


def simulate(rng, personas=30, items=12, *, person=1.0, group=0.0, groups=3, keep=0.7):
    """Answers of persona + item + noise, a share of the cells missing; and a group label per answer."""
    p, i = (a.ravel() for a in np.indices((personas, items)))
    label = rng.permutation(np.arange(personas) % groups)
    effect = person * rng.normal(size=personas) + group * label
    there = rng.random(len(p)) < keep
    p, i = p[there], i[there]
    return effect[p] + rng.normal(size=items)[i] + rng.normal(size=len(p)), p, i, label[p]


def by_hand(y, item, label):
    """1 - (SS_res/(N-I-q))/(SS_within/(N-I)) with item and group dummies in one least squares."""
    items = (item[:, None] == np.unique(item)).astype(float)
    both = np.hstack([items, (np.asarray(label)[:, None] == np.unique(label)).astype(float)])
    n, n_items = items.shape
    rank = np.linalg.matrix_rank(both)
    res, within = (((y - x @ np.linalg.lstsq(x, y, rcond=None)[0]) ** 2).sum() for x in (both, items))
    return 1 - (res / (n - rank)) / (within / (n - n_items))


# --- the share ----------------------------------------------------------------------------------------------


def test_share_equals_least_squares_written_out():
    y, p, i, g = simulate(np.random.default_rng(0), group=0.4)
    y = y + 1000 * i
    found = demographic_shares(y, p, i, {"group": [f"g{x}" for x in g]})
    assert list(found) == ["group"]
    assert found["group"].share.value == pytest.approx(by_hand(y, i, g), abs=1e-9)
    assert (found["group"].categories, found["group"].q) == (3, 2)


def test_together_means_every_combination():
    rng = np.random.default_rng(1)
    y, p, i, g = simulate(rng, personas=40, group=0.0)
    h = (rng.random(40) < 0.5)[p]
    y = y + np.where((g == 1) == h, 2.0, 0.0)  # an interaction that neither attribute shows alone
    found = demographic_shares(y, p, i, {"g": g, "h": h})
    assert list(found) == ["g", "h", JOINT]
    assert found[JOINT].share.value == pytest.approx(by_hand(y, i, 2 * g + h), abs=1e-9)
    assert found[JOINT].share.value > 0.2 + max(found["g"].share.value, found["h"].share.value)
    assert (found[JOINT].categories, found[JOINT].q) == (6, 5)


def test_rank_counts_what_items_can_tell_apart():
    """Two groups that never meet on an item leave one dummy fewer to estimate."""
    p = np.repeat(np.arange(12), 4)
    i = np.where(p < 6, 0, 4) + np.tile(np.arange(4), 12)
    g = p // 3
    y = np.random.default_rng(2).normal(size=48)
    found = demographic_shares(y, p, i, {"g": g})["g"]
    assert (found.categories, found.q) == (4, 2)
    assert found.share.value == pytest.approx(by_hand(y, i, g), abs=1e-9)


def test_interval_equals_fitting_again_without_each_persona_and_item():
    y, p, i, g = simulate(np.random.default_rng(3), personas=11, items=7, groups=4, keep=0.6)
    g = np.where(p == p[0], 9, g)  # a category of one persona: leaving him out lowers the rank
    y, p, i, g = np.append(y, 5.0), np.append(p, p[0]), np.append(i, 70), np.append(g, 9)  # an item asked once
    found = demographic_shares(y, p, i, {"g": g})["g"].share
    out = [[by_hand(y[c != x], i[c != x], g[c != x]) for x in np.unique(c)] for c in (p, i)]
    again = two_way_jackknife(by_hand(y, i, g), *out)
    assert (found.value, found.low, found.high) == pytest.approx(again[:3], abs=1e-9)
    assert "few clusters" in found.note


def test_group_effect_is_found_and_covered():
    """100 studies; truth = Var(group)/(Var(group) + σ²_p + σ²_e) for many personas in equal groups."""
    rng, hits, values = np.random.default_rng(4), 0, []
    effect = 1.0
    truth = effect**2 * 2 / 3 / (effect**2 * 2 / 3 + 0.25 + 1)
    for _ in range(100):
        y, p, i, g = simulate(rng, personas=60, items=12, person=0.5, group=effect)
        e = demographic_shares(y, p, i, {"g": g})["g"].share
        values.append(e.value)
        hits += e.low <= truth <= e.high
    assert np.mean(values) == pytest.approx(truth, abs=0.02)
    assert hits >= 90


@pytest.mark.parametrize("person", [0.0, 1.0])
def test_meaningless_attributes_show_chance_and_not_zero(person):
    """Groups dealt at random: 0 only if personas do not differ, else q/(P-1) of what personas explain; 3 SE."""
    rng = np.random.default_rng(5)
    found = [
        demographic_shares(y, p, i, {"g": g})["g"]
        for y, p, i, g in (simulate(rng, personas=24, items=10, person=person, groups=8) for _ in range(150))
    ]
    share, chance = np.array([f.share.value for f in found]), np.array([f.chance for f in found])
    assert abs(share.mean() - chance.mean()) < 3 * (share - chance).std() / 150**0.5
    df, q, rank = 0.7 * 240 - 10, 7, 23  # SS_within = df (σ²_p + 1); of it persons explain df σ²_p + rank
    left = (df * (person**2 + 1) - q / rank * (df * person**2 + rank)) / (df - q)
    assert chance.mean() == pytest.approx(1 - left / (person**2 + 1), abs=0.02)


def test_persona_as_attribute_is_all_that_chance_can_reach():
    y, p, i, _ = simulate(np.random.default_rng(6))
    found = demographic_shares(y, p, i, {"name": p})["name"]
    assert found.chance == pytest.approx(found.share.value, abs=1e-9)
    assert "nearly a name" in found.note


# --- people -------------------------------------------------------------------------------------------------


def test_shares_of_people_rating_offensiveness(shared_data):
    """Published data; crossed categories, adjusted, within item. Half of most shares is what dealing would show."""
    folder = shared_data / "disagreement"
    people, rows = (
        [json.loads(line) for line in (folder / f"popquorn_offensiveness_{name}.jsonl").read_text().splitlines()]
        for name in ("annotators", "ratings")
    )
    by_id = {a["id"]: a for a in people}
    y, who, item = ([row[key] for row in rows] for key in ("rating", "annotator", "item"))
    names = ("gender", "education", "occupation", "race", "age")
    attributes = {name: [by_id[w][name] for w in who] for name in names}
    found = demographic_shares(y, who, item, attributes)
    shares = [found[name].share.value for name in (*names, JOINT)]
    assert shares == pytest.approx([0.002, 0.004, 0.005, 0.016, 0.019, 0.212], abs=0.0006)
    assert (found[JOINT].categories, found[JOINT].q) == (177, 176)
    assert "177 categories for 262 personas" in found[JOINT].note
    assert found[JOINT].chance == pytest.approx(0.192, abs=0.001)
    assert found[JOINT].share.low == pytest.approx(0.165, abs=0.001)
    two = demographic_shares(y, who, item, {k: attributes[k] for k in ("gender", "race")})[JOINT]
    assert two.share.value == pytest.approx(0.021, abs=0.0006)
    assert (two.categories, two.q) == (13, 12)


# --- constraint ---------------------------------------------------------------------------------------------


def test_first_component_equals_singular_values():
    table = np.random.default_rng(7).normal(size=(30, 8)) * np.arange(1, 9) + 5
    s = np.linalg.svd(table - table.mean(0), compute_uv=False) ** 2
    found = first_component_share(table)
    assert found.value == pytest.approx(s[0] / s.sum(), abs=1e-12)
    again = [
        [np.linalg.svd(t - t.mean(0), compute_uv=False) ** 2 for t in (np.delete(table, k, axis) for k in range(n))]
        for axis, n in ((0, 30), (1, 8))
    ]
    expected = two_way_jackknife(found.value, *([x[0] / x.sum() for x in side] for side in again))
    assert (found.low, found.high) == pytest.approx(expected[1:3], abs=1e-9)


def test_constrained_personas_are_told_from_free_ones_with_cells_missing():
    rng = np.random.default_rng(8)
    free = rng.normal(size=(200, 10))
    line = rng.normal(size=(200, 1)) * 2 + rng.normal(size=(200, 10))  # 4 shared + 1 own: (40 + 1)/50
    assert first_component_share(free).value < 0.2
    assert first_component_share(line).value == pytest.approx(0.82, abs=0.04)
    line[rng.random((200, 10)) < 0.08] = np.nan
    found = first_component_share(line)
    assert found.value == pytest.approx(0.82, abs=0.04)
    assert found.unscored == np.isnan(line).sum()
    a, b = (~np.isnan(line[:, k]) for k in (0, 1))
    pair = first_component_share(line[:, :2]).value
    cov = np.array([[np.nanvar(line[:, 0], ddof=1), 0], [0, np.nanvar(line[:, 1], ddof=1)]])
    cov[0, 1] = cov[1, 0] = np.cov(line[a & b, 0], line[a & b, 1])[0, 1]
    assert pair == pytest.approx(np.linalg.eigvalsh(cov)[-1] / np.trace(cov), abs=1e-9)


@pytest.mark.parametrize(
    ("table", "error", "match"),
    [
        (np.ones((2, 4)), TooFewPersonasError, "three"),
        (np.ones((5, 1)), TooFewItemsError, "two items"),
        (np.ones((5, 4)), GaugeError, "nothing varies"),
        (np.full((5, 4), np.inf), NotFiniteError, "infinite"),
        (np.where(np.eye(6) > 0, np.nan, 1.0), GaugeError, "missing"),
        (np.ones(5), GaugeError, "wrong shape"),
    ],
)
def test_tables_without_a_component_are_refused(table, error, match):
    with pytest.raises(error, match=match):
        first_component_share(table)


# --- edges --------------------------------------------------------------------------------------------------


def test_degenerate_answers_have_reasons_instead_of_values():
    p, i = (a.ravel() for a in np.indices((6, 4)))
    flat = demographic_shares(i * 0.1, p, i, {"g": p % 2})["g"]
    assert (flat.share, flat.chance) == (None, None)
    assert "no variance" in flat.note
    same = demographic_shares(np.arange(24.0), p, i, {"g": ["x"] * 24})["g"]
    assert same.share is None
    assert "differ in it" in same.note
    few = demographic_shares([1.0, 2.0, 3.0], [0, 1, 2], [0, 0, 0], {"g": [0, 1, 2]})["g"]
    assert few.share is None
    assert "leave nothing" in few.note


def test_unscored_answers_are_left_out_and_counted():
    y, p, i, g = simulate(np.random.default_rng(9))
    more = demographic_shares(np.append(y, np.nan), np.append(p, 99), np.append(i, 99), {"g": np.append(g, 99)})["g"]
    less = demographic_shares(y, p, i, {"g": g})["g"]
    assert more.share == less.share._replace(unscored=1)
    unknown = demographic_shares(y, p, i, {"g": [None if x == 0 else x for x in g]})["g"]
    assert unknown.share == less.share


def test_bad_input_is_refused():
    y, p, i = [1.0, 2.0, 3.0, 4.0], [0, 0, 1, 1], [0, 1, 0, 1]
    with pytest.raises(GaugeError, match="changes within a persona"):
        demographic_shares(y, p, i, {"g": ["a", "b", "a", "a"]})
    with pytest.raises(GaugeError, match="wrong shape"):
        demographic_shares(y, p, i, {"g": ["a", "b"]})
    with pytest.raises(GaugeError, match="no attributes"):
        demographic_shares(y, p, i, {})
    with pytest.raises(TooFewPersonasError):
        demographic_shares(y, [0, 0, 0, 0], i, {"g": ["a"] * 4})
    with pytest.raises(NotFiniteError):
        demographic_shares([np.inf, 1, 2, 3], p, i, {"g": ["a"] * 4})


def test_more_items_than_personas_have_the_same_component_as_their_covariance():
    rng = np.random.default_rng(31)
    for shape in ((6, 30), (30, 6), (9, 9)):
        table = rng.normal(size=shape) @ np.diag(1 + rng.random(shape[1])) + 5
        values = np.linalg.eigvalsh(np.cov(table, rowvar=False))
        found = first_component_share(table, interval=False)
        assert found.value == pytest.approx(values[-1] / values.sum(), rel=1e-12)
        assert found.low is None
        assert first_component_share(table).value == found.value
