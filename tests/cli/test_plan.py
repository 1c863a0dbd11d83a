"""``multitudes plan variance`` as a user types it."""

import json

import pytest
from typer.testing import CliRunner

from multitudes.cli.plan import app


def run(*args, code=0):
    result = CliRunner().invoke(app, ["variance", *map(str, args)])
    assert result.exit_code == code, (result.stdout, result.stderr, result.exception)
    return result.stdout if code == 0 else result.stderr


def test_a_plan_without_arguments_says_everything():
    out = run("--icc-low", 0.2)
    for word in ("ICC_within 0.30", "cheapest: ", " personas x ", " items x ", " wordings x ", " runs", "calls: ",
                 "tokens in: ", "tokens out: ", "time: about ", "money: none", "power, simulated: Q1 0.",
                 "power at the unfavourable end: Q1 0.", "runs for a persona's mean on one item, reliability 0.8: 10",
                 "alternatives"):  # fmt: skip
        assert word in out
    rows = [line.split() for line in out.split("simulated \n")[-1].splitlines()]
    assert ["50", "20", "2", "2", "10,000"] in [row[:5] for row in rows], "the default design is among them"


def test_json_holds_the_same_plan():
    made = json.loads(run("--icc", 0.5, "--prices", "2,10", "--rates", "100,50", "--tokens", "100,50,10", "--json"))
    best = made["best"]
    d = best["design"]
    calls = (d["personas"] + 75) * d["items"] * d["wordings"] * d["runs"]
    assert best["cost"]["calls"] == calls
    assert best["cost"]["decode"] == 10 * calls
    assert best["cost"]["seconds"] == pytest.approx(best["cost"]["prefill"] / 100 + 10 * calls / 50)
    assert best["cost"]["usd"] == pytest.approx((2 * best["cost"]["prompt"] + 10 * 10 * calls) / 1e6)
    assert best["power_simulated"]["both"] >= 0.8
    assert made["assumed"]["icc_within"] == pytest.approx(0.5)
    assert made["unfavourable"] is None


def test_a_pilot_file_and_components_say_the_same(tmp_path):
    pilot = tmp_path / "pilot.json"
    pilot.write_text(json.dumps({"persona": 0.1, "interaction": 0.2, "run": 0.7, "wording": -0.01, "icc_low": -0.1}))
    from_file = json.loads(run("--pilot", pilot, "--json"))
    typed = json.loads(run("--components", "0.1,0.2,0.7", "--icc-low", 0, "--json"))
    assert from_file == typed
    assert from_file["unfavourable"]["q1"] < 0.1


def test_without_repeats_of_people_only_signal_counts_and_a_strict_factor_costs_more():
    alone, loose, strict = (
        json.loads(run("--icc", 0.5, *more, "--json")) for more in (["--no-human"], [], ["--factor", 1.5])
    )
    assert alone["best"]["power_simulated"]["q2"] is None
    calls = [x["best"]["cost"]["calls"] for x in (alone, loose, strict)]
    assert calls == sorted(calls)
    assert "Q2 not assessed" in run("--icc", 0.5, "--no-human")


def test_a_signal_too_small_for_the_grid_is_said():
    out = run("--icc", 0.11)
    assert "no design of the grid" in out
    assert "cheapest:" not in out


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--icc", "1.2"], "ICC is out of range"),
        (["--icc", "0.05"], "no more signal than placebo|above that of random texts"),
        (["--power", "1"], "power is out of range"),
        (["--factor", "1"], "margin is out of range"),
        (["--icc", "0.3", "--components", "1,1,1"], "assumptions are there twice"),
        (["--components", "1,1"], "--components"),
        (["--components", "0.1,0.2,0"], "component is out of range"),
        (["--components", "a,b,c"], "--components"),
        (["--rates", "0,5"], "--rates"),
        (["--prices", "1"], "--prices"),
        (["--tokens", "1,2"], "--tokens"),
        (["--pilot", "nowhere.json"], "cannot be read"),
    ],
)
def test_a_bad_value_is_one_clear_error(args, words):
    err = run(*args, code=2)
    assert any(word in err for word in words.split("|"))
    assert "Traceback" not in err
    assert err.count("error:") == 1


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "cannot be read"), ("[1]", "another form"), ('{"persona": 1, "interaction": 1}', "no 'run'"),
        ('{"persona": 1, "interaction": 1, "run": 1, "icc": 1}', "unknown 'icc'"),
        ('{"persona": "x", "interaction": 1, "run": 1}', "persona = 'x'"),
        ('{"persona": NaN, "interaction": 1, "run": 1}', "persona = nan"),
    ],
)  # fmt: skip
def test_a_bad_pilot_is_one_clear_error(tmp_path, text, words):
    pilot = tmp_path / "pilot.json"
    pilot.write_text(text)
    assert words in run("--pilot", pilot, code=2)
