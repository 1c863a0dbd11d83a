"""Facts of personas meet the columns of people in a study; columns that are no facts do no harm."""

import random

from multitudes.core.records import Answer, Persona, Population
from multitudes.personas.questionnaires import load_questionnaire
from multitudes.simulate.survey import keyed
from multitudes.study.gauges import Material, read_gauge
from multitudes.study.human import stored_human

QUESTIONS = load_questionnaire("help-line")
K = len(QUESTIONS.labels)


def one_hot(label):
    return tuple(float(k == label) for k in range(K))


def drawn(draw, who, item, more=0):
    return max(0, min(K - 1, round(2 + (hash_of(who, item.id) % 3) - 1 + more + draw.gauss(0, 0.7))))


def hash_of(*parts):
    return sum(ord(c) * (k + 7) for k, c in enumerate("".join(parts)))


def panel(draw):
    people = tuple(
        Persona(id=f"p{k}", name=f"P {k}", text=f"person {k}", facts={"town": ["Ulm", "Rom"][k % 2]})
        for k in range(20)
    )
    answers = []
    for arm in ("persona", "none", "random-text", "shuffled"):
        for p in people:
            more = 2 if arm == "persona" and p.facts["town"] == "Rom" else 0
            for item in QUESTIONS.items:
                for run in range(2):
                    label = drawn(draw, p.id if arm == "persona" else "", item, more)
                    probs = one_hot(K - 1 - label if item.reverse else label)
                    answers.append(Answer(
                        id=f"{arm}{p.id}{item.id}{run}", persona_id=p.id, questionnaire_id="q", item_id=item.id,
                        arm=arm, replicate=run, mode="sampled", probs=probs,
                        score=keyed(probs, reverse=item.reverse)[0],
                    ))  # fmt: skip
    return Population(personas=people), tuple(answers)


def people(draw, changing):
    rows = [(f"h{p}", item, drawn(draw, f"h{p}", item)) for p in range(70) for item in QUESTIONS.items]
    town = {f"h{p}": ["Ulm", "Rom"][p % 2] for p in range(70)}
    attributes = {"town": [("Oslo" if changing and draw.random() < 0.1 else town[who]) for who, _, _ in rows]}
    return stored_human({
        "labels": K, "persona": [r[0] for r in rows], "item": [r[1].id for r in rows],
        "label": [K - 1 - label if item.reverse else label for _, item, label in rows],
        "score": [label / (K - 1) for _, _, label in rows], "run": None, "attributes": attributes,
    })  # fmt: skip


def read(changing):
    draw = random.Random(1)
    population, answers = panel(draw)
    material = Material(
        (), answers=answers, population=population, questionnaire=QUESTIONS, human=people(draw, changing)
    )
    return read_gauge("variance", material)


def test_facts_of_personas_meet_the_columns_of_people():
    found = read(changing=False)
    groups = {g["group"]: g for g in found.tables["groups"]}
    assert groups["Rom"]["pooled"] > groups["Ulm"]["pooled"] + 0.2
    assert (groups["Rom"]["people"], groups["Rom"]["simulated"]) == (35, 10)
    questions = {q["question"]: q["state"] for q in found.tables["verdict"]["questions"]}
    assert questions["Q3"] != "not assessed"


def test_a_column_that_changes_within_a_person_does_not_cost_the_verdict():
    found = read(changing=True)
    assert "groups" not in found.tables
    assert found.tables["verdict"]["state"] != "no verdict"
    questions = {q["question"]: q["state"] for q in found.tables["verdict"]["questions"]}
    assert questions["Q3"] == "not assessed"
