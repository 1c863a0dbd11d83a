"""Diversity scores against known cases and brute force; intervals against simulated spread."""

from __future__ import annotations

import itertools
import lzma
import math
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics.pairwise import cosine_distances

from multitudes.core.errors import GaugeError
from multitudes.core.records import Reading, Score
from multitudes.measure.diversity.lexical import (
    VOCABULARY,
    compression_ratio,
    cosine_distance,
    distinct_n,
    expectation_adjusted_distinct,
    ngram_counts,
    tokenise,
)
from multitudes.measure.diversity.overlap import ngram_diversity, rouge_l, self_repetition
from multitudes.measure.diversity.reading import diversity_reading
from multitudes.measure.diversity.spread import chamfer, remote_clique, vendi
from multitudes.measure.jackknife import jackknife


def unit(rng: np.random.Generator, n: int, d: int, *, centre: float = 0.0) -> np.ndarray:
    x = rng.normal(size=(n, d)) + centre
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def by_name(reading: Reading) -> dict[str, Score]:
    return {s.name: s for s in reading.scores}


# --- words --------------------------------------------------------------------------------------------------


def test_tokeniser_knows_all_scripts_and_folds_what_is_equal():
    assert tokenise("Don't STOP, Straße!") == ["don", "t", "stop", "strasse"]
    assert tokenise("Привет, МИР") == ["привет", "мир"]
    assert tokenise("e\u0301te\u0301") == tokenise("été")
    assert tokenise("…") == []


@settings(max_examples=40, deadline=None)
@given(st.lists(st.lists(st.sampled_from("abcd"), max_size=8), min_size=2, max_size=6), st.integers(1, 5))
def test_counts_equal_brute_force_also_without_each_text(bag, n):
    def sets(texts):
        return [{tuple(t[k : k + n]) for k in range(len(t) - n + 1)} for t in texts]

    def total(texts):
        return sum(max(0, len(t) - n + 1) for t in texts)

    found = ngram_counts(bag, n)
    assert (found.distinct, found.total) == (len(set().union(*sets(bag))), total(bag))
    for j in range(len(bag)):
        rest = bag[:j] + bag[j + 1 :]
        assert found.distinct - found.only[j] == len(set().union(*sets(rest)))
        assert found.total - found.own[j] == total(rest)


def test_expectation_adjusted_distinct_known_cases():
    """Uniform draws from V types give 1; the fixed V lets higher n exceed 1: 6·10⁴ of 10⁵ is 1.38."""
    rng = np.random.default_rng(0)
    words = [[str(w) for w in rng.integers(0, VOCABULARY, 500)] for _ in range(40)]
    found = expectation_adjusted_distinct(words)
    assert found.by_n[0] == pytest.approx(1, abs=0.01)
    assert found.by_n[1] > found.by_n[0], "bigrams of uniform words hardly repeat"
    assert found.mean == pytest.approx(np.mean(found.by_n))
    expected = VOCABULARY * (1 - ((VOCABULARY - 1) / VOCABULARY) ** 1e5)
    assert 6e4 / expected == pytest.approx(1.38, abs=0.005)
    spread = [[f"w{k % 60_000}" for k in range(start, start + 1000)] for start in range(0, 100_000, 1000)]
    assert expectation_adjusted_distinct(spread).by_n[0] == pytest.approx(6e4 / expected, abs=1e-9)
    assert expectation_adjusted_distinct(spread).by_n[0] != distinct_n(spread).by_n[0]


def test_distinct_n_by_hand():
    found = distinct_n([["a", "b", "a", "b", "a", "b"], ["a", "b", "c", "d", "e"]])
    assert found.by_n == pytest.approx((5 / 11, 5 / 9, 5 / 7, 4 / 5, 3 / 3))
    assert found.mean == pytest.approx(np.mean([5 / 11, 5 / 9, 5 / 7, 4 / 5, 1]))


def test_texts_that_are_all_too_short_have_no_mean():
    found = expectation_adjusted_distinct([["a", "b"], ["c"]])
    assert found.by_n[2:] == (None, None, None)
    assert found.mean is None
    assert found.by_n[0] is not None


def test_compression_is_bytes_over_xz_bytes_in_an_order_that_is_fixed():
    texts = ["the same old story " * 10, "the same old story " * 10, "something else entirely"]
    ids = ["a", "b", "c"]
    ratio = compression_ratio(texts, ids)
    sizes = {
        len(data) / len(lzma.compress(data))
        for order in itertools.permutations(texts)
        for data in ["\n".join(order).encode()]
    }
    assert ratio in sizes
    for order in itertools.permutations(range(3)):
        assert compression_ratio([texts[k] for k in order], [ids[k] for k in order]) == ratio
    rng = np.random.default_rng(1)
    noise = ["".join(chr(c) for c in rng.integers(33, 126, 4000)) for _ in range(2)]
    assert compression_ratio(noise, ["x", "y"]) == pytest.approx(8 / math.log2(93), rel=0.05)
    assert compression_ratio(noise[:1] * 2, ["x", "y"]) > 1.8 * compression_ratio(noise, ["x", "y"])
    with pytest.raises(GaugeError, match="same id"):
        compression_ratio(texts, ["a", "a", "b"])


# --- embeddings ---------------------------------------------------------------------------------------------


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.integers(2, 20), st.integers(1, 30))
def test_cosine_closed_form_equals_all_pairs(seed, n, d):
    x = unit(np.random.default_rng(seed), n, d, centre=0.5)
    pairs = cosine_distances(x)
    found = cosine_distance(x)
    assert found.mean == pytest.approx(pairs.sum() / (n * (n - 1)), abs=1e-12)
    for j in range(n if n > 2 else 0):
        rest = np.delete(np.delete(pairs, j, 0), j, 1)
        assert found.without[j] == pytest.approx(rest.sum() / ((n - 1) * (n - 2)), abs=1e-11)
    rotation, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(d, d)))
    assert cosine_distance(x @ rotation).mean == pytest.approx(found.mean, abs=1e-12)


def test_cosine_limits():
    assert cosine_distance(np.tile(unit(np.random.default_rng(2), 1, 8), (5, 1))).mean == pytest.approx(0, abs=1e-15)
    assert cosine_distance(np.eye(6)).mean == pytest.approx(1)
    assert cosine_distance([[1.0, 0.0], [-1.0, 0.0]]).mean == pytest.approx(2)  # 1 + 1/(n-1)
    x = unit(np.random.default_rng(3), 10, 4, centre=1.0)
    with_diagonal = 1 - (x.mean(0) ** 2).sum()  # the variant that counts each text's distance to itself
    assert cosine_distance(x).mean == pytest.approx(with_diagonal * 10 / 9)


@pytest.mark.parametrize(
    ("x", "match"),
    [([[1.0, 0.0], [2.0, 0.0]], "unit"), ([[1.0, 0.0], [0.0, 0.0]], "unit"), ([[1.0, 0.0], [np.nan, 1.0]], "finite"),
     ([[1.0, 0.0]], "too few"), ([1.0, 0.0], "wrong shape")],
)  # fmt: skip
def test_vectors_that_are_not_embeddings_are_refused(x, match):
    with pytest.raises(GaugeError, match=match):
        cosine_distance(x)


# --- the reading --------------------------------------------------------------------------------------------

WORDS = [f"w{k}" for k in range(800)]
ZIPF = 1 / np.arange(1, 801)


def population(rng, bags, per, *, length=40, own=None):
    """Texts from a Zipf vocabulary; with ``own``, every source uses only its own slice of words."""
    texts = {}
    for b in range(bags):
        words = WORDS if own is None else WORDS[b * own : (b + 1) * own]
        weights = ZIPF[: len(words)] / ZIPF[: len(words)].sum()
        texts[f"b{b}"] = [" ".join(rng.choice(words, length, p=weights)) for _ in range(per)]
    return texts


def test_within_and_across_see_different_things():
    """Everybody repeats himself, each his own text: no diversity within, all of it across; and the reverse."""
    rng = np.random.default_rng(4)
    own = population(rng, 10, 5, own=40)
    loyal = {bag: texts[:1] * 5 for bag, texts in own.items()}
    shared = list(own.values())
    alike = {bag: [shared[k][0] for k in range(5)] for bag in own}
    loyal, alike = by_name(diversity_reading(loyal)), by_name(diversity_reading(alike))
    assert loyal["ead_within"].value < 0.3 * loyal["ead_across"].value
    assert alike["ead_across"].value < 0.3 * alike["ead_within"].value
    assert loyal["compression_within"].value > loyal["compression_across"].value
    assert alike["compression_within"].value < alike["compression_across"].value


def test_cosine_within_and_across_equal_their_definitions():
    rng = np.random.default_rng(5)
    vectors = {f"b{b}": unit(rng, 4, 6, centre=rng.normal()) for b in range(9)}
    texts = {bag: [f"text {bag} {k}" for k in range(4)] for bag in vectors}
    scores = by_name(diversity_reading(texts, embeddings=vectors, encoder_name="random 1.0"))
    within = np.mean([cosine_distance(x).mean for x in vectors.values()])
    slots = [np.stack([x[k] for x in vectors.values()]) for k in range(4)]
    across = np.mean([cosine_distance(x).mean for x in slots])
    assert scores["cosine_within"].value == pytest.approx(within)
    assert scores["cosine_across"].value == pytest.approx(across)
    assert "random 1.0" in scores["cosine_across"].estimator
    deleted = [np.mean([cosine_distance(np.delete(x, j, 0)).mean for x in slots]) for j in range(9)]
    half = 2.306004135 * (8 / 9 * ((np.array(deleted) - np.mean(deleted)) ** 2).sum()) ** 0.5
    assert scores["cosine_across"].high - scores["cosine_across"].value == pytest.approx(half, abs=1e-9)
    encoded = by_name(diversity_reading(texts, encoder=lambda lines: np.concatenate(list(vectors.values()))))
    assert encoded["cosine_within"].value == pytest.approx(within)


def test_jackknife_knows_the_spread_of_pooled_scores_and_a_bootstrap_is_biased():
    """120 populations of 20 sources: mean delete-one SE within 25 % of the true SD (or above: it is conservative).

    Resampling sources puts exact copies in the bag: the mean of such draws lies far below the value.
    """
    rng = np.random.default_rng(6)
    found, halves = {"words": [], "vectors": []}, {"words": [], "vectors": []}
    for _ in range(120):
        bag = [tokenise(lines[0]) for lines in population(rng, 20, 1, length=25).values()]
        words, vectors = expectation_adjusted_distinct(bag), cosine_distance(unit(rng, 20, 5, centre=0.7))
        for name, value, without in (("words", *words[::2]), ("vectors", *vectors)):
            e = jackknife(value, without)
            found[name].append(value)
            halves[name].append((e.high - e.low) / 2 / 2.093)
    for name in found:
        assert 0.85 < np.mean(halves[name]) / np.std(found[name]) < 1.35
    value = expectation_adjusted_distinct(bag).mean
    drawn = [expectation_adjusted_distinct([bag[k] for k in rng.integers(0, 20, 20)]).mean for _ in range(100)]
    assert np.mean(drawn) < value - 5 * np.mean(halves["words"])


def test_reading_states_everything_and_survives_json():
    texts = population(np.random.default_rng(7), 10, 4)
    texts["b0"][2] = "  "
    texts["b1"].append("one more")
    reading = diversity_reading(texts)
    scores = by_name(reading)
    assert {"ead_within", "ead_across", "ead_1_within", "ead_5_across", "distinct_within", "compression_across",
            "cosine_within"} <= set(scores)  # fmt: skip
    for s in reading.scores:
        if s.name.startswith("cosine"):
            assert s.value is None
            assert "no encoder" in s.note
            continue
        assert s.estimator
        assert s.unscored == 1
        assert bool(s.interval) == (s.low is not None)
        assert "size-sensitive" in s.note or s.name.startswith("rouge_l")
        assert s.low < s.value < s.high or s.name.startswith(("ead_4", "ead_5", "self_repetition"))
    assert "V = 50257" in scores["ead_within"].estimator
    assert "1 texts beyond" in scores["ead_across"].note
    assert reading.tables["sizes"]["tokens"] == 39 * 40 + 2
    assert Reading.model_validate_json(reading.model_dump_json()) == reading
    assert "ead_v1000_within" in by_name(diversity_reading(texts, vocabulary=1000))


def test_every_score_equals_its_definition_within_and_across():
    """The reading against the functions of the methods, and its jackknife against leaving out groups by hand."""
    rng = np.random.default_rng(20)
    texts, vectors = population(rng, 9, 3), {f"b{b}": unit(rng, 3, 6, centre=0.4) for b in range(9)}
    scores = by_name(diversity_reading(texts, embeddings=vectors, encoder_name="random"))
    words = {
        "rouge_l": lambda bag: rouge_l([tokenise(t) for t in bag]).mean,
        "self_repetition": lambda bag: self_repetition([tokenise(t) for t in bag]).mean,
        "ngram_diversity": ngram_diversity,
    }
    spread = {
        "remote_clique": remote_clique, "chamfer": chamfer, "vendi_0.5": lambda x: vendi(x, 0.5), "vendi_1": vendi,
        "vendi_2": lambda x: vendi(x, 2), "vendi_inf": lambda x: vendi(x, math.inf),
    }  # fmt: skip
    for source, functions in ((texts, words), (vectors, spread)):
        bags = list(source.values())
        slots = [[bag[k] for bag in bags] for k in range(3)]
        for name, function in functions.items():
            within, across = scores[f"{name}_within"], scores[f"{name}_across"]
            assert within.value == pytest.approx(np.mean([function(bag) for bag in bags]), abs=1e-12)
            assert across.value == pytest.approx(np.mean([function(slot) for slot in slots]), abs=1e-12)
            rest = [np.mean([function(slot[:j] + slot[j + 1 :]) for slot in slots]) for j in range(9)]
            low, high = jackknife(across.value, rest)[1:3]
            assert (across.low, across.high) == pytest.approx((low, high), abs=1e-9)
            assert within.low < within.value < within.high
    assert scores["vendi_1_within"].null == 1
    assert scores["rouge_l_within"].direction == "lower"


def test_the_most_alike_pairs_are_quoted_once_with_their_places():
    texts = population(np.random.default_rng(21), 8, 3)
    copied = "one two three four five six seven eight nine ten"
    texts["b2"][1] = texts["b5"][1] = copied
    texts["b3"][0] = texts["b3"][2] = "the very same line of one person said two times over"
    rows = diversity_reading(texts).tables["alike"]
    across, within = ([r for r in rows if r["where"] == w] for w in ("across", "within"))
    assert (len(across), len(within)) == (4, 4)
    assert across[0]["rouge_l"] == within[0]["rouge_l"] == 1
    assert [(s["source"], s["place"], s["text"]) for s in across[0]["sides"]] == [
        ("b2", 1, copied),
        ("b5", 1, copied),
    ]
    assert [(s["source"], s["place"]) for s in within[0]["sides"]] == [("b3", 0), ("b3", 2)]
    hello = {f"p{k}": ["Hello there, how are you?", f"something {k} else {k} entirely {k}"] for k in range(6)}
    greeted = [r for r in diversity_reading(hello).tables["alike"] if r["rouge_l"] == 1]
    assert len(greeted) == 1, "the same two wordings are quoted once"


def test_quick_readings_have_the_same_values_and_nothing_else():
    texts = population(np.random.default_rng(22), 9, 3)
    whole, quick = diversity_reading(texts), diversity_reading(texts, quick=True)
    assert [s.name for s in quick.scores] == [s.name for s in whole.scores]
    assert [s.value for s in quick.scores] == [pytest.approx(s.value, abs=1e-12) for s in whole.scores]
    assert {s.low for s in quick.scores} == {None}
    assert "alike" not in quick.tables


def test_without_its_library_one_score_is_missing_and_says_why(monkeypatch):
    monkeypatch.setitem(sys.modules, "rapidfuzz.process", None)
    reading = diversity_reading(population(np.random.default_rng(23), 8, 3))
    scores = by_name(reading)
    assert scores["rouge_l_within"].value is scores["rouge_l_across"].value is None
    assert "extra 'measure'" in scores["rouge_l_across"].note
    assert scores["self_repetition_across"].value == 0
    assert reading.tables["alike"] == []


def test_few_sources_have_values_without_intervals():
    scores = by_name(diversity_reading(population(np.random.default_rng(8), 3, 4)))
    for name in ("ead_within", "ead_across", "compression_across"):
        assert scores[name].value > 0
        assert scores[name].low is None
        assert "few clusters" in scores[name].note
    alone = by_name(diversity_reading(population(np.random.default_rng(8), 1, 4)))
    assert math.isnan(alone["ead_across"].value)
    assert alone["ead_within"].value > 0


@pytest.mark.parametrize(
    ("texts", "match"),
    [({}, "too few"), ({"a": ["one"], "b": ["two"]}, "too few"), ({"a": ["one", "", "two"]}, "empty")],
)
def test_bags_that_hold_too_little_are_refused(texts, match):
    with pytest.raises(GaugeError, match=match):
        diversity_reading(texts)


def test_embeddings_must_fit_their_texts():
    with pytest.raises(GaugeError, match="do not fit"):
        diversity_reading({"a": ["one", "two"]}, embeddings={"a": np.eye(3)})
    with pytest.raises(GaugeError, match="at least two texts"):
        expectation_adjusted_distinct([["a"]])
