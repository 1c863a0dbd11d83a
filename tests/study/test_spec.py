import re
import tomllib

import pytest
from pydantic import BaseModel

from multitudes.core.errors import ConfigError
from multitudes.core.loop import run_sync
from multitudes.study.run import run_study
from multitudes.study.spec import PLACING, StudySpec, TargetSpec, explain, read_study

GOOD = """\
schema = 1
name = "bank"

[population]
n = 3
generator = "iid"
[models]
simulator = "fake:people"
target = "fake:echo"

[conversation]
turns = 2

[[scenarios]]
id = "card"
goal = "you want your card"

[[scenarios]]
id = "fee"
goal = "you want your money"
"""


def problems_of(tmp_path, text):
    file = tmp_path / "study.toml"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(ConfigError) as caught:
        read_study(file)
    assert caught.value.exit_code == 2
    assert sorted(tmp_path.rglob("*")) == before  # nothing was written
    return str(caught.value).replace(str(file), "FILE")


def test_a_good_file_is_read(tmp_path):
    (tmp_path / "study.toml").write_text(GOOD)
    spec = read_study(tmp_path / "study.toml")
    assert (spec.name, spec.population.n, [s.id for s in spec.scenarios]) == ("bank", 3, ["card", "fee"])


@pytest.mark.parametrize(
    ("change", "told"),
    [
        # unknown keys, at the top and inside
        (("schema = 1", "schema = 1\nseeed = 4"), ["FILE:2: seeed: unknown key", "did you mean 'seed'"]),
        (("n = 3", "n = 3\ngenerater = 'iid'"), ["FILE:6: population.generater: unknown key", "'generator'"]),
        (("turns = 2", "trns = 2"), ["FILE:12: conversation.trns: unknown key", "did you mean 'turns'"]),
        (('id = "fee"', 'id = "fee"\ngoul = "x"'), ["FILE:20: scenarios.1.goul: unknown key", "'goal'"]),
        (("[population]", "[populatoin]"), ["FILE:4: populatoin: unknown key", "did you mean 'population'"]),
        # wrong types
        (("turns = 2", 'turns = "four"'), ["FILE:12: conversation.turns", "integer", "found 'four'"]),
        (("turns = 2", "turns = 2.5"), ["FILE:12: conversation.turns", "integer", "found 2.5"]),
        (('name = "bank"', "name = 5"), ["FILE:2: name", "string", "found 5"]),
        (("n = 3", "n = [3]"), ["FILE:5: population.n", "found [3]"]),
        ((GOOD[GOOD.index("[pop") : GOOD.index("[models]")], "population = 'file.csv'\n"),
         ["FILE:4: population", "found 'file.csv'"]),
        (('target = "fake:echo"', "target = 7"), ["FILE:9: models.target", "string", "found 7"]),
        (("turns = 2", 'turns = "4"'), ["FILE:12: conversation.turns", "integer", "found '4'"]),
        (("turns = 2", "turns = true"), ["FILE:12: conversation.turns", "integer", "found True"]),
        (("turns = 2", "top_p = true"), ["FILE:12: conversation.top_p", "number", "found True"]),
        (("turns = 2", 'top_p = "0.9"'), ["FILE:12: conversation.top_p", "number", "found '0.9'"]),
        (("turns = 2", "target_last = 1"), ["FILE:12: conversation.target_last", "boolean", "found 1"]),
        (("schema = 1", "schema = true"), ["FILE:1: schema", "found True"]),
        # out of range
        (("turns = 2", "turns = 0"), ["FILE:12: conversation.turns", "greater than or equal to 1", "found 0"]),
        (("turns = 2", "temperature = nan"), ["FILE:12: conversation.temperature"]),
        (("schema = 1", "schema = 2"), ["FILE:1: schema", "found 2"]),
        (('name = "bank"', 'name = "my bank/study"'), ["FILE:2: name", "letters, digits", "found 'my bank/study'"]),
        (('id = "fee"', 'id = "fee"\nopener = "agent"'), ["FILE:20: scenarios.1.opener", "'user' or 'target'"]),
        # missing
        (('name = "bank"\n', ""), ["FILE:1: name: is missing"]),
        (('goal = "you want your card"\n', ""), ["FILE:14: scenarios.0.goal: is missing"]),
        (("[models]", "[survey]\nmode='exact'\n[models]"), ["FILE:7: survey.questionnaire: is missing"]),
        # rules between keys
        (("turns = 2", 'guards = ["ecko"]'), ["FILE:12: conversation.guards", "unknown guard 'ecko'", "'echo'"]),
        (('id = "fee"', 'id = "card"'), ["FILE:19: scenarios.1.id", "two scenarios have the id 'card'"]),
        ((GOOD[GOOD.index("[[scen") :], ""), ["FILE:1: study", "[[scenarios]]", "[survey]"]),
        # no TOML at all
        (("[models]", "[models"), ["FILE", "not valid TOML", "line 7"]),
        (("n = 3", "n = 3\nn = 4"), ["FILE", "not valid TOML", "line 6"]),
    ],
)  # fmt: skip
def test_each_problem_is_told_with_file_line_key_and_near_names(tmp_path, change, told):
    assert GOOD.count(change[0]) == 1
    message = problems_of(tmp_path, GOOD.replace(*change))
    for part in told:
        assert part in message
    assert len(re.findall(r"FILE:\d+: ", message)) <= 1  # one problem, told once


def test_all_problems_come_in_one_message(tmp_path):
    text = GOOD.replace("turns = 2", "turns = 0\nattemps = 2").replace("n = 3", "n = 0")
    message = problems_of(tmp_path, text)
    assert [m.split(":")[1] for m in re.findall(r"FILE:\d+: \S+:", message)] == ["5", "12", "13"]


def test_a_bad_table_of_a_target_is_told_without_talk_of_texts(tmp_path):
    table = '[models.target]\nurll = "http://localhost"\n'
    message = problems_of(tmp_path, GOOD.replace('target = "fake:echo"\n', "") + table)
    assert "models.target.urll: unknown key; did you mean 'url'?" in message
    assert "models.target.url: is missing" in message
    assert "valid string" not in message


def test_bytes_that_are_not_utf8(tmp_path):
    message = problems_of(tmp_path, GOOD.replace("bank", "caf\xe9").encode("latin-1"))
    assert "FILE:2: the file is not UTF-8" in message
    assert "0xe9" in message


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(ConfigError, match=r"nowhere\.toml: cannot be read"):
        read_study(tmp_path / "nowhere.toml")


def test_a_byte_order_mark_is_no_problem(tmp_path):
    (tmp_path / "study.toml").write_bytes(b"\xef\xbb\xbf" + GOOD.encode())
    assert read_study(tmp_path / "study.toml").name == "bank"


def test_what_only_shows_on_starting_leaves_the_folder_free_for_the_mended_study(tmp_path, small):
    for wrong in (
        small(models={"simulator": "fake:peeple"}),
        small(population={"generator": "no_such_generator"}),
        small(population={"file": "no_such_file.csv"}),
        small(models={"target": "python:no_such_module_here:f"}),
        small(models={"target": {"url": "http://127.0.0.1:1", "headers_env": {"X": "MULTITUDES_TEST_UNSET"}}}),
    ):
        with pytest.raises(ConfigError):
            run_sync(run_study(wrong, tmp_path / "run", base=tmp_path))
    with pytest.raises(ConfigError, match="no questionnaire"):
        run_sync(run_study(small(survey={"questionnaire": "help-lin"}), tmp_path / "other"))
    assert not (tmp_path / "other").exists()
    assert len(run_sync(run_study(small(), tmp_path / "run")).conversations) == 8


@pytest.mark.parametrize("generator", PLACING)
def test_generators_that_place_people_need_dimensions(tmp_path, generator):
    message = problems_of(tmp_path, GOOD.replace('"iid"', f'"{generator}"'))
    assert f"the generator '{generator}' places people" in message


def test_whole_numbers_may_stand_for_others_and_arrays_for_tuples(tmp_path):
    (tmp_path / "study.toml").write_text(GOOD.replace("turns = 2", 'temperature = 1\nguards = ["echo"]'))
    talk = read_study(tmp_path / "study.toml").conversation
    assert (talk.temperature, talk.guards) == (1.0, ("echo",))


# --- what a study file may say


def keys_of(model, seen=()):
    for name, field in model.model_fields.items():
        yield field.alias or name
        for inner in models_in(field.annotation):
            if inner not in seen:
                yield from keys_of(inner, (*seen, inner))


def models_in(annotation):
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [m for a in getattr(annotation, "__args__", ()) for m in models_in(a)]


def test_explain_mentions_every_key_with_a_meaning():
    text = explain()
    keys = list(keys_of(StudySpec))
    assert len(keys) > 50
    for key in keys:
        assert re.search(rf"^(# )?{key} = .*    # \S|\[{key}\]|[\[.]{key}\]", text, re.MULTILINE), key


def test_what_explain_prints_is_toml_with_the_true_defaults():
    raw = tomllib.loads(explain())
    for table in ("population", "conversation", "models", "measure"):
        defaults = StudySpec.model_fields[table].default_factory().model_dump(mode="json")
        for key, value in raw[table].items():
            if not isinstance(value, list) or not value or not isinstance(value[0], dict):
                assert value == defaults[key], f"{table}.{key}"
    assert raw["seed"] == 0


def uncommented(text, *heads, **values):
    """``explain()`` with these tables written out, and these values for the three dots of required keys."""
    lines, inside = [], False
    for line in text.splitlines():
        if line.lstrip("# ").startswith("["):
            inside = line.removeprefix("# ").partition("    # ")[0] in heads
        bare = line.removeprefix("# ")
        key = bare.partition(" = ")[0]
        if bare.startswith(f"{key} = ...") and "Must be given." in bare and key in values and (inside or not heads):
            lines.append(f"{key} = {values[key]!r}")
        elif inside and "= ..." not in line:
            lines.append(bare)
        else:
            lines.append(line)
    return "\n".join(lines)


def test_what_explain_prints_is_a_study_once_the_required_keys_are_filled_in(tmp_path):
    text = uncommented(explain(), "[survey]", questionnaire="help-line").replace("# name = ...", 'name = "x"', 1)
    (tmp_path / "study.toml").write_text(text)
    plain = StudySpec(name="x", survey={"questionnaire": "help-line"})
    assert read_study(tmp_path / "study.toml") == plain


def test_explained_tables_of_a_target_are_true_as_well(tmp_path):
    text = uncommented(explain(), "[models.target]", url="http://localhost")
    text = re.sub("^target = .*$", "", text, flags=re.MULTILINE).replace("# name = ...", 'name = "x"', 1)
    (tmp_path / "study.toml").write_text(text + '\n[survey]\nquestionnaire = "help-line"\n')
    assert read_study(tmp_path / "study.toml").models.target == TargetSpec(url="http://localhost")


def test_the_hash_is_of_what_is_asked_and_nothing_else(small):
    same = small().hash
    assert small(budget={"tokens": 5}, measure={"gauges": ["leak", "variance"]}).hash == same
    assert small(conversation={"in_flight": 3}).hash == same
    for other in (
        {"seed": 8}, {"name": "other"}, {"conversation": {"turns": 3}}, {"survey": None},
        {"models": {"target": "fake:people"}}, {"population": {"n": 5}},
        {"scenarios": [{"id": "card", "goal": "x"}]},
    ):  # fmt: skip
        assert small(**other).hash != same
