"""A study that is read along an axis while it runs; and the commands that read transcripts and hold the domains."""

import json
from dataclasses import replace

import numpy as np
import pytest
from typer.testing import CliRunner

torch = pytest.importorskip("torch")

from multitudes.axis.artifact import save_axis  # noqa: E402
from multitudes.axis.errors import AxisMismatch, NoScale  # noqa: E402
from multitudes.axis.project import axis_id  # noqa: E402
from multitudes.cli.main import app  # noqa: E402
from multitudes.core.loop import run_sync  # noqa: E402
from multitudes.models.local.tiny import tiny_model  # noqa: E402
from multitudes.report.build import build_report  # noqa: E402
from multitudes.study.cross_read import UNVALIDATED, keep, known, validation  # noqa: E402
from multitudes.study.cross_read import cross_read as cross_read_now  # noqa: E402
from multitudes.study.data import open_run  # noqa: E402
from multitudes.study.drift import DriftSetup  # noqa: E402
from multitudes.study.export import tables  # noqa: E402
from multitudes.study.run import run_study  # noqa: E402
from multitudes.study.spec import StudySpec  # noqa: E402
from multitudes.study.store import Store  # noqa: E402
from multitudes.study.taps import neutral_of  # noqa: E402

PATIENCE = {"id": "patience", "name": "Patience", "low": "wants it at once", "high": "can wait"}


def study(simulator="fake:tiny", target="fake:tiny", *, axis="axis", **measure):
    return StudySpec.model_validate(
        {
            "schema": 1, "name": "drifting", "seed": 3,
            "population": {"context": "Customers of a bank.", "n": 3, "dimensions": [PATIENCE]},
            "models": {"simulator": simulator, "target": target, "encoder": "none"},
            "conversation": {"turns": 2, "replicates": 1, "guards": [], "max_tokens": 8, "target_max_tokens": 8},
            "scenarios": [{"id": "card", "goal": "you want your card back", "target_system": "You are a bank."}],
            "measure": {"gauges": ["drift"], "axis": axis, **measure},
        }
    )  # fmt: skip


@pytest.fixture(scope="module")
def folder(tiny_axis, tmp_path_factory):
    """A folder with an axis of the tiny model in it."""
    place = tmp_path_factory.mktemp("studies")
    save_axis(tiny_axis, place / "axis")
    return place


def go(spec, folder, out):
    return run_sync(run_study(spec, out, base=folder))


def reading(run):
    return {s.name: s for r in run.readings if r.gauge == "drift" for s in r.scores}


@pytest.fixture(scope="module")
def done(folder, tmp_path_factory):
    out = tmp_path_factory.mktemp("run")
    return go(study(), folder, out / "run")


def test_both_sides_are_projected_while_they_talk_and_stored_with_the_turn(done, tiny_axis):
    again = open_run(done.folder)
    assert len(again.conversations) == 3
    for c in again.conversations:
        assert len(c.turns) == 4
        for t in c.turns:
            assert t.inside.axis == axis_id(tiny_axis)
            assert t.inside.n_tokens <= 7
    s = reading(again)
    z = [[t.inside.z[0] for t in c.turns if t.speaker == "target"] for c in again.conversations]
    assert s["z_target"].value == pytest.approx(np.nanmean([np.nanmean(v) for v in z]))
    assert {"slope_target", "outside_target", "returned_target", "slope_user", "in_default_range_user"} <= set(s)
    assert {c.name for c in again.readings[0].curves} == {"z_target_by_turn", "z_user_by_turn"}
    page = build_report(again)
    figure = page.split('<figure id="drift"')[1].split("</figure>")[0]
    assert "Along the Assistant axis" in figure
    assert "own activations" in figure
    assert "<svg" in figure
    turns = tables(again)["turns"]
    assert turns[0]["z"] == pytest.approx(again.conversations[0].turns[0].inside.z[0], nan_ok=True)


def test_reading_a_study_changes_not_one_word_of_it(done, folder, tmp_path):
    plain = go(study(axis=None), folder, tmp_path / "plain")
    assert [[t.text for t in c.turns] for c in plain.conversations] == [
        [t.text for t in c.turns] for c in done.conversations
    ]
    assert plain.spec.hash == done.spec.hash
    assert all(t.inside is None for c in plain.conversations for t in c.turns)
    assert '"inside":null' in plain.conversations[0].model_dump_json()


def test_an_everyday_question_at_the_end_is_asked_once_and_is_part_of_no_conversation(done, folder):
    with Store(done.folder, write=False) as store:
        asked = store.get_meta("neutral")
    [answers] = asked.values()
    assert set(answers) == {c.id for c in done.conversations}
    assert "neutral_change_target" in reading(done)
    again = go(study(), folder, done.folder)
    assert again.conversations == done.conversations
    with Store(done.folder, write=False) as store:
        assert store.get_meta("neutral") == asked


def test_what_was_asked_after_other_words_does_not_count(done):
    with Store(done.folder, write=False) as store:
        asked = neutral_of(store, done.conversations)
        c = done.conversations[0]
        said = c.turns[-1].model_copy(update={"text": "quite another answer"})
        changed = c.model_copy(update={"turns": (*c.turns[:-1], said)})
        assert c.id in asked
        assert c.id not in neutral_of(store, (changed, *done.conversations[1:]))
        assert set(neutral_of(store, done.conversations[1:])) == set(asked) - {c.id}


def test_none_is_asked_where_none_is_wanted(folder, tmp_path):
    run = go(study(neutral=0), folder, tmp_path / "run")
    assert "neutral_change_target" not in reading(run)
    with Store(run.folder, write=False) as store:
        assert store.get_meta("neutral") is None


@pytest.mark.parametrize(
    ("names", "missing"),
    [(("fake:people", "fake:tiny"), "user"), (("fake:tiny", "fake:echo"), "target")],
)
def test_one_side_without_taps_is_said_to_be_not_applicable(folder, tmp_path, names, missing):
    run = go(study(*names), folder, tmp_path / "run")
    s = reading(run)
    assert s[f"z_{missing}"].value is None
    assert "no taps" in s[f"z_{missing}"].note
    other = "target" if missing == "user" else "user"
    assert s[f"slope_{other}"].value is not None
    assert all((t.inside is None) == (t.speaker == missing) for c in run.conversations for t in c.turns)


def test_studies_without_taps_or_axis_say_so_in_reading_and_report(folder, tmp_path):
    for k, spec in enumerate((study("fake:people", "fake:echo"), study(axis=None))):
        run = go(spec, folder, tmp_path / f"run{k}")
        [score] = reading(run).values()
        assert score.value is None
        assert score.note.startswith("not applicable")
        assert "Not applicable: " in build_report(run).split('id="drift"')[1].split("</figure>")[0]


def test_an_axis_of_another_model_or_without_a_scale_is_refused_before_anything_is_asked(folder, tiny_axis, tmp_path):
    foreign = replace(
        tiny_axis, axis=np.ones((3, 8), np.float32), about={"model": "another"}, mu_default=np.ones(3, np.float32),
        mu_roles=np.zeros(3, np.float32),
    )  # fmt: skip
    save_axis(foreign, folder / "foreign")
    save_axis(replace(tiny_axis, mu_default=np.full(2, np.nan, np.float32)), folder / "bare")
    for name, kind in (("foreign", AxisMismatch), ("bare", NoScale), ("nowhere", AxisMismatch)):
        with pytest.raises(kind):
            go(study(axis=name), folder, tmp_path / name)
        assert not (tmp_path / name / "report.html").exists()
    held = Store(tmp_path / "foreign", write=True)
    assert held.conversations() == []
    held.close()


def test_turns_of_another_axis_are_not_mixed_in(done, folder, tiny_axis, tmp_path):
    save_axis(replace(tiny_axis, axis=-tiny_axis.axis), folder / "turned")
    run = go(study(axis="turned"), folder, done.folder)
    [score] = reading(run).values()
    assert score.note.startswith("no turn was read")
    assert go(study(), folder, done.folder).readings == done.readings


# --- cross-reading ------------------------------------------------------------------------------------------------


def test_two_models_read_each_other_and_the_check_is_kept_with_the_readers_axis(tiny, tiny_axis, tmp_path):
    other = tiny_model(seed=1)
    other._info = replace(other.info, name="other")
    theirs = replace(
        tiny_axis, axis=np.random.default_rng(0).normal(size=(2, 48)).astype(np.float32),
        about={**tiny_axis.about, "weights_sha256": other.info.weights_sha256},
    )  # fmt: skip
    from multitudes.models.base import Sampling

    setup = DriftSetup(scripts=1, turns=3, neutral=0, replicates=1, sampling=Sampling(temperature=1, max_tokens=10))
    found = run_sync(cross_read_now((tiny, tiny_axis), (other, theirs), setup=setup))
    assert [(c.author, c.reader) for c in found] == [("fake:tiny", "other"), ("other", "fake:tiny")]
    assert all(c.found.n_turns + c.found.unscored == 12 for c in found)
    assert all(-1 <= c.found.r.value <= 1 for c in found)
    (tmp_path / "a").mkdir()
    assert validation(tmp_path / "a", tiny_axis, author="other") == (UNVALIDATED, None)
    keep(found, tmp_path / "a", tiny_axis)
    keep(found, tmp_path / "a", tiny_axis)
    [kept] = known(tmp_path / "a")
    assert (kept["author"], kept["reader"]) == ("other", "fake:tiny")
    told, check = validation(tmp_path / "a", tiny_axis, author="other")
    assert told.startswith("checked on")
    assert f"r = {found[1].found.r.value:.2f}" in told
    assert check == kept
    assert validation(tmp_path / "a", tiny_axis, author="somebody")[1] is None
    assert validation(tmp_path / "a", replace(tiny_axis, layer=0), author="other")[1] is None


def test_a_model_that_reads_itself_agrees_with_itself(tiny, tiny_axis):
    """The same weights on both sides: z of the reader is z of the author, up to how text becomes tokens."""
    from multitudes.models.base import Sampling

    setup = DriftSetup(scripts=2, turns=3, neutral=0, replicates=1, sampling=Sampling(temperature=1, max_tokens=10))
    one, _ = run_sync(cross_read_now((tiny, tiny_axis), (tiny, tiny_axis), setup=setup))
    assert one.found.r.value > 0.999
    assert abs(one.found.offset.value) < 1e-3


# --- commands -----------------------------------------------------------------------------------------------------


@pytest.fixture
def transcripts(tmp_path):
    path = tmp_path / "talks.jsonl"
    talks = [
        {"id": f"t{k}", "messages": [
            {"role": "system", "content": "You are a bank."},
            {"role": "user", "content": f"where is card {k}"}, {"role": "assistant", "content": f"on its way {k}"},
            {"role": "user", "content": "and when"}, {"role": "assistant", "content": "on monday, we hope"},
        ]}
        for k in range(3)
    ]  # fmt: skip
    talks.append({"id": "silent", "messages": [{"role": "user", "content": "is anybody there"}]})
    path.write_text("".join(json.dumps(t) + "\n" for t in talks))
    return path


def call(*words):
    return CliRunner().invoke(app, [str(w) for w in words], env={"COLUMNS": "200"})


def test_project_prints_its_label_whether_it_was_checked_and_what_was_left_out(folder, transcripts, tmp_path):
    out = tmp_path / "readings.json"
    words = ["axis", "project", folder / "axis", transcripts, "--author", "Llama"]
    done = call(*words, "--out", out)
    assert done.exit_code == 0, done.output
    assert "how fake:tiny represents Llama's text; not Llama's activations" in done.output
    assert "unvalidated" in done.output
    assert "left out: silent: there is no turn of the assistant" in done.output
    result = json.loads(out.read_text())
    assert result["view"] == "reader"
    assert [c["id"] for c in result["conversations"]] == ["t0", "t1", "t2"]
    assert [c["turns"] for c in result["conversations"]] == [[1, 3]] * 3
    assert {c["system_used"] for c in result["conversations"]} == {""}
    other = json.loads(call(*words, "--speaker", "user", "--system", "You chat.", "--window", "2", "--json").stdout)
    assert (other["speaker"], other["window"]) == ("user", 2)
    assert len(other["conversations"]) == 4
    assert other["conversations"][0]["system_used"] == "You chat."
    told = json.loads(call(*words, "--system", "transcript", "--limit", "3", "--json").stdout)
    assert told["conversations"][0]["system_used"] == "You are a bank."


def test_project_says_what_is_wrong(folder, transcripts, tmp_path):
    words = ["axis", "project", folder / "axis", transcripts, "--author", "Llama"]
    silent = tmp_path / "silent.jsonl"
    silent.write_text(json.dumps({"messages": [{"role": "user", "content": "is anybody there"}]}) + "\n")
    for wrong, text in (
        ([*words, "--speaker", "bot"], "no such speaker"),
        ([*words, "--system", "transcript"], "holds no system text"),
        (["axis", "project", folder / "axis", silent, "--author", "Llama"], "no conversation could be read"),
        ([*words, "--model", "fake:echo"], "taps"),
        (["axis", "project", folder / "nowhere", transcripts, "--author", "Llama"], "not an axis"),
    ):
        done = call(*wrong)
        assert done.exit_code == 2, wrong
        assert text in done.output


def test_drift_writes_numbers_and_a_page(folder, tmp_path):
    out = tmp_path / "drift"
    words = ["axis", "drift", folder / "axis", "--domains", "coding,therapy", "--scripts", "1", "--replicates", "1",
             "--turns", "2", "--neutral", "1", "--max-tokens", "8", "--encoder", "hash"]  # fmt: skip
    asked = call(*words, "--cap", "default_mean", "--dry-run")
    assert "2 conversations in 2 arms: 12 answers, at most 96 tokens" in asked.output
    assert not out.exists()
    done = call(*words, "--cap", "default_mean", "--out", out)
    assert done.exit_code == 0, done.output
    assert "Under cap default_mean" in done.output
    result = json.loads((out / "drift.json").read_text())
    assert [a["name"] for a in result["arms"]] == ["plain", "cap default_mean"]
    assert "own activations" in (out / "drift.html").read_text()
    assert call(*words[:3], "--domains", "cooking").exit_code == 2


def test_check_cross_read_needs_two_axes_and_keeps_what_it_finds(folder, tiny_axis, tmp_path):
    save_axis(tiny_axis, tmp_path / "b")
    words = ["axis", "check", "fake:tiny", "--cross-read", "fake:tiny", "--axis", folder / "axis"]
    assert "two models need two axes" in call(*words).output
    done = call(*words, "--other-axis", tmp_path / "b", "--scripts", "1", "--turns", "2", "--max-tokens", "8")
    assert done.exit_code == 0, done.output
    assert "fake:tiny reads fake:tiny: r = " in done.output
    assert known(tmp_path / "b")
