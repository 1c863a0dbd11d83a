"""Refused answers: the verdict is the least favourable one over the ways to take them, and its sentence says so."""

from dataclasses import replace

import numpy as np
import pytest

from multitudes.measure.variance.answers import ArmAnswers
from multitudes.measure.variance.components import spreads
from multitudes.measure.variance.missing import completions
from multitudes.measure.variance.panel import panel_reading
from multitudes.measure.variance.refusals import take_refusals

P, ITEMS, R, K = 25, 12, 2, 5
ORDER = {"no verdict": 0, "not supported": 1, "underpowered": 2, "supported": 3}
REVERSED = np.arange(ITEMS) % 3 == 0


def arm(rng, *, persona=0.0, interaction=0.0, people=P):
    """Five labels cut from a normal score; on every third item the first label is the high end."""
    p, i, r = (x.ravel() for x in np.meshgrid(range(people), range(ITEMS), range(R), indexing="ij"))
    y = persona * rng.normal(size=people)[p] + interaction * rng.normal(size=(people, ITEMS))[p, i]
    y = y + rng.normal(size=ITEMS)[i] + rng.normal(size=len(p))
    step = np.digitize(y, [-1.2, -0.4, 0.4, 1.2])
    label = np.where(REVERSED[i], K - 1 - step, step)
    return ArmAnswers(step / (K - 1), np.char.add("p", p.astype(str)), i, r, np.eye(K)[label], ends=(0.0, 1.0))


def study(seed, **persona):
    rng = np.random.default_rng(seed)
    return {"persona": arm(rng, **persona), **{name: arm(rng) for name in ("none", "random-text", "shuffled")}}


def refuse(answers, gone):
    return replace(
        answers,
        score=np.where(gone, np.nan, answers.score) if answers.score.ndim == 1 else
        np.where(gone[:, None], np.nan, answers.score),
        probs=None if answers.probs is None else np.where(gone[:, None], np.nan, answers.probs),
    )  # fmt: skip


def shy(answers, *, who=8, share=0.7, seed=5):
    """Some people leave out most of their answers, whatever they would be."""
    names = [f"p{k}" for k in range(who)]
    return np.isin(answers.persona, names) & (np.random.default_rng(seed).random(len(answers.item)) < share)


def by_hand(answers, name):
    """The same answers with the missing ones filled in, as whoever gave them had said so."""
    gone = np.isnan(answers.score)
    filled = completions(answers.score, answers.persona, answers.item, low=0, high=1)[name]
    probs = answers.probs.copy()
    if name != "item_mean":
        step = np.round(filled * (K - 1)).astype(int)
        probs[gone] = np.eye(K)[np.where(REVERSED[answers.item], K - 1 - step, step)][gone]
    return replace(answers, score=filled, probs=probs)


def verdict(arms, **kwargs):
    return panel_reading(arms, **kwargs).tables["verdict"]


WAYS = ("minimum", "maximum", "nearer_extreme", "item_mean")


@pytest.mark.parametrize("signal", [0.35, 0.5, 0.9])
def test_the_verdict_is_the_least_favourable_of_those_that_each_way_would_get(signal):
    given = study(1, persona=signal, interaction=signal)
    human = arm(np.random.default_rng(2), persona=0.7, interaction=0.7, people=60)
    given["persona"] = refuse(given["persona"], shy(given["persona"]))
    human = refuse(human, shy(human, who=20))
    found = verdict(given, human=human)
    for way, name in zip(take_refusals(given, human, seed=0, draws=99).ways[1:], WAYS, strict=True):
        for side, before in ((way.arms["persona"], given["persona"]), (way.human, human)):
            assert side.score == pytest.approx(by_hand(before, name).score)
            assert np.array_equal(side.probs, by_hand(before, name).probs, equal_nan=True)
        filled = {**given, "persona": by_hand(given["persona"], name)}
        alone = verdict(filled, human=by_hand(human, name))
        assert "ways" not in alone
        assert found["ways"][name] == alone["state"], name
        if found["taken"] == name:
            assert found["questions"][:3] == alone["questions"][:3]
            if name != "item_mean":  # there an item's distribution stays as it was
                assert found["questions"] == alone["questions"]
    assert found["state"] == min(found["ways"].values(), key=ORDER.get)
    assert found["ways"][found["taken"]] == found["state"]
    assert set(found["ways"]) == {"observed", *WAYS}


def test_what_was_supported_as_observed_is_not_if_one_way_says_otherwise_and_the_sentence_names_it():
    given = study(4, persona=0.4, interaction=0.4)
    whole = verdict(given)
    given["persona"] = refuse(given["persona"], shy(given["persona"], who=12, share=0.3))
    found = verdict(given)
    assert whole["state"] == found["ways"]["observed"] == "supported"
    assert found["state"] == "underpowered"
    assert found["taken"] == "maximum"
    assert found["sentence"].startswith("Underpowered: the data cannot tell")
    assert (
        "% of the answers are missing, and this is the least favourable of 5 ways to take them (" in found["sentence"]
    )
    assert found["sentence"].endswith("(all at the highest end of the scale).")
    lines = [x for x in found["lines"] if x.startswith("missing answers")]
    assert len(lines) == 1 + 5
    assert "persona " in lines[0]
    assert "scale from 0 to 1" in lines[0]


def test_a_strong_panel_is_supported_whatever_its_shy_people_would_have_said():
    given = study(4, persona=1.5, interaction=1.5)
    given["persona"] = refuse(given["persona"], shy(given["persona"], who=4, share=0.3))
    found = verdict(given)
    assert set(found["ways"].values()) == {"supported"}
    assert found["state"] == "supported"
    assert "least favourable of 5 ways" in found["sentence"]


def test_few_accidents_need_no_bounds_and_are_counted():
    given = study(5, persona=1.0)
    chance = np.zeros(P * ITEMS * R, dtype=bool)
    chance[::97] = True
    given["persona"] = refuse(given["persona"], chance)
    found = verdict(given)
    assert "ways" not in found
    assert "ways to take" not in found["sentence"]
    assert [x for x in found["lines"] if x.startswith("missing answers: persona 7 of 600")]


def test_a_placebo_that_refuses_calls_for_bounds_and_the_arm_of_nobody_does_not():
    given = study(6, persona=1.0)
    alone = {**given, "none": refuse(given["none"], shy(given["none"]))}
    assert "ways" not in verdict(alone)
    both = {**alone, "random-text": refuse(given["random-text"], shy(given["random-text"]))}
    ways = take_refusals(both, None, seed=0, draws=99).ways
    assert [w.name for w in ways] == ["observed", *WAYS]
    assert all(not np.isnan(w.arms["random-text"].score).any() for w in ways[1:])
    assert all(np.isnan(w.arms["none"].score).any() for w in ways)
    assert all(w.arms["persona"] is given["persona"] for w in ways)


def test_what_a_server_lost_nobody_refused():
    given = study(7, persona=1.0)
    gone = shy(given["persona"])
    lost = {**given, "persona": replace(refuse(given["persona"], gone), lost=gone)}
    reading = panel_reading(lost)
    assert "ways" not in reading.tables["verdict"]
    assert "p_refusal" not in {s.name for s in reading.scores}
    some = gone & (np.arange(len(gone)) % 2 == 0)
    half = {**given, "persona": replace(refuse(given["persona"], gone), lost=some)}
    ways = take_refusals(half, None, seed=0, draws=99).ways
    assert np.isnan(ways[1].arms["persona"].score).tolist() == some.tolist()


def test_bounds_reach_the_ends_of_the_scale_and_say_where_those_come_from():
    given = study(8, persona=1.0)
    gone = shy(given["persona"])
    middle = {name: replace(a, score=0.25 + a.score / 2, probs=None, ends=None) for name, a in given.items()}
    middle["persona"] = refuse(middle["persona"], gone)
    observed = take_refusals(middle, None, seed=0, draws=99)
    assert np.nanmax(observed.ways[2].arms["persona"].score) == pytest.approx(0.75)
    assert "nobody gave its ends" in observed.scale
    wide = {name: replace(a, ends=(0.0, 1.0)) for name, a in middle.items()}
    told = take_refusals(wide, None, seed=0, draws=99)
    assert np.max(told.ways[2].arms["persona"].score) == 1.0
    assert np.min(told.ways[1].arms["persona"].score) == 0.0
    assert told.scale == "scale from 0 to 1"
    bound = {s.name: s for s in panel_reading(wide).scores}["icc_within_bound"]
    icc = {w.said: float(spreads(w.arms["persona"].cells()).icc_within) for w in told.ways}
    assert bound.value == min(icc.values())
    assert f"worst: {min(icc, key=icc.get)}; scale from 0 to 1" in bound.note


def nominal(rng, persona=0.0, people=P):
    """Three unordered options; with ``persona`` near 1 people repeat themselves."""
    p, i, r = (x.ravel() for x in np.meshgrid(range(people), range(ITEMS), range(R), indexing="ij"))
    own = rng.integers(0, 3, (people, ITEMS))[p, i]
    said = np.where(rng.random(len(p)) < persona, own, rng.integers(0, 3, len(p)))
    rows = np.eye(3)[said]
    return ArmAnswers(
        rows, np.char.add("p", p.astype(str)), i, r, rows, ordered=False, options=("red", "green", "blue")
    )


def test_refused_options_are_a_category_or_any_option():
    rng = np.random.default_rng(9)
    given = {"persona": nominal(rng, 0.8), **{k: nominal(rng) for k in ("none", "random-text", "shuffled")}}
    given["persona"] = refuse(given["persona"], gone := shy(given["persona"]))
    human = nominal(rng, 0.6, people=50)
    found = verdict(given, human=human)
    ours = given["persona"]
    assert list(found["ways"]) == ["observed", "own_category", "own_commonest", "all_1", "all_2", "all_3"]
    for j in range(3):
        rows = np.where(gone[:, None], np.eye(3)[j], ours.score)
        filled = {**given, "persona": replace(ours, score=rows, probs=rows)}
        assert found["ways"][f"all_{j + 1}"] == verdict(filled, human=human)["state"]
    wide = {}
    for name, a in {**given, "human": human}.items():
        rows = np.hstack([a.score, np.zeros((len(a.score), 1))])
        rows[np.isnan(a.score).any(axis=1)] = [0, 0, 0, 1]
        wide[name] = replace(a, score=rows, probs=rows)
    assert found["ways"]["own_category"] == verdict(wide, human=wide.pop("human"))["state"]
    way = next(w for w in take_refusals(given, human, seed=0, draws=99).ways if w.name == "own_commonest")
    for who in ("p0", "p3"):
        mine = (ours.persona == who) & ~gone
        best = ours.score[mine].sum(axis=0).argmax()
        assert (way.arms["persona"].score[(ours.persona == who) & gone].argmax(axis=1) == best).all()
    assert any("all of them 'green'" in line for line in found["lines"])


def test_who_refuses_what_is_information_about_the_persona():
    """Answers are dice, but half of the people never answer some of the items, and the other half others."""
    rng = np.random.default_rng(10)
    given = arm(rng)
    odd = np.array([int(x[1:]) % 2 for x in given.persona])
    silent = refuse(given, given.item // 5 == odd)
    scores = {s.name: s for s in panel_reading({"persona": silent}, quick=True).scores}
    assert scores["pir"].value > 0.3
    assert "250 refused answers are an option of their own" in scores["pir"].note
    assert {s.name: s for s in panel_reading({"persona": given}, quick=True).scores}["pir"].value < 0.1


def test_a_way_that_allows_no_verdict_leaves_none():
    """People never gave a second answer: filled in all alike, their repeats have no noise ratio."""
    given = study(11, persona=1.5, interaction=1.5)
    human = arm(np.random.default_rng(12), persona=0.7, interaction=0.7, people=12)
    human = replace(human, score=np.where(human.run == 0, human.score, np.nan), probs=None)
    found = verdict(given, human=human)
    assert found["ways"]["observed"] == "supported"
    assert found["ways"]["minimum"] == found["state"] == "no verdict"
    assert "give no noise ratio with an interval; " in found["sentence"]
    assert "(all at the lowest end of the scale)." in found["sentence"]


def test_mass_off_the_options_is_said():
    rng = np.random.default_rng(13)
    p, i = (x.ravel() for x in np.meshgrid(range(6), range(5), indexing="ij"))
    probs = rng.dirichlet(np.ones(3), len(p))
    x = np.linspace(0, 1, 3)
    mean = probs @ x

    def read(mass):
        answers = ArmAnswers(mean, p, i, None, probs, probs @ x**2 - mean**2, mass=np.full(len(p), mass))
        return {s.name: s for s in panel_reading({"persona": answers}, quick=True).scores}["option_mass"]

    assert read(0.97).note == ""
    assert "OptionMassWarning: 20%" in read(0.8).note
    assert "what little is left" in read(0.2).note
    assert read(0.2).value == pytest.approx(0.2)


def test_an_arm_that_refused_everything_and_answers_that_are_all_equal_need_no_filling():
    given = study(14, persona=1.0)
    given["persona"] = refuse(given["persona"], shy(given["persona"]))
    mute = {**given, "random-text": refuse(given["random-text"], np.ones(P * ITEMS * R, dtype=bool))}
    assert verdict(mute)["state"] == "no verdict"
    flat = {k: replace(a, score=np.where(a.scored, 0.5, np.nan), probs=None, ends=None) for k, a in given.items()}
    found = verdict(flat)
    assert found["state"] == "no verdict"
    assert any("the scale has no length" in line for line in found["lines"])
