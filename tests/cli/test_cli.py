"""Every command, as a user types it, with fake models."""

import json
import math
import re

import pytest
from typer.testing import CliRunner

import multitudes
from multitudes.cli.main import app
from multitudes.cli.show import score_table
from multitudes.core.loop import run_sync
from multitudes.core.records import Score
from multitudes.models.fake import echo
from multitudes.models.loopback import serve

STUDY = """
schema = 1
name = "tiny"
[population]
n = 4
[models]
simulator = "fake:people"
target = "fake:echo"
[conversation]
turns = 2
replicates = 2
[[scenarios]]
id = "card"
goal = "you want your card back"
[survey]
questionnaire = "help-line"
mode = "sampled"
runs = 1
"""


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "study.toml").write_text(STUDY)

    def call(*args, code=0, stdin=None):
        result = CliRunner().invoke(app, [str(a) for a in args], input=stdin)
        assert result.exit_code == code, (result.stdout, result.stderr, result.exception)
        return result.stdout if code == 0 else result.stderr

    return call


def test_study_show_report_export_and_compare(run, tmp_path):
    out = run("study", "study.toml", "--out", "a")
    assert "8 of 8 planned conversations held" in out
    assert (tmp_path / "a" / "report.html").is_file()
    shown = json.loads(run("show", "a", "--json"))
    assert shown["study"]["conversations"] == 8
    assert shown["headline"][0].startswith("4 simulated people")
    assert "Infinity" not in json.dumps(shown)
    assert "gauge" in run("show", "a")
    assert "properties" in json.loads(run("show", "--schema"))
    assert "report:" in run("report", "a", "--out", "again.html")
    for form in ("jsonl", "csv", "parquet"):
        names = {line.split("/")[-1] for line in run("export", "a", "--to", form, "--out", form).split()}
        assert f"turns.{form}" in names
    first = (tmp_path / "jsonl" / "conversations.jsonl").read_text().splitlines()[0]
    assert {m["role"] for m in json.loads(first)["messages"]} == {"user", "assistant"}
    run("study", "study.toml", "--out", "b")
    compared = json.loads(run("compare", "a", "b", "--json"))
    assert compared["differs"] == []
    assert {c["difference"] for c in compared["changes"]} == {0.0}


def test_a_second_run_changes_nothing_but_the_time(run, tmp_path):
    first = json.loads(run("study", "study.toml", "--out", "a", "--json"))
    second = json.loads(run("study", "study.toml", "--out", "a", "--json"))
    for summary in (first, second):
        assert summary["usage"].pop("wall_s") > 0
    assert first == second


def test_dry_run_and_explain_write_nothing(run, tmp_path):
    out = run("study", "study.toml", "--dry-run")
    assert "conversations: 8" in out
    assert "survey answers: 48 (sampled)" in out
    assert "schema = 1" in run("study", "--explain")
    assert [p.name for p in tmp_path.iterdir()] == ["study.toml"]


def test_exported_model_output_cannot_run_as_a_formula(run, tmp_path):
    (tmp_path / "evil.py").write_text("def f(messages):\n    return '=HYPERLINK(\"x\")'\n")
    (tmp_path / "evil.toml").write_text(STUDY.replace('"fake:echo"', '"python:evil:f"'))
    run("study", "evil.toml", "--out", "e")
    run("export", "e", "--to", "csv", "--out", "csv")
    text = (tmp_path / "csv" / "turns.csv").read_text()
    assert "'=HYPERLINK" in text
    assert not re.search(r'(^|,)"?=HYPERLINK', text, re.MULTILINE)


def test_bad_input_is_one_message_and_code_2(run, tmp_path):
    (tmp_path / "bad.toml").write_text(STUDY.replace("replicates = 2", "replicats = 2"))
    error = run("study", "bad.toml", code=2)
    assert "replicats" in error
    assert "replicates" in error
    assert "bad.toml:11" in error
    assert not (tmp_path / "runs").exists()
    assert "no run here" in run("show", "nowhere", code=1)
    assert "did you mean" in run("export", "nowhere", "--to", "jsnl", code=2)
    assert "unknown model" in run("models", "check", "smolm2", code=2)
    assert "unknown embedded model" in run("models", "fetch", "smolm", code=2)


def test_personas_generate_show_cover_and_survey(run):
    assert "6 people" in run("personas", "generate", "help-line", "-n", "6", "--out", "people.json")
    assert "the file exists" in run("personas", "generate", "help-line", "--out", "people.json", code=2)
    assert "You " in run("personas", "show", "people.json", "--limit", "1")
    assert "never an assistant" in run("personas", "show", "people.json", "--limit", "1", "--prompt")
    assert "coverage" in run("personas", "cover", "people.json")
    out = run("survey", "people.json", "help-line", "--model", "fake:table", "--out", "answers.jsonl")
    assert "6 people, 72 answers, 0 unscored" in out


def test_chat_talks_until_an_empty_line(run, tmp_path):
    run("personas", "generate", "help-line", "-n", "2", "--out", "people.json")
    out = run("chat", "people.json", "--model", "fake:people", stdin="Hello, who is it?\n\n")
    assert "You are talking to" in out
    assert out.count("?") >= 1
    people = json.loads((tmp_path / "people.json").read_text())["personas"]
    error = run("chat", "people.json", "Nobody", "--model", "fake:people", code=2)
    assert "nobody of that name" in error
    assert all(p["name"] in error and p["id"] not in error for p in people)


def test_measure_reads_transcripts_nobody_here_wrote(run, tmp_path):
    said = ["my card is gone", "Oh.", "As an AI language model, I cannot help with that."]
    talk = {"messages": [{"role": r, "content": t} for r, t in zip(("user", "assistant", "user"), said, strict=True)]}
    (tmp_path / "t.jsonl").write_text("".join(json.dumps({**talk, "id": str(i)}) + "\n" for i in range(9)))
    readings = json.loads(run("measure", "t.jsonl", "--with", "leak", "--json"))
    scores = {s["name"]: s["value"] for s in readings[0]["scores"]}
    assert scores["rate"] == 0.5
    assert "unknown gauge" in run("measure", "t.jsonl", "--with", "leek", code=2)
    other = json.loads(run("measure", "t.jsonl", "--with", "leak", "--speakers", "assistant", "--json"))
    assert next(s["value"] for s in other[0]["scores"] if s["name"] == "rate") == 0.0
    (tmp_path / "broken.jsonl").write_text('{"messages": [}\n')
    assert "E01" in run("measure", "broken.jsonl", code=2)


def test_models_list_names_what_can_speak(run):
    out = run("models", "list")
    assert "smollm2" in out
    assert "http://HOST/v1#MODEL" in out
    assert "says:" in run("models", "check", "fake:echo")


def test_models_list_asks_a_server_for_its_models(run, monkeypatch):
    monkeypatch.delenv("MULTITUDES_API_KEY", raising=False)
    server = serve(echo())
    url = run_sync(server.__aenter__())
    try:
        assert run("models", "list", url) == f"{url}#fake:echo\n"
    finally:
        run_sync(server.__aexit__(None, None, None))
    assert "the server lists no models" in run("models", "list", "http://127.0.0.1:1/v1", code=1)
    assert "not the address of an endpoint" in run("models", "list", "localhost:8000", code=2)
    assert "multitudes models list http://127.0.0.1:1/v1" in run("models", "check", "http://127.0.0.1:1/v1", code=2)


def test_version(run):
    assert run("--version") == f"multitudes {multitudes.__version__}\n"


def test_tables_say_why_there_is_no_number(run):
    note = "nothing to read: " + "words " * 20
    scores = [
        Score(gauge="leak", name="a", value=0.25, low=0.125, high=math.inf),
        Score(gauge="leak", name="b", value=math.nan, low=0.1),
        Score(gauge="leak", name="c", value=None, note=note),
    ]
    assert _texts(scores[:1]) == [["leak", "a", "0.25", "0.125 to inf", "", "none", "0", "0"]]
    assert [row[2:4] + row[8:] for row in _texts(scores)] == [
        ["0.25", "0.125 to inf", ""], ["unscored", "", ""], ["n/a", "", note],
    ]  # fmt: skip
    run("study", "study.toml", "--out", "a")
    lines = run("show", "a").splitlines()
    shown = " ".join(" ".join(lines).split())
    assert "note" in shown
    assert "n/a" in shown
    assert "nan" not in shown.split()
    assert max(map(len, lines[-20:])) <= 150  # long notes wrap in their column


def _texts(scores):
    return [list(row) for row in zip(*(column.cells for column in score_table(scores).columns), strict=True)]


def test_an_exported_run_measures_as_the_run_does(run):
    run("study", "study.toml", "--out", "a")
    run("export", "a", "--out", "x")
    shown = {(s["gauge"], s["name"]): s for s in json.loads(run("show", "a", "--json"))["scores"]}
    (reading,) = json.loads(run("measure", "x/conversations.jsonl", "--with", "diversity", "--json"))
    assert {s["n"] for s in reading["scores"]} == {4}  # people, not conversations
    for score in reading["scores"]:
        twin = shown["diversity", score["name"]]
        assert [score[k] for k in ("value", "low", "high", "n")] == [twin[k] for k in ("value", "low", "high", "n")]


def test_a_way_to_answer_that_nobody_knows(run):
    run("personas", "generate", "help-line", "-n", "2", "--out", "people.json")
    error = run("survey", "people.json", "help-line", "--model", "fake:table", "--by", "word", code=2)
    assert "did you mean 'words'" in error


def test_a_weak_writer_is_helped_out_by_the_template(run):
    weak = ("personas", "generate", "help-line", "-n", "3", "--writer", "fake:echo")
    assert "(3 written by template" in run(*weak, "--out", "helped.json")
    assert "sobol-or-template" in run(*weak, "--generator", "sobol", "--out", "not.json", code=1)
