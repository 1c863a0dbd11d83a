import csv
import gzip
import json
import re
import sys
from pathlib import Path

import pytest

from multitudes.core.errors import ConfigError, DataFormatError, MissingExtra
from multitudes.core.records import Dimension, Persona, Placement, Population
from multitudes.personas import load_population

SHARED = Path(__file__).parents[3] / "shared" / "data"


def write(tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def jsonl(tmp_path, *rows, name="people.jsonl"):
    return write(tmp_path, name, "".join(json.dumps(r) + "\n" for r in rows))


def table(tmp_path, *rows, name="people.csv"):
    path = tmp_path / name
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerows(rows)
    return path


# --- layouts ---


def test_plain_table_with_facts(tmp_path):
    path = table(
        tmp_path,
        ["id", "name", "text", "age", "weight"],
        ["a1", "Ana", "Keeps bees.", "34", "2.5"],
        ["b2", "Bo", "Sails.", "", ""],
    )
    ana, bo = load_population(path).personas
    assert (ana.id, ana.name, ana.text, ana.facts, ana.weight) == ("a1", "Ana", "Keeps bees.", {"age": "34"}, 2.5)
    assert (bo.facts, bo.weight) == ({}, 1.0)
    assert ana.provenance == {"source": "people.csv", "layout": "plain", "place": "line 2"}


def test_missing_ids_are_stable_and_missing_names_are_drawn_and_said_to_be(tmp_path):
    path = jsonl(tmp_path, {"text": "Keeps bees."}, {"text": "Sails."}, {"text": "Bakes.", "name": "Bo"})
    people = load_population(path).personas
    assert all(re.fullmatch(r"[0-9a-f]{16}", p.id) for p in people)
    assert [p.provenance.get("name") for p in people] == ["drawn", "drawn", None]
    assert people[0].name != people[1].name
    assert load_population(path).personas == people
    swapped = load_population(jsonl(tmp_path, {"text": "Sails."}, {"text": "Keeps bees."}, name="other.jsonl"))
    assert [p.id for p in swapped.personas] == [people[1].id, people[0].id]


@pytest.mark.parametrize(
    ("row", "layout", "expected"),
    [
        ({"persona": "A baker by the sea."}, "single", ("A baker by the sea.", None, {})),
        ({"input persona": "A baker.", "synthesized text": "2 + 2?"}, "hub", ("A baker.", None, {})),
        ({"id": 3, "persona": '"Meet Bo, a baker."', "name": "Bo"}, "named", ('"Meet Bo, a baker."', "Bo", {})),
        (
            {
                "uuid": "df6b-1", "persona": "A calm baker.", "professional_persona": "Bakes all day.",
                "skills_and_expertise": "Dough, ovens.", "hobbies_and_interests_list": "['chess']", "sex": "Female",
                "age": 61, "marital_status": "married", "city": "Lyon",
            },
            "nemotron",
            (
                "A calm baker.", None,
                {"sex": "Female", "age": "61", "marital_status": "married", "city": "Lyon"},
            ),
        ),
        (
            {
                "type": "TinyPerson",
                "persona": {
                    "name": "Bo Lund", "age": 44, "nationality": "Danish",
                    "occupation": {"title": "Baker", "description": "You bake rye bread."},
                    "personality": {"traits": ["You are calm", "You hum."]}, "skills": [],
                },
            },
            "agent",
            (
                "You bake rye bread. You are calm. You hum.", "Bo Lund",
                {"age": "44", "nationality": "Danish", "occupation": "Baker"},
            ),
        ),
    ],
)  # fmt: skip
def test_public_layouts_are_known_by_their_columns(tmp_path, row, layout, expected):
    (person,) = load_population(jsonl(tmp_path, row)).personas
    text, name, facts = expected
    assert (person.text, person.facts, person.provenance["layout"]) == (text, facts, layout)
    assert person.name == name or person.provenance["name"] == "drawn"


def test_agent_with_facts_alone_still_has_a_text(tmp_path):
    path = write(tmp_path, "bo.agent.json", json.dumps({"persona": {"name": "Bo", "age": 44}}, indent=1))
    assert load_population(path).personas[0].text == "Age: 44."


@pytest.mark.parametrize("plural", ["personas", "persona"])
def test_persona_chat_tables_give_both_sides_once(tmp_path, plural):
    path = table(
        tmp_path,
        [f"user 1 {plural}", f"user 2 {plural}", "Best Generated Conversation"],
        ["I bake.\nI sail.", "I knit.", "User 1: Hi"],
        ["I knit.", "I ski.", "User 1: Ho"],
    )
    people = load_population(path).personas
    assert [p.text for p in people] == ["I bake. I sail.", "I knit.", "I ski."]
    assert people[1].provenance["rows"] == "2"


def test_persona_chat_messages(tmp_path):
    row = {"id": "d1", "messages": [], "meta": {"personas": {"user1": ["I bake.", "I sail."], "user2": ["I knit."]}}}
    assert [p.text for p in load_population(jsonl(tmp_path, row)).personas] == ["I bake. I sail.", "I knit."]


def test_toml(tmp_path):
    text = '[[personas]]\nid = "a"\nname = "Ana"\ntext = "Keeps bees."\ntown = "Porto"\nfacts = {age = 34}\n'
    text += '[[personas]]\ntext = "Sails."\n'
    ana, other = load_population(write(tmp_path, "p.toml", text)).personas
    assert (ana.name, ana.facts) == ("Ana", {"town": "Porto", "age": "34"})
    assert other.provenance["place"] == "line 7"


def test_own_records_come_back_whole(tmp_path):
    ana = Persona(
        id="a",
        name="Ana",
        text="Bees.",
        placement={"d": Placement(target=0.25, rung=2, phrase="waits")},
        fallback=True,
    )
    assert load_population(write(tmp_path, "p.jsonl", ana.model_dump_json() + "\n")).personas == (ana,)
    dimension = Dimension(id="d", name="D", low="runs", high="waits")
    whole = Population(context="A queue.", dimensions=(dimension,), personas=(ana,), generator="sobol", seed=3)
    assert load_population(write(tmp_path, "p.json", whole.model_dump_json())) == whole


def test_parquet_and_its_missing_extra(tmp_path, monkeypatch):
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    path = tmp_path / "p.parquet"
    parquet.write_table(pa.table({"persona": ["A baker.", "A sailor."], "name": ["Bo", None]}), path)
    people = load_population(path).personas
    assert [p.text for p in people] == ["A baker.", "A sailor."]
    assert [p.provenance["place"] for p in people] == ["row 1", "row 2"]
    with pytest.raises(DataFormatError, match="a Parquet file"):
        load_population(write(tmp_path, "bad.parquet", "PAR1 not really"))
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingExtra, match="parquet"):
        load_population(path)


def test_limit_reads_no_further(tmp_path):
    path = write(tmp_path, "p.jsonl", '{"text": "a b"}\n{"text": "c d"}\nnot json\n')
    assert len(load_population(path, limit=1)) == 1
    with pytest.raises(DataFormatError):
        load_population(path)
    with pytest.raises(ConfigError, match="limit"):
        load_population(path, limit=0)


# --- encodings and ends of line ---


@pytest.mark.parametrize("name", ["p.csv", "p.jsonl", "p.toml", "p.json"])
def test_byte_order_mark_and_crlf(tmp_path, name):
    text = {
        "p.csv": "id,text\r\na,Käse\r\n",
        "p.jsonl": '{"id": "a", "text": "Käse"}\r\n\r\n',
        "p.toml": '[[personas]]\r\nid = "a"\r\ntext = "Käse"\r\n',
        "p.json": '[\r\n{"id": "a", "text": "Käse"}]',
    }[name]
    (person,) = load_population(write(tmp_path, name, b"\xef\xbb\xbf" + text.encode())).personas
    assert (person.id, person.text) == ("a", "Käse")


@pytest.mark.parametrize("name", ["p.csv", "p.jsonl", "p.toml", "p.json"])
def test_other_encodings_are_named_with_line_and_byte(tmp_path, name):
    with pytest.raises(DataFormatError, match="not UTF-8") as error:
        load_population(write(tmp_path, name, b"id,text\na,K\xe4se\n"))
    assert f"{name}:2" in str(error.value)
    assert "0xe4" in str(error.value)


def test_gzip(tmp_path):
    assert (
        load_population(write(tmp_path, "p.jsonl.gz", gzip.compress(b'{"text": "Sails."}\n'))).personas[0].text
        == "Sails."
    )
    with pytest.raises(DataFormatError, match="cannot be read"):
        load_population(write(tmp_path, "q.jsonl.gz", b"not gzip"))


def test_text_comes_through_byte_for_byte(tmp_path):
    nasty = '{x} %s \\n <|im_end|>\n"quoted", \u2028 line'
    path = table(tmp_path, ["id", "text"], ["a", nasty])
    assert load_population(path).personas[0].text == nasty
    assert load_population(jsonl(tmp_path, {"text": nasty})).personas[0].text == nasty


# --- what is wrong with a file ---


@pytest.mark.parametrize("name", ["p.csv", "p.jsonl", "p.toml", "p.json"])
def test_empty_files(tmp_path, name):
    with pytest.raises(DataFormatError, match="no personas"):
        load_population(write(tmp_path, name, ""))


@pytest.mark.parametrize(
    ("name", "content", "parts"),
    [
        ("p.csv", "id,text\n", ["no personas", "header alone"]),
        ("p.csv", "id,text\na,b,c\nd\n", ["line 2: found 3 fields, expected 2", "line 3: found 1 fields"]),
        ("p.csv", "text,text\na,b\n", ["line 1, 'text': found the same column twice"]),
        ("p.csv", 'id,text\na,"never closed\n', ["line 2", "unexpected end"]),
        ("p.csv", "id,text\na," + "x" * 140_000 + "\n", ["line 2", "field larger"]),
        (
            "p.jsonl",
            json.dumps({"text": "x" * 100_001}),
            ["line 1, 'text': found 100,001 characters, expected at most"],
        ),
        ("p.jsonl", '{"text": "a"}\n{"text": \n', ["line 2: found", "at column", "one JSON object a line"]),
        ("p.jsonl", '{"text": "a"}\n[1]\n', ["line 2: found a JSON list, expected a JSON object"]),
        ("p.jsonl", '{"text": "a"}\n{"txt": "b"}\n', ["line 2, 'text': found no such field"]),
        ("p.jsonl", '{"text": "a"}\n{"text": "  "}\n', ["line 2, 'text': found nothing"]),
        ("p.jsonl", '{"text": "a", "extra": {"b": 1}}\n', ["line 1, 'extra': found a dict"]),
        ("p.jsonl", '{"text": "\\ud800"}\n', ["surrogate"]),
        ("p.jsonl", '{"text": "a", "weight": "-1"}\n', ["line 1, 'weight': found '-1', expected a number above 0"]),
        ("p.jsonl", '{"text": "a", "id": "x y"}\n', ["line 1, 'id': found 'x y'"]),
        ("p.jsonl", '{"text": "a", "id": 1}\n{"text": "b", "id": 1}\n', ["line 2, 'id': found '1', as in line 1"]),
        ("p.jsonl", '{"text": "A b"}\n\n{"text": "a  B"}\n', ["line 3, 'text': found the same text as line 1"]),
        ("p.jsonl", '{"description": "a"}\n', ["no layout", "line 1", "'description'", "'text'"]),
        ("p.json", '{"personas": [\n{"text": "a"},\n}', ["line 3", "expected JSON"]),
        ("p.toml", "personas = 3\n", ["line 1, 'personas'"]),
        ("p.toml", "[[personas]\n", ["not valid TOML", "line 1"]),
        ("p.txt", "hello", ["unknown extension '.txt'", ".csv"]),
    ],
)
def test_errors_name_place_field_found_and_expected(tmp_path, name, content, parts):
    with pytest.raises(DataFormatError) as error:
        load_population(write(tmp_path, name, content))
    message = str(error.value)
    assert name in message
    for part in parts:
        assert part in message


def test_up_to_twenty_findings_come_in_one_error(tmp_path):
    rows = [{"text": "good"}] + [{"text": ""}] * 30
    with pytest.raises(DataFormatError) as error:
        load_population(jsonl(tmp_path, *rows))
    assert "the first 20 problems" in str(error.value)
    assert str(error.value).count("found nothing") == 20


def test_missing_file(tmp_path):
    for name in ("p.csv", "p.toml"):
        with pytest.raises(DataFormatError, match="cannot be read"):
            load_population(tmp_path / name)


def test_near_duplicates_are_noted(tmp_path):
    text = " ".join(f"word{i}" for i in range(60))
    population = load_population(jsonl(tmp_path, {"id": "a", "text": text}, {"id": "b", "text": text + " end"}))
    assert population.near_duplicates == (("a", "b"),)


# --- real sets ---


@pytest.mark.skipif(not SHARED.is_dir(), reason="the shared data folder is not here")
def test_real_sets():
    named = load_population(SHARED / "consistency" / "personas.jsonl")
    assert (len(named), named.personas[0].provenance["layout"]) == (200, "named")
    chat = load_population(SHARED / "dialogues" / "synthetic_persona_chat.jsonl.gz", limit=300)
    assert len(chat) == 300
