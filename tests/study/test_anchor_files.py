"""Anchors recomputed from folders: the real data beside the project, and the layouts of the data's repositories."""

from __future__ import annotations

import csv
import hashlib
import json

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from multitudes.cli.anchors import anchors
from multitudes.core.errors import ConfigError, DataFormatError
from multitudes.measure.variance.anchors import colour_shares, person_shares
from multitudes.study.anchors import DATA_SETS, looked_for, recompute

COLOURS = (
    "participantID,wordSetID,rt,word,button_pressed,response_r,response_g,response_b,response_munsell,trial_index,"
    "time_elapsed,condition"
)  # the header of the published colorref.csv


def by_name(found, anchor):
    return {r.quantity: r for r in found if r.anchor == anchor}


@pytest.fixture(scope="module")
def real(shared_data):
    return recompute(shared_data / "disagreement")


def test_real_data_give_the_quoted_values(real, shared_data):
    assert [*dict.fromkeys(r.anchor for r in real)] == ["POPQUORN offensiveness", "MD-Agreement", "ConvAbuse"]
    popquorn = by_name(real, "POPQUORN offensiveness")
    assert popquorn["person share of total"].value == pytest.approx(0.196, abs=0.002)
    assert popquorn["item share of total"].value == pytest.approx(0.286, abs=0.002)
    assert popquorn["rest of total"].value == pytest.approx(0.518, abs=0.002)
    assert popquorn["person share within item"].low == pytest.approx(0.230, abs=0.001)
    for r in real:
        if r.quoted is not None:
            assert r.value == pytest.approx(r.quoted, abs=0.005)
    md = by_name(real, "MD-Agreement")
    assert md["person share of total, pair covariance"].quoted == 0.116
    assert (md["person share of total"].quoted, md["person share of total"].n) == (None, 819)
    assert "one person holds 19%" in md["person share of total"].note
    convabuse = by_name(real, "ConvAbuse")["person share within item, pair covariance"]
    assert (convabuse.quoted, convabuse.n) == (0.13, 8)
    path = shared_data / "disagreement" / "popquorn_offensiveness_ratings.jsonl"
    source = popquorn["rest of total"].files[0]
    assert (source.path, source.sha256) == (path.name, hashlib.sha256(path.read_bytes()).hexdigest())


def write_colours(path, rng):
    rows = []
    for p in range(12):
        for w in range(9):
            if w % 3 == p % 3:  # sets of words that no person shares
                liked = rng.integers(60, 190, 3)
                for block in (1, 2):
                    rgb = np.clip(liked + rng.integers(-40, 40, 3), 0, 255)
                    rows.append(
                        [p, w % 3, 1500.5, f"word{w}", 7, *rgb, "5R5/14", 16, 50_000, f"block{block}_target_trial"]
                    )
        rows.append([p, 0, 900.0, "word0", 1, 0, 0, 0, "N2", 1, 5, "catch_trial"])
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        file.write(COLOURS + "\n")
        csv.writer(file).writerows(rows)
    return [r for r in rows if "block" in r[-1]]


def test_colours_in_their_published_layout(tmp_path):
    rows = write_colours(tmp_path / "input-data" / "color-task" / "colorref.csv", np.random.default_rng(0))
    found = by_name(recompute(tmp_path), "colour associations")
    person = [str(r[0]) for r in rows]
    expected = colour_shares([r[5:8] for r in rows], person, [r[3] for r in rows], [r[11] for r in rows])
    assert found["icc_within"].value == pytest.approx(expected.icc_within.value)
    assert (found["icc_within"].low, found["icc_within"].high) == expected.icc_within[1:3]
    assert found["mean population ΔE"].value == pytest.approx(expected.population)
    assert (found["icc_within"].quoted, found["icc_within"].n) == (0.502, 12)
    assert len(found) == 10
    assert all(r.quoted is not None for r in found.values())
    assert found["rho"].files[0].path == "input-data/color-task/colorref.csv"


def test_ratings_in_the_layouts_of_their_repositories(tmp_path):
    """One table of ratings, written as each repository writes its own: the same shares must come back."""
    rng = np.random.default_rng(1)
    people, items = [f"Ann{k}" for k in range(1, 13)], [str(k) for k in range(1, 41)]
    chosen = {i: list(rng.choice(people, 4, replace=False)) for i in items}
    bias = dict(zip(people, rng.random(12), strict=True))
    value = {(i, a): int(rng.random() < bias[a]) for i in items for a in chosen[i]}
    triples = [(value[i, a], a, i) for i in items for a in chosen[i]]
    expected = person_shares(*zip(*triples, strict=True))

    old, new = {}, {}
    for i in items:
        labels = {a: str(value[i, a]) for a in chosen[i]}
        old[i] = {"text": "…", "annotators": ",".join(labels), "annotations": ",".join(labels.values())}
        new[i] = {"text": {"post": "…"}, "annotators": ",".join(labels), "annotations": labels}
    for name, rows in (("MD-Agreement", old), ("HS-Brexit", old), ("ConvAbuse", old), ("CSC", new), ("MP", new)):
        folder = tmp_path / "LeWiDi" / f"{name}_dataset"
        folder.mkdir(parents=True)
        halves = (items[:25], items[25:])
        for part, ids in zip(("train", "dev"), halves, strict=True):
            # ids start again in every split
            split = {str(k): rows[i] for k, i in enumerate(ids)}
            (folder / f"{name}_{part}.json").write_text(json.dumps(split), encoding="utf-8")
        withheld = {
            "0": {"annotators": "", "annotations": ""},
            "1": {"annotators": "Ann1", "annotations": {}},
            "2": {},
        }
        (folder / f"{name}_test.json").write_text(json.dumps(withheld), encoding="utf-8")
    politeness = tmp_path / "dataset" / "politeness" / "raw_data.csv"
    offensive = tmp_path / "dataset" / "zoffensive" / "raw_data.csv"
    for path, column in ((politeness, "politeness"), (offensive, "offensiveness")):
        path.parent.mkdir(parents=True)
        with path.open("w", newline="") as file:
            out = csv.writer(file)
            out.writerow(["instance_id", "user_id", "text", column, "gender"])
            out.writerows([i, a, 'one, "two"\nthree', float(v), "Woman"] for v, a, i in triples)

    found = recompute(tmp_path)
    names = {"POPQUORN offensiveness", "MD-Agreement", "CSC sarcasm", "MP irony", "HS-Brexit", "ConvAbuse"}
    assert {r.anchor for r in found} == names
    for name in names:
        rows = by_name(found, name)
        assert rows["person share within item"].value == pytest.approx(expected.within.value, abs=1e-9)
        assert rows["person share within item, pair covariance"].value == pytest.approx(
            expected.covariance_within, abs=1e-9
        )
    assert (
        by_name(found, "POPQUORN offensiveness")["rest of total"].files[0].path == "dataset/zoffensive/raw_data.csv"
    )
    assert len(by_name(found, "CSC sarcasm")["rest of total"].files) == 3


def test_inference_labels_in_their_published_layout(tmp_path):
    rng = np.random.default_rng(2)
    with (tmp_path / "preprocessed-data.jsonl").open("w") as file:
        for k in range(30):
            labels = rng.choice([-50.0, 0.0, 50.0], 39) + 1e-4 * rng.normal(size=39)
            row = {"premise": "p", "hypothesis": "h", "id": str(k), "labels": list(labels), "num-NA": 0.0}
            file.write(json.dumps(row) + "\n")
    found = by_name(recompute(tmp_path), "NLI variation")
    assert found["split-half JSD, 3 bins"].value == pytest.approx(0.038, abs=0.006)
    assert (found["split-half JSD, 3 bins"].quoted, found["split-half W1"].quoted) == (0.0385, 7.6)
    assert found["split-half W1"].n == 30
    assert found["split-half W1"].note == "39.0 people an item"


def test_a_folder_without_any_says_what_is_looked_for(tmp_path):
    (tmp_path / "notes.txt").write_text("nothing")
    with pytest.raises(ConfigError, match="none of the data sets was found") as caught:
        recompute(tmp_path)
    for data in DATA_SETS:
        assert data.repository in str(caught.value)
        assert data.layouts[0].names[0] in str(caught.value)
    assert len(looked_for()) == len(DATA_SETS)
    with pytest.raises(ConfigError, match="no such folder"):
        recompute(tmp_path / "missing")


@pytest.mark.parametrize(
    ("name", "text", "match"),
    [
        ("colorref.csv", "participantID,word\n1,sun\n", "columns are missing"),
        ("colorref.csv", COLOURS + "\n1,0,1,sun,1,1,2,3,N2,1,1,practice\n", "no row"),
        (
            "colorref.csv",
            COLOURS + "\n1,0,1,sun,1,x,2,3,N2,1,1,block1_target_trial\n",
            "colorref.csv:2: this is no number",
        ),
        ("raw_data.csv", "instance_id,offensiveness\n1,2\n", "columns are missing"),
        ("MP_train.json", "{", "no JSON"),
        ("MP_train.json", "[1]", "no items by id"),
        ("MP_train.json", '{"7": {"annotators": "a,b", "annotations": "1"}}', r"MP_train.json\[7\]: annotators"),
        (
            "popquorn_offensiveness_ratings.jsonl",
            '{"item": 1}\n',
            "popquorn_offensiveness_ratings.jsonl:1: there is no",
        ),
        (
            "preprocessed-data.jsonl",
            '{"labels": [1]}\n{"labels"\n',
            "preprocessed-data.jsonl:2: this line is no JSON",
        ),
    ],
)
def test_files_that_are_not_what_they_should_be_are_named(tmp_path, name, text, match):
    (tmp_path / name).write_text(text, encoding="utf-8")
    with pytest.raises(DataFormatError, match=match):
        recompute(tmp_path)


def test_the_command_prints_a_table_or_json(tmp_path):
    write_colours(tmp_path / "colorref.csv", np.random.default_rng(3))
    app = typer.Typer()
    app.command()(anchors)
    shown = CliRunner().invoke(app, ["--from", str(tmp_path)])
    assert shown.exit_code == 0
    assert "icc_within" in shown.output
    assert "0.502" in shown.output
    assert hashlib.sha256((tmp_path / "colorref.csv").read_bytes()).hexdigest() in shown.output
    rows = json.loads(CliRunner().invoke(app, ["--from", str(tmp_path), "--json"]).output)
    assert rows[0]["files"][0]["path"] == "colorref.csv"
    assert {"anchor", "quantity", "quoted", "value", "low", "high", "n", "files", "note"} == set(rows[0])
    (tmp_path / "empty").mkdir()
    assert CliRunner().invoke(app, ["--from", str(tmp_path / "empty")]).exit_code == 2
