"""The domains on a tiny model, plain and capped: paired arms, plain numbers, a page under its label."""

import asyncio
import json
from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from multitudes.axis.watch import watched_layers  # noqa: E402
from multitudes.core.errors import ConfigError, Unsupported  # noqa: E402
from multitudes.measure.stats import bootstrap_mean  # noqa: E402
from multitudes.models.base import Sampling  # noqa: E402
from multitudes.models.encode import load_encoder  # noqa: E402
from multitudes.models.fake import echo, people  # noqa: E402
from multitudes.report.drift_page import drift_page, write_drift_page  # noqa: E402
from multitudes.report.drift_words import findings, warnings  # noqa: E402
from multitudes.study.drift import DriftSetup, arms_of, run_drift  # noqa: E402
from multitudes.study.drift_result import ALL, drift_result, held_of  # noqa: E402
from multitudes.study.result_file import write_result  # noqa: E402
from multitudes.study.taps import limit_of  # noqa: E402

SETUP = DriftSetup(turns=6, neutral=1, replicates=1, sampling=Sampling(temperature=1, max_tokens=8), seed=3)


@pytest.fixture(scope="module")
def axis(tiny_axis):
    """Read at the first block and at the last one, which is capped, so that the cap shows at once."""
    return replace(tiny_axis, layer=0, tau={**tiny_axis.tau, "high": np.full(2, 5.0, np.float32)}, window=(1,))


@pytest.fixture(scope="module")
def drifted(tiny, axis):
    told = []
    run = asyncio.run(
        run_drift(arms_of(tiny, axis, caps=["high"]), axis, setup=SETUP, told=lambda d, n: told.append((d, n)))
    )
    assert told[0] == (0, 40)
    assert told[-1] == (40, 40)
    return run


@pytest.fixture(scope="module")
def result(drifted):
    return drift_result(drifted, encoder=load_encoder("hash"))


def test_arms_hear_identical_messages_and_are_read_while_they_answer(drifted, axis):
    plain, capped = drifted.held["plain"], drifted.held["cap high"]
    assert plain.keys() == capped.keys()
    assert len(plain) == 20
    for talk in drifted.talks:
        a, b = plain[talk.talk.id], capped[talk.talk.id]
        assert a.user_texts == b.user_texts == talk.lines
        assert [t.call.seed for t in a.turns] == [t.call.seed for t in b.turns]
        assert all(t.inside.axis == drifted.axis_id for t in a.turns if t.speaker == "target")
        assert all(t.inside is None for t in a.turns if t.speaker == "user")
    assert drifted.mode == "scripted"
    at = watched_layers(axis).index(1)
    z_of_five = float(axis.z(np.array([5.0]), [1])[0])
    sign = np.sign(axis.mu_default[1] - axis.mu_roles[1])
    capped_z, plain_z = (sign * held_of(drifted, a).z[at] for a in ("cap high", "plain"))
    assert np.nanmin(capped_z) > sign * z_of_five - 1e-3
    assert np.nanmax(plain_z) < sign * z_of_five


def test_numbers_are_those_of_the_turns(drifted, result, axis):
    h = held_of(drifted, "plain")
    z = h.z[0]
    assert z.shape == (20, 7)
    row = next(r for r in result["layers"][0]["summary"] if r["arm"] == "plain" and r["domain"] == ALL)
    slopes = [np.polyfit(np.arange(6)[~np.isnan(v[:6])], v[:6][~np.isnan(v[:6])], 1)[0] for v in z
              if (~np.isnan(v[:6])).sum() > 1]  # fmt: skip
    assert row["slope"]["value"] == pytest.approx(np.mean(slopes), rel=1e-6)
    scripts = [f"{t.domain}.{t.script}" for t in h.talks]
    again = bootstrap_mean(np.nanmean(z[:, :6], axis=1), scripts, seed=SETUP.seed)
    assert row["mean_z"]["low"] == pytest.approx(again.low)
    assert row["resampled"] == "scripts"
    limit = limit_of(axis)
    assert result["layers"][0]["limit"] == pytest.approx(limit)
    outside = np.mean([np.nanmean(np.where(np.isnan(v), np.nan, v < limit)) for v in z[:, :6]])
    assert row["outside"]["value"] == pytest.approx(outside)
    coding = next(r for r in result["layers"][0]["summary"] if r["arm"] == "plain" and r["domain"] == "coding")
    assert (coding["conversations"], coding["resampled"], coding["mean_z"]["low"]) == (5, "conversations", None)
    last = np.array([v[:6][~np.isnan(v[:6])][-1] for v in z])
    after = z[:, 6]
    assert row["ended_outside"] == int((last < limit).sum())
    assert row["neutral_back"] == int(((last < limit) & (after >= limit)).sum())
    assert row["neutral_asked"] == int(((last < limit) & ~np.isnan(after)).sum())
    curve = result["layers"][0]["curves"]["plain"][ALL]
    assert curve["turn"] == list(range(1, 8))
    assert curve["neutral_from"] == 7
    assert curve["z"] == pytest.approx(np.nanmean(z, axis=0).tolist())


def test_arms_are_compared_pair_by_pair(drifted, result):
    assert [layer["layer"] for layer in result["layers"]] == [0, 1]
    a, b = (held_of(drifted, arm).z[1][:, :6] for arm in ("cap high", "plain"))
    found = next(d for d in result["layers"][1]["differences"] if d["domain"] == ALL)
    assert found["pairs"] == 20
    assert found["mean_z"]["value"] == pytest.approx(np.mean(np.nanmean(a, axis=1) - np.nanmean(b, axis=1)))
    assert found["against"] == "plain"
    talks = next(t for t in result["conversations"] if t["arm"] == "cap high")["held"]
    for talk in talks:
        mine = [t["text"] for t in talk["turns"] if t["speaker"] == "target"]
        theirs = [t.text for t in drifted.held["plain"][talk["id"]].turns if t.speaker == "target"]
        apart = [j + 1 for j, (x, y) in enumerate(zip(mine, theirs, strict=True)) if x != y]
        assert talk["differs_from_turn"] == (apart[0] if apart else None)


def test_prediction_has_both_r2_and_leaves_everyday_questions_out(drifted, result):
    p = result["prediction"]["plain"]
    scored = int((~np.isnan(held_of(drifted, "plain").z[0][:, :6])).sum())
    assert p["n_turns"] == scored <= 120
    assert p["n_personas"] == 20
    assert p["r2_in_sample"] >= 0
    assert p["r2_in_sample"] > p["r2_out"]["value"]
    assert set(p["r2_within"]) == {"coding", "writing", "therapy", "philosophy"}
    assert 0 < p["p"] <= 1
    assert p["r2_domain"] is not None
    assert drift_result(drifted)["prediction"]["plain"] == {"missing": "no encoder was given"}
    assert "in-sample" in result["published"]


def test_the_result_is_strict_json_with_its_label_and_says_that_it_is_off_policy(result, tmp_path):
    path = write_result(result, tmp_path / "drift.json")
    again = json.loads(path.read_text(encoding="utf-8"), parse_constant=lambda c: pytest.fail(c))
    assert again == json.loads(json.dumps(result))
    assert (again["view"], again["mode"]) == ("own", "scripted")
    assert "do not respond" in again["off_policy"]
    assert any("small model" in w for w in warnings(again))
    assert any("do not respond" in w for w in warnings(again))
    said = " ".join(findings(again))
    assert "40 conversations in 4 domains" in said
    assert "R²" in said
    page = write_drift_page(again, tmp_path / "drift.html").read_bytes()
    assert page.decode() == drift_page(result)


def test_every_number_of_the_page_stands_under_its_label_and_nothing_is_loaded(result):
    page = drift_page(result)
    for id_ in ("curves", "excursions", "behind", "arms", "prediction", "lowest"):
        section = page.split(f'<section id="{id_}"')[1].split("</section>")[0]
        assert "own activations, read while it wrote" in section
        assert 'class="label-line small"' in section or id_ == "arms"  # there each table has it as its caption
    assert "http" not in page.replace("http-equiv", "")
    assert "<script" not in page
    assert "src=" not in page
    assert page.count("<figure>") == 10
    hostile = json.loads(json.dumps(result))
    hostile["lowest"]["plain"][0]["model"] = "<script>alert(1)</script>"
    assert "<script" not in drift_page(hostile)


def test_few_conversations_are_said_to_be_few(tiny, axis):
    setup = replace(SETUP, domains=("coding",), scripts=2, turns=2, neutral=0)
    run = asyncio.run(run_drift({"plain": tiny}, axis, setup=setup))
    found = drift_result(run, encoder=load_encoder("hash"))
    assert found["domains"] == ["coding"]
    assert "too few personas or turns" in found["prediction"]["plain"]["missing"]
    assert found["layers"][0]["differences"] == []
    assert found["layers"][0]["summary"][0]["neutral_change"] is None
    page = drift_page(found)
    assert "not read; too few personas" in page
    assert "Arms compared" not in page
    uncalibrated = replace(run, axis=replace(axis, low_default=np.full(2, np.nan, np.float32)))
    found = drift_result(uncalibrated)
    assert found["layers"][0]["summary"][0]["outside"] is None
    assert "no calibrated range" in drift_page(found)


def test_an_auditor_plays_the_users(tiny, axis):
    setup = replace(SETUP, domains=("therapy",), topics=1, turns=2, neutral=1)
    run = asyncio.run(run_drift({"plain": tiny}, axis, setup=setup, auditor=people()))
    assert run.mode == "auditor"
    assert run.auditor == "fake:people"
    found = drift_result(run)
    assert found["off_policy"] == ""
    assert "played by fake:people" in drift_page(found)
    texts = {c.user_texts[:2] for c in run.held["plain"].values()}
    assert len(texts) == 5


def test_faults_are_counted_and_in_no_number(tiny, axis):
    setup = replace(SETUP, domains=("coding",), scripts=2, turns=2, neutral=0, sampling=Sampling(max_tokens=2030))
    run = asyncio.run(run_drift({"plain": tiny}, axis, setup=setup))
    found = drift_result(run)
    assert found["arms"][0]["faults"] == 2
    assert found["arms"][0]["conversations"] == 0
    assert "2 conversations ended in a fault" in drift_page(found)
    assert "No turn could be scored" in drift_page(found)


def test_arms_that_make_no_sense_are_refused(tiny, axis):
    with pytest.raises(ConfigError, match="nobody"):
        asyncio.run(run_drift({}, axis))
    with pytest.raises(Unsupported, match="taps"):
        asyncio.run(run_drift({"plain": echo()}, axis))
    with pytest.raises(ConfigError, match="no such threshold"):
        arms_of(tiny, axis, caps=["0.33"])
    with pytest.raises(ConfigError, match="twice"):
        arms_of(tiny, axis, caps=["high", "high"])
    assert list(arms_of(tiny, axis, caps=["high"], steers=[-0.2])) == ["plain", "cap high", "steer -0.2"]
