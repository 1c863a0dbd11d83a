"""Remedies: what they cost, whether a gain counts, and who is undominated."""

import numpy as np
import pytest

from multitudes.core.errors import GaugeError
from multitudes.measure.diversity.arms import PairCount, Sample
from multitudes.measure.diversity.compare import compare_arms
from multitudes.measure.diversity.outcomes import Placed, adherence, follow
from multitudes.measure.errors import TooFewSamplesError, UnequalBudgetError

PROMPTS, K = 30, 6


def arm(name, kinds, *, valid=1.0, cost=10.0, k=K, seed=0, domain="creative"):
    """Texts in ``kinds`` classes, a share of them valid."""
    rng = np.random.default_rng([seed, kinds])
    return [
        Sample(name, domain, f"p{g}", " ".join(f"w{rng.integers(0, 99)}" for _ in range(12)),
               bool(rng.random() < valid), str(rng.integers(0, kinds)), None, cost)
        for g in range(PROMPTS) for _ in range(k)
    ]  # fmt: skip


def outcome(found, name):
    return next(o for o in found.outcomes if o.arm == name)


def test_costs_are_those_of_prompt_and_reply_and_of_different_valid_answers():
    plain, wide = arm("plain", 2), arm("wide", 5, cost=25.0)
    found = compare_arms(plain + wide)
    first, second = outcome(found, "plain"), outcome(found, "wide")
    assert (first.cost, second.cost, second.cost_ratio) == (10, 25, 2.5)
    distinct = {a: len({(s.prompt, s.kind) for s in texts}) for a, texts in (("plain", plain), ("wide", wide))}
    assert first.cost_per_answer == pytest.approx(PROMPTS * K * 10 / distinct["plain"])
    assert second.cost_per_answer == pytest.approx(PROMPTS * K * 25 / distinct["wide"])
    assert first.verdict == ""
    assert first.validity_change is None
    assert second.gain == next(c for c in found.cells if c.score == "d_pair" and c.budget == "texts").effect


def test_a_gain_counts_only_if_validity_holds():
    plain = arm("plain", 2)
    found = compare_arms(plain + arm("wide", 6) + arm("wild", 6, valid=0.93) + arm("same", 2, seed=1))
    assert outcome(found, "wide").verdict == "counts; adherence was not asked"
    lost = outcome(found, "wild")
    assert lost.validity_low < lost.validity_change < lost.validity_high < 0
    assert lost.verdict == f"does not count: validity falls by {-100 * lost.validity_change:.0f} points"
    assert outcome(found, "same").verdict == "no gain shown"
    unknown = compare_arms([s._replace(valid=None) for s in plain + arm("wide", 6)])
    assert outcome(unknown, "wide").verdict == "validity is unknown, so nothing counts"
    assert outcome(unknown, "wide").validity is outcome(unknown, "wide").cost_per_answer is None


def test_two_arms_without_a_valid_text_are_not_called_equivalent():
    found = compare_arms(arm("a", 3, valid=0) + arm("b", 3, valid=0, seed=1))
    cell = next(c for c in found.cells if (c.score, c.budget) == ("d_pair", "texts"))
    assert (cell.verdict, cell.note) == ("undetermined", "both are 0")
    assert "d_pair" not in {c.score for c in found.cells if c.budget == "valid"}
    assert outcome(found, "b").cost_per_answer is None


def test_undominated_arms():
    found = compare_arms(arm("plain", 2) + arm("wide", 6, valid=0.8) + arm("worse", 2, valid=0.5))
    assert {o.arm: o.frontier for o in found.outcomes} == {"plain": True, "wide": True, "worse": False}


def test_equal_cost_is_kept_or_refused():
    cheap = arm("cheap", 6, cost=10.0, k=24)
    dear = arm("dear", 6, cost=40.0, k=6, seed=1)
    some = {f"p{g}" for g in range(12)}
    cheap, dear = ([s for s in samples if s.prompt in some] for samples in (cheap, dear))
    found = compare_arms(dear + cheap, same_cost=True)
    cell = next(c for c in found.cells if (c.score, c.budget) == ("classes", "cost"))
    kinds = {n: [len({s.kind for s in x if s.prompt == f"p{g}"}) for g in range(12)]
             for n, x in (("dear", dear), ("cheap", cheap))}  # fmt: skip
    assert (cell.mean_before, cell.mean_after) == (np.mean(kinds["dear"]), np.mean(kinds["cheap"]))
    assert cell.verdict == "higher"
    even = next(c for c in found.cells if (c.score, c.budget) == ("d_pair", "texts"))
    assert not even.verdict.startswith(("higher", "lower")), "the cheap arm is as diverse and no more: only cheaper"
    with pytest.raises(UnequalBudgetError, match="tokens in creative"):
        compare_arms(dear + cheap[: 12 * 24 - 20], same_cost=True)
    with pytest.raises(UnequalBudgetError, match="nobody counted"):
        compare_arms([s._replace(cost=None) for s in dear] + cheap, same_cost=True)
    even_k = [s for k, s in enumerate(cheap) if k % 24 < 6]
    assert "cost" not in {c.budget for c in compare_arms(dear + even_k).cells}


def test_given_pairs_take_the_place_of_classes_and_their_stamp_is_printed():
    samples = arm("a", 2) + arm("b", 2, seed=1)
    pairs = {
        (a, "creative", f"p{g}"): PairCount(3 + (a == "b") * 6, 12, 15, None) for a in "ab" for g in range(PROMPTS)
    }
    found = compare_arms(samples, pairs=pairs, stamps={"creative": "proxy"})
    cell = next(c for c in found.cells if (c.score, c.budget) == ("d_pair", "texts"))
    assert (cell.mean_before, cell.mean_after) == (pytest.approx(3 / 15), pytest.approx(9 / 15))
    assert cell.verdict == "higher (proxy)"
    assert outcome(found, "b").verdict == "counts (proxy); adherence was not asked"
    assert any("nothing about meaning" in c for c in found.caveats)
    assert found.effective[0].term_validity == pytest.approx(0)
    assert found.effective[0].term_difference == pytest.approx(np.log(3))
    words = next(c for c in found.cells if (c.score, c.budget) == ("ead", "tokens"))
    assert "proxy" not in words.verdict
    assert ("classes", "valid") not in {(c.score, c.budget) for c in found.cells}
    del pairs["b", "creative", "p3"]
    with pytest.raises(TooFewSamplesError, match="no pairs were judged"):
        compare_arms(samples, pairs=pairs)


def test_verdicts_on_different_grounds_are_not_set_against_each_other():
    code = arm("a", 2, domain="code") + arm("b", 6, domain="code")
    closed = arm("a", 6, domain="code-closed") + arm("b", 2, domain="code-closed")
    found = compare_arms(code + closed)
    cells = {c.domain: c.verdict for c in found.cells if (c.score, c.budget) == ("d_pair", "texts")}
    assert cells == {"code": "higher", "code-closed": "lower (structural)"}
    assert not any(t.score == "d_pair" for t in found.crossovers)


def placed(seed, noise, n=16):
    """Sixteen people on three axes, and answers near to where they were put."""
    targets = np.random.default_rng(0).uniform(0.1, 0.9, size=(n, 3))
    return Placed(targets, np.clip(targets + np.random.default_rng(seed).normal(0, noise, size=(n, 3)), 0, 1))


def test_adherence_and_its_change_over_the_same_people():
    faithful, lost = placed(1, 0.05), placed(2, 1.0)
    found = follow(faithful, lost)
    r = [np.mean([np.corrcoef(p.targets[:, a], p.z[:, a])[0, 1] for a in range(3)]) for p in (faithful, lost)]
    assert adherence(*faithful) == pytest.approx(r[0])
    assert found.change == pytest.approx(r[1] - r[0])
    assert found.low < found.change < found.high < 0
    same = follow(faithful, placed(3, 0.05))
    assert same.low < 0 < same.high
    with pytest.raises(GaugeError, match="other places"):
        follow(faithful, Placed(faithful.targets + 0.01, lost.z))
    assert follow(faithful, Placed(faithful.targets, np.full_like(lost.z, 0.5))).r is None


def test_a_gain_of_people_who_are_lost_does_not_count():
    samples = arm("plain", 2) + arm("wide", 6)
    good = compare_arms(samples, placed={"plain": placed(1, 0.05), "wide": placed(2, 0.05)})
    assert outcome(good, "wide").verdict == "counts"
    assert outcome(good, "plain").adherence > 0.9
    bad = outcome(compare_arms(samples, placed={"plain": placed(1, 0.05), "wide": placed(2, 1.0)}), "wide")
    assert bad.verdict.startswith("does not count: people are not where they were put")
    assert bad.adherence_high < 0
