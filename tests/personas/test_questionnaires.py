import logging
import re

import pytest

from multitudes.core.errors import DataFormatError, QuestionnaireError
from multitudes.personas import check_questionnaire, check_splits, load_questionnaire, shipped_questionnaires

GOOD = '''\
schema = 1
id = "allotment"
split = "train"
context = """
Members of an allotment in town talk over rules for water, sheds and tools.
id = "not a key, but prose"
"""
labels = ["No", "Rather not", "In between", "Rather", "Yes"]

[[dimensions]]
id = "rules"
name = "Keeping rules"
low = "bends rules"
high = "keeps every rule"
ladder = ["bends rules", "keeps some rules", "keeps every rule"]

[[items]]
id = "r1"
dimension = "rules"
text = "I would report a neighbour who waters too late."
[[items]]
id = "r2"
dimension = "rules"
reverse = true
text = "If nobody is harmed, a rule can wait."
[[items]]
id = "r3"
dimension = "rules"
text = "I read the notice board before I plant anything."
'''

SAME = "I read  the Notice board before I plant anything."  # as item r3, but for case and space

# (code, old, new, key path in the message, text at whose line the error points)
BROKEN = [
    ("schema", "schema = 1", "schema = 2", "schema", "schema = 2"),
    ("schema", "schema = 1\n", "", "file", None),
    ("key", 'split = "train"', 'spilt = "train"', "spilt", "spilt"),
    ("key", 'reverse = true', 'reversed = true', "items[1].reversed", "reversed"),
    ("key", 'reverse = true', 'reverse = "yes"', "items[1].reverse", 'reverse = "yes"'),
    ("key", 'name = "Keeping rules"\n', "", "dimensions[0]", "[[dimensions]]"),
    ("key", '"Rather", "Yes"', '"Rather", 5', "labels", "labels"),
    ("id", 'id = "allotment"', 'id = "Allotment Rules"', "id", 'id = "Allotment'),
    ("id", 'id = "r2"', 'id = "r1"', "items[1].id", "second r1"),
    ("id", 'dimension = "rules"\nreverse', 'dimension = "ruels"\nreverse', "items[1].dimension", "ruels"),
    ("count", '"No", "Rather not", "In between", "Rather", "Yes"', '"No"', "labels", "labels"),
    ("text", " of an allotment in town talk over rules for water, sheds and tools.\nid =", "", "context", "context"),
    ("text", 'text = "If nobody is harmed, a rule can wait."', 'text = "Hm."', "items[1].text", "Hm."),
    ("text", "If nobody is harmed, a rule can wait.", SAME, "items[2].text", "I read the notice"),
    ("text", 'high = "keeps every rule"', 'high = "Bends  rules"', "dimensions[0].high", "high ="),
    ("text", '"No", "Rather not"', '"No", "no "', "labels[1]", "labels"),
    ("ladder", '"keeps some rules", "keeps every', '"keeps every', "dimensions[0].ladder", "ladder"),
    ("ladder", '"keeps some rules"', '"keeps 5 rules"', "dimensions[0].ladder[1]", "ladder"),
    ("ladder", '"keeps some rules"', '"Bends rules"', "dimensions[0].ladder[1]", "ladder"),
    ("ladder", '"keeps some rules"', '"' + "very " * 21 + '"', "dimensions[0].ladder[1]", "ladder"),
    ("split", 'split = "train"', 'split = "trial"', "split", "split"),
]  # fmt: skip


def _load(tmp_path, text):
    path = tmp_path / "q.toml"
    path.write_text(text, encoding="utf-8")
    return load_questionnaire(path)


def test_a_good_file_loads(tmp_path):
    q = _load(tmp_path, GOOD)
    assert (q.id, q.split, len(q.items), q.items[1].reverse) == ("allotment", "train", 3, True)
    assert q.dimensions[0].ladder == ("bends rules", "keeps some rules", "keeps every rule")
    assert q.context.startswith("Members of an allotment")
    assert q.hash == _load(tmp_path, GOOD.replace("schema = 1", 'schema = 1\ntitle = "T"')).hash


@pytest.mark.parametrize(("code", "old", "new", "key_path", "at"), BROKEN)
def test_every_rule_names_code_key_and_line(tmp_path, code, old, new, key_path, at):
    assert old in GOOD
    text = GOOD.replace(old, new, 1)
    lines = text.splitlines()
    if at is None:
        line = 1
    elif at == "second r1":
        line = [i for i, row in enumerate(lines, 1) if row == 'id = "r1"'][1]
    else:
        line = next(i for i, row in enumerate(lines, 1) if at in row)
    with pytest.raises(QuestionnaireError) as error:
        _load(tmp_path, text)
    assert f"line {line}, {key_path} [{code}]:" in str(error.value)


def test_a_dimension_without_items_and_too_many_dimensions(tmp_path):
    extra = "".join(
        f'[[dimensions]]\nid = "d{i}"\nname = "D{i}"\nlow = "low{i}"\nhigh = "high{i}"\n' for i in range(8)
    )
    with pytest.raises(QuestionnaireError) as error:
        _load(tmp_path, GOOD + extra)
    assert "9 dimensions; expected 1 to 8" in str(error.value)
    assert str(error.value).count("has no items") == 8


def test_all_problems_come_in_one_error_with_near_names(tmp_path):
    text = GOOD.replace("split", "splitt", 1).replace("reverse =", "revers =", 1)
    with pytest.raises(QuestionnaireError) as error:
        _load(tmp_path, text)
    assert "2 problems" in str(error.value)
    assert "did you mean 'split'" in str(error.value)
    assert "did you mean 'reverse'" in str(error.value)


def test_warnings_do_not_stop_a_file(tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        assert _load(tmp_path, GOOD.replace("reverse = true\n", ""))
    assert "[keying]" in caplog.text
    assert [p.code for p in check_questionnaire(GOOD.replace("reverse = true\n", ""))] == ["keying"]


def test_tables_of_the_wrong_kind_are_problems_not_crashes():
    assert [p.code for p in check_questionnaire('schema = 1\nitems = 5\ndimensions = ["x"]')].count("key") >= 3


@pytest.mark.parametrize(
    ("raw", "message"),
    [(b"schema = ", "not valid TOML"), (b'id = "caf\xe9"', "not UTF-8"), (None, "cannot be read")],
)
def test_files_that_cannot_be_read(tmp_path, raw, message):
    path = tmp_path / "q.toml"
    if raw is not None:
        path.write_bytes(raw)
    with pytest.raises(DataFormatError, match=message):
        load_questionnaire(path)


def test_byte_order_mark_and_crlf_are_fine(tmp_path):
    path = tmp_path / "q.toml"
    path.write_bytes(b"\xef\xbb\xbf" + GOOD.replace("\n", "\r\n").encode())
    assert load_questionnaire(path).hash == _load(tmp_path, GOOD).hash


def test_unknown_ids_name_the_near_ones():
    with pytest.raises(QuestionnaireError, match="did you mean 'temperament'"):
        load_questionnaire("temperment")


def test_contexts_may_not_leak_between_splits(tmp_path):
    train = _load(tmp_path, GOOD)
    test = train.model_copy(update={"id": "other", "split": "test"})
    with pytest.raises(QuestionnaireError, match="5-grams"):
        check_splits([train, test])
    far = test.model_copy(update={"context": "Sailors on a long voyage argue about who cooks and who keeps watch."})
    check_splits([train, far, train.model_copy(update={"split": "none"})])


@pytest.mark.parametrize("name", shipped_questionnaires())
def test_shipped_questionnaires(name):
    q = load_questionnaire(name)
    assert q.id == name
    assert len(q.labels) == 5
    for dimension in q.dimensions:
        own = [i for i in q.items if i.dimension == dimension.id]
        assert (len(own), sum(i.reverse for i in own)) == (4, 2)
        assert dimension.ladder is not None
        assert len(set(dimension.ladder)) == 9
        assert not re.search(r"\d|\bscale|\bscore|\bpercent|very (high|low)", " ".join(dimension.ladder))


def test_what_ships():
    assert {"temperament", "asking-help", "help-line"} <= set(shipped_questionnaires())
