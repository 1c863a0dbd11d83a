"""Comparisons that must not find what is not there, and must find what was planted."""

import itertools

import numpy as np
import pytest
from scipy import stats

from multitudes.core.errors import ConfigError, GaugeError
from multitudes.measure.diversity.arms import Sample
from multitudes.measure.diversity.collapse import contraction, pull
from multitudes.measure.diversity.compare import compare_arms
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


def verdicts(found, score, budget="tokens"):
    return {c.domain: c.verdict for c in found.cells if (c.score, c.budget) == (score, budget)}


def cell_of(found, score, budget="texts"):
    return next(c for c in found.cells if (c.score, c.budget) == (score, budget))


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


def test_short_texts_are_matched_and_no_budget_is_unequal():
    """One text in ten is short in one arm only: at equal length its counterpart is cut, so EAD does not change."""
    rng = np.random.default_rng(13)
    mine, theirs = texts(rng, 300, k=10), texts(rng, 300, k=10, arm="b")
    short = [s._replace(text=" ".join(s.text.split()[:4])) if k % 10 == 0 else s for k, s in enumerate(theirs)]
    found = compare_arms(mine + short)
    assert found.budget["creative"]["tokens_per_text"] == 30
    assert found.budget["creative"]["shorter"] == {"a": 0.0, "b": pytest.approx(0.1)}
    assert verdicts(found, "ead")["creative"] == "equivalent"
    assert cell_of(found, "ead", "texts").effect > 5 * abs(cell_of(found, "ead", "tokens").effect)


def test_both_budgets_stand_beside_each_other():
    rng = np.random.default_rng(17)
    found = compare_arms(texts(rng, 60, length=30) + texts(rng, 60, length=90, arm="b"))
    for score in ("ead", "distinct", "rouge_l", "self_bleu", "self_repetition"):
        assert {c.budget for c in found.cells if c.score == score} >= {"texts", "tokens"}
    assert verdicts(found, "ead", "texts")["creative"].startswith("lower"), (
        "longer texts of the same words repeat themselves"
    )
    assert cell_of(found, "ead", "tokens").verdict == "equivalent"
    assert {(c.score, c.budget) for c in found.cells if c.headline} == {("ead", "tokens"), ("d_pair", "texts")}


def test_of_more_texts_random_subsets_are_scored():
    rng = np.random.default_rng(4)
    mine, theirs = texts(rng, 60, k=4, prompts=10), texts(rng, 60, k=8, prompts=10, arm="b")
    found = compare_arms(mine + theirs)
    assert found.budget["creative"]["texts_per_prompt"] == 4
    assert found.budget["creative"]["beyond"] == 10 * 4
    cell = cell_of(found, "ead", "tokens")
    assert "random subsets" in cell.note
    first = [s for k, s in enumerate(theirs) if k % 8 < 4]
    alone = cell_of(compare_arms(mine + first), "ead", "tokens")
    assert alone.mean_after != cell.mean_after, "not just the first ones"
    low, high = (float(x) for x in cell.note.split("range over ")[1].split(" to "))
    assert low < cell.mean_after < high
    assert cell.mean_before == alone.mean_before
    backwards = compare_arms(mine + theirs[::-1], seed=1)  # other subsets, the same means up to their spread
    assert abs(cell_of(backwards, "ead", "tokens").mean_after - cell.mean_after) < high - low


def test_diversity_among_valid_texts_is_at_the_least_valid_number():
    """The second arm is half as valid and otherwise the same: fewer different answers, but as different ones."""
    rng = np.random.default_rng(18)
    wide = [s._replace(kind=str(rng.integers(0, 8))) for s in texts(rng, 60, k=10, prompts=40)]
    half = [
        s._replace(valid=bool(k % 2), kind=str(rng.integers(0, 8)))
        for k, s in enumerate(texts(rng, 60, k=10, prompts=40, arm="b"))
    ]
    found = compare_arms(wide + half)
    assert cell_of(found, "d_pair", "texts").verdict == "lower"
    for score in ("ead", "classes", "d_pair"):
        cell = cell_of(found, score, "valid")
        assert cell.verdict == "equivalent", score
        assert not cell.headline
    by_hand = []
    for g in range(40):
        bag = [s for s in wide if s.prompt == f"creative{g}"]
        some = itertools.combinations([s.kind for s in bag], 5)
        by_hand.append(np.mean([len(set(kinds)) for kinds in some]))
    assert cell_of(found, "classes", "valid").mean_before == pytest.approx(np.mean(by_hand), abs=1e-12)
    among = [[s for s in wide if s.prompt == f"creative{g}"] for g in range(40)]
    differ = sum(a.kind != b.kind for bag in among for a, b in itertools.combinations(bag, 2))
    assert cell_of(found, "d_pair", "valid").mean_before == pytest.approx(differ / (40 * 45), abs=1e-12)


def test_a_prompt_with_one_valid_text_says_nothing_about_diversity_among_the_valid():
    rng = np.random.default_rng(19)
    mine, theirs = texts(rng, 60), texts(rng, 60, arm="b")
    theirs = [s._replace(valid=s.prompt != "creative0") for s in theirs]
    found = compare_arms(mine + theirs)
    assert cell_of(found, "ead", "valid").prompts == 23
    assert cell_of(found, "d_pair", "texts").prompts == 24


class Letters:
    """Tags a word by its first letter."""

    name = "letters 1"

    def __call__(self, sentences):
        return [tuple(w[0].upper() for w in s.split()) for s in sentences]


def patterned(rng, arm, share, k=6, prompts=20):
    """Sentences of letters; a share of them follows one pattern of five."""
    out = []
    for g in range(prompts):
        for _ in range(k):
            word = list(rng.choice(list("abcdefghijklmnopqrstuvwxyz"), size=12))
            if rng.random() < share:
                word[3:8] = list("xyzxy")
            text = " ".join(f"{w}{rng.integers(0, 9)}" for w in word)
            out.append(Sample(arm, "creative", f"p{g}", text))
    return out


def test_sentence_templates_are_found_in_the_arms_together(monkeypatch):
    rng = np.random.default_rng(23)
    monkeypatch.setattr("multitudes.measure.diversity.syntax.TEMPLATES", 1)  # the planted one
    monkeypatch.setattr("multitudes.measure.diversity.syntax.not_english", lambda text: "")
    found = compare_arms(patterned(rng, "a", 0.2) + patterned(rng, "b", 0.9), tagger=Letters())
    rate = cell_of(found, "template_rate", "tokens")
    assert rate.verdict == "lower"
    assert rate.mean_before == pytest.approx(0.2, abs=0.08)
    assert rate.mean_after == pytest.approx(0.9, abs=0.08)
    per_token = cell_of(found, "templates_per_token", "texts")
    assert per_token.mean_after == pytest.approx(rate.mean_after / 12, rel=0.05)
    assert cell_of(found, "pos_compression", "tokens").headline
    swapped = compare_arms(patterned(rng, "a", 0.9) + patterned(rng, "b", 0.2), tagger=Letters())
    assert cell_of(swapped, "template_rate", "tokens").verdict == "higher"
    alone = cell_of(
        compare_arms(patterned(rng, "a", 0.0) + patterned(rng, "b", 0.9), tagger=Letters()), "template_rate"
    )
    assert alone.mean_before < 0.02
    assert alone.mean_after == pytest.approx(0.9, abs=0.08), "a pattern of the second arm alone is on the list too"


def test_syntax_at_equal_length_has_equal_tags(monkeypatch):
    """Twice as long sentences hold twice as many patterns, but not at equal length."""
    monkeypatch.setattr("multitudes.measure.diversity.syntax.not_english", lambda text: "")
    rng = np.random.default_rng(24)
    a = patterned(rng, "a", 0.5)
    b = [s._replace(arm="b", text=s.text + " " + t.text) for s, t in zip(a, patterned(rng, "b", 0.5), strict=True)]
    found = compare_arms(a + b, tagger=Letters())
    assert cell_of(found, "pos_compression", "tokens").effect == 0, "cut to its first half, b is a"
    assert cell_of(found, "pos_compression", "texts").verdict == "lower"


def test_without_validity_effective_diversity_is_not_assessed():
    rng = np.random.default_rng(5)
    found = compare_arms([s._replace(valid=None) for s in texts(rng, 60) + texts(rng, 60, arm="b")])
    assert "d_pair" not in {c.score for c in found.cells}
    assert any("validity is unknown" in c for c in found.caveats)


def test_both_terms_of_the_change_add_up():
    rng = np.random.default_rng(6)
    after = [s._replace(valid=bool(rng.random() < 0.5)) for s in texts(rng, 60, arm="b")]
    found = compare_arms(texts(rng, 60) + after)
    cell = cell_of(found, "d_pair")
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
