"""A panel beside people: planted biases of groups are found, one person is set against one, sizes are made equal."""

from dataclasses import replace

import numpy as np
import pytest

from multitudes.core.errors import GaugeError
from multitudes.measure.variance.alt_test import alt_test
from multitudes.measure.variance.answers import ArmAnswers
from multitudes.measure.variance.beside_people import beside_people
from multitudes.measure.variance.demographics import first_component_share
from multitudes.measure.variance.group_bias import group_bias

ITEMS = 12
LEVEL = np.linspace(-1, 1, ITEMS)  # items differ, so whoever answers only some of them needs the items' means


def crowd(rng, people, *, group=None, shift=None, items=ITEMS, trait=0.5, noise=0.5, share=1.0):
    """Numbers by person and item; ``shift`` by group; everybody answers a share of the items."""
    group = np.array(["all"] * people) if group is None else np.asarray(group)
    level = np.resize(LEVEL, items)
    y = level + trait * rng.normal(size=(people, 1)) + noise * rng.normal(size=(people, items))
    y += np.array([(shift or {}).get(g, 0.0) for g in group])[:, None]
    p, i = np.nonzero(rng.random((people, items)) < share)
    return ArmAnswers(
        y[p, i], np.char.add("h", p.astype(str)), np.char.add("q", i.astype(str)), attributes={"town": group[p]}
    )


def by_name(found):
    return {s.name: s for s in found.scores}


# --- groups -------------------------------------------------------------------------------------------------


def test_the_group_that_the_panel_misses_is_named_though_people_saw_different_items():
    rng = np.random.default_rng(1)
    towns = np.repeat(list("abcde"), 60)
    people = crowd(rng, 300, group=towns, share=0.5)
    low = np.isin(people.item, ["q0", "q1", "q2", "q3"])  # low items; people of b were asked hardly anything else
    keep = (people.attributes["town"] != "b") | low | (rng.random(len(low)) < 0.1)
    people = replace(people, **{f: getattr(people, f)[keep] for f in ("score", "persona", "item")},
                     attributes={"town": people.attributes["town"][keep]})  # fmt: skip
    panel = crowd(rng, 100, group=np.repeat(list("abcde"), 20), shift={"c": 1.5})
    found = beside_people(panel, people)
    rows = {g["group"]: g for g in found.groups}
    assert set(rows) == set("abcde")
    assert rows["c"]["low"] > 0.7
    assert all(rows[g]["low"] < 0.1 and rows[g]["high"] > -0.1 for g in "abde")
    assert abs(rows["b"]["raw"]) < 0.3  # by plain means it would be about .6
    score = by_name(found)["group_bias"]
    assert score.value == rows["c"]["pooled"]
    assert score.note.startswith("town = c: 60 people, 20 personas; 5 of 5 groups are large enough")
    assert (score.low, score.high) == (rows["c"]["low"], rows["c"]["high"])


def test_where_everybody_answered_everything_it_is_the_bias_of_plain_means():
    rng = np.random.default_rng(2)
    people = crowd(rng, 160, group=np.repeat(list("abcd"), 40))
    panel = crowd(rng, 40, group=np.repeat(list("abcd"), 10), shift={"a": 0.4})
    sides = []
    for side in (people, panel):
        table = side.score.reshape(-1, ITEMS)
        sides += [table.mean(axis=1), side.attributes["town"][::ITEMS]]
    expected = group_bias(*sides)
    for row, b in zip(beside_people(panel, people).groups, expected, strict=True):
        assert (row["attribute"], row["group"], row["people"]) == ("town", b.group, b.people)
        assert [row[k] for k in ("raw", "pooled", "low", "high")] == pytest.approx(
            [b.raw, b.pooled, b.low, b.high], abs=1e-9
        )


def test_groups_that_are_too_small_or_unknown_are_said():
    rng = np.random.default_rng(3)
    few = beside_people(crowd(rng, 20), crowd(rng, 29))
    assert few.groups[0]["note"].startswith("29 people and 20 personas")
    assert by_name(few)["group_bias"].value is None
    assert "30 people" in by_name(few)["group_bias"].note
    nobody = beside_people(replace(crowd(rng, 20), attributes=None), crowd(rng, 40))
    assert nobody.groups == []
    assert "no attribute that both sides know" in by_name(nobody)["group_bias"].note


# --- the alternative annotator test -------------------------------------------------------------------------


def test_a_panel_like_people_may_replace_them_and_one_that_rolls_dice_may_not():
    rng = np.random.default_rng(4)
    people = crowd(rng, 8, items=400, trait=0.2)
    like, dice = crowd(rng, 20, items=400, trait=0.2), crowd(rng, 20, items=400, noise=4.0)
    good, bad = (by_name(beside_people(x, people, epsilon=0.2)) for x in (like, dice))
    assert good["alt_winning_rate"].value > 0.8
    assert bad["alt_winning_rate"].value == 0
    assert 0.35 < good["alt_advantage"].value < 0.65  # one of them against one of them
    assert bad["alt_advantage"].value < 0.25
    assert good["alt_winning_rate"].n == 8
    assert "epsilon 0.2; 8 people, 0 left out" in good["alt_winning_rate"].note
    assert "passes from about 155 items on, here are 400" in good["alt_winning_rate"].note
    strict = by_name(beside_people(like, people, epsilon=0.0))
    assert strict["alt_winning_rate"].value < 0.2  # who is no better than people is not shown to be
    assert "passes never" in strict["alt_winning_rate"].note


def test_a_panel_of_one_answer_an_item_is_the_plain_test():
    """Nothing is left to draw, so every draw is the test itself; of two runs of a person the first counts."""
    rng = np.random.default_rng(5)
    people = crowd(rng, 5, items=40)
    second = replace(people, score=people.score + 5.0)
    twice = ArmAnswers(
        np.concatenate([people.score, second.score]), np.tile(people.persona, 2), np.tile(people.item, 2)
    )
    one = crowd(rng, 1, items=40)
    pair = replace(one, persona=np.where(np.arange(40) % 2 == 0, "x", "y"))
    scores = by_name(beside_people(pair, twice))
    order = np.argsort(np.char.add("q", np.arange(40).astype(str)))
    expected = alt_test(people.score.reshape(5, 40).T[order], one.score[order], epsilon=0.1, metric="interval")
    assert scores["alt_winning_rate"].value == pytest.approx(expected.winning_rate)
    assert scores["alt_advantage"].value == pytest.approx(expected.advantage)


def test_few_items_have_no_test_and_a_wrong_epsilon_is_refused():
    rng = np.random.default_rng(6)
    scores = by_name(beside_people(crowd(rng, 20), crowd(rng, 40)))
    assert scores["alt_winning_rate"].value is None
    assert "two annotators with enough shared items" in scores["alt_winning_rate"].note
    with pytest.raises(GaugeError, match="epsilon"):
        beside_people(crowd(rng, 20), crowd(rng, 40), epsilon=1.0)


def test_options_are_drawn_by_their_probability_and_keyed_by_their_item():
    """All of a distribution on the last label is 1, and on a reversed item it is 0."""
    k, items = 5, 40
    reverse = np.arange(items) % 2 == 1
    x = np.linspace(0, 1, k)
    for label, others in ((k - 1, 0), (0, k - 1)):
        p, i = (v.ravel() for v in np.meshgrid(range(3), range(items), indexing="ij"))
        probs = np.tile(np.eye(k)[label], (len(p), 1)) * 0.999999 + 0.000001 / k
        key = np.where(reverse[i, None], x[::-1], x)
        mean = (probs * key).sum(axis=1)
        panel = ArmAnswers(mean, p, np.char.add("q", i.astype(str)), None, probs, np.zeros(len(p)), ends=(0.0, 1.0))
        truth = np.where(reverse, 1 - x[label], x[label])
        rows = [(truth[j], f"h{a}", f"q{j}") for a in range(4) for j in range(items)]
        same = ArmAnswers(*(np.array(c) for c in zip(*rows, strict=True)))
        assert by_name(beside_people(panel, same))["alt_winning_rate"].value == 1.0
        rows = [(x[others] if not reverse[j] else 1 - x[others], f"h{a}", f"q{j}") for a in range(4)
                for j in range(items)]  # fmt: skip
        away = ArmAnswers(*(np.array(c) for c in zip(*rows, strict=True)))
        assert by_name(beside_people(panel, away))["alt_winning_rate"].value == 0.0


def test_options_without_order_are_matched_and_have_no_means():
    rng = np.random.default_rng(7)

    def nominal(people, right):
        p, i = (v.ravel() for v in np.meshgrid(range(people), range(50), indexing="ij"))
        said = np.where(rng.random(len(p)) < right, i % 3, rng.integers(0, 3, len(p)))
        rows = np.eye(3)[said]
        return ArmAnswers(rows, np.char.add("p", p.astype(str)), i, probs=rows, ordered=False, attributes={"t": p})

    people = nominal(6, 0.6)
    good, bad = (by_name(beside_people(nominal(10, r), people)) for r in (0.8, 0.0))
    assert good["alt_winning_rate"].value > 0.5
    assert bad["alt_winning_rate"].value == 0
    assert "no mean" in good["group_bias"].note
    assert "no component" in good["first_component"].note


# --- constraint ---------------------------------------------------------------------------------------------


def test_one_line_in_the_panel_is_seen_beside_people_at_equal_numbers():
    rng = np.random.default_rng(8)
    people, panel = crowd(rng, 150, trait=0.3), crowd(rng, 15, trait=2.0)
    scores = by_name(beside_people(panel, people))
    ours, theirs = scores["first_component"], scores["first_component_people"]
    assert ours.value == pytest.approx(first_component_share(panel.score.reshape(15, ITEMS)).value)
    assert ours.low < ours.value < ours.high
    whole = first_component_share(people.score.reshape(150, ITEMS)).value
    assert theirs.value > whole + 0.03  # few people share more of a line by chance alone
    assert theirs.value < ours.low
    assert theirs.n == 15
    assert f"20 draws of 15 of 150 persons; all of them: {whole:.3g}" in theirs.note


def test_people_who_differ_alike_have_equal_shares_whatever_their_numbers():
    gaps = []
    for seed in range(20):
        rng = np.random.default_rng(100 + seed)
        scores = by_name(beside_people(crowd(rng, 12), crowd(rng, 120)))
        gaps.append(scores["first_component"].value - scores["first_component_people"].value)
    assert abs(np.mean(gaps)) < 3 * np.std(gaps, ddof=1) / 20**0.5


def test_people_with_many_gaps_have_no_component_and_no_common_item_says_nothing_twice():
    rng = np.random.default_rng(9)
    scores = by_name(beside_people(crowd(rng, 20), crowd(rng, 100, share=0.5)))
    assert scores["first_component"].value is not None
    assert "too many answers are missing" in scores["first_component_people"].note
    other = crowd(rng, 20)
    other = replace(other, item=np.char.add("x", other.item))
    assert beside_people(other, crowd(rng, 20)) == ([], [])
