"""``multitudes pressure`` on the tiny engine, from the plan to the page."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from multitudes.cli.main import app

RUN = """
model = "fake:tiny"
personas = 1
prompts = 2
conditions = ["C3"]
pressures = ["P4"]
c3_rungs = ["line"]
turns = 2
every = 1
recovery = 1
max_tokens = 6
items = 3
free_answers = false
draws = 50
"""


def call(*words, code=0):
    done = CliRunner().invoke(app, ["pressure", *words])
    assert done.exit_code == code, done.output + repr(done.exception)
    return done.output


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    pytest.importorskip("multitudes.models.local.tiny")
    out = tmp_path_factory.mktemp("cli") / "run"
    out.parent.joinpath("run.toml").write_text(RUN)
    given = ["--file", str(out.parent / "run.toml"), "--out", str(out)]
    text = call("match", *given)
    assert "could be scored" in text or "target" in text
    text = call("run", *given)
    assert "power: a difference of 0.1" in text
    assert text.index("model calls") < text.index("page:")
    return out


def test_a_dry_run_makes_nothing(tmp_path):
    text = call("run", "--dry-run", "--out", str(tmp_path / "x"))
    assert "model calls" in text
    assert "99 base prompts" in text
    assert not (tmp_path / "x").exists()


def test_a_run_ends_with_a_page_and_numbers(folder):
    assert (folder / "pressure.html").is_file()
    (folder / "pressure.html").unlink()
    lines = [json.loads(x) for x in call("report", str(folder), "--json").splitlines()]
    assert {x["condition"] for x in lines} >= {"C3"}
    assert (folder / "pressure.html").is_file()


def test_another_run_does_not_go_into_the_folder(folder):
    text = call("run", "--file", str(folder.parent / "run.toml"), "--seed", "5", "--out", str(folder), code=2)
    assert "another run" in text


def test_p3_is_refused():
    assert "P3 needs a set" in call("run", "--pressures", "P3", "--dry-run", code=2)


def test_banks_are_listed_printed_and_checked(tmp_path):
    assert "counter-instruction" in call("banks")
    assert "assistant 1" in call("banks", "P2")
    bad = tmp_path / "bad.toml"
    bad.write_text("id = 'x'\n")
    assert "lacks a key" in call("banks", "--check", str(bad), code=2)


def test_no_run_no_report(tmp_path):
    assert "no pressure run here" in call("report", str(tmp_path), code=1)


def test_a_path_among_the_options_starts_where_the_command_is_given(tmp_path, monkeypatch):
    """A path in a run file starts at the file; that of an option does not, wherever the file lies."""
    from multitudes.cli.pressure import _spec

    monkeypatch.chdir(tmp_path)
    file = tmp_path / "runs" / "h1.toml"
    file.parent.mkdir()
    file.write_text('axis = "../axes/one"\n')
    spec, base = _spec("small", Path("runs/h1.toml"))
    given, _ = _spec("small", Path("runs/h1.toml"), axis=Path("axes/one"))
    assert (base / spec.axis).resolve() == tmp_path / "axes" / "one"
    assert given == spec
    assert _spec("small", Path("runs/h1.toml"), axis=tmp_path / "a")[0].axis == str(tmp_path / "a")
    assert _spec("small", None, axis=Path("axes/one"))[0].axis == "axes/one"
