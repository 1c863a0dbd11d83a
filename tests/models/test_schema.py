import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from multitudes.core.errors import ConfigError
from multitudes.models.schema import BadJson, check_schema, parse_json, refuse_unknown_rules

scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4), max_leaves=12
)
objects = st.dictionaries(st.text(), values, max_size=4)
prose = st.text(alphabet=st.characters(codec="utf-8", exclude_characters='{}"`'))


@given(values)
def test_json_reads_back(value):
    assert parse_json(json.dumps(value)) == value
    assert parse_json(f"```json\n{json.dumps(value, indent=1)}\n```") == value


@given(prose, objects, prose)
@example("Infinity", {}, "")
@example("1e999", {"a": 1}, "")
def test_an_object_is_found_in_prose(before, value, after):
    assert parse_json(f"{before} {json.dumps(value)} {after}") == value


@given(st.dictionaries(st.text(), values, min_size=1, max_size=4), st.data())
def test_a_cut_off_object_is_never_read(value, data):
    text = json.dumps(value)
    cut = data.draw(st.integers(1, len(text) - 1))
    with pytest.raises(BadJson):
        parse_json(text[:cut])


@given(st.text())
def test_any_text_gives_a_value_or_bad_json(text):
    try:
        parse_json(text)
    except BadJson:
        pass


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('{"a": 1} {"b": 2}', {"a": 1}),
        ('like {this} or {that}: {"a": \'}\'} {"a": "}"}', {"a": "}"}),
        ('```\n{"a": "\\"{"}\n```', {"a": '"{'}),
        ('Here:\n```json\n{"a": 1}\n```\nDone.', {"a": 1}),
        ("[1, 2]", [1, 2]),
    ],
)
def test_which_value(text, value):
    assert parse_json(text) == value


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("", "no complete"),
        ("no braces", "no complete"),
        ('{"inner": {"a": 1}, "label": "calm', "no complete"),
        ('{"a": 1, "a": 2}', "key twice.*'a'"),
        ('so: {"x": {"a": 1, "a": 1}}', "key twice"),
        ('{"a": NaN}', "NaN"),
        ('{"a": -Infinity}', "-Infinity"),
        ('{"a": 1e999}', "too large"),
        ('{"a": "\\ud800"}', "surrogate"),
        ("[" * 100_000 + "]" * 100_000, "deeply"),
        ('{"a": ' + "9" * 5000 + "}", "limit"),
    ],
)
def test_what_is_refused(text, what):
    with pytest.raises(BadJson, match=what):
        parse_json(text)


PERSON = {
    "type": "object",
    "description": "a person",
    "properties": {
        "name": {"type": "string"},
        "age": {"type": "integer", "minimum": 0, "maximum": 120},
        "mood": {"enum": ["calm", "cross", 1]},
        "tags": {"type": "array", "items": {"type": "string"}, "minItems": 1, "maxItems": 2},
        "note": {"type": ["string", "null"]},
    },
    "required": ["name", "age"],
    "additionalProperties": False,
}


@pytest.mark.parametrize(
    ("change", "errors"),
    [
        ({}, []),
        ({"note": None, "tags": ["a"], "mood": "calm"}, []),
        ({"age": 12.0}, ["$.age: expected integer, found 12.0"]),
        ({"age": True}, ["$.age: expected integer, found True"]),
        ({"age": -1}, ["$.age: expected at least 0, found -1"]),
        ({"age": 121}, ["$.age: expected at most 120, found 121"]),
        ({"mood": True}, ["$.mood: expected one of ['calm', 'cross', 1], found True"]),
        ({"tags": []}, ["$.tags (length): expected at least 1, found 0"]),
        ({"tags": ["a", 2]}, ["$.tags[1]: expected string, found 2"]),
        ({"tags": ["a", "b", "c"]}, ["$.tags (length): expected at most 2, found 3"]),
        ({"note": 1}, ["$.note: expected string or null, found 1"]),
        ({"pet": "cat"}, ["$.pet: not allowed"]),
    ],
)
def test_errors_name_the_path(change, errors):
    assert check_schema({"name": "Ada", "age": 36} | change, PERSON) == errors


def test_all_errors_are_listed():
    assert check_schema({"age": 200, "x": 1}, PERSON) == [
        "$.name: missing",
        "$.age: expected at most 120, found 200",
        "$.x: not allowed",
    ]
    assert check_schema([], PERSON) == ["$: expected object, found []"]


def test_additional_properties_may_have_a_schema():
    schema = {"type": "object", "additionalProperties": {"type": "number"}}
    assert check_schema({"a": 1, "b": 0.5}, schema) == []
    assert check_schema({"a": "x"}, schema) == ["$.a: expected number, found 'x'"]


def test_unknown_words_are_refused_with_their_path():
    refuse_unknown_rules(PERSON)
    with pytest.raises(ConfigError, match=r"schema\.properties\.a\.items"):
        refuse_unknown_rules({"properties": {"a": {"items": {"pattern": "x"}}}})
    with pytest.raises(ConfigError, match="float"):
        refuse_unknown_rules({"type": "float"})
