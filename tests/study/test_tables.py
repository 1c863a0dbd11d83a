"""Anybody's files under the variance and diversity gauges, and people's answers beside a survey."""

import csv
import json
import random

import pytest
from typer.testing import CliRunner

from multitudes.cli.main import app
from multitudes.core.errors import ConfigError, DataFormatError
from multitudes.personas.questionnaires import load_questionnaire
from multitudes.study.human import read_human, stored_human
from multitudes.study.tables import measure_table

ARMS = ("persona", "none", "random-text", "shuffled")


def write(path, rows):
    with path.open("w", newline="", encoding="utf-8") as file:
        out = csv.DictWriter(file, fieldnames=list(rows[0]))
        out.writeheader()
        out.writerows(rows)
    return path


def panel(seed=1, *, people=24, words=False, arms=ARMS, steps=True):
    draw = random.Random(seed)
    rows = []
    for arm in arms:
        for p in range(people):
            for q in range(10):
                for run in range(2):
                    y = 3 + (p % 4 - 1.5 if arm == "persona" else 0) + draw.gauss(0, 0.6)
                    value = max(1, min(5, round(y))) if steps else round(y, 3)
                    answer = ["no", "rather no", "neither", "rather yes", "yes"][value - 1] if words else value
                    rows.append(
                        {"worker": f"{arm}{p}", "question": f"q{q}", "answer": answer, "run": run, "arm": arm}
                    )
    return rows


def scores(measured):
    return {s.name: s for r in measured.readings for s in r.scores}


@pytest.mark.parametrize("kind", [{}, {"words": True}, {"steps": False}])
def test_a_table_of_numbers_or_words_gets_its_verdict(tmp_path, kind):
    found = measure_table(write(tmp_path / "a.csv", panel(**kind)), columns={"persona": "worker"})
    assert found.readings[0].tables["verdict"]["state"] == "supported"
    assert scores(found)["p_signal"].value == pytest.approx(0.001)
    assert any("question" in note for note in found.notes)  # what was guessed is said


def test_without_placebos_there_is_no_verdict_unless_waived(tmp_path):
    path = write(tmp_path / "a.csv", panel(arms=("persona",)))
    assert measure_table(path, columns={"persona": "worker"}).readings[0].tables["verdict"]["state"] == "no verdict"
    waived = measure_table(path, columns={"persona": "worker"}, placebo_waived="old data")
    assert any("old data" in line for line in waived.readings[0].tables["verdict"]["lines"])


def test_temperature_zero_is_no_noise(tmp_path):
    rows = [{**r, "temperature": 0} for r in panel()]
    found = measure_table(write(tmp_path / "a.csv", rows), columns={"persona": "worker"})
    assert "temperature 0" in found.readings[0].tables["verdict"]["sentence"]


def test_an_unknown_arm_and_an_unknown_gauge_are_refused(tmp_path):
    rows = panel()
    rows[-1]["arm"] = "shufled"
    path = write(tmp_path / "a.csv", rows)
    with pytest.raises(DataFormatError, match="shuffled"):
        measure_table(path, columns={"persona": "worker"})
    with pytest.raises(ConfigError, match="does not read tables"):
        measure_table(path, ["leak"])


def test_people_on_another_scale_are_refused(tmp_path):
    path = write(tmp_path / "a.csv", panel(words=True))
    human = [{"person": f"h{p}", "question": f"q{q}", "answer": "maybe", "run": r}
             for p in range(6) for q in range(8) for r in range(2)]  # fmt: skip
    people = tmp_path / "people.csv"
    write(people, [{**h, "worker": h["person"]} for h in human])
    with pytest.raises(DataFormatError, match="not on the scale"):
        measure_table(path, columns={"persona": "worker"}, human=people)


def test_people_asked_twice_answer_the_second_question(tmp_path):
    path = write(tmp_path / "a.csv", panel())
    people = write(tmp_path / "people.csv", [r for r in panel(seed=9, people=40, arms=("persona",))])
    found = measure_table(path, columns={"persona": "worker"}, human=people)
    questions = {q["question"]: q for q in found.readings[0].tables["verdict"]["questions"]}
    assert questions["Q2"]["state"] in ("supported", "underpowered")
    assert questions["Q2"]["value"] == pytest.approx(0, abs=0.6)


def test_texts_of_a_table_are_bags_by_person(tmp_path):
    rows = [{"persona": f"p{k % 3}", "text": f"line {k} of {k % 3} about {k * k}"} for k in range(30)]
    found = measure_table(write(tmp_path / "a.csv", rows), ["diversity"])
    assert found.readings[0].tables["sizes"]["bags"] == 3
    assert scores(found)["ead_within"].value > 0


def test_peoples_answers_are_keyed_like_the_surveys(tmp_path):
    q = load_questionnaire("help-line")
    item = next(i for i in q.items if i.reverse)
    rows = [{"persona": f"h{p}", "item": i.id, "answer": (p % len(q.labels)) + 1, "age": 20 + p}
            for p in range(5) for i in q.items]  # fmt: skip
    stored = read_human(write(tmp_path / "h.csv", rows), q)
    json.dumps(stored)
    people = stored_human(stored)
    lowest = (people.persona == "h0") & (people.item == item.id)
    assert people.score[lowest] == pytest.approx(1.0)  # the lowest label of a reversed item is the high end
    assert set(people.attributes) == {"age"}
    with pytest.raises(DataFormatError, match="none of the questionnaire's labels"):
        read_human(write(tmp_path / "b.csv", [{**r, "answer": "perhaps"} for r in rows]), q)
    with pytest.raises(DataFormatError, match="does not have"):
        read_human(write(tmp_path / "c.csv", [{**r, "item": f"zz{r['item']}"} for r in rows]), q)


def test_popquorn_gives_its_published_components(shared_data):
    found = measure_table(shared_data / "disagreement" / "popquorn_offensiveness_ratings.jsonl")
    value = {name: s.value for name, s in scores(found).items()}
    total = value["sigma2_persona"] + value["sigma2_item"] + value["sigma2_interaction_and_run"]
    assert value["sigma2_persona"] / total == pytest.approx(0.196, abs=0.002)
    assert value["sigma2_item"] / total == pytest.approx(0.286, abs=0.002)


def test_people_who_use_fewer_steps_of_the_scale_keep_their_places(tmp_path):
    rows = [r for r in panel() if r["answer"] in (1, 2, 3, 4)]  # as many steps as below, but other ones
    path = write(tmp_path / "a.csv", rows)
    shifted = [{**r, "answer": r["answer"] + 1} for r in rows if r["arm"] == "persona"]
    same = write(tmp_path / "same.csv", [r for r in rows if r["arm"] == "persona"])
    moved = write(tmp_path / "moved.csv", shifted)
    few = write(tmp_path / "few.csv", [r for r in rows if r["arm"] == "persona" and r["answer"] in (2, 3)])

    def w1(people):
        return scores(measure_table(path, columns={"persona": "worker"}, human=people))["people_w1"].value

    assert w1(moved) > 0.8 > w1(same)
    assert w1(few) > 0


def test_people_who_answered_other_items_are_told_so(tmp_path):
    path = write(tmp_path / "a.csv", panel())
    other = [{**r, "question": f"other-{r['question']}"} for r in panel(arms=("persona",))]
    found = measure_table(path, columns={"persona": "worker"}, human=write(tmp_path / "people.csv", other))
    assert "no item" in scores(found)["people_jsd"].note
    assert found.readings[0].tables["verdict"]["questions"][3]["state"] == "not assessed"


def test_people_who_answered_more_items_are_compared_on_the_panels(tmp_path):
    path = write(tmp_path / "a.csv", panel())
    own = panel(seed=9, people=40, arms=("persona",))
    more = [{**r, "question": f"extra-{r['question']}", "answer": 3} for r in own]
    questions = [
        measure_table(path, columns={"persona": "worker"}, human=write(tmp_path / f"{k}.csv", rows))
        .readings[0].tables["verdict"]["questions"][1]
        for k, rows in enumerate((own, own + more))
    ]  # fmt: skip
    assert questions[0] == questions[1]


def test_refusals_and_the_ends_of_the_scale_are_named_on_the_command_line(tmp_path):
    rows = panel()
    for r in rows:
        if r["worker"] in ("persona0", "persona1") and r["question"] in ("q1", "q2", "q3"):
            r["answer"] = "Rather not"
    path = write(tmp_path / "a.csv", rows)
    args = ["measure", str(path), "--with", "variance", "--column", "persona=worker"]
    unnamed = CliRunner().invoke(app, args)
    assert unnamed.exit_code == 2
    assert "numbers and words" in unnamed.output
    done = CliRunner().invoke(app, [*args, "--refusal", "rather not", "--scale", "1,7", "--json"])
    verdict = json.loads(done.stdout)[0]["tables"]["verdict"]
    assert set(verdict["ways"]) == {"observed", "minimum", "maximum", "nearer_extreme", "item_mean"}
    assert any("persona 12 of 480" in x and "scale from 1 to 7" in x for x in verdict["lines"])
    shown = CliRunner().invoke(app, [*args, "--refusal", "rather not"])
    assert "the extremes of the answers: nobody gave its ends" in shown.output
    assert "ways to take them" in shown.output
    for wrong, why in (("2,5", "off the scale"), ("5", "not a scale"), ("a,b", "not a scale"), ("5,5", "off the")):
        bad = CliRunner().invoke(app, [*args, "--refusal", "rather not", "--scale", wrong])
        assert bad.exit_code == 2
        assert why in bad.output


def test_steps_of_a_named_scale_are_all_its_whole_numbers(tmp_path):
    """People who never said 3 are two steps from 2 to 4, not one."""
    rows = [{**r, "answer": {1: 1, 2: 2, 3: 2, 4: 4, 5: 5}[r["answer"]]} for r in panel()]
    path = write(tmp_path / "a.csv", rows)
    own = [r for r in rows if r["arm"] == "persona"]
    people = write(tmp_path / "people.csv", [{**r, "answer": {2: 4}.get(r["answer"], r["answer"])} for r in own])

    def w1(scale):
        found = measure_table(path, columns={"persona": "worker"}, human=people, scale=scale)
        return scores(found)["people_w1"].value

    assert 1.6 * w1(None) < w1((1, 5)) < 2 * w1(None)  # some of the distance is noise of small numbers, of one step


def with_towns(rows, towns, *, shift=None):
    """Each worker gets a town, a street of their own and a time that changes; personas of a town may be shifted."""
    workers = list(dict.fromkeys(r["worker"] for r in rows))
    town = {w: towns[k % len(towns)] for k, w in enumerate(workers)}
    out = []
    for k, r in enumerate(rows):
        more = (shift or {}).get(town[r["worker"]], 0) if r["arm"] == "persona" else 0
        answer = max(1, min(5, r["answer"] + more))
        out.append({**r, "answer": answer, "town": town[r["worker"]], "street": f"of {r['worker']}", "time": k % 7})
    return out


def test_columns_that_both_files_have_are_attributes_and_groups_are_compared(tmp_path):
    towns = ["Ulm", "Rom", "Oslo", "[red]Kiel"]
    rows = with_towns(panel(people=40), towns, shift={"Rom": 1})
    path = write(tmp_path / "a.csv", rows)
    human = with_towns(panel(seed=9, people=160, arms=("persona",)), towns)
    people = write(tmp_path / "people.csv", human)
    found = measure_table(path, columns={"persona": "worker"}, human=people)
    groups = {g["group"]: g for g in found.readings[0].tables["groups"]}
    assert set(groups) == set(towns)
    assert (groups["Rom"]["people"], groups["Rom"]["simulated"]) == (40, 10)
    assert groups["Rom"]["pooled"] == max(g["pooled"] for g in groups.values())
    assert "town = Rom" in scores(found)["group_bias"].note
    said = " ".join(found.notes)
    assert "attributes on both sides: 'town'" in said
    assert "'street' is on both sides but no attribute: it all but names the person" in said
    assert "'time' is on both sides but no attribute: it changes within a person" in said
    questions = {q["question"]: q["state"] for q in found.readings[0].tables["verdict"]["questions"]}
    assert questions["Q3"] != "not assessed"
    shown = CliRunner().invoke(
        app, ["measure", str(path), "--with", "variance", "--column", "persona=worker", "--human", str(people)]
    )
    assert shown.exit_code == 0
    lines = [x for x in shown.output.splitlines() if x.strip().startswith("town = ")]
    assert [x.split("  ")[0].strip() for x in lines] == [f"town = {t}" for t in sorted(towns)]
    assert "first_component_people" in shown.output
    assert scores(found)["alt_winning_rate"].value is None  # ten items are too few, and the row says so
    assert "enough shared items" in scores(found)["alt_winning_rate"].note


def test_epsilon_reaches_the_alternative_annotator_test(tmp_path):
    draw = random.Random(3)

    def rows(people, seed_arms):
        return [
            {"worker": f"{arm}{p}", "question": f"q{q}", "answer": 1 + (q + draw.choice((0, 0, 0, 1, 2))) % 5,
             "run": r, "arm": arm}
            for arm in seed_arms for p in range(people) for q in range(60) for r in range(2)
        ]  # fmt: skip

    path, people = write(tmp_path / "a.csv", rows(6, ARMS)), write(tmp_path / "p.csv", rows(8, ("persona",)))

    def rate(epsilon):
        args = ["measure", str(path), "--with", "variance", "--column", "persona=worker", "--human", str(people)]
        done = CliRunner().invoke(app, [*args, "--epsilon", str(epsilon), "--json"])
        if done.exit_code:
            return done
        return next(s["value"] for s in json.loads(done.stdout)[0]["scores"] if s["name"] == "alt_winning_rate")

    assert rate(0.6) == 1.0
    assert rate(0.0) < 0.2
    refused = rate(1.5)
    assert refused.exit_code == 2
    assert "epsilon" in refused.output
