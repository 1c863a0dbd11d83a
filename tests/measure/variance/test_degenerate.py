"""What happens with input that has no answer: every row of the table in docs/variance.md, by its first column."""

import csv
import re
from pathlib import Path

import numpy as np
import pytest

from multitudes.core.errors import DataFormatError, GaugeError
from multitudes.measure import errors
from multitudes.measure.variance.alt_test import alt_test
from multitudes.measure.variance.answers import ArmAnswers
from multitudes.measure.variance.coefficients import icc_by_item
from multitudes.measure.variance.components import collect
from multitudes.measure.variance.option_information import option_information
from multitudes.measure.variance.panel import panel_reading
from multitudes.measure.variance.permanova import permanova
from multitudes.measure.variance.reading import variance_reading
from multitudes.personas.sources import load_population
from multitudes.study.tables import measure_table

PAGE = Path(__file__).resolve().parents[3] / "docs" / "variance.md"


def grid(people=12, items=10, runs=2):
    return [x.ravel() for x in np.meshgrid(range(people), range(items), range(runs), indexing="ij")]


def noise(seed=0, **size):
    p, i, r = grid(**size)
    return np.random.default_rng(seed).normal(size=len(p)), p, i, r


def arm(seed=0, *, signal=0.0, people=12, items=10, names="i"):
    y, p, i, r = noise(seed, people=people, items=items)
    rng = np.random.default_rng(seed + 1000)
    y = y + signal * rng.normal(size=people)[p] + signal * rng.normal(size=(people, items))[p, i]
    return ArmAnswers(y, np.char.add("p", p.astype(str)), np.char.add(names, i.astype(str)), r)


def study(**changes):
    arms = {
        "persona": arm(1, signal=1.0),
        **{n: arm(k) for k, n in enumerate(("none", "random-text", "shuffled"), 2)},
    }
    return {k: v for k, v in {**arms, **changes}.items() if v is not None}


def verdict(**kwargs):
    return panel_reading(kwargs.pop("arms", None) or study(), **kwargs).tables["verdict"]


def scores(reading):
    return {s.name: s for s in reading.scores}


def none(found, why):
    assert found["state"] == "no verdict"
    assert why in found["sentence"]


ROWS = {}


def row(name):
    def keep(check):
        ROWS[name] = check
        return check

    return keep


@row("one persona, or one item")
def _(tmp_path):
    with pytest.raises(errors.TooFewPersonasError):
        collect(*noise(people=1)[:3])
    with pytest.raises(errors.TooFewItemsError, match="one item alone"):
        collect(*noise(items=1)[:3])


@row("personas and items in groups that share nothing")
def _(tmp_path):
    y, p, i, _r = noise()
    keep = (p < 6) == (i < 5)
    with pytest.raises(errors.DisconnectedDesignError, match="group with"):
        collect(y[keep], p[keep], i[keep])


@row("an infinite answer, or an answer without a label")
def _(tmp_path):
    y, p, i, _r = noise()
    with pytest.raises(errors.NotFiniteError):
        collect(np.where(p == 0, np.inf, y), p, i)
    with pytest.raises(errors.NotFiniteError):
        collect(y, np.where(p == 0, np.nan, p), i)


@row("one answer twice")
def _(tmp_path):
    y, p, i, r = noise()
    with pytest.raises(errors.DuplicateKeyError):
        collect(y, p, i, run=np.zeros_like(r))
    rows = [{"persona": a, "item": b, "answer": 1} for a, b in zip(p[:40], i[:40], strict=True)]
    with pytest.raises(DataFormatError, match="there twice"):
        measure_table(table(tmp_path, rows))


@row("two personas with the same name and text")
def _(tmp_path):
    file = tmp_path / "people.csv"
    file.write_text("name,text\nA,the same words\nA,the same  words\n", encoding="utf-8")
    with pytest.raises(DataFormatError, match="the same text as"):
        load_population(file)


@row("all answers equal")
def _(tmp_path):
    y, p, i, r = noise()
    found = scores(variance_reading(np.ones_like(y), p, i, run=r))
    assert found["icc_within"].value is None
    assert "no variance" in found["icc_within"].note
    none(verdict(arms=study(persona=ArmAnswers(np.ones_like(y), p, arm().item, r))), "no variance")


@row("one item that everybody answers alike")
def _(tmp_path):
    y, p, i, r = noise()
    flat = np.where(i == 0, 3.0, y)
    shares = icc_by_item(collect(flat, p, i, run=r))
    assert (shares.no_variance, shares.items) == (1, 9)
    assert np.isnan(shares.icc[0])
    assert scores(variance_reading(flat, p, i, run=r))["icc_within"].value is not None


@row("one option only")
def _(tmp_path):
    found = option_information(np.tile([1.0, 0.0], (5, 4, 1)))
    assert found.pir is None
    assert "one and the same option" in found.note


@row("nobody asked twice")
def _(tmp_path):
    y, p, i, r = noise(runs=1)
    found = scores(variance_reading(y, p, i, run=r))
    assert found["icc_within"].value is None
    assert "sigma2_run" not in found
    assert found["sigma2_interaction_and_run"].value > 0
    once = ArmAnswers(y, p, arm().item[::2], r)
    none(verdict(arms=study(persona=once)), "nobody was asked twice")


@row("few cells asked twice")
def _(tmp_path):
    y, p, i, r = noise()
    keep = (r == 0) | ((p < 2) & (i < 5))
    found = scores(variance_reading(y[keep], p[keep], i[keep], run=r[keep]))
    assert "run noise rests on 10 repeated cells" in found["icc_within"].note


@row("fewer than 5 personas or 3 items; fewer than 10 of either")
def _(tmp_path):
    small = scores(variance_reading(*noise(people=4)[:3]))["icc_within"]
    assert small.low is None
    assert "few clusters: 4 personas" in small.note
    some = scores(variance_reading(*noise(people=8)[:3]))["icc_within"]
    assert some.low is not None
    assert "few clusters: 8 personas" in some.note


@row("a persona that answered far more than others")
def _(tmp_path):
    y, p, i, r = noise()
    again = np.repeat(np.arange(len(y)), np.where(p == 0, 12, 1))
    found = scores(variance_reading(y[again] + np.arange(len(again)) * 1e-3, p[again], i[again]))
    assert "one persona gave" in found["icc_within"].note
    assert "'0' holds" in found["icc_within_by_cell"].note
    assert "icc_within_by_cell" not in scores(variance_reading(y, p, i, run=r))


@row("a negative share or component")
def _(tmp_path):
    rng = np.random.default_rng(5)
    _y, p, i, r = noise()
    away = (r - 0.5) * 2 + 0.1 * rng.normal(size=len(p))  # runs of a cell differ more than people do
    found = variance_reading(away, p, i, run=r)
    assert scores(found)["icc_within"].value < 0
    assert "below 0 as estimated" in scores(found)["icc_within"].note
    assert scores(found)["rho"].value == np.inf
    assert [c["clipped"] for c in found.tables["components"] if c["name"] == "interaction"] == [True]


@row("temperature 0")
def _(tmp_path):
    none(verdict(temperature=0.0), "temperature 0 do not differ")
    assert "option probabilities" in verdict(temperature=0.0)["what_to_do"]


@row("identical runs above temperature 0")
def _(tmp_path):
    whole = arm(1, signal=1.0)
    same = ArmAnswers(np.repeat(whole.score[::2], 2), whole.persona, whole.item, whole.run)
    none(verdict(arms=study(persona=same)), "copies of each other")
    assert scores(panel_reading({"persona": same}, quick=True))["icc_within"].value is None


@row("no placebo, and no reason")
def _(tmp_path):
    none(verdict(arms={"persona": arm(1, signal=1.0)}), "what any prompt would do")
    waived = verdict(arms={"persona": arm(1, signal=1.0)}, waiver="old data")
    assert waived["state"] == "underpowered"


@row("signal in the arm of nobody")
def _(tmp_path):
    none(verdict(arms=study(none=arm(7, signal=2.0))), "depend on each other")


@row("arms that were asked different items")
def _(tmp_path):
    none(verdict(arms=study(**{"random-text": arm(3, names="j")})), "asked different items")


@row("people asked once, or asked other items")
def _(tmp_path):
    once = arm(8, signal=1.0, people=40)
    first = once.run == 0
    lone = ArmAnswers(once.score[first], once.persona[first], once.item[first])
    for human in (lone, arm(9, signal=1.0, people=40, names="x")):
        found = {q["question"]: q for q in verdict(human=human)["questions"]}
        assert found["Q2"]["state"] == "not assessed"
    assert found["Q4"]["state"] == "not assessed"


@row("people who repeat themselves to the letter, or not at all")
def _(tmp_path):
    whole = arm(8, signal=1.0, people=40)
    same = ArmAnswers(np.repeat(whole.score[::2], 2), whole.persona, whole.item, whole.run)
    none(verdict(human=same), "no noise ratio")


@row("answers missing by who was asked")
def _(tmp_path):
    ours = arm(1, signal=1.0)
    gone = np.isin(ours.persona, ["p0", "p1"]) & (np.arange(len(ours.item)) % 3 > 0)
    found = verdict(
        arms=study(persona=ArmAnswers(np.where(gone, np.nan, ours.score), ours.persona, ours.item, ours.run))
    )
    assert "least favourable of 5 ways" in found["sentence"]


@row("no answer at all")
def _(tmp_path):
    with pytest.raises(DataFormatError, match="no answer is scored"):
        measure_table(table(tmp_path, [{"persona": k % 3, "item": k // 3, "answer": ""} for k in range(9)]))


@row("numbers and words in one column of answers")
def _(tmp_path):
    rows = [{"persona": k % 3, "item": k // 3, "answer": "maybe" if k == 4 else k} for k in range(9)]
    with pytest.raises(DataFormatError, match="numbers and words"):
        measure_table(table(tmp_path, rows))


@row("more than half of the probability off the options")
def _(tmp_path):
    with pytest.raises(errors.OptionMassError):
        option_information(np.full((5, 4, 2), 0.1))
    p, i, _r = grid(runs=1)
    probs = np.random.default_rng(3).dirichlet(np.ones(3), len(p))
    exact = ArmAnswers(probs @ [0, 0.5, 1], p, i, None, probs, np.full(len(p), 0.1), mass=np.full(len(p), 0.2))
    assert "what little is left" in scores(panel_reading({"persona": exact}, quick=True))["option_mass"].note


@row("as many texts as cells")
def _(tmp_path):
    y = np.random.default_rng(4).normal(size=(12, 5))
    y /= np.linalg.norm(y, axis=1, keepdims=True)
    found = permanova(y, np.arange(12) // 2, np.arange(12) % 2, draws=19, seed=0)
    assert found.f is None
    assert found.note


@row("people without enough shared items for the alternative annotator test")
def _(tmp_path):
    with pytest.raises(errors.TooFewItemsError):
        alt_test(np.zeros((20, 3)), np.zeros(20), epsilon=0.1)


def table(folder, rows):
    path = folder / "answers.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        out = csv.DictWriter(file, fieldnames=list(rows[0]))
        out.writeheader()
        out.writerows(rows)
    return path


@pytest.mark.parametrize("name", ROWS)
def test_degenerate_input_ends_as_the_page_says(name, tmp_path):
    ROWS[name](tmp_path)


def test_the_page_has_these_rows_and_names_errors_that_exist():
    text = PAGE.read_text(encoding="utf-8").split("## Input that has no answer")[1].split("\n## ")[0]
    cells = [[c.strip() for c in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("| ")]
    assert [c[0] for c in cells[1:]] == list(ROWS)
    named = re.findall(r"`(\w+Error)`", text)
    assert len(named) > 8
    for name in named:
        assert name == "DataFormatError" or issubclass(getattr(errors, name), GaugeError)
