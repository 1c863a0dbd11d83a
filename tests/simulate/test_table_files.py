"""Anybody's tables: every format says the same, nothing is dropped in silence, and what is wrong is named by line."""

import csv
import gzip
import json
import math
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from multitudes.core.errors import ConfigError, DataFormatError, MissingExtra
from multitudes.simulate import _columns
from multitudes.simulate.answers import REFUSED, DuplicateAnswerError, answers_of
from multitudes.simulate.tables import parse_number, read_table

HEAD = "persona,item,answer\n"
ROWS = [("ann", "q1", 1), ("ann", "q2", 2.5), ("bob", "q1", -3), ("bob", "q2", None)]
RECORDS = [dict(zip(("persona", "item", "answer"), row, strict=True)) for row in ROWS]
PLAIN = HEAD + "ann,q1,1\nann,q2,2.5\nbob,q1,-3\nbob,q2,\n"


@pytest.fixture
def write(tmp_path):
    def writer(content, name="data.csv"):
        path = tmp_path / name
        data = content if isinstance(content, bytes) else content.encode()
        path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
        return path

    return writer


def table_of(write, answers, **more):
    """Two people by turns, a new item for every pair of answers."""
    lines = [f"""{"ab"[i % 2]},q{i // 2},"{answer}\"""" for i, answer in enumerate(answers)]
    return read_table(write(HEAD + "\n".join(lines) + "\n"), **more)


def write_parquet(path, columns):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    parquet.write_table(pyarrow.table(columns), path)
    return path


# --- formats ----------------------------------------------------------------------------------------------------

TEXTS = {
    "data.csv": PLAIN,
    "data.tsv": PLAIN.replace(",", "\t"),
    "data.jsonl": "\n\n".join(map(json.dumps, RECORDS)),
    "data.ndjson": "\n".join(map(json.dumps, RECORDS)) + "\n",
    "data.json": json.dumps(RECORDS, indent=1),
}


@pytest.mark.parametrize("name", sorted(TEXTS))
@pytest.mark.parametrize("packed", ["", ".gz"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_every_text_format_says_the_same(write, name, packed, mark):
    _check_rows(read_table(write(mark + TEXTS[name].encode(), name.upper()[:5] + name[5:] + packed)))


@pytest.mark.parametrize("name", ["data.csv", "data.jsonl"])
def test_rows_read_in_many_parts_are_the_same_rows(write, monkeypatch, name):
    monkeypatch.setattr(_columns, "_ROWS_AT_ONCE", 3)
    _check_rows(read_table(write(TEXTS[name], name)))


def test_parquet_says_the_same(tmp_path):
    _check_rows(read_table(write_parquet(tmp_path / "d.parquet", {k: [r[k] for r in RECORDS] for k in RECORDS[0]})))


def _check_rows(table):
    assert (table.n, table.skipped, table.guessed, table.unused, table.warnings) == (4, 0, (), (), ())
    answers = answers_of(table)
    assert answers.kind == "numeric"
    np.testing.assert_array_equal(answers.y, [1, 2.5, -3, np.nan])
    assert list(answers.persona) == ["ann", "ann", "bob", "bob"]
    assert list(answers.item) == ["q1", "q2", "q1", "q2"]
    assert (answers.unscored, answers.run, answers.codes, answers.labels) == (1, None, None, ())
    assert answers.notes == ("1 answers are unscored: 1 empty",)


def test_arrays_cannot_be_written_to(write):
    table = read_table(write(PLAIN))
    with pytest.raises(ValueError, match="read-only"):
        table.roles["persona"][0] = "eve"


def test_quotes_lines_within_fields_and_windows_line_ends(write):
    text = HEAD.replace("\n", ",text\r\n") + 'ann,"a, ""b""",1,"two\r\nlines"\r\nann,c,2, kept \r\nbob,c,\r\n'
    with pytest.raises(DataFormatError, match=r"data\.csv:5: a row of another length\n.*found: 3 fields\n.*4, as in"):
        read_table(write(text))
    table = read_table(write(text), skip_invalid=True)
    assert list(table.roles["item"]) == ['a, "b"', "c"]
    assert list(table.roles["text"]) == ["two\r\nlines", " kept "]
    assert list(table.lines) == [2, 4]


def test_json_values_become_text_that_reads_back_the_same(write):
    values = [True, 7, 7.0, 0.1 + 0.2, "7", 2**70]
    lines = [json.dumps({"persona": i % 2, "item": v, "answer": i // 2}) for i, v in enumerate(values)]
    table = read_table(write("\n".join(lines), "d.jsonl"))
    assert list(table.roles["item"]) == ["true", "7", "7.0", "0.30000000000000004", "7", str(2**70)]
    assert list(table.roles["persona"]) == ["0", "1"] * 3


@pytest.mark.parametrize("at_once", [1, 2, 99])
def test_a_key_that_comes_late_was_empty_before(write, monkeypatch, at_once):
    monkeypatch.setattr(_columns, "_ROWS_AT_ONCE", at_once)
    records = [{"persona": "a", "item": f"q{i}", "answer": 1, **({"run": "1"} if i > 1 else {})} for i in range(4)]
    table = read_table(write("\n".join(map(json.dumps, records)), "d.jsonl"))
    assert list(table.roles["run"]) == ["", "", "1", "1"]
    assert table.warnings == ("'run' is empty in 2 rows; they share the label ''",)


# --- roles ------------------------------------------------------------------------------------------------------


def test_names_are_guessed_and_said(write):
    text = "Annotator,Prompt ID,Rating,completion,replicate,colour\nann,q1,1,hello,0,red\nann,q2,2,yes,0,blue\n"
    table = read_table(write(text))
    assert table.columns == {
        "persona": "Annotator", "item": "Prompt ID", "answer": "Rating", "run": "replicate", "text": "completion"
    }  # fmt: skip
    assert set(table.guessed) == set(table.columns)
    assert "column 'Annotator' was taken for 'persona'" in table.warnings
    assert table.unused == ("colour",)
    assert read_table(write(text), attributes=["colour"]).attributes["colour"].tolist() == ["red", "blue"]


def test_what_is_named_is_not_guessed_again(write):
    text = "user_id,annotator,item,rating,label\nu,a,1,2,x\nu,b,2,3,y\n"
    with pytest.raises(DataFormatError, match="several columns may be 'persona'") as caught:
        read_table(write(text))
    assert "'annotator' and 'user_id'" in str(caught.value)
    table = read_table(write(text), {"persona": "user_id", "answer": "label"})
    assert table.columns == {"persona": "user_id", "answer": "label", "item": "item"}
    assert list(table.roles["answer"]) == ["x", "y"]


def test_its_own_name_beats_other_names_and_optional_roles_are_left_when_unclear(write):
    text = "persona,annotator,item,answer,rating,output,completion\np,a,1,2,9,x,y\np,b,2,3,9,x,y\n"
    table = read_table(write(text))
    assert (table.columns["persona"], table.columns["answer"]) == ("persona", "answer")
    assert "text" not in table.columns
    assert "'text' was not read: 'output' and 'completion' may be it" in table.warnings
    with pytest.raises(DataFormatError, match="several columns may be 'item'"):
        read_table(write("persona,Item,ITEM,answer\np,a,b,1\n"))
    assert read_table(write("persona,Item,item,answer\np,a,b,1\n")).roles["item"].tolist() == ["b"]


def test_numbers_and_truth(write):
    text = "text,temperature,length,weight,valid\na,0.7,12,1.5,yes\nb,,NA,2,0\n"
    table = read_table(write(text), require=("text",))
    np.testing.assert_array_equal(table.roles["temperature"], [0.7, np.nan])
    np.testing.assert_array_equal(table.roles["length"], [12, np.nan])
    assert table.roles["valid"].tolist() == [True, False]
    for bad in ("a,-1,1,1,1", "a,hot,1,1,1", "a,1,1,inf,1", "a,1,1,1,maybe", "a,1,1,1,"):
        with pytest.raises(DataFormatError, match=r"data\.csv:2: (no number|neither true nor false) in column"):
            read_table(write(f"text,temperature,length,weight,valid\n{bad}\n"), require=("text",))


@pytest.mark.parametrize(
    ("header", "columns", "says"),
    [
        ("persna,item,answer", None, ["no column for 'persona'", "columns persna, item, answer", "mean 'persna'"]),
        ("persona;item;answer", None, ["no column for 'persona'", "not separated by commas"]),
        ("1,2,3", None, ["no column for 'persona'", "the first row holds data"]),
        ("id,turns,x", None, ["no column for 'persona'", "read them as transcripts"]),
        ("persona,item,answer", {"run": "Runs"}, ["no column 'Runs'", "columns persona, item, answer"]),
    ],
)
def test_a_missing_column(write, header, columns, says):
    with pytest.raises(DataFormatError) as caught:
        read_table(write(f"{header}\na,b,1\n"), columns)
    assert all(part in str(caught.value) for part in says), str(caught.value)


def test_an_unknown_role(write):
    with pytest.raises(ConfigError, match=r"unknown role(.|\n)*did you mean 'persona'"):
        read_table(write(PLAIN), {"person": "persona"})


# --- what is wrong with a file ----------------------------------------------------------------------------------

GOOD = json.dumps(RECORDS[0])
WHOLE = [
    ("data.csv", b"", r"data\.csv: an empty file"),
    ("data.csv", b"\xef\xbb\xbf\n", r"data\.csv: an empty file"),
    ("data.jsonl", b"\n\n", r"data\.jsonl: an empty file"),
    ("data.json", b"", r"data\.json: an empty file"),
    ("data.xlsx", b"PK\x03\x04", r"unknown extension '\.xlsx'(.|\n)*\.csv"),
    ("data.cvs", b"a", r"unknown extension(.|\n)*did you mean '\.csv'"),
    ("data.parquet.gz", b"a", r"not a Parquet file(.|\n)*gzip"),
    ("data.csv", b"PK\x03\x04....", r"not a CSV file(.|\n)*Excel"),
    ("data.csv", b"PAR1....", r"not a CSV file(.|\n)*a Parquet file"),
    ("data.csv", HEAD.encode(), r"data\.csv: no rows(.|\n)*column names only"),
    ("data.csv", b"persona,item,item,answer\na,b,c,1\n", r"data\.csv:1: a column name twice(.|\n)*'item'"),
    ("data.csv", HEAD.encode() + b"ann,q1,1\ncaf\xe9,q1,1\n", r"data\.csv:3: the file is not UTF-8(.|\n)*0xe9"),
    ("data.jsonl", GOOD.encode() + b'\n{"persona": "caf\xe9"}', r"data\.jsonl:2: the file is not UTF-8"),
    ("data.json", b'[{"persona": "caf\xe9"}]', r"data\.json:1: the file is not UTF-8"),
    ("data.csv", PLAIN.encode("utf-16"), r"data\.csv: the file is not UTF-8(.|\n)*UTF-16"),
    ("data.csv", PLAIN.encode("utf-16-le"), r"data\.csv:1: NUL bytes in the header"),
    ("data.csv", (HEAD + 'a,q1,1\na,"q2,2\n').encode(), r"data\.csv:3: fields cannot be told apart(.|\n)*JSONL"),
    ("data.csv", (HEAD + 'a,q1,1\na,"q"2,2\n').encode(), r"data\.csv:3: fields cannot be told apart"),
    ("data.json", b'[{"persona": "a",}]', r"data\.json:1: not JSON(.|\n)*column 1"),
    ("data.json", (GOOD + "\n" + GOOD).encode(), r"data\.json:2: not JSON(.|\n)*name it \.jsonl"),
    ("data.json", b'{"persona": ["a"]}', r"data\.json: not a list of objects(.|\n)*a JSON object"),
    ("data.json", b"[" * 100_000, r"not JSON"),
    ("data.parquet", b"", r"not a Parquet file(.|\n)*an empty file"),
    ("data.parquet", PLAIN.encode(), r"not a Parquet file(.|\n)*b'pers'"),
    ("data.parquet", b"PAR1" + b"garbage" * 9, r"a Parquet file that cannot be read"),
]


@pytest.mark.parametrize(("name", "data", "says"), WHOLE)
@pytest.mark.parametrize("skip_invalid", [False, True])
def test_what_ends_the_reading_cannot_be_skipped(tmp_path, name, data, says, skip_invalid):
    if b"garbage" in data:
        pytest.importorskip("pyarrow")
    path = tmp_path / name
    path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    with pytest.raises(DataFormatError, match=says):
        read_table(path, skip_invalid=skip_invalid)


def test_a_file_that_is_not_there_and_a_folder(tmp_path):
    (tmp_path / "folder.csv").mkdir()
    for name in ("none.csv", "folder.csv"):
        with pytest.raises(DataFormatError, match="no such file"):
            read_table(tmp_path / name)


def test_gzip_that_is_cut_off_or_none(tmp_path):
    packed = gzip.compress((HEAD + "".join(f"p{i},q,{i}\n" for i in range(5000))).encode())
    for name, data, says in (
        ("cut.csv.gz", packed[: len(packed) // 2], r"a damaged gzip file(.|\n)*after line \d+"),
        ("bad.csv.gz", packed[:200] + b"\0" * 50 + packed[250:], "a damaged gzip file"),
        ("none.csv.gz", PLAIN.encode(), "not a gzip file(.|\n)*drop .gz"),
    ):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(DataFormatError, match=says):
            read_table(tmp_path / name, skip_invalid=True)


ROW_FAULTS = [
    ("csv", "a,q3", "a row of another length", "2 fields"),
    ("csv", "a,q3,1,2", "a row of another length", "4 fields"),
    ("csv", "   ", "a row of another length", "1 fields"),
    ("csv", "a,q3,\0", "NUL bytes in column 'answer'", r"'\x00'"),
    ("csv", "\0\0\0", "NUL bytes in a row", "1 fields"),
    ("csv", " ,q3,1", "no label in column 'persona'", "an empty cell"),
    ("csv", "a,,1", "no label in column 'item'", "an empty cell"),
    ("csv", "a,q3,-inf", "an infinite number in column 'answer'", "'-inf'"),
    ("csv", "a,q3,1e999", "an infinite number in column 'answer'", "'1e999'"),
    ("jsonl", '{"persona": ', "not JSON", "Expecting value"),
    ("jsonl", "persona,item", "not JSON", "persona,item"),
    ("jsonl", "[" * 100_000, "not JSON", "[[["),
    ("jsonl", "[1]", "not an object", "a JSON list"),
    ("jsonl", "{}", "not an object", "{}"),
    ("jsonl", '{"persona": "a", "item": "q3", "answer": 1, "answer": 2}', "a key twice", "'answer'"),
    ("jsonl", '{"persona": "a", "item": "q3", "answer": [1]}', "a nested value (list) in column 'answer'", "[1]"),
    ("jsonl", '{"persona": {"n": 1}, "item": "q3", "answer": 1}', "a nested value (object)", "{'n': 1}"),
    ("jsonl", '{"persona": "a", "item": "q3", "answer": Infinity}', "an infinite number", "inf"),
    ("jsonl", '{"persona": "a\\ud800", "item": "q3", "answer": 1}', "half of a surrogate pair", "ud800"),
    ("jsonl", '{"persona": null, "item": "q3", "answer": 1}', "no label in column 'persona'", "an empty cell"),
    ("jsonl", f'{{"persona": "a", "item": "q3", "answer": {"9" * 5000}}}', "not JSON", "4300 digits"),
]


@pytest.mark.parametrize(("kind", "line", "what", "found"), ROW_FAULTS)
def test_a_row_that_cannot_be_read_is_named_or_counted(write, kind, line, what, found):
    rows = TEXTS[f"data.{kind}"].strip().replace("\n\n", "\n").split("\n")
    at = 3
    path = write("\n".join([*rows[: at - 1], line, *rows[at - 1 :]]), f"data.{kind}")
    with pytest.raises(DataFormatError) as caught:
        read_table(path)
    error = caught.value
    assert error.where == f"{path}:{at}"
    assert what in error.what
    assert found in error.found
    assert error.expected
    assert "skip_invalid" in error.hint
    table = read_table(path, skip_invalid=True)
    assert (table.n, table.skipped, table.findings[0].line) == (4, 1, at)
    assert table.place(2 if kind == "jsonl" else 1).endswith(":4")
    assert table.warnings[-1] == f"1 unreadable rows were skipped, the first in {path}:{at}"


def test_many_bad_rows_are_listed_up_to_twenty_and_counted(write):
    path = write(PLAIN + "x\n" * 30 + "a,q9,inf\n")
    with pytest.raises(DataFormatError, match="31 rows in all") as caught:
        read_table(path)
    assert str(caught.value).count("data.csv:") == 20
    assert read_table(path, skip_invalid=True).skipped == 31
    with pytest.raises(DataFormatError, match="another length"):
        read_table(write(HEAD + "x\n"), skip_invalid=True)  # nothing would be left


def test_nested_parquet_names_its_row(tmp_path):
    columns = {"persona": ["a", "a"], "item": ["1", "2"], "answer": [[1], [2]]}
    with pytest.raises(DataFormatError, match=r"d\.parquet, row 1: a nested value \(list\)"):
        read_table(write_parquet(tmp_path / "d.parquet", columns))
    table = read_table(tmp_path / "d.parquet", {"item": "item", "answer": "item"})
    assert table.unused == ("answer",)  # what is not read may be anything


def test_parquet_without_the_extra(tmp_path, monkeypatch):
    (tmp_path / "d.parquet").write_bytes(b"PAR1")
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(MissingExtra, match=r"multitudes\[parquet\]"):
        read_table(tmp_path / "d.parquet")


# --- answers ----------------------------------------------------------------------------------------------------


def test_words_become_categories_and_that_is_said(write):
    answers = answers_of(table_of(write, ["no", " yes ", "NA", "no", "", "maybe"]))
    assert (answers.kind, answers.labels, answers.y) == ("categorical", ("maybe", "no", "yes"), None)
    assert answers.codes.tolist() == [1, 2, -1, 1, -1, 0]
    assert answers.unscored == 2
    assert "the answers are words and were read as 3 categories" in answers.notes
    assert "2 answers are unscored: 1 'NA', 1 empty" in answers.notes


@pytest.mark.parametrize("marker", ["", "NA", "n/a", "NaN", "null", "NULL", " na "])
def test_what_counts_as_unscored(write, marker):
    answers = answers_of(table_of(write, [1, marker, 2, 3]))
    assert (answers.unscored, np.isnan(answers.y).tolist()) == (1, [False, True, False, False])


def test_refusals_are_unscored_numbers_and_a_category_among_words(write):
    numbers = answers_of(table_of(write, [1, "I won't say", 2, 3]), refusals=["i won't say"])
    assert (numbers.kind, numbers.unscored, numbers.refused.tolist()) == ("numeric", 0, [False, True, False, False])
    assert math.isnan(numbers.y[1])
    assert numbers.notes == ('1 answers are refusals: 1 "I won\'t say"',)
    words = answers_of(table_of(write, ["yes", "PASS", "no", "zebra"]), refusals=["pass"])
    assert words.labels == ("no", "yes", "zebra", REFUSED)
    assert words.codes.tolist() == [1, 3, 0, 2]


def test_numbers_and_words_are_not_mixed(write):
    table = table_of(write, [1, 2, "three", "3,5", 4, "three"])
    with pytest.raises(DataFormatError) as caught:
        answers_of(table)
    assert caught.value.where.endswith("data.csv:4")
    assert "3 of 6 answers are words: 'three' (2)" in caught.value.found
    assert "refusals" in caught.value.hint
    with pytest.raises(DataFormatError, match="numbers and words"):
        answers_of(table_of(write, ["yes", "no", "no"]), kind="numeric")


def test_numbers_as_labels(write):
    answers = answers_of(table_of(write, ["10", "2", "2.0", "1e1", "-0.5", "02"]), kind="categorical")
    assert answers.labels == ("-0.5", "2", "10")
    assert answers.codes.tolist() == [2, 1, 1, 2, 0, 1]
    assert not any("were read as" in note for note in answers.notes)


def test_labels_that_differ_in_case_and_answers_that_are_texts_are_said(write):
    answers = answers_of(table_of(write, ["Yes", "yes", "no"]))
    assert any("differ in case only" in note for note in answers.notes)
    answers = answers_of(table_of(write, [f"a long story {i}" for i in range(20)]))
    assert any("look like texts" in note for note in answers.notes)


@pytest.mark.parametrize("answers", [["", "NA"], ["pass", "pass"]])
def test_nothing_scored(write, answers):
    table = table_of(write, [*answers, "null", "PASS"])
    with pytest.raises(DataFormatError, match=r"no answer is scored(.|\n)*answers are"):
        answers_of(table, refusals=["pass"])


def test_nobody_answered_twice(write):
    with pytest.raises(DataFormatError, match=r"nobody answered twice(.|\n)*another 'id'(.|\n)*numbers the rows"):
        answers_of(read_table(write("id,item,answer\n1,a,1\n2,a,1\n3,b,2\n"), {"persona": "id"}))


def test_an_answer_twice_names_both_lines(write):
    with pytest.raises(DuplicateAnswerError, match="number the repeats") as caught:
        answers_of(read_table(write(HEAD + "a,q,1\nb,q,1\na,q,1\nb,q,2\n")))
    assert caught.value.where.endswith("data.csv:4")
    assert "persona 'a', item 'q', as in" in caught.value.found
    assert "data.csv:2; 2 such rows" in caught.value.found


@pytest.mark.parametrize("role", ["run", "wording", "arm"])
def test_repeats_that_are_told_apart_are_fine(write, role):
    text = f"persona,item,answer,{role}\na,q,1,0\na,q,1,1\n"
    assert getattr(answers_of(read_table(write(text))), role).tolist() == ["0", "1"]
    with pytest.raises(DuplicateAnswerError):
        answers_of(read_table(write(text.replace("1,1\n", "1,0\n"))))


def test_the_column_that_tells_copies_apart_is_offered(write):
    with pytest.raises(DuplicateAnswerError, match=r"differ in 'model'(.|\n)*'arm'"):
        answers_of(read_table(write("persona,item,answer,model\na,q,1,m1\na,q,1,m2\n")))


def test_a_table_without_the_roles_and_an_unknown_kind(write):
    with pytest.raises(ConfigError, match="has no 'answer'"):
        answers_of(read_table(write("persona,item,text\na,b,c\n"), require=("text",)))
    with pytest.raises(ConfigError, match="unknown kind"):
        answers_of(read_table(write(PLAIN)), kind="number")


def test_numbers_are_what_people_write():
    for text, value in (("1", 1), ("-2.5", -2.5), (".5", 0.5), ("+1e3", 1000), ("5.", 5)):
        assert parse_number(text) == value
    for text in ("1_000", "٣", "0x1", "nan", "inf", "1,5", "", "1 2", "--1", "e5"):
        assert parse_number(text) is None


# --- properties -------------------------------------------------------------------------------------------------

cells = st.text(st.characters(blacklist_categories=("Cs", "Cc")), max_size=6)
rows = st.lists(
    st.one_of(
        st.tuples(cells, cells, st.one_of(st.integers(-9, 9).map(str), st.just("NA"), st.just("inf"), cells)),
        st.tuples(cells),
        st.tuples(cells, cells, cells, cells),
    ),
    min_size=1,
    max_size=30,
)


@settings(max_examples=150, deadline=None)
@given(rows)
def test_every_row_is_read_or_counted(tmp_path_factory, rows):
    path = tmp_path_factory.mktemp("t") / "data.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerows([("persona", "item", "answer"), *rows])
    try:
        table = read_table(path, skip_invalid=True)
    except DataFormatError:  # no row was left
        assert not any(len(r) == 3 and r[0].strip() and r[1].strip() and r[2] != "inf" for r in rows)
        return
    assert table.n + table.skipped == len(rows)
    assert all(len(array) == table.n for array in table.roles.values())
    whole = [r for r in rows if len(r) == 3 and r[0].strip() and r[1].strip()]
    whole = [r for r in whole if r[2].strip().casefold() not in ("inf", "+inf", "-inf", "infinity")]
    assert table.roles["item"].tolist() == [r[1].strip() for r in whole]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=2, max_size=20))
def test_numbers_survive_every_format_to_the_last_bit(tmp_path_factory, values):
    folder = tmp_path_factory.mktemp("t")
    records = [{"persona": "a", "item": str(i), "answer": v} for i, v in enumerate(values)]
    (folder / "d.jsonl").write_text("\n".join(map(json.dumps, records)))
    (folder / "d.csv").write_text(HEAD + "".join(f"a,{i},{v!r}\n" for i, v in enumerate(values)))
    for name in ("d.jsonl", "d.csv"):
        assert answers_of(read_table(folder / name)).y.tolist() == values


# --- scale and real data ----------------------------------------------------------------------------------------


def test_speed(write):
    lines = [f"person-{i % 500},item-{i // 500},{i % 7},abc\n" for i in range(100_000)]
    path = write("persona,item,answer,domain\n" + "".join(lines))
    started = time.process_time()
    answers = answers_of(read_table(path))
    assert len(answers.y) == 100_000
    assert time.process_time() - started < 3  # 0.3 s on the machine this was written on


def test_real_ratings(shared_data):
    table = read_table(shared_data / "disagreement" / "popquorn_offensiveness_ratings.jsonl")
    assert table.guessed == ("persona", "answer")
    answers = answers_of(table)
    assert answers.kind == "numeric"
    assert table.n == len(answers.y) > 10_000
    assert len(set(answers.persona)) == 262
    assert len(set(answers.item)) == 1500
    assert set(answers.y) == {1, 2, 3, 4, 5}
