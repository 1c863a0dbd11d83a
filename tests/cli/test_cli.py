"""Every command, as a user types it, with fake models."""

import json
import re

import pytest
from typer.testing import CliRunner

from multitudes.cli.main import app

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
    import sys

    sys.path.insert(0, str(tmp_path))
    try:
        (tmp_path / "evil.toml").write_text(STUDY.replace('"fake:echo"', '"python:evil:f"'))
        run("study", "evil.toml", "--out", "e")
        run("export", "e", "--to", "csv", "--out", "csv")
    finally:
        sys.path.remove(str(tmp_path))
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


def test_chat_talks_until_an_empty_line(run):
    run("personas", "generate", "help-line", "-n", "2", "--out", "people.json")
    out = run("chat", "people.json", "--model", "fake:people", stdin="Hello, who is it?\n\n")
    assert "You are talking to" in out
    assert out.count("?") >= 1
    assert "nobody of that name" in run("chat", "people.json", "Nobody", "--model", "fake:people", code=2)


def test_measure_reads_transcripts_nobody_here_wrote(run, tmp_path):
    said = ["my card is gone", "Oh.", "As an AI language model, I cannot help with that."]
    talk = {"messages": [{"role": r, "content": t} for r, t in zip(("user", "assistant", "user"), said, strict=True)]}
    (tmp_path / "t.jsonl").write_text("".join(json.dumps({**talk, "id": str(i)}) + "\n" for i in range(9)))
    readings = json.loads(run("measure", "t.jsonl", "--with", "leak", "--json"))
    scores = {s["name"]: s["value"] for s in readings[0]["scores"]}
    assert scores["rate"] == 0.5
    assert "unknown gauge" in run("measure", "t.jsonl", "--with", "leek", code=2)
    (tmp_path / "broken.jsonl").write_text('{"messages": [}\n')
    assert "E01" in run("measure", "broken.jsonl", code=2)


def test_models_list_names_what_can_speak(run):
    out = run("models", "list")
    assert "smollm2" in out
    assert "http://HOST/v1#MODEL" in out
    assert "says:" in run("models", "check", "fake:echo")
