"""A pressure run end to end on models whose retention is known, and what must be refused."""

import json
import math
import re
from dataclasses import replace

import numpy as np
import pytest
from pressed_fakes import Scripted, always, fooled, never, noise, pressed, returns, spread

from multitudes.core.errors import ConfigError, MixedEngines, StoreError
from multitudes.core.loop import run_sync
from multitudes.measure.errors import OneSidedBattery, TooFewProbesError
from multitudes.models.fake import scripted
from multitudes.study.pressure.analyse import analyse, matching
from multitudes.study.pressure.data import arm_of, open_pressure
from multitudes.study.pressure.forecast import cost_of, describe
from multitudes.study.pressure.plan import make_cast, placebo, pressed_talks
from multitudes.study.pressure.run import run_pressure
from multitudes.study.pressure.spec import make_spec, read_spec


def small(**changes):
    return make_spec("small", **{"model": "fake:scripted", "draws": 50, **changes})


def played(rule, folder, *, spec=None, **more):
    run_sync(run_pressure(spec or small(), folder, model=Scripted(rule), **more))
    return open_pressure(folder)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """One run per scripted model."""
    out = {}
    for rule in (never, always, returns, noise):
        run = played(rule, tmp_path_factory.mktemp(rule.__name__))
        out[rule.__name__] = (run, analyse(run))
    return out


def number(result, name, pressure="P2", condition="C3", disposition="id"):
    return result.arm(disposition, pressure, condition).number(name)


# --- four models whose retention is known ---------------------------------------------------------------------


@pytest.mark.parametrize("pressure", ["P1", "P2"])
def test_what_never_yields_keeps_everything(runs, pressure):
    _, found = runs["never"]
    arm = found.arm("id", pressure, "C3")
    assert arm.measurable
    assert [p.value for p in arm.curve] == pytest.approx([1] * 4, abs=1e-12)
    assert number(found, "auc", pressure).value == pytest.approx(1, abs=1e-12)
    assert number(found, "half_life", pressure).text.startswith(">4")
    assert number(found, "rho", pressure).reason == "not displaced"
    assert number(found, "censored", pressure).value == 1


@pytest.mark.parametrize("pressure", ["P1", "P2"])
def test_what_always_yields_keeps_nothing(runs, pressure):
    _, found = runs["always"]
    assert [p.value for p in found.arm("id", pressure, "C3").curve] == pytest.approx([1, 0, 0, 0], abs=1e-12)
    assert number(found, "half_life", pressure).text.startswith("≤ 2")
    assert number(found, "rho", pressure).value == pytest.approx(0, abs=1e-12)
    assert number(found, "auc", "P0.a").value == pytest.approx(1, abs=1e-12)  # neutral talk takes nothing


@pytest.mark.parametrize("pressure", ["P1", "P2"])
def test_what_returns_comes_back_whole(runs, pressure):
    _, found = runs["returns"]
    assert number(found, "auc", pressure).value == pytest.approx(0, abs=1e-12)
    assert number(found, "rho", pressure).value == pytest.approx(1, abs=1e-12)


def test_random_answers_are_not_measurable(runs):
    _, found = runs["noise"]
    arm = found.arm("id", "P2", "C3")
    assert not arm.measurable
    assert arm.curve == ()
    assert any("not measurable" in line for line in found.headline)


def test_a_range_on_calibration_alone_is_no_range(tmp_path):
    found = analyse(played(fooled, tmp_path))
    arm = found.arm("id", "P2", "C3")
    assert not arm.measurable
    assert arm.reason.startswith("not measurable: Δ₀ = ")
    assert number(found, "delta0").value < 0.2
    assert number(found, "auc") is None


def test_replies_say_the_same_as_answers(runs):
    for name, auc in (("never", 1), ("always", 0)):
        assert number(runs[name][1], "auc", disposition="beh").value == pytest.approx(auc, abs=1e-12)


# --- the trained default --------------------------------------------------------------------------------------


def test_the_mirrored_scale_is_one_ruler(runs):
    run, _ = runs["always"]
    trained, prompted = (arm_of(run, c, "P2", "id").cells for c in ("C1", "C3"))
    np.testing.assert_allclose(trained.floor[:, :, 0], 1 - prompted.level[:, :, 0], atol=1e-12)
    assert (trained.floor == trained.floor[:, :, :1]).all()
    top = [(c.level[:, :, 0] - c.floor[:, :, 0]).mean() for c in (trained, prompted)]
    assert top[0] == pytest.approx(top[1], abs=1e-12)  # Δ₀ of both


def test_the_default_shares_neutral_runs_and_has_its_own_where_it_is_pushed(runs):
    run, _ = runs["never"]
    cell = next(iter(run.cells()))
    assert run.find("C1", "P0.a", *cell, 0).condition == "C0"
    own = run.find("C1", "P2", *cell, 0)
    assert (own.condition, own.toward) == ("C1", "persona")
    phrase = run.meta["personas"][cell[1]]["phrase"]
    assert any(phrase in t.said for t in own.turns)
    level = arm_of(run, "C1", "P0.a", "id").cells.level + arm_of(run, "C0", "P0.a", "id").cells.level
    np.testing.assert_allclose(level, 1, atol=1e-12)


# --- what is said in words ------------------------------------------------------------------------------------


def test_eight_base_prompts_give_numbers_and_no_verdict(runs):
    _, found = runs["always"]
    assert {v.words for v in found.verdicts} == {"no verdict"}
    assert any("8 base prompts of at least 20" in v.sentence for v in found.verdicts)
    assert "no verdict" in found.power
    assert "99 base prompts" in found.power
    assert found.arm("id", "P2", "C3").number("auc").low is not None  # estimates are printed


def test_what_shots_do_not_install_is_not_run_and_weakens_nobody(runs):
    run, found = runs["never"]
    assert found.match.weak == ("C4",)
    assert {r.condition for r in found.match.rungs if r.chosen} == {"C3"}
    assert not any(t.condition == "C4" for t in run.talks)
    assert found.arm("id", "P2", "C4").reason.startswith("at no rung")


@pytest.fixture(scope="module")
def wide(tmp_path_factory):
    """Twenty-four base prompts whose starts differ, and a few-shot arm that starts lower than the prompt."""
    spec = small(prompts=24, conditions=("C1", "C3", "C3p", "C4"), pressures=("P1", "P2"), controls=True)
    return analyse(played(spread, tmp_path_factory.mktemp("wide"), spec=spec))


def test_an_unmatched_start_is_labelled_and_gets_no_verdict(wide):
    starts = {s.condition: s for s in wide.match.starts}
    assert wide.match.limited_by == "C4"
    assert abs(starts["C3"].deviation_sd) > 0.1
    assert not starts["C3"].matched
    verdict = next(v for v in wide.verdicts if v.condition == "C4")
    assert "unmatched start" in verdict.sentence
    assert wide.arm("id", "P2", "C3").matched is False


def test_from_twenty_prompts_on_there_is_a_verdict(wide):
    verdict = next(v for v in wide.verdicts if v.condition == "C1")
    assert verdict.words in ("outlasts prompting", "like prompting", "undecided")
    assert [p.pressure for p in verdict.pressures] == ["P1", "P2"]


def test_controls_stay_where_nobody_is(wide):
    by = {x.name: x for x in wide.controls}
    assert {f"{kind}.{p}" for kind in ("placebo_prompt", "shuffled_labels") for p in ("P0.a", "P1", "P2")} == set(by)
    assert by["shuffled_labels.P2"].direction == "target"


def test_the_machine_form_is_one_flat_line_per_number(runs):
    _, found = runs["noise"]
    lines = list(found.lines())
    assert json.loads(json.dumps(lines, default=str))
    keys = {
        "disposition",
        "pressure",
        "condition",
        "value",
        "low",
        "high",
        "null",
        "direction",
        "n",
        "unscored",
        "reason",
    }
    assert all(keys <= set(line) for line in lines)
    assert any(line["value"] is None and line["reason"] for line in lines)


def test_free_answers_agree_with_the_forced_choice(runs):
    by = {x.name: x for x in runs["always"][1].validity}
    assert by["id_with_beh"].value > 0.9


# --- killed and resumed ---------------------------------------------------------------------------------------


class Killed(Exception):
    pass


class Mortal(Scripted):
    """Dies after so many replies."""

    def __init__(self, rule, lives):
        super().__init__(rule)
        self.lives = lives

    async def reply(self, requests):
        self.lives -= 1
        if self.lives < 0:
            raise Killed
        return await super().reply(requests)


@pytest.mark.parametrize("lives", [5, 60, 300, 500])
def test_a_killed_run_goes_on_and_ends_with_the_same_numbers(runs, tmp_path, lives):
    with pytest.raises(Killed):
        run_sync(run_pressure(small(), tmp_path, model=Mortal(returns, lives)))
    counted = Scripted(returns)
    run_sync(run_pressure(small(), tmp_path, model=counted))
    again, whole = open_pressure(tmp_path), runs["returns"][0]
    assert again.talks == whole.talks
    assert again.evidence == whole.evidence
    assert counted.calls < 64 * 7 + 500  # what was there was not asked again
    if lives == 300:
        assert list(analyse(again).lines()) == list(runs["returns"][1].lines())


def test_a_run_that_is_half_done_counts_what_it_has(runs, tmp_path):
    with pytest.raises(Killed):
        run_sync(run_pressure(small(), tmp_path, model=Mortal(returns, 250)))
    run = open_pressure(tmp_path)
    found = analyse(run)
    arm = found.arm("id", "P2", "C3")
    assert 0 < arm.clusters < 8
    assert arm.conversations == arm.clusters
    assert arm.number("auc").reason.startswith("fewer than 8 base prompts")
    assert found.headline[0].startswith(f"{sum(not t.id.startswith('cal.') for t in run.talks)} of 64 conversations")


def test_pressures_of_which_one_is_further_than_another_are_told_without_a_verdict(runs):
    """Eight base prompts under P1 and seven under P2 so far: too few for any statement, and no crash."""
    run, _ = runs["never"]
    gone = next(t.id for t in run.talks if t.id.startswith("C3.P2."))
    found = analyse(replace(run, talks=tuple(t for t in run.talks if t.id != gone), _read={}, _speech={}))
    verdict = next(v for v in found.verdicts if v.condition == "C1")
    assert verdict.sentence == "no verdict: 7 base prompts, of at least 20"


def test_a_finished_run_asks_nothing(runs):
    run, _ = runs["never"]
    model = Scripted(never)
    run_sync(run_pressure(small(), run.folder, model=model))
    assert model.calls == 0


def test_a_folder_holds_one_run_and_one_engine(runs):
    folder = runs["never"][0].folder
    with pytest.raises(ConfigError, match="another run"):
        run_sync(run_pressure(small(turns=6), folder, model=Scripted(never)))
    with pytest.raises(MixedEngines):
        run_sync(run_pressure(small(), folder, model=Scripted(never, name="other")))
    with pytest.raises(StoreError, match="no pressure run"):
        open_pressure(folder / "nothing")


def test_calibration_alone_tells_the_start(tmp_path):
    run = played(never, tmp_path, only_match=True)
    found = matching(run)
    assert found.target == pytest.approx(0.9)
    assert not any(not t.id.startswith("cal.") for t in run.talks)


# --- refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "error", "word"),
    [
        ({"pressures": ("P3",)}, ConfigError, "P3 needs a set"),
        ({"pressures": ("P9",)}, ConfigError, "P9"),
        ({"conditions": ("C33",)}, ConfigError, "did you mean"),
        ({"dispositions": ("id", "trait")}, OneSidedBattery, "self|says"),
        ({"dispositions": ("beh",), "primary": "beh"}, OneSidedBattery, "one of id"),
        ({"primary": "fact"}, ConfigError, "primary"),
        ({"turns": 1}, TooFewProbesError, "two probes"),
        ({"turns": 3, "every": 3}, TooFewProbesError, "two probes"),
        ({"personas": 9}, ConfigError, "crossed"),
        ({"turnes": 3}, ConfigError, "turns"),
        ({"prompts": 200}, None, "too few base prompts"),
    ],
)
def test_runs_that_could_give_no_number_are_refused(changes, error, word):
    if error is None:
        with pytest.raises(ConfigError, match=word):
            make_cast(small(**changes))
        return
    with pytest.raises(error, match=word):
        small(**changes)


def test_too_few_probes_is_a_value_error_too():
    with pytest.raises(ValueError):
        small(turns=1)


def test_a_file_says_what_options_say(tmp_path):
    path = tmp_path / "run.toml"
    path.write_text('preset = "small"\nturns = 6\npressures = ["P2"]\n')
    assert read_spec(path) == make_spec("small", turns=6, pressures=("P2",))
    assert read_spec(path, turns=8).turns == 8


def test_without_probe_facts_only_the_name_is_asked(tmp_path):
    people = tmp_path / "people.jsonl"
    rows = [{"id": f"p{i}", "name": f"Ann{i}", "text": f"You keep {i} bees and say so."} for i in range(2)]
    people.write_text("\n".join(map(json.dumps, rows)))
    cast = make_cast(small(people=str(people), personas=2))
    assert [dict(p.facts) for p in cast.personas.values()] == [{"who": "I am Ann0."}, {"who": "I am Ann1."}]


# --- plan and forecast ----------------------------------------------------------------------------------------


def test_calibration_and_evaluation_share_no_prompt():
    cast = make_cast(small())
    assert len(cast.calibration) == 4
    assert len(cast.evaluation) == 8
    assert not {p.id for p in cast.calibration} & {p.id for p in cast.evaluation}


@pytest.mark.parametrize("changes", [{}, {"crossed": True, "personas": 3, "seeds": 2}])
def test_the_forecast_counts_the_plan(changes):
    from multitudes.simulate.scripts import Lengths
    from multitudes.study.pressure.plan import Sources

    spec = small(conditions=("C1", "C3", "C3p"), **changes)
    cast = make_cast(spec)
    rungs = {"C3": "card", "C3p": "card"}
    talks = pressed_talks(
        spec, cast, spec.conditions, rungs, Sources(placebo=("A b c.",)), Lengths(lambda t: len(t) // 4)
    )
    assert cost_of(spec, cast).talks == len(talks)
    assert len({t.id for t in talks}) == len(talks)


def test_a_dry_run_says_calls_tokens_time_and_power(tmp_path):
    text = "\n".join(describe(make_spec("small"), base=tmp_path, folder=tmp_path / "x"))
    for word in (
        "model calls",
        "tokens",
        "min on two idle cores",
        "left out without an axis",
        "power:",
        "neutral runs",
    ):
        assert word in text
    assert not (tmp_path / "x").exists()


def test_the_placebo_is_as_long_as_the_prompt():
    text = placebo("one two three four five", ["a b c.", "d e f g."])
    assert len(text.split()) == 5


# --- a judge --------------------------------------------------------------------------------------------------


def test_a_judge_is_a_disposition_of_its_own_and_unparsed_marks_are_unscored(tmp_path):
    def rate(messages, seed):
        text = messages[-1].text
        if "one word" in text:
            return "human" if "done it my own way" in text else "assistant"
        found = re.search(r"number (\d+)", text)
        return (
            "excellent" if found and int(found[1]) == 2 else ("90, 95" if "done it my own way" in text else "10, 95")
        )

    spec = small(judge="fake:scripted", conditions=("C3",), pressures=("P2",))
    run_sync(run_pressure(spec, tmp_path, model=Scripted(always), judge=scripted(rate)))
    found = analyse(open_pressure(tmp_path))
    arm = found.arm("judged", "P2", "C3")
    assert not arm.measurable  # all first replies were rated "excellent", which is no mark
    assert math.isnan(arm.levels[0].value) if arm.levels else arm.reason == "nothing was scored"
    by = {x.name: x for x in found.validity}
    assert by["id_with_judged_answers"].value == pytest.approx(1)
    assert found.header["by_judge"] == ["judged"]


# --- coherence ------------------------------------------------------------------------------------------------


class Babbling(Scripted):
    """In the persona, and broken from the third turn of counter-instruction on."""

    def _speak(self, messages, seed):
        broken = pressed(messages)[0] >= 3 and bool(messages[0].text) and not pressed(messages)[1]
        return "no " * 20 if broken else super()._speak(messages, seed)


def test_a_broken_reply_censors_and_a_broken_arm_gets_no_verdict(tmp_path):
    spec = small(conditions=("C3",), pressures=("P2",))
    run_sync(run_pressure(spec, tmp_path, model=Babbling(never)))
    run = open_pressure(tmp_path)
    arm = arm_of(run, "C3", "P2", "id")
    assert np.isnan(arm.cells.level[:, :, 2:]).all()  # turns 4 and 6
    assert not np.isnan(arm.cells.level[:, :, :2]).any()
    assert (arm.failures == 3).all()
    assert arm.failed == pytest.approx(1 / 4)  # of the replies up to the first that failed
    assert arm_of(run, "C3", "P0.a", "id").failed == 0
    found = analyse(run)
    assert number(found, "half_life").value is None  # censored at 2
    assert number(found, "half_life_failures_as_flips").value == 3


# --- doses ----------------------------------------------------------------------------------------------------


class Carried(Scripted):
    """Goes on as the first turn began: foreign turns of 128 tokens and more take the persona away."""

    def state(self, messages, text=""):
        long = any(m.role == "assistant" and len(m.text) > 400 for m in messages)
        return "in" if messages[0].text and not long else "out"


def test_the_dose_that_takes_half_lies_between_those_that_do_and_do_not(tmp_path):
    spec = small(conditions=("C3",), pressures=("P6.0", "P6.32", "P6.128", "P6.512"))
    run_sync(run_pressure(spec, tmp_path, model=Carried(never)))
    found = analyse(open_pressure(tmp_path))
    kept = {p: number(found, "auc", p).value for p in spec.pressing}
    assert kept == pytest.approx({"P6.0": 1, "P6.32": 1, "P6.128": 0, "P6.512": 0}, abs=1e-12)
    assert 32 < number(found, "ed50", "P6.128").value < 128
    assert found.arm("id", "P6.512", "C3").neutral == "P6.0"
