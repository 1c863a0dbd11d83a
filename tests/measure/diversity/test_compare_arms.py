"""Comparisons that must not find what is not there, and must find what was planted."""

import numpy as np
import pytest
from scipy import stats

from multitudes.core.errors import ConfigError, GaugeError
from multitudes.measure.diversity.collapse import contraction, pull
from multitudes.measure.diversity.compare import Sample, compare_arms
from multitudes.measure.errors import DuplicateBiasError, EmptyTextError, TooFewClustersError, TooFewSamplesError
from multitudes.measure.multiplicity import benjamini_hochberg, gail_simon, holm
from multitudes.measure.resample import bca, refuse_bootstrap
from multitudes.measure.stats import sign_flip_p

WORDS = np.array([f"word{k}" for k in range(400)])


def texts(rng, spread, prompts=24, k=6, length=30, arm="a", domain="creative"):
    """Each prompt has a vocabulary of its own; ``spread`` of 400 words are used."""
    out = []
    for g in range(prompts):
        own = np.random.default_rng(g).permutation(WORDS)[:spread]
        out += [
            Sample(arm, domain, f"{domain}{g}", " ".join(rng.choice(own, size=length)), True, str(rng.integers(0, 3)))
            for _ in range(k)
        ]
    return out


def verdicts(found, score):
    return {c.domain: c.verdict for c in found.cells if c.score == score}


def test_the_same_model_twice_is_not_told_apart():
    rng = np.random.default_rng(1)
    found = compare_arms(texts(rng, 60) + texts(rng, 60, arm="b"))
    assert not [c for c in found.cells if c.verdict.startswith(("higher", "lower"))]
    assert verdicts(found, "ead")["creative"] == "equivalent"


def test_a_planted_sign_flip_between_domains_is_found_and_only_then_said():
    rng = np.random.default_rng(2)
    samples = [
        *texts(rng, 30, domain="creative"), *texts(rng, 90, domain="persona"),
        *texts(rng, 90, arm="b", domain="creative"), *texts(rng, 30, arm="b", domain="persona"),
    ]  # fmt: skip
    found = compare_arms(samples)
    assert {k: v.split()[0] for k, v in verdicts(found, "ead").items()} == {"creative": "higher", "persona": "lower"}
    assert {k: v.split()[0] for k, v in verdicts(found, "rouge_l").items()} == {
        "creative": "higher",
        "persona": "lower",
    }
    said = {t.score: t.sentence for t in found.crossovers}
    assert "direction depends on domain" in said["ead"]
    same = compare_arms(
        [s for s in samples if s.domain == "creative"]
        + texts(rng, 30, domain="talk") + texts(rng, 90, arm="b", domain="talk")
    )  # fmt: skip
    assert not any(": direction depends" in t.sentence for t in same.crossovers if t.score in ("ead", "rouge_l"))


def test_longer_texts_are_cut_before_words_are_counted():
    rng = np.random.default_rng(3)
    found = compare_arms(texts(rng, 60, length=30) + texts(rng, 60, length=90, arm="b"))
    assert found.budget["creative"]["tokens_per_text"] == 30
    assert found.budget["creative"]["cut"] == {"a": 0.0, "b": 1.0}
    assert verdicts(found, "ead")["creative"] == "equivalent"


def test_more_texts_are_left_out_and_said():
    rng = np.random.default_rng(4)
    found = compare_arms(texts(rng, 60, k=4) + texts(rng, 60, k=8, arm="b"))
    assert found.budget["creative"]["texts_per_prompt"] == 4
    assert found.budget["creative"]["left_out"] == 24 * 4


def test_without_validity_effective_diversity_is_not_assessed():
    rng = np.random.default_rng(5)
    found = compare_arms([s._replace(valid=None) for s in texts(rng, 60) + texts(rng, 60, arm="b")])
    assert "d_pair" not in {c.score for c in found.cells}
    assert any("validity is unknown" in c for c in found.caveats)


def test_both_terms_of_the_change_add_up():
    rng = np.random.default_rng(6)
    after = [s._replace(valid=bool(rng.random() < 0.5)) for s in texts(rng, 60, arm="b")]
    found = compare_arms(texts(rng, 60) + after)
    cell = next(c for c in found.cells if c.score == "d_pair")
    terms = found.effective[0]
    assert terms.term_validity + terms.term_difference == pytest.approx(cell.effect, abs=1e-9)
    assert terms.valid_after < terms.valid_before == 1.0
    assert terms.term_validity < 0


def test_code_is_compared_by_its_trees():
    same = ["def f(x):\n    return x + 1", "def f(x):\n    return x + 2"]
    other = ["def f(x):\n    return x + 1", "def f(x):\n    for i in x:\n        print(i)\n    return [i for i in x]"]
    samples = [
        Sample(arm, "code", f"p{g}", t) for arm, bag in (("a", same), ("b", other)) for g in range(12) for t in bag
    ]
    cell = next(c for c in compare_arms(samples).cells if c.score == "ast_jsd")
    assert cell.mean_before == pytest.approx(0, abs=1e-12)
    assert cell.mean_after > 0.1


def test_the_most_alike_pair_is_quoted():
    rng = np.random.default_rng(7)
    samples = texts(rng, 200) + texts(rng, 200, arm="b")
    samples[1] = samples[1]._replace(text=samples[0].text)
    first = compare_arms(samples).alike[0]
    assert first["first"] == first["second"] == samples[0].text
    assert first["rouge_l"] == 1


def test_what_cannot_be_compared_is_refused():
    rng = np.random.default_rng(8)
    a = texts(rng, 60)
    with pytest.raises(ConfigError, match="two arms"):
        compare_arms(a)
    with pytest.raises(TooFewClustersError, match="share fewer"):
        compare_arms(a + [s._replace(prompt=f"x{s.prompt}") for s in texts(rng, 60, arm="b")])
    with pytest.raises(TooFewSamplesError):
        compare_arms(a + texts(rng, 60, k=1, arm="b"))
    with pytest.raises(EmptyTextError):
        compare_arms(a + [s._replace(text=" ") for s in texts(rng, 60, arm="b")])


def test_null_studies_seldom_find_anything():
    """200 studies of 12 headline cells whose arms do not differ: Holm keeps any false finding below .05."""
    rng = np.random.default_rng(9)
    false = 0
    for _ in range(200):
        d = rng.normal(size=(12, 12)) * rng.gamma(2, 1, size=(12, 1))
        false += bool((holm([sign_flip_p(row, seed=0) for row in d]) < 0.05).any())
    assert false <= 200 * 0.05 + 1.645 * (200 * 0.05 * 0.95) ** 0.5


@pytest.mark.parametrize(("domains", "critical"), [(2, 2.71), (3, 4.23), (4, 5.43)])
def test_gail_simon_has_its_published_critical_values(domains, critical):
    z = np.sqrt(critical)
    effects = [z, -z] + [z] * (domains - 2)
    assert gail_simon(effects, np.ones(domains)).p == pytest.approx(0.05, abs=5e-4)
    assert gail_simon(np.abs(effects), np.ones(domains)).p == 1


def test_adjusted_p_by_the_definition_and_with_gaps():
    p = np.array([0.01, 0.02, np.nan, 0.03, 0.5])
    assert holm(p)[[0, 1, 3, 4]] == pytest.approx([0.04, 0.06, 0.06, 0.5])
    assert benjamini_hochberg(p)[[0, 1, 3, 4]] == pytest.approx([0.04, 0.04, 0.04, 0.5])
    assert np.isnan(holm(p)[2])


def test_bca_is_that_of_scipy():
    x = np.random.default_rng(10).lognormal(size=40)
    ours = bca(x[:, None], lambda m: m[..., 0], seed=0)
    theirs = stats.bootstrap((x,), np.mean, n_resamples=10_000, method="BCa", rng=1).confidence_interval
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), rel=0.02)


def test_bca_covers_a_ratio():
    rng = np.random.default_rng(11)
    held = 0
    for seed in range(400):
        rows = rng.gamma(4, 1, size=(50, 2)) + rng.gamma(2, 1, size=(50, 1))
        found = bca(rows, lambda m: np.log(m[..., 1] / m[..., 0]), seed=seed, draws=1_000)
        held += found.low <= 0 <= found.high
    assert 0.92 <= held / 400 <= 0.975


def test_pooled_scores_are_not_bootstrapped():
    with pytest.raises(DuplicateBiasError, match="copies"):
        refuse_bootstrap("vendi")
    refuse_bootstrap("d_pair")


def test_pull_is_zero_where_only_noise_moved_and_one_at_the_centre():
    rng = np.random.default_rng(12)
    people, runs, d = 400, 8, 16
    true = rng.normal(size=(people, d))
    centre = np.zeros(d)

    def noisy(x):
        return x[:, None] + 2 * rng.normal(size=(people, runs, d))

    assert pull(noisy(true), noisy(true), centre) == pytest.approx(0, abs=0.06)
    assert pull(noisy(true), noisy(0 * true), centre) == pytest.approx(1, abs=0.06)
    assert pull(noisy(true), noisy(1.5 * true), centre) == pytest.approx(-0.5, abs=0.08)
    assert contraction(noisy(true), noisy(0.5 * true)) == pytest.approx(0.25, abs=0.05)
    assert contraction(noisy(true), noisy(true)) == pytest.approx(1, abs=0.1)


def test_one_empty_text_leaves_its_prompt_unscored_and_stops_nothing():
    rng = np.random.default_rng(14)
    samples = texts(rng, 60, k=2) + texts(rng, 60, k=2, arm="b")
    samples[0] = samples[0]._replace(text="  ")
    cell = next(c for c in compare_arms(samples).cells if c.score == "ead")
    assert cell.prompts == 23


def test_collapse_refuses_what_does_not_fit():
    x = np.random.default_rng(15).normal(size=(6, 4, 3))
    with pytest.raises(GaugeError, match="same people"):
        contraction(x, x[:5])
    with pytest.raises(GaugeError, match="centre"):
        pull(x, x, [0.0])
    with pytest.raises(GaugeError, match="finite"):
        contraction(x, np.where(x > 2, np.nan, x) * np.nan)


def test_the_headline_is_adjusted_by_holm_and_counts_what_could_not_be_tested():
    rng = np.random.default_rng(16)
    broken = ["def f(:", "return ("]
    code = [Sample(a, "code", f"c{g}", broken[k], True, str(k)) for a in "ab" for g in range(8) for k in range(2)]
    found = compare_arms(texts(rng, 60) + texts(rng, 66, arm="b") + code)
    headline = [c for c in found.cells if c.headline]
    assert sum(np.isnan(c.p) for c in headline) == 2  # no tree of such programs, and no 5-grams of so few words
    rest = [c for c in found.cells if not c.headline]
    for family, adjust in ((headline, holm), (rest, benjamini_hochberg)):
        expected = adjust([1.0 if np.isnan(c.p) else c.p for c in family])
        assert [c.p_adjusted for c in family] == pytest.approx(expected.tolist())
