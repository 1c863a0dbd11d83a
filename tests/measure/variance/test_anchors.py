"""Human anchors: colours against published conversions and brute force, shares against planted truths, real data."""

from __future__ import annotations

import gzip
import json
import math

import numpy as np
import pytest

from multitudes.core.errors import GaugeError
from multitudes.measure.errors import DuplicateKeyError, NotFiniteError, TooFewSamplesError, ZeroVarianceError
from multitudes.measure.variance.anchors import colour_shares, lab_of_srgb, person_shares, split_half
from multitudes.measure.variance.components import HUMAN_ANCHORS
from multitudes.measure.variance.distance import jsd_floor


def test_colours_of_srgb_in_lab():
    """Published values of the primaries; grey and white have no hue."""
    rgb = [[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255], [0, 0, 0], [119, 119, 119]]
    expected = [
        [53.24, 80.09, 67.20],
        [87.73, -86.18, 83.18],
        [32.30, 79.19, -107.86],
        [100, 0, 0],
        [0, 0, 0],
        [50.03, 0, 0],
    ]
    assert lab_of_srgb(rgb) == pytest.approx(np.array(expected), abs=0.02)
    with pytest.raises(GaugeError, match="out of range"):
        lab_of_srgb([[0, 0, 256]])
    with pytest.raises(GaugeError, match="wrong shape"):
        lab_of_srgb([[0, 0]])


def colour_study(rng, people=30, words=12, noise=25.0, blocks=1):
    """Every person colours every word of their block of words twice."""
    rows = []
    for p in range(people):
        for w in range(words):
            if w % blocks != p % blocks:
                continue
            liked = rng.uniform(60, 195, 3)
            for block in (1, 2):
                rgb = np.clip(liked + noise * rng.normal(size=3) * (rng.random() > 0.2), 0, 255).round()
                rows.append((*rgb, f"p{p}", f"w{w}", block))
    rgb = np.array([r[:3] for r in rows])
    return rgb, *(np.array([r[k] for r in rows]) for k in (3, 4, 5))


def brute_force(rgb, person, word):
    """Per-word G_e and G_i, and mean ΔE within and between people, over all pairs."""
    lab, out = lab_of_srgb(rgb), {}
    for w in np.unique(word):
        x, who = lab[word == w], person[word == w]
        gap2 = ((x[:, None] - x[None]) ** 2).sum(-1)
        same = (who[:, None] == who[None]) & ~np.eye(len(x), dtype=bool)
        apart = who[:, None] != who[None]
        out[w] = [
            gap2[same].mean() / 2,
            gap2[apart].mean() / 2,
            np.sqrt(gap2[same]).mean(),
            np.sqrt(gap2[apart]).mean(),
        ]
    return np.array(list(out.values()))


@pytest.mark.parametrize("blocks", [1, 3])
def test_colour_shares_equal_brute_force_also_where_blocks_share_nothing(blocks):
    rng = np.random.default_rng(0)
    rgb, person, word, block = colour_study(rng, blocks=blocks)
    order = rng.permutation(len(rgb))[: int(0.9 * len(rgb))]
    rgb, person, word, block = rgb[order], person[order], word[order], block[order]
    truth = brute_force(rgb, person, word)
    found = colour_shares(rgb, person, word, block, draws=200)
    per_word = 1 - truth[:, 0] / truth[:, 1]
    assert found.icc_within.value == pytest.approx(1 - truth[:, 0].sum() / truth[:, 1].sum(), abs=1e-10)
    assert found.by_word == pytest.approx(np.quantile(per_word, [0.1, 0.5, 0.9]), abs=1e-10)
    assert found.half_noise == (per_word <= 0.5).mean()
    assert found.internal == pytest.approx(truth[:, 2].mean(), abs=1e-9)
    assert found.population == pytest.approx(truth[:, 3].mean(), abs=1e-9)
    assert found.rho.value == pytest.approx(1 / found.icc_within.value - 1)
    assert found.rho.low == pytest.approx(1 / found.icc_within.high - 1)
    pairs = {}
    for row, p, w in zip(rgb, person, word, strict=True):
        pairs.setdefault((p, w), []).append(tuple(row))
    twice = [a == b for a, *rest in pairs.values() for b in rest]
    assert found.same_again == pytest.approx(np.mean(twice))
    assert (found.people, found.words) == (30, 12)


def test_colour_interval_holds_the_truth():
    """40 studies; the two-way bootstrap is conservative: .94 to 1.0."""
    rng = np.random.default_rng(1)
    truth = colour_shares(*colour_study(rng, people=300, words=60), draws=2).icc_within.value
    hits = []
    for s in range(40):
        e = colour_shares(*colour_study(rng, people=25, words=10), seed=s, draws=250).icc_within
        assert e.low < e.value < e.high
        hits.append(e.low <= truth <= e.high)
    assert np.mean(hits) >= 0.9


def test_repeats_without_noise_and_people_without_taste():
    rng = np.random.default_rng(2)
    rgb, person, word, block = colour_study(rng, noise=0.0)
    sure = colour_shares(rgb, person, word, block, draws=50)
    assert (sure.icc_within.value, sure.same_again, sure.internal, sure.rho.value) == (1.0, 1.0, 0.0, 0.0)
    fickle = colour_shares(rng.permutation(rgb), person, word, block, draws=50)
    assert abs(fickle.icc_within.value) < 0.15
    assert fickle.rho.high == math.inf


def test_unusable_colours_are_refused():
    rng = np.random.default_rng(3)
    rgb, person, word, block = colour_study(rng, people=4, words=3)
    with pytest.raises(DuplicateKeyError):
        colour_shares(rgb, person, word, np.ones(len(rgb)))
    first = block == 1
    with pytest.raises(ZeroVarianceError, match="repeated"):
        colour_shares(rgb[first], person[first], word[first], block[first])
    rgb[0] = np.nan
    assert colour_shares(rgb, person, word, block, draws=20).unscored == 1


# --- ratings ------------------------------------------------------------------------------------------------


def test_both_estimators_find_planted_shares():
    """Mean of 40 data sets within 3 standard errors, for each."""
    rng = np.random.default_rng(4)
    p, i = np.repeat(np.arange(60), 20), np.tile(np.arange(40), 30)
    rows = []
    for _study in range(40):
        y = 0.5 * rng.normal(size=60)[p] + 0.6 * rng.normal(size=40)[i] + 0.7 * rng.normal(size=1200)
        found = person_shares(y, p, i)
        shares = [e.value for e in (found.person, found.item, found.rest, found.within)]
        assert sum(shares[:3]) == pytest.approx(1)
        rows.append([*shares, found.covariance_person, found.covariance_item, found.covariance_within])
    a, total = np.array(rows), 0.25 + 0.36 + 0.49
    person, item, within = 0.25 / total, 0.36 / total, 0.25 / 0.74
    truth = np.array([person, item, 0.49 / total, within, person, item, within])
    assert (np.abs(a.mean(axis=0) - truth) < 3 * a.std(axis=0) / 40**0.5 + 0.01).all()
    assert found.within.low < found.within.value < found.within.high


def test_covariances_equal_brute_force():
    rng = np.random.default_rng(5)
    p, i = rng.integers(0, 8, 80), rng.integers(0, 9, 80)
    y = rng.normal(size=80) + p + 1e5
    found = person_shares(y, p, i)
    d = np.outer(y - y.mean(), y - y.mean()) / y.var(ddof=1)
    off = ~np.eye(80, dtype=bool)
    assert found.covariance_person == pytest.approx(d[(p[:, None] == p) & off].mean(), abs=1e-9)
    assert found.covariance_item == pytest.approx(d[(i[:, None] == i) & off].mean(), abs=1e-9)
    assert found.covariance_within == pytest.approx(found.covariance_person / (1 - found.covariance_item))


def test_one_heavy_rater_parts_the_estimators():
    """One person with a far mean and a fifth of all ratings: squared differences count pairs with the rest too."""
    rng = np.random.default_rng(6)
    p = np.concatenate([np.repeat(np.arange(100), 20), np.full(500, 100)])
    i = rng.integers(0, 400, len(p))
    taste = np.append(0.2 * rng.normal(size=100), 1.0)
    found = person_shares(taste[p] + rng.normal(size=len(p)), p, i)
    assert found.heaviest > 0.5
    assert abs(found.covariance_person - found.person.value) > 0.05


def test_ratings_without_variance_are_refused():
    with pytest.raises(ZeroVarianceError):
        person_shares(np.ones(20), np.arange(20) % 4, np.arange(20) % 5)


def test_quoted_anchors_of_people_who_rated_offensiveness(shared_data):
    rows = [json.loads(x) for x in (shared_data / "disagreement/popquorn_offensiveness_ratings.jsonl").open()]
    found = person_shares(*([r[k] for r in rows] for k in ("rating", "annotator", "item")))
    shares = (found.person.value, found.item.value, found.rest.value)
    assert shares == pytest.approx((0.196, 0.286, 0.518), abs=0.002)
    assert (found.covariance_person, found.covariance_item) == pytest.approx((0.192, 0.285), abs=0.001)
    quoted = next(a for a in HUMAN_ANCHORS if "offensiveness" in a.label)
    e = found.within
    assert (e.value, e.low, e.high) == pytest.approx((quoted.value, quoted.low, quoted.high), abs=0.001)


def test_quoted_shares_of_md_agreement(shared_data):
    with gzip.open(shared_data / "disagreement/md_agreement_labels.jsonl.gz", "rt") as file:
        rows = [json.loads(x) for x in file]
    columns = [[v for r in rows for v in r[k]] for k in ("labels", "annotators")]
    found = person_shares(*columns, [r["id"] for r in rows for _label in r["labels"]])
    assert found.covariance_person == pytest.approx(0.116, abs=0.001)
    assert found.covariance_within == pytest.approx(0.18, abs=0.005)
    assert found.heaviest > 3 / found.people  # and so the two estimators part
    assert found.within.value == pytest.approx(0.084, abs=0.001)


# --- split halves -------------------------------------------------------------------------------------------


def test_split_halves_of_planted_bins():
    """Three equally likely bins, 40 people: close to the closed form; W1 of bins is in scale units."""
    rng = np.random.default_rng(7)
    answers = [rng.choice([-50.0, 0.0, 50.0], 40) for _item in range(300)]
    found = split_half(answers, low=-50, high=50, bins=3)
    assert found.jsd.value == pytest.approx(float(jsd_floor(3, 20, 20)), rel=0.08)
    assert found.w1.value == pytest.approx(1.5 * found.w1_bins.value, rel=1e-9)  # 50 a step against 100/3
    assert found.jsd.low < found.jsd.value < found.jsd.high
    assert (found.items, found.raters) == (300, 40.0)


def test_split_halves_by_hand():
    found = split_half([[0.0, 10.0], [5.0], [4.0, 4.0, 4.0]], low=0, high=10, bins=2)
    assert found.items == 2  # one answer has no halves
    assert found.jsd.value == 0.5
    assert found.w1.value == 5.0
    assert found.w1_bins.value == 2.5
    beyond = split_half([[-1.0, 11.0]], low=0, high=10, bins=2)
    assert beyond.jsd.value == 1.0
    with pytest.raises(TooFewSamplesError):
        split_half([[1.0]], low=0, high=10, bins=2)
    with pytest.raises(NotFiniteError):
        split_half([[1.0, np.nan]], low=0, high=10, bins=2)
