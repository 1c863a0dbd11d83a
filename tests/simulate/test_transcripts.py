import gzip
import json
import time
from pathlib import Path

import pytest

from multitudes.core.errors import ConfigError, DataFormatError
from multitudes.simulate.transcripts import MAX_FINDINGS, read_transcripts

DATA = Path(__file__).parents[2].parent / "shared" / "data"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="no ../shared/data beside the project")


def chat(*said, **fields):
    """A chat record from ("role", "text") pairs."""
    return {"messages": [{"role": r, "content": t} for r, t in said], **fields}


TALK_SAID = (("user", "hi"), ("assistant", "hello"))
TALK = chat(*TALK_SAID, id="d1")
PAIR = chat(("A", "hi"), ("B", "hello"), ("A", "bye"), id="d2")


@pytest.fixture
def write(tmp_path):
    def writer(*records, name="talks.jsonl", join="\n"):
        lines = [r if isinstance(r, bytes) else json.dumps(r).encode() for r in records]
        path = tmp_path / name
        path.write_bytes(join.encode().join(lines))
        return path

    return writer


def said(conversation):
    return [(t.speaker, t.text) for t in conversation.turns]


# --- formats ------------------------------------------------------------------------------------------------


def test_chat_lines(write):
    read = read_transcripts(write(TALK))
    (talk,) = read.conversations
    assert (read.format, read.n_dialogues, read.skipped, read.warnings) == ("chat", 1, 0, ())
    assert (talk.id, talk.source, talk.stop_reason, talk.scenario_id) == ("d1", "d1", "imported", None)
    assert said(talk) == [("user", "hi"), ("target", "hello")]


@pytest.mark.parametrize("label", ["gpt", "assistant", "some-model-7b"])
def test_sharegpt(write, label):
    record = {"id": "s1", "conversations": [{"from": "human", "value": "hi"}, {"from": label, "value": "yes"}]}
    read = read_transcripts(write(record))
    assert read.format == "sharegpt"
    assert said(read.conversations[0]) == [("user", "hi"), ("target", "yes")]


def test_convlab_calls_the_target_system(write):
    record = {
        "dialogue_id": "c1",
        "turns": [{"speaker": "user", "utterance": "hi"}, {"speaker": "system", "utterance": "yes"}],
    }
    read = read_transcripts(write(b"[", record, b"]", join=""))
    assert read.format == "convlab"
    assert read.conversations[0].id == "c1"
    assert said(read.conversations[0]) == [("user", "hi"), ("target", "yes")]


@pytest.mark.parametrize("as_list", [False, True])
@pytest.mark.parametrize("packed", [False, True])
def test_lines_and_lists_plain_and_packed(tmp_path, as_list, packed):
    records = [TALK, PAIR]
    text = json.dumps(records, indent=1) if as_list else "\n\n".join(map(json.dumps, records)) + "\n"
    data = b"\xef\xbb\xbf\n" + text.encode()
    path = tmp_path / "no_suffix"
    path.write_bytes(gzip.compress(data) if packed else data)
    assert [c.id for c in read_transcripts(path).conversations] == ["d1", "d2/A", "d2/B"]


def test_system_and_tool_messages_are_kept_aside(write):
    record = chat(("system", "be nice"), ("user", "hi"), ("tool", ""), ("assistant", "yes"))
    (talk,) = read_transcripts(write(record)).conversations
    assert said(talk) == [("user", "hi"), ("target", "yes")]
    assert [a["role"] for a in talk.meta["aside"]] == ["system", "tool"]
    assert talk.id == "talks-000000"


def test_an_exported_conversation_keeps_who_where_and_which_run(write):
    exported = chat(*TALK_SAID, id="c1", persona_id="p7", scenario_id="card", replicate=2, fault=None)
    odd = chat(("user", "yo"), ("assistant", "hello"), id="c2", scenario_id=5, replicate="second")
    first, second = read_transcripts(write(exported, odd)).conversations
    assert (first.persona_id, first.cluster, first.scenario_id, first.replicate) == ("p7", "p7", "card", 2)
    assert (second.persona_id, second.cluster, second.scenario_id, second.replicate) == (None, "c2", None, 0)


def test_parts_of_text_are_joined(write):
    record = chat(("user", [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]), ("assistant", "c"))
    assert said(read_transcripts(write(record)).conversations[0])[0] == ("user", "a\nb")


# --- who is simulated ---------------------------------------------------------------------------------------


def test_two_people_are_each_one_in_turn(write):
    a, b = read_transcripts(write(PAIR)).conversations
    assert [(c.id, c.source, c.cluster) for c in (a, b)] == [("d2/A", "d2", "d2"), ("d2/B", "d2", "d2")]
    assert (a.user_texts, b.user_texts) == (("hi", "bye"), ("hello",))
    assert [s for s, _ in said(a)] == ["user", "target", "user"]


def test_people_name_the_simulated_side(write):
    (talk,) = read_transcripts(write(TALK), people=["Assistant"]).conversations
    assert (talk.id, talk.user_texts) == ("d1/assistant", ("hello",))
    both = read_transcripts(write(TALK), people=["user", "assistant"]).conversations
    assert [c.id for c in both] == ["d1/user", "d1/assistant"]


@pytest.mark.parametrize(
    ("fields", "persona"),
    [
        ({}, None),
        ({"user_id": 7}, "7"),
        ({"meta": {"seeker": "p9"}}, "p9"),
        ({"meta": {"persona_ids": {"user": "x", "assistant": "y"}}}, "x"),
        ({"persona_ids": {"user": 0}, "user_id": 7}, "0"),
    ],
)
def test_persona_of_the_user(write, fields, persona):
    assert read_transcripts(write({**TALK, **fields})).conversations[0].persona_id == persona


def test_personas_of_two_people(write):
    record = {**PAIR, "meta": {"persona_ids": {"A": 3, "B": "bo"}, "seeker": "no"}}
    assert [c.persona_id for c in read_transcripts(write(record)).conversations] == ["3", "bo"]


def test_the_rest_of_a_record_is_kept(write):
    record = {**TALK, "labels": [1], "meta": {"x": None}}
    meta = read_transcripts(write(record)).conversations[0].meta
    assert meta == {"speaker": "user", "where": "talks.jsonl:1", "record": {"labels": [1], "meta": {"x": None}}}


# --- findings -----------------------------------------------------------------------------------------------

IMAGE = [{"type": "image_url", "image_url": "x"}]
BAD = {
    "E01": b'{"messages": [',
    "E02": {"id": "x", "messages": []},
    "E03": chat(("user", "a"), ("asistant", "b")),
    "E04": chat(("user", "a"), ("assistant", "  ")),
    "E05": chat(("assistant", "a")),
    "E06": TALK,
    "E07": {"conversations": [{"from": "human", "value": "a"}]},
    "E08": b'{"messages": [{"role": "user", "content": "caf\xe9"}]}',
    "E09": chat(("user", IMAGE), ("assistant", "b")),
}
POINTERS = {"E02": "/messages", "E03": "/messages/1/role", "E04": "/messages/1/content", "E09": "/messages/0/content"}


@pytest.mark.parametrize("code", BAD)
def test_each_code_names_line_place_and_remedy(write, code):
    path = write(TALK, BAD[code])
    with pytest.raises(DataFormatError) as caught:
        read_transcripts(path)
    message = str(caught.value)
    assert f"talks.jsonl:2 {POINTERS.get(code, '')}".rstrip() in message
    assert f": {code} found " in message
    assert "; expected " in message
    assert str(path) in message
    assert "--skip-invalid" in message


@pytest.mark.parametrize("code", BAD)
def test_skip_invalid_drops_and_counts(write, code):
    read = read_transcripts(write(TALK, BAD[code], PAIR), skip_invalid=True)
    assert [c.id for c in read.conversations] == ["d1", "d2/A", "d2/B"]
    assert (read.n_dialogues, read.skipped) == (2, 1)
    assert [f.code for f in read.findings] == [code]


@pytest.mark.parametrize("record", [chat(("A", "a"), ("B", "b"), ("C", "c")), chat(("user", "a"), ("B", "b"))])
def test_a_third_label_is_a_stranger(write, record):
    with pytest.raises(DataFormatError, match="E03"):
        read_transcripts(write(record))


def test_mixed_keys_in_one_dialogue(write):
    record = {"messages": [{"role": "user", "content": "a"}, {"from": "gpt", "value": "b"}]}
    with pytest.raises(DataFormatError, match="/messages/1: E07"):
        read_transcripts(write(record))


def test_people_who_are_not_there(write):
    with pytest.raises(DataFormatError, match="E05 found turns of 'assistant', 'user'; expected a turn of P1"):
        read_transcripts(write(TALK), people=["P1"])


def test_twenty_findings_in_one_message(write):
    with pytest.raises(DataFormatError) as caught:
        read_transcripts(write(*[BAD["E04"]] * 30))
    assert str(caught.value).count("E04") == MAX_FINDINGS == 20
    assert "the first 20 problems" in str(caught.value)


def test_nothing_left_after_skipping(write):
    with pytest.raises(DataFormatError, match="E02"):
        read_transcripts(write(BAD["E02"]), skip_invalid=True)


@pytest.mark.parametrize("content", [b"", b"\n \n", b"[]"])
def test_an_empty_file(tmp_path, content):
    path = tmp_path / "empty.jsonl"
    path.write_bytes(content)
    with pytest.raises(DataFormatError, match="no dialogues"):
        read_transcripts(path)


@pytest.mark.parametrize("value", [3, "text", None, [1], {"other": 1}])
def test_records_that_are_no_dialogue(write, value):
    with pytest.raises(DataFormatError, match="E02"):
        read_transcripts(write(TALK, value))


def test_a_missing_and_a_damaged_file(tmp_path):
    with pytest.raises(DataFormatError, match="no such file"):
        read_transcripts(tmp_path / "none.jsonl")
    cut = tmp_path / "cut.gz"
    cut.write_bytes(gzip.compress(json.dumps(TALK).encode() * 50)[:-20])
    with pytest.raises(DataFormatError, match="damaged gzip"):
        read_transcripts(cut)


def test_arguments_are_checked(write):
    path = write(TALK)
    with pytest.raises(ConfigError, match="'sharegpt'"):
        read_transcripts(path, format="sharegtp")
    with pytest.raises(ConfigError, match="nobody"):
        read_transcripts(path, people=[])
    with pytest.raises(ConfigError, match="list of labels"):
        read_transcripts(path, people="user")
    with pytest.raises(DataFormatError, match="E07"):
        read_transcripts(path, format="convlab")


# --- warnings -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "record"),
    [
        ("W01", chat(("user", "a"), ("user", "b"), ("assistant", "c"))),
        ("W02", chat(("user", "my name is [your name]"), ("assistant", "c"))),
        ("W02", chat(("user", "I met [User 2's name]"), ("assistant", "c"))),
        ("W03", chat(("user", "one<br/>two"), ("assistant", "c"))),
        ("W03", chat(("user", "salt &amp; pepper"), ("assistant", "c"))),
        ("W04", chat(("user", "a"), ("assistant", "b"), ("user", "OVERALL"))),
        ("W05", chat(("assistant", "a"), ("user", "b"))),
        ("W06", chat(("user", "Hi!"), ("assistant", "HELLO"))),
    ],
)
def test_warnings_count_dialogues(write, code, record):
    (warned,) = read_transcripts(write(TALK, record)).warnings
    assert (warned.code, warned.n_dialogues, warned.first) == (code, 1, "talks.jsonl:2")


def test_brackets_and_angles_alone_are_no_warning(write):
    record = chat(("user", "a [sic] 3 < 5 & 6 > 2 {x}"), ("assistant", "AT&T <3"))
    assert read_transcripts(write(record)).warnings == ()


# --- size and real data -------------------------------------------------------------------------------------


def test_many_dialogues_are_read_in_linear_time(write):
    records = [chat(*[("user", f"t{i} {t}") if t % 2 == 0 else ("assistant", "ok") for t in range(6)], id=f"d{i}")
               for i in range(2000)]  # fmt: skip
    path = write(*records)
    start = time.process_time()
    assert len(read_transcripts(path).conversations) == 2000
    assert time.process_time() - start < 2  # so that 10^5 dialogues take less than two minutes even on a busy machine


@needs_data
@pytest.mark.parametrize(
    ("name", "n_dialogues", "n_conversations", "n_user_turns"),
    [
        ("dialogues/redial.jsonl.gz", 1000, 1000, 6141),
        ("dialogues/inspired_dev.jsonl", 99, 99, 1678),
        ("dialogues/uss_ccpe.jsonl.gz", 500, 500, 6360),
        ("dialogues/usersimcrs_synthetic.jsonl", 600, 600, 1870),
        ("dialogues/dailydialog_test.jsonl.gz", 1000, 2000, 7740),
        ("consistency/dialogues_baseline_gemma.jsonl.gz", 200, 400, 3000),
        ("consistency/dialogues_finetuned_ppo.jsonl.gz", 40, 80, 1300),
    ],
)
def test_real_files(name, n_dialogues, n_conversations, n_user_turns):
    read = read_transcripts(DATA / name)
    assert (read.n_dialogues, len(read.conversations)) == (n_dialogues, n_conversations)
    assert sum(len(c.user_texts) for c in read.conversations) == n_user_turns
    assert len({c.id for c in read.conversations}) == n_conversations


@needs_data
def test_real_personas_placeholders_and_empty_lines():
    pairs = read_transcripts(DATA / "consistency/dialogues_finetuned_sft.jsonl.gz").conversations
    assert len({c.persona_id for c in pairs}) == 20
    seekers = read_transcripts(DATA / "dialogues/redial.jsonl.gz").conversations
    assert len({c.persona_id for c in seekers}) == 271
    kto = DATA / "consistency/dialogues_finetuned_kto.jsonl.gz"
    with pytest.raises(DataFormatError, match="4 problems"):
        read_transcripts(kto)
    assert read_transcripts(kto, skip_invalid=True).skipped == 2
