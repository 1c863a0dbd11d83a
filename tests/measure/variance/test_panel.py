"""The persona arm beside its placebos: what is called signal, what is not, and when there is no verdict."""

import numpy as np
import pytest

from multitudes.measure.variance.panel import ArmAnswers, panel_reading
from multitudes.measure.variance.wording import Worded, wording_score

P, ITEMS, R, K = 25, 12, 2, 5


def arm(rng, *, persona=0.0, interaction=0.0, run=1.0, people=P, shared_runs=False):
    """Five ordered labels cut from a normal score, as answers of sampled runs."""
    p, i, r = (x.ravel() for x in np.meshgrid(range(people), range(ITEMS), range(R), indexing="ij"))
    y = persona * rng.normal(size=people)[p] + interaction * rng.normal(size=(people, ITEMS))[p, i]
    y = y + rng.normal(size=ITEMS)[i] + run * rng.normal(size=len(p))
    if shared_runs:  # one answer of a cache for all labels of nobody
        y = rng.normal(size=(ITEMS, R))[i, r] * 1.0
    label = np.clip(np.digitize(y, [-1.2, -0.4, 0.4, 1.2]), 0, K - 1)
    probs = np.eye(K)[label]
    return ArmAnswers(label / (K - 1), np.char.add("p", p.astype(str)), i, r, probs)


def arms(rng, **persona):
    placebo = {name: arm(rng) for name in ("none", "random-text", "shuffled")}
    return {"persona": arm(rng, **persona), **placebo}


def by_name(reading):
    return {s.name: s for s in reading.scores}


def test_real_people_rise_above_their_placebos():
    reading = panel_reading(arms(np.random.default_rng(1), persona=0.8, interaction=0.8))
    scores, verdict = by_name(reading), reading.tables["verdict"]
    assert verdict["state"] == "supported"
    assert verdict["sentence"].startswith("Supported: between-persona differences exceed run noise and placebo")
    assert scores["icc_within"].value > 0.3 > abs(scores["icc_within_random_text"].value)
    assert scores["p_signal"].value == pytest.approx(0.001)
    assert scores["kappa"].low > 0
    assert scores["pir"].low > 0
    assert [row["arm"] for row in reading.tables["ladder"]] == ["persona", "none", "random-text", "shuffled"]


def test_noise_is_never_called_people():
    states = [panel_reading(arms(np.random.default_rng(seed))).tables["verdict"]["state"] for seed in range(100, 140)]
    assert "supported" not in states


def test_people_who_are_no_more_than_any_prompt_are_not_supported():
    rng = np.random.default_rng(3)
    same = {"persona": 0.7, "interaction": 0.7}
    given = {"persona": arm(rng, **same), "none": arm(rng), "random-text": arm(rng, **same), "shuffled": arm(rng)}
    assert panel_reading(given).tables["verdict"]["state"] != "supported"


def test_a_missing_placebo_is_refused_unless_a_reason_is_given_which_is_printed():
    rng = np.random.default_rng(4)
    alone = {"persona": arm(rng, persona=0.8)}
    refused = panel_reading(alone).tables["verdict"]
    assert refused["state"] == "no verdict"
    assert "arms that show what any prompt would do" in refused["sentence"]
    waived = panel_reading(alone, waiver="the server went away").tables["verdict"]
    assert any("the server went away" in line for line in waived["lines"])
    assert waived["state"] != "supported"  # what any text would do is unknown


def test_a_cache_behind_nobody_makes_the_study_invalid():
    rng = np.random.default_rng(5)
    given = arms(rng, persona=0.8) | {"none": arm(rng, shared_runs=True)}
    verdict = panel_reading(given).tables["verdict"]
    assert verdict["state"] == "no verdict"
    assert "depend on each other" in verdict["sentence"]


def test_runs_that_never_differ_are_no_runs():
    rng = np.random.default_rng(6)
    given = arms(rng, persona=0.8) | {"persona": arm(rng, persona=0.8, interaction=0.5, run=0.0)}
    assert panel_reading(given).tables["verdict"]["state"] == "no verdict"


def test_whole_distributions_need_no_runs_and_nobody_has_no_signal():
    rng = np.random.default_rng(7)

    def exact(spread):
        logits = spread * rng.normal(size=(P, ITEMS, K)) + rng.normal(size=(1, ITEMS, K))
        probs = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
        x = np.linspace(0, 1, K)
        mean = probs @ x
        p, i = (v.ravel() for v in np.meshgrid(range(P), range(ITEMS), indexing="ij"))
        return ArmAnswers(mean.ravel(), p, i, None, probs.reshape(-1, K), (probs @ x**2 - mean**2).ravel())

    given = {"persona": exact(1.5), "none": exact(0.0), "random-text": exact(0.3), "shuffled": exact(1.0)}
    reading = panel_reading(given)
    assert reading.tables["verdict"]["state"] == "supported"
    assert by_name(reading)["icc_within_none"].value == pytest.approx(0, abs=1e-9)
    assert "p_signal" not in by_name(reading)


def test_people_who_were_asked_twice_set_the_noise_that_is_wanted():
    rng = np.random.default_rng(8)
    given = {"persona": arm(rng, persona=1.5, interaction=2.5, run=0.15, people=50), **{
        k: arm(rng) for k in ("none", "random-text", "shuffled")}}  # fmt: skip
    human = arm(rng, persona=0.5, interaction=0.6, run=1.0, people=60)
    verdict = panel_reading(given, human=human).tables["verdict"]
    assert verdict["state"] == "not supported"
    assert "too rigid" in verdict["sentence"]
    without = panel_reading(given).tables["verdict"]
    assert any("Q2" in line and "not assessed" in line for line in without["lines"])


def test_quick_reads_the_same_values_without_tests():
    given = arms(np.random.default_rng(9), persona=0.8)
    whole, quick = by_name(panel_reading(given)), by_name(panel_reading(given, quick=True))
    assert quick["icc_within"].value == whole["icc_within"].value
    assert quick["kappa"].value == whole["kappa"].value
    assert "icc_within_none" not in quick


def test_a_panel_is_held_against_the_spread_of_peoples_answers():
    rng = np.random.default_rng(10)
    like = arms(rng, persona=0.6, interaction=0.6)
    human = arm(np.random.default_rng(11), persona=0.6, interaction=0.6, people=60)
    near = by_name(panel_reading(like, human=human))
    far = {
        **like,
        "persona": ArmAnswers(**{**fields(like["persona"]), "probs": np.eye(K)[np.zeros(P * ITEMS * R, int)]}),
    }
    away = by_name(panel_reading(far, human=human))
    assert away["people_jsd_ratio"].value > 1.5 * near["people_jsd_ratio"].value
    assert "people against people" in near["people_jsd"].note
    assert near["alpha_people"].value > 0
    verdict = panel_reading(far, human=human).tables["verdict"]
    assert {q["question"]: q["state"] for q in verdict["questions"]}["Q4"] == "not supported"


def fields(answers):
    return {name: getattr(answers, name) for name in ArmAnswers.__dataclass_fields__}


def test_answers_missing_by_person_are_bounded_and_by_accident_are_not():
    rng = np.random.default_rng(12)
    given = arms(rng, persona=0.8)
    whole = given["persona"]
    shy = np.isin(whole.persona, ["p1", "p2", "p3"]) & (rng.random(len(whole.item)) < 0.7)
    chance = rng.random(len(whole.item)) < 0.03

    def without(gone):
        probs = np.where(gone[:, None], np.nan, whole.probs)
        return {
            **given,
            "persona": ArmAnswers(**{**fields(whole), "score": np.where(gone, np.nan, whole.score), "probs": probs}),
        }

    found = by_name(panel_reading(without(shy)))
    assert found["p_refusal"].value < 0.01
    assert found["icc_within_bound"].value <= found["icc_within"].value
    assert by_name(panel_reading(without(chance)))["p_refusal"].value > 0.05
    assert "p_refusal" not in by_name(panel_reading(given))


def test_order_of_labels_is_a_wording_and_counts_as_noise():
    rng = np.random.default_rng(13)
    p, i, w = (x.ravel() for x in np.meshgrid(range(P), range(ITEMS), range(2), indexing="ij"))
    noise = np.full(len(p), 0.5)
    steady, shaken = [], []
    for _ in range(12):
        clean = rng.normal(size=(P, ITEMS))[p, i]
        whims = clean + rng.normal(size=(P, ITEMS, 2))[p, i, w]
        steady.append(wording_score(Worded(clean, p, i, w, nested=False, run_variance=noise)).value)
        shaken.append(wording_score(Worded(whims, p, i, w, nested=False, run_variance=noise)).value)
    assert np.mean(steady) == pytest.approx(1 / 1.5, abs=0.03)
    assert np.mean(shaken) == pytest.approx(1 / 2.5, abs=0.05)


def test_rounding_between_batches_of_nobody_is_no_dependence():
    rng = np.random.default_rng(14)
    p, i = (v.ravel() for v in np.meshgrid(range(P), range(ITEMS), indexing="ij"))

    def exact(spread):
        mean = 0.5 + spread * rng.normal(size=len(p))
        return ArmAnswers(mean, p, i, None, np.stack([1 - mean, mean], axis=1), mean * (1 - mean))

    given = {"persona": exact(0.1), "none": exact(1e-7), "random-text": exact(0.01), "shuffled": exact(0.05)}
    assert panel_reading(given).tables["verdict"]["state"] == "supported"
    given["none"] = exact(0.05)
    assert panel_reading(given).tables["verdict"]["state"] == "no verdict"


def test_attributes_that_mean_nothing_are_no_stereotype_however_few_the_people():
    """Labels dealt at random explain a part of few people and little of many; neither is stereotyping."""
    rng = np.random.default_rng(15)

    def labelled(answers, people, kinds=6):
        kind = rng.integers(0, kinds, people).astype(str)
        return ArmAnswers(**{**fields(answers), "attributes": {"town": kind[[int(x[1:]) for x in answers.persona]]}})

    values = []
    for _ in range(12):
        given = arms(rng, persona=1.0) | {"persona": labelled(arm(rng, persona=1.0), P)}
        human = labelled(arm(rng, persona=1.0, people=120), 120)
        questions = panel_reading(given, human=human).tables["verdict"]["questions"]
        values.append(next(q["value"] for q in questions if q["question"] == "Q3"))
    assert abs(np.mean(values)) < 0.06  # without the part of chance it is about .14
