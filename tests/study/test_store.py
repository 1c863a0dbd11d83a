import math
import os
import sqlite3
import subprocess
import sys
import textwrap
import time

import numpy as np
import pytest

from multitudes.core.errors import RunLocked, StoreError
from multitudes.core.records import Answer, Conversation, Fault, Reading, Score, Turn
from multitudes.study.data import open_run
from multitudes.study.store import FILE, STORE_VERSION, Store

NAN = Score(gauge="g", name="n", value=math.nan, low=None)


def conversation(name="c-1", text="hello", **more):
    return Conversation(id=name, persona_id="p", turns=(Turn(speaker="user", text=text),), **more)


def answer(name="a-1", score=0.5, **more):
    return Answer(id=name, persona_id="p", questionnaire_id="q", item_id="i", mode="sampled", score=score, **more)


def in_a_process(code, *, check=True, **more):
    """Run ``code`` in a Python of its own and return what it printed."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, timeout=60, **more
    )
    if check:
        assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_what_goes_in_comes_out(tmp_path):
    odd = conversation("c-2", 'quotes " and\nlines, emoji 😀, \x00 and an "é"', meta={"a": [1, None]})
    with Store(tmp_path / "run", write=True) as store:
        store.add_conversation(odd)
        store.add_conversation(conversation())
        store.add_answers([answer("a-2"), answer("a-1", math.nan, fault=Fault(kind="simulator", code="parse"))])
        store.add_likelihoods([("c-1", {"logp": [[-1.5, -math.inf]]})])
        store.add_embeddings("hash", [("k", np.arange(3, dtype=np.float64))])
        store.put_readings([Reading(gauge="g", scores=(NAN,))])
        store.put_meta(spec={"a": "é"}, planned=None)
    with Store(tmp_path / "run", write=False) as store:
        assert store.conversations() == [conversation(), odd]
        first, second = store.answers()
        assert math.isnan(first.score)
        assert first.fault.code == "parse"
        assert second == answer("a-2")
        assert store.likelihoods() == {"c-1": {"logp": [[-1.5, -math.inf]]}}
        assert store.embeddings("hash")["k"].tolist() == [0, 1, 2]
        assert store.embeddings("other") == {}
        assert math.isnan(store.readings()[0].scores[0].value)
        assert (store.get_meta("spec"), store.get_meta("planned"), store.get_meta("none")) == ({"a": "é"}, None, None)


def test_another_attempt_replaces_and_keeps_the_first_and_drops_its_evidence(tmp_path):
    with Store(tmp_path, write=True) as store:
        store.add_conversation(conversation("c-0"))
        store.add_conversation(conversation(text="cut off"))
        store.add_likelihoods([("c-1", {"listener": "x"}), ("c-0", {"listener": "x"})])
        store.add_conversation(conversation(text="whole"))
        store.add_answers([answer(score=math.nan)])
        store.add_answers([answer(score=1.0)])
        assert [c.turns[0].text for c in store.conversations()] == ["hello", "whole"]
        assert [a.score for a in store.answers()] == [1.0]
        assert store.n_attempts() == 2
        assert [key for key, _ in store.attempts()] == ["c-1", "a-1"]
        assert store.attempts()[0][1]["turns"][0]["text"] == "cut off"
        assert set(store.likelihoods()) == {"c-0"}  # what was said has changed


@pytest.mark.parametrize("name", ["plain", "with space", "100%", "a#b", "what?", "mode=rw&x", "ünï"])
def test_any_folder_name_will_do(tmp_path, name):
    with Store(tmp_path / name, write=True) as store:
        store.add_conversation(conversation())
    with Store(tmp_path / name, write=False) as store:
        assert len(store.conversations()) == 1
        with pytest.raises(StoreError):
            store.add_conversation(conversation("c-2"))


def test_a_second_writer_is_refused_at_once_and_readers_are_not(tmp_path):
    with Store(tmp_path, write=True) as store:
        store.add_conversation(conversation())
        start = time.perf_counter()
        with pytest.raises(RunLocked, match=f"process {os.getpid()}"):
            Store(tmp_path, write=True)
        assert time.perf_counter() - start < 1
        with Store(tmp_path, write=False) as reader:
            assert len(reader.conversations()) == 1
            store.add_conversation(conversation("c-2"))
            assert len(reader.conversations()) == 2
    Store(tmp_path, write=True).close()


def test_a_writer_in_another_process_is_named_and_its_death_frees_the_folder(tmp_path):
    code = f"""
        import sys, time
        from pathlib import Path
        from multitudes.study.store import Store
        store = Store(Path({str(tmp_path)!r}), write=True)
        print("open", flush=True)
        time.sleep(60)
    """
    other = subprocess.Popen([sys.executable, "-c", textwrap.dedent(code)], stdout=subprocess.PIPE, text=True)
    try:
        assert other.stdout.readline().strip() == "open"
        with pytest.raises(RunLocked, match=f"process {other.pid}"):
            Store(tmp_path, write=True)
    finally:
        other.kill()
        other.wait()
        other.stdout.close()
    Store(tmp_path, write=True).close()


def test_a_transaction_that_fails_leaves_nothing(tmp_path):
    def rows():
        yield ("c-1", {"fine": 1})
        yield ("c-2", {"fine": object()})

    with Store(tmp_path, write=True) as store:
        with pytest.raises(TypeError):
            store.add_likelihoods(rows())
        assert store.likelihoods() == {}
        store.add_conversation(conversation())  # and the store goes on working


# --- files that cannot be used


def test_nothing_there(tmp_path):
    with pytest.raises(StoreError, match="no run here"):
        Store(tmp_path, write=False)
    with pytest.raises(StoreError, match="no run here"):
        open_run(tmp_path / "nowhere")
    assert not (tmp_path / "nowhere").exists()


def test_a_run_that_has_not_begun(tmp_path):
    Store(tmp_path / "a", write=True).close()
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / FILE).touch()
    for folder in ("a", "b"):
        with pytest.raises(StoreError, match="has not begun"):
            open_run(tmp_path / folder)


@pytest.mark.parametrize("write", [True, False])
def test_a_file_that_is_no_database(tmp_path, write):
    (tmp_path / FILE).write_bytes(b"this is not a database, whatever its name says " * 100)
    with pytest.raises(StoreError, match="damaged"):
        Store(tmp_path, write=write)


def test_a_folder_in_the_place_of_the_file(tmp_path):
    (tmp_path / FILE).mkdir()
    with pytest.raises(StoreError, match="unable to open"):
        Store(tmp_path, write=True)
    (tmp_path / "file").touch()
    with pytest.raises(StoreError):
        Store(tmp_path / "file", write=True)


def test_a_damaged_file_ends_with_a_clear_error_wherever_it_is_read(tmp_path):
    with Store(tmp_path, write=True) as store:
        for i in range(200):
            store.add_conversation(conversation(f"c-{i}", "word " * 50))
        store.add_answers([answer(f"a-{i}") for i in range(200)])
        store.put_readings([Reading(gauge="g", scores=(NAN,))])
    data = bytearray((tmp_path / FILE).read_bytes())
    page = int.from_bytes(data[16:18], "big")
    for start in range(2 * page, len(data), page):  # the schema stays, the pages of the tables do not
        data[start : start + page] = b"\xff" * page
    (tmp_path / FILE).write_bytes(data)
    readings = ("conversations", "answers", "likelihoods", "readings", "n_attempts", "attempts", "population")
    seen = 0
    with Store(tmp_path, write=False) as store:
        for name in readings:
            try:
                getattr(store, name)()
            except StoreError as error:
                seen += "damaged" in str(error)
    assert seen >= 4


def test_a_record_that_cannot_be_read_is_told_with_its_place(tmp_path):
    with Store(tmp_path, write=True) as store:
        store.add_conversation(conversation())
    with sqlite3.connect(tmp_path / FILE) as db:
        db.execute("UPDATE conversations SET record = ?", ('{"id": "c-1", "schema_version": 9}',))
    db.close()
    with Store(tmp_path, write=False) as store, pytest.raises(StoreError, match=FILE):
        store.conversations()


@pytest.mark.parametrize("write", [True, False])
def test_another_version_is_refused(tmp_path, write):
    Store(tmp_path, write=True).close()
    with sqlite3.connect(tmp_path / FILE) as db:
        db.execute(f"PRAGMA user_version = {STORE_VERSION + 1}")
    db.close()
    with pytest.raises(StoreError, match=f"found: format {STORE_VERSION + 1}\n  expected: format {STORE_VERSION}"):
        Store(tmp_path, write=write)


def test_a_full_disk_ends_with_a_clear_error_and_loses_nothing_that_was_stored(tmp_path):
    with Store(tmp_path, write=True) as store:
        store._db.execute("PRAGMA max_page_count = 40")
        n = 0

        def fill():
            nonlocal n
            while n < 1000:
                store.add_conversation(conversation(f"c-{n:04}", "word " * 200))
                n += 1

        with pytest.raises(StoreError, match=r"full[\s\S]*free the cause"):
            fill()
        assert len(store.conversations()) == n
        with pytest.raises(StoreError):
            store.add_answers([answer(f"a-{i}", text="x" * 500) for i in range(500)])
        assert store.answers() == []
    with Store(tmp_path, write=True) as store:
        assert len(store.conversations()) == n > 3
        store.add_conversation(conversation("c-new"))


posix = pytest.mark.skipif(os.name != "posix", reason="needs POSIX limits and rights")


@posix
def test_a_limit_on_file_size_is_a_full_disk(tmp_path):
    out = in_a_process(f"""
        import resource
        from pathlib import Path
        from multitudes.core.errors import StoreError
        from multitudes.core.records import Conversation, Turn
        from multitudes.study.store import Store
        resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, resource.RLIM_INFINITY))
        n = 0
        try:
            with Store(Path({str(tmp_path)!r}), write=True) as store:
                for n in range(1000):
                    store.add_conversation(Conversation(id=f"c-{{n}}", turns=(Turn(speaker="user", text="x" * 900),)))
        except StoreError as error:
            print(n, type(error).__name__)
    """)
    n, kind = out.split()
    assert kind == "StoreError"
    with Store(tmp_path, write=True) as store:
        assert len(store.conversations()) == int(n) > 10
        store.add_conversation(conversation("c-new"))


@posix
def test_a_folder_without_rights_can_be_read_and_not_written(tmp_path):
    with Store(tmp_path / "run", write=True) as store:
        store.add_conversation(conversation())
    (tmp_path / "empty").mkdir()
    for path in [tmp_path, *tmp_path.parents]:
        if path.stat().st_uid == os.getuid() and str(path).startswith(str(tmp_path.parents[2])):
            path.chmod(path.stat().st_mode | 0o055)
    for folder in ("run", "empty"):
        (tmp_path / folder).chmod(0o555)
    (tmp_path / "run" / FILE).chmod(0o444)
    (tmp_path / "run" / "run.lock").chmod(0o444)
    out = in_a_process(f"""
        import os
        from pathlib import Path
        from multitudes.core.errors import StoreError
        from multitudes.core.records import Conversation
        from multitudes.study.store import Store
        import sqlite3, numpy, pydantic
        if os.getuid() == 0:
            os.setgroups([])
            os.setgid(65534)
            os.setuid(65534)
        base = Path({str(tmp_path)!r})
        for name in ("run", "empty"):
            try:
                Store(base / name, write=True)
            except StoreError as error:
                print(name, "refused:", error.found)
        with Store(base / "run", write=False) as store:
            print("read", len(store.conversations()))
    """)
    (tmp_path / "run").chmod(0o755)
    (tmp_path / "empty").chmod(0o755)
    assert out.splitlines() == [
        "run refused: Permission denied",
        "empty refused: Permission denied",
        "read 1",
    ]
