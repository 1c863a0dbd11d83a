"""The prose gate: judges in both orders, greedy classes, calibration, and the proxy that stands in for a judge."""

import itertools

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score

from multitudes.core.errors import GaugeError
from multitudes.measure.diversity.prose_gate import (
    ask_both_orders,
    calibrate_judge,
    greedy_classes,
    judged_classes,
    judged_pairs,
)
from multitudes.measure.diversity.prose_proxy import (
    Reference,
    Threshold,
    calibrate_threshold,
    fit_reference,
    proxy_different,
    proxy_gate,
    unique_gram_share,
)
from multitudes.measure.diversity.syntax import not_english
from multitudes.measure.diversity.validity import count_classes, d_fixed, d_pair
from multitudes.measure.errors import NotUnitError, TooFewSamplesError
from multitudes.simulate.voice import voice_hits


def by_letter(questions):
    """New if the first letters differ."""
    return [a[0] != b[0] for a, b in questions]


def by_length(questions):
    """New if the second is longer: the two orders always disagree."""
    return [len(b) > len(a) for a, b in questions]


TEXTS = ["apple", "avocado", "bread", "banana", "cake", "corn", "acorn", "beet"]
VALID = [1, 1, 1, 0, 1, 1, 0, 1]


def test_a_judge_is_asked_in_both_orders_and_only_two_yes_count():
    asked = []

    def judge(questions):
        asked.extend(questions)
        return [(a, b) in {("x", "y"), ("y", "x"), ("x", "z")} for a, b in questions]

    found = ask_both_orders(["x", "y", "z"], [(0, 1), (0, 2), (1, 2)], judge)
    assert asked == [("x", "y"), ("x", "z"), ("y", "z"), ("y", "x"), ("z", "x"), ("z", "y")]
    assert found.different.tolist() == [True, False, False]
    assert found.disagree.tolist() == [False, True, False]


def test_orders_that_disagree_are_the_same_and_counted():
    found = judged_pairs(["a", "bb", "ccc"], [1, 1, 1], by_length, seed=0)
    assert found == (0.0, 3, 3, 3)
    classes = judged_classes(["a", "bb", "ccc"], [1, 1, 1], by_length, seed=0)
    assert classes == (pytest.approx(1 / 3), 3, 3)


def test_all_pairs_of_a_small_bag_give_the_closed_form():
    letters = [t[0] for t in TEXTS[:5]]
    found = judged_pairs(TEXTS[:5], VALID[:5], by_letter, seed=1)
    assert (found.pairs, found.asked) == (10, 6)
    assert found.d_pair == pytest.approx(d_pair(count_classes([0] * 5, VALID[:5], letters))[0], abs=1e-12)


def test_random_pairs_are_unbiased_and_differ_by_seed():
    truth = d_pair(count_classes([0] * 8, VALID, [t[0] for t in TEXTS]))[0]
    found = [judged_pairs(TEXTS, VALID, by_letter, seed=seed) for seed in range(600)]
    values = np.array([f.d_pair for f in found])
    assert {f.pairs for f in found} == {15}
    assert len({f.asked for f in found}) > 1
    assert abs(values.mean() - truth) < 3 * values.std() / np.sqrt(len(values))
    assert values.std() > 0


def test_the_judge_never_sees_an_invalid_text():
    def judge(questions):
        assert not {"banana", "acorn"} & {text for pair in questions for text in pair}
        return by_letter(questions)

    judged_classes(TEXTS, VALID, judge, seed=0)
    judged_pairs(TEXTS, VALID, judge, seed=0)


def test_classes_of_a_transitive_judge_are_its_classes():
    found = judged_classes(TEXTS, VALID, by_letter, seed=3)
    assert found.d_fixed == d_fixed(count_classes([0] * 8, VALID, [t[0] for t in TEXTS]))[0] == 3 / 8
    assert (found.asked, found.disagree) == (15, 0)


def test_nothing_valid_is_zero_and_asks_nobody():
    def judge(questions):
        raise AssertionError("asked")

    assert judged_pairs(["a", "b"], [0, 0], judge, seed=0) == (0.0, 1, 0, 0)
    assert judged_classes(["a", "b"], [0, 0], judge, seed=0) == (0.0, 0, 0)
    assert judged_classes(["a", "b"], [0, 1], judge, seed=0) == (0.5, 0, 0)


def test_greedy_classes_compare_with_first_members_only():
    # a chain 0 - 1 - 2: 0 and 2 differ, 1 is the same as both
    chain = np.array([[0, 0, 1], [0, 0, 0], [1, 0, 0]])
    expected = []
    for order in itertools.permutations(range(3)):
        firsts = []
        for text in order:
            if all(chain[text, first] for first in firsts):
                firsts.append(text)
        expected.append(len(firsts))
    assert sorted(expected) == [1, 1, 2, 2, 2, 2]
    assert greedy_classes(chain, seed=0, orders=6_000) == pytest.approx(np.mean(expected), abs=0.03)
    assert greedy_classes(np.zeros((0, 0)), seed=0) == 0
    with pytest.raises(GaugeError, match="symmetric"):
        greedy_classes([[0, 1], [0, 0]], seed=0)


@pytest.mark.parametrize("judge", [lambda q: [True], lambda q: [0.7] * len(q), lambda q: ["yes"] * len(q)])
def test_a_judge_that_answers_something_else_is_refused(judge):
    with pytest.raises(GaugeError):
        judged_pairs(["a", "b"], [1, 1], judge, seed=0)


def test_bags_that_are_none():
    with pytest.raises(TooFewSamplesError):
        judged_pairs(["a"], [1], by_letter, seed=0)
    with pytest.raises(TooFewSamplesError):
        judged_pairs(["a", "b"], [1, 1], by_letter, seed=0, pairs=0)
    with pytest.raises(GaugeError, match="valid or not"):
        judged_classes(["a", "b"], [1, np.nan], by_letter, seed=0)


def test_kappa_equals_scikit_learn():
    rng = np.random.default_rng(2)
    people = rng.random(150) < 0.4
    for noise in (0.02, 0.15, 0.5):
        judge = people ^ (rng.random(150) < noise)
        found = calibrate_judge(judge, people)
        assert found.kappa == pytest.approx(cohen_kappa_score(judge, people), abs=1e-12)
        assert found.agreement == pytest.approx((judge == people).mean())
        assert found.stamp == ("" if found.kappa >= 0.6 else "uncalibrated")


def test_calibration_needs_pairs_and_both_labels():
    good = np.arange(100) % 2 == 0
    assert calibrate_judge(good, good).stamp == ""
    assert calibrate_judge(good[:99], good[:99]) == (1.0, 1.0, 99, "uncalibrated")
    assert calibrate_judge([True] * 200, [True] * 200) == (None, 1.0, 200, "uncalibrated")
    with pytest.raises(TooFewSamplesError):
        calibrate_judge([], [])


REFERENCE = Reference(length=10.0, cosine=0.2, texts=50, encoder="e 1")
FINE = "I went to the market and bought some pears for my sister."


def gated(text, cosine=0.5):
    found = proxy_gate(
        [text], [cosine], REFERENCE, encoder="e 1", wrong_language=lambda t: bool(not_english(t)),
        assistant_voice=lambda t: bool(voice_hits(t)),
    )  # fmt: skip
    assert found.stamp == "proxy"
    assert found.valid[0] == (not found.reasons[0])
    return found.reasons[0]


@pytest.mark.parametrize(
    ("text", "cosine", "reason"),
    [
        (FINE, 0.5, ""),
        (FINE, 0.2, ""),
        (FINE, 0.19, "off the prompt"),
        ("No thanks.", 0.5, ""),
        ("No.", 0.5, "too short"),
        (" ".join(f"so the w{i}" for i in range(17))[:-4], 0.5, ""),
        (" ".join(f"so the w{i}" for i in range(17)), 0.5, "too long"),
        ("we sing a song " * 5, 0.5, "repeats itself"),
        ("As an AI language model I cannot go to the market.", 0.5, "assistant voice"),
        ("Я вчера ходил на рынок и купил груши для сестры.", 0.5, "wrong language"),
        ("...", 0.5, "empty"),
        ("No.", 0.1, "too short; off the prompt"),
    ],
)
def test_each_rule_of_the_proxy(text, cosine, reason):
    assert gated(text, cosine) == reason


def test_share_of_different_grams():
    assert unique_gram_share("a b c d".split()) == 1.0
    assert unique_gram_share("a a a a a a".split()) == pytest.approx(1 / 3)
    assert unique_gram_share(["a"]) == 1.0


def test_the_reference_is_a_median_and_a_percentile():
    cosines = np.linspace(-0.1, 0.9, 41)
    found = fit_reference([" ".join(["w"] * (n + 1)) for n in range(41)], cosines, encoder="e 1")
    assert found == (21.0, pytest.approx(np.percentile(cosines, 5)), 41, "e 1")
    with pytest.raises(TooFewSamplesError):
        fit_reference(["w"] * 19, [0.5] * 19, encoder="e 1")
    with pytest.raises(GaugeError, match="no word"):
        fit_reference(["?"] * 20, [0.5] * 20, encoder="e 1")
    with pytest.raises(GaugeError, match="out of range"):
        fit_reference(["w"] * 20, [1.5] * 20, encoder="e 1")


@pytest.mark.parametrize("n", [20, 39, 40, 100, 1_000])
def test_the_threshold_calls_at_most_five_per_cent_different(n):
    cosines = np.random.default_rng(n).uniform(0.3, 1, n)
    tau = calibrate_threshold(cosines, encoder="e 1").tau
    assert (cosines < tau).mean() <= 0.05
    higher = np.sort(cosines)[np.sort(cosines) > tau][0]
    assert (cosines < higher).mean() > 0.05  # it is the largest such threshold


def test_proxy_classes():
    x = np.array([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0]])
    apart = proxy_different(x, Threshold(0.7, 50, "e 1", "proxy"), encoder="e 1")
    assert apart.tolist() == [[False, False, True], [False, False, True], [True, True, False]]
    assert greedy_classes(apart, seed=0) == 2
    x = np.random.default_rng(0).normal(size=(40, 50))
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    assert not proxy_different(x, Threshold(1.0, 50, "e 1", "proxy"), encoder="e 1").diagonal().any()


def test_encoders_do_not_meet():
    with pytest.raises(GaugeError, match="two encoders"):
        proxy_different(np.eye(2), Threshold(0.7, 50, "e 1", "proxy"), encoder="e 2")
    with pytest.raises(GaugeError, match="two encoders"):
        proxy_gate([FINE], [0.5], REFERENCE, encoder="e 2", wrong_language=bool, assistant_voice=bool)
    with pytest.raises((NotUnitError, GaugeError), match="unit"):
        proxy_different(2 * np.eye(2), Threshold(0.7, 50, "e 1", "proxy"), encoder="e 1")
    with pytest.raises(TooFewSamplesError):
        calibrate_threshold([0.5] * 19, encoder="e 1")
