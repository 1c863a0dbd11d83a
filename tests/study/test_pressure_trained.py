"""Condition C2, personas in the weights, in a pressure run: trained or given, resumed, and told apart."""

import json
import shutil
from dataclasses import replace

import pytest
from pressed_fakes import Scripted, spread

pytest.importorskip("torch")

from multitudes.core.errors import AdapterMismatch, ConfigError, MissingExtra, MixedEngines
from multitudes.core.loop import run_sync
from multitudes.models.base import ADAPTED
from multitudes.models.fake import scripted
from multitudes.models.load import load
from multitudes.models.local.adapter import CARD
from multitudes.report.pressure import write_pressure
from multitudes.study.pressure.analyse import Samples, _verdict, analyse, matching
from multitudes.study.pressure.calibrate import _ladders
from multitudes.study.pressure.data import arm_of, open_pressure
from multitudes.study.pressure.forecast import cost_of, describe, trained_tokens
from multitudes.study.pressure.plan import make_cast
from multitudes.study.pressure.run import run_pressure
from multitudes.study.pressure.spec import make_spec

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")

TINY = {
    "model": "fake:tiny", "personas": 2, "prompts": 2, "turns": 2, "every": 1, "recovery": 1, "max_tokens": 8,
    "conditions": ("C2",), "pressures": ("P2",), "draws": 50, "answers": 8, "epochs": 2, "free_answers": False,
    "keep_weak": True, "dispositions": ("id", "style"), "primary": "style",
}  # fmt: skip


def tiny(**changes):
    return make_spec("small", **{**TINY, **changes})


@pytest.fixture(autouse=True)
def _babble_is_speech(monkeypatch):
    monkeypatch.setattr("multitudes.train.distil.why_incoherent", lambda tokens: "")


def pressed(spec, folder, **more):
    run_sync(run_pressure(spec, folder, **more))
    return open_pressure(folder)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    pytest.importorskip("trl")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("multitudes.train.distil.why_incoherent", lambda tokens: "")
        return pressed(tiny(), tmp_path_factory.mktemp("run"))


# --- what is asked for ------------------------------------------------------------------------------------------


def test_runs_without_c2_have_the_hash_they_had():
    assert make_spec("small").hash.startswith("a14f7400fd4a5baa")
    assert make_spec("full", conditions=("C1", "C4")).hash.startswith("f41a2bff4ed92089")
    assert make_spec("full").hash.startswith("a674484971f31c8e")  # training is asked for by name
    plain = make_spec("small")
    assert make_spec("small", answers=60, epochs=2, c2_rungs=("final",)).hash == plain.hash
    trained = make_spec("small", conditions=("C2",))
    assert trained.hash != make_spec("small", conditions=()).hash
    assert trained.hash != make_spec("small", conditions=("C2",), answers=60).hash


def test_the_ladder_is_what_training_keeps_and_the_last_rung_of_what_is_given():
    assert tiny(epochs=3).adapter_rungs == ("epoch-1", "epoch-2", "final")
    assert tiny(adapters="x").adapter_rungs == ("final",)
    assert tiny(adapters="x", c2_rungs=("epoch-1", "final")).adapter_rungs == ("epoch-1", "final")
    with pytest.raises(ConfigError, match="epoch-9"):
        tiny(c2_rungs=("epoch-9",))


def test_the_forecast_tells_what_is_trained(tmp_path):
    spec = tiny()
    cast = make_cast(spec)
    lines = "\n".join(describe(spec, base=tmp_path, folder=tmp_path))
    assert "2 trained for C2 on 8 answers each, 2 epochs" in lines
    assert trained_tokens(spec, cast) > 0
    given = tiny(adapters="x", c2_rungs=("epoch-1", "final"))
    assert trained_tokens(given, cast) == 0
    assert cost_of(spec, cast).replies - cost_of(given, cast).replies == 2 * 8


# --- what a run does --------------------------------------------------------------------------------------------


def test_every_persona_is_pressed_under_its_own_adapter(run):
    talks = {t.id: t for t in run.talks}
    engines = {}
    for t in run.talks:
        trained = t.condition.partition("@")[0] == "C2"
        assert (ADAPTED in t.engine) == trained, t.id
        assert t.engine.partition(ADAPTED)[0] == load("fake:tiny").info.fingerprint
        if trained and not t.id.startswith("cal."):
            engines.setdefault(t.personas[0], set()).add(t.engine)
            twin = talks[t.id.replace("C2.", "C3.", 1)]
            assert [x.said for x in t.turns] == [x.said for x in twin.turns]  # the same messages meet every condition
            assert t.seed_status == "honoured"
    assert [len(e) for e in engines.values()] == [1, 1]
    assert len(set.union(*engines.values())) == 2


def test_it_has_a_ladder_like_the_others(run):
    by = {}
    for t in run.talks:
        by.setdefault(t.condition, []).append(t)
    found = _ladders(run.spec, by, run.evidence, run.calibration.ruler)
    assert list(found["C2"]) == ["epoch-1", "final"]
    assert run.calibration.rungs["C2"] in found["C2"]


def test_the_adapters_lie_in_the_run_folder_and_are_told(run, tmp_path):
    who = list(run.meta["personas"])
    assert sorted(p.name for p in (run.folder / "adapters").iterdir()) == sorted(who)
    assert set(run.meta["adapters"]) == {f"{w}/{r}" for w in who for r in ("epoch-1", "final")}
    result = analyse(run)
    assert result.header["adapters"] == run.meta["adapters"]
    assert {a.condition for a in result.arms} >= {"C2", "C3"}
    page, _ = write_pressure(result, tmp_path)
    assert "2, trained in the run by prompt distillation" in page.read_text(encoding="utf-8")
    card = json.loads((run.folder / "adapters" / who[0] / CARD).read_text())
    assert card["base_sha256"] == load("fake:tiny").info.weights_sha256


def test_replies_are_weighed_by_the_plain_model(run):
    import asyncio

    from multitudes.models.base import Message, ScoreItem

    talk = next(t for t in run.talks if t.condition == "C2")
    context = (Message("system", ""), Message("user", talk.turns[0].said))
    scored = asyncio.run(load("fake:tiny").score([ScoreItem(context, talk.turns[0].reply)]))[0]
    found = run.evidence[talk.id]["nll"]["0"]
    assert found == pytest.approx(-scored.total / len(scored.token_logp), rel=1e-6)


def test_a_killed_run_goes_on_and_ends_with_the_same_numbers(run, tmp_path):
    class Killed(Exception):
        pass

    def stop_at(name):
        def watch(step):
            if step.name == name and step.done == 1:
                raise Killed

        return watch

    for name in ("training", "pressure"):
        with pytest.raises(Killed):
            pressed(tiny(), tmp_path / "run", watch=stop_at(name))
    assert not list((tmp_path / "run" / "adapters").glob(".*"))  # nothing half-written
    again = pressed(tiny(), tmp_path / "run")
    assert [(t.id, t.turns, t.engine) for t in again.talks] == [(t.id, t.turns, t.engine) for t in run.talks]
    assert again.meta["adapters"] == run.meta["adapters"]
    ours, theirs = ([x for t in r.talks for s in t.scores for x in (*s.own, *s.other)] for r in (again, run))
    assert len(ours) > 100
    assert ours == pytest.approx(theirs, abs=1e-9)
    ours, theirs = (r.evidence for r in (again, run))
    assert {k: v["nll"] for k, v in ours.items()} == {k: pytest.approx(v["nll"]) for k, v in theirs.items()}


# --- adapters that are given ------------------------------------------------------------------------------------


def test_given_adapters_are_used_as_they_are(run, tmp_path):
    spec = tiny(adapters=str(run.folder / "adapters"), c2_rungs=("epoch-1", "final"))
    given = pressed(spec, tmp_path / "run")
    assert not (tmp_path / "run" / "adapters").exists()
    assert given.meta["adapters"] == run.meta["adapters"]
    assert [(t.id, t.turns, t.engine) for t in given.talks] == [(t.id, t.turns, t.engine) for t in run.talks]


def test_adapters_that_changed_since_are_another_engine(run, tmp_path):
    mine = tmp_path / "mine"
    shutil.copytree(run.folder / "adapters", mine)
    spec = tiny(adapters=str(mine))
    pressed(spec, tmp_path / "run", only_match=True)
    one, other = sorted(p.name for p in mine.iterdir())
    shutil.rmtree(mine / one)
    shutil.copytree(mine / other, mine / one)
    with pytest.raises(MixedEngines, match="adapters are not those"):
        pressed(spec, tmp_path / "run")


def test_a_missing_adapter_and_another_base_are_refused_before_anything_is_asked(run, tmp_path):
    with pytest.raises(ConfigError, match="no adapter for a persona"):
        pressed(tiny(adapters=str(tmp_path)), tmp_path / "run")
    assert not (tmp_path / "run").exists()
    mine = tmp_path / "mine"
    shutil.copytree(run.folder / "adapters", mine)
    card = next(mine.glob(f"*/{CARD}"))
    card.write_text(json.dumps(json.loads(card.read_text()) | {"base_sha256": "0" * 64}))
    with pytest.raises(AdapterMismatch, match="another base"):
        pressed(tiny(adapters=str(mine)), tmp_path / "other")


# --- the verdict ------------------------------------------------------------------------------------------------


def as_condition(run, name, rung, engine):
    """The prompted arm's conversations once more, as those of another condition."""
    for t in run.talks:
        if t.condition in ("C3", "C3@card"):
            new = name if t.condition == "C3" else f"{name}@{rung}"
            yield t.model_copy(update={"id": t.id.replace(t.condition, new, 1), "condition": new, "engine": engine})


@pytest.fixture(scope="module")
def alike(tmp_path_factory):
    """A run in which trained, few-shot and prompted personas say the very same."""
    spec = make_spec("small", model="fake:scripted", draws=200, prompts=24, conditions=("C3",),
                     c3_rungs=("card",), keep_weak=True)  # fmt: skip
    run_sync(run_pressure(spec, folder := tmp_path_factory.mktemp("alike"), model=Scripted(spread)))
    run = open_pressure(folder)
    more = [*as_condition(run, "C2", "final", f"scripted{ADAPTED}x"), *as_condition(run, "C4", "4", "scripted")]
    evidence = {**run.evidence}
    for name, rung in (("C2", "final"), ("C4", "4")):
        for t in run.talks:
            if t.condition in ("C3", "C3@card"):
                new = name if t.condition == "C3" else f"{name}@{rung}"
                evidence[t.id.replace(t.condition, new, 1)] = run.evidence[t.id]
    wider = spec.model_copy(update={"conditions": ("C0", "C2", "C3", "C4"), "c4_rungs": (4,), "epochs": 1})
    meta = {**run.meta, "conditions": ["C0", "C2", "C3", "C4"]}
    return replace(run, spec=wider, meta=meta, talks=(*run.talks, *more), evidence=evidence, _read={}, _speech={})


def test_what_is_kept_as_a_trained_persona_keeps_it_is_as_trained(alike):
    samples = Samples(alike.spec)
    keys = [("id", p, c) for p in alike.spec.scripts for c in ("C2", "C3", "C4")]
    arms = {(d, p, c): arm_of(alike, c, p, d) for d, p, c in keys}
    starts = dict.fromkeys(("C2", "C3", "C4"), True)
    like = _verdict(alike, arms, "C4", starts, samples)
    assert like.sentence.startswith("like prompting, as trained")
    assert all("against trained 0.00 [0.00, 0.00]" in p.line for p in like.pressures)
    itself = _verdict(alike, arms, "C2", starts, samples)
    assert itself.sentence.startswith("like prompting")
    assert "trained" not in itself.sentence + str(itself.pressures)  # nothing is as itself
    unmatched = _verdict(alike, arms, "C4", starts | {"C2": False}, samples)
    assert "trained" not in unmatched.sentence + str(unmatched.pressures)  # another start shows nothing


def test_the_matching_ruler_is_the_trained_personas(alike):
    assert {r.condition for r in matching(alike).rungs} == {"C2", "C3", "C4"}


# --- what is refused --------------------------------------------------------------------------------------------


def test_models_that_cannot_bear_an_adapter_are_refused(tmp_path):
    pytest.importorskip("trl")
    for model in ("fake:echo", "http://host/v1#m"):
        with pytest.raises(ConfigError, match="only a local model"):
            pressed(tiny(model=model), tmp_path / "run")
    with pytest.raises(ConfigError, match="plain model"):
        pressed(tiny(model="fake:tiny+x"), tmp_path / "run")
    with pytest.raises(ConfigError, match="by name"):
        pressed(tiny(), tmp_path / "run", model=scripted(["yes"]))
    assert not (tmp_path / "run").exists()


def test_without_the_extra_nothing_is_begun(tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match="train"):
        pressed(tiny(), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_the_command_takes_lora_and_adapters(tmp_path):
    from typer.testing import CliRunner

    from multitudes.cli.main import app

    done = CliRunner().invoke(app, ["pressure", "run", "--dry-run", "--with-lora"])
    assert done.exit_code == 0, done.output
    assert "C0, C1, C2, C3, C4" in done.output
    assert "8 trained for C2" in done.output
    done = CliRunner().invoke(app, ["pressure", "run", "--dry-run", "--adapters", str(tmp_path)])
    assert "C2" in done.output
    assert "trained for C2" not in done.output
