"""Encoders: unit rows in order, whatever the batch."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from multitudes.core.errors import ConfigError, WeightsMissing
from multitudes.models.encode import HashEncoder, load_encoder
from multitudes.models.local.embedded import folder_of

TEXTS = [
    "enjoys hiking", "enjoys hiking in the mountains", "interest rates", "interest rates were raised again",
    "a", "Ünïcödé ☃ 雪だるま", "UPPER and lower", "x" * 3000, "two\nlines", "  spaces   around  ",
]  # fmt: skip
SAID = st.text(st.characters(codec="utf-8"), min_size=1, max_size=60).filter(str.strip)


def test_hash_rows_are_unit_float32_in_order():
    encoder = HashEncoder()
    rows = encoder.encode(TEXTS)
    assert rows.shape == (len(TEXTS), 512)
    assert rows.dtype == np.float32
    assert np.linalg.norm(rows, axis=1) == pytest.approx(1, abs=1e-6)
    backwards = encoder.encode(TEXTS[::-1])
    assert np.array_equal(backwards, rows[::-1])
    assert encoder.encode([]).shape == (0, 512)


@given(st.lists(SAID, min_size=1, max_size=6))
def test_hash_rows_do_not_depend_on_their_batch(texts):
    rows = HashEncoder(64).encode(texts)
    assert all(np.array_equal(HashEncoder(64).encode([text])[0], row) for text, row in zip(texts, rows, strict=True))


def test_hash_sees_shared_words_and_no_case():
    a, longer, other = HashEncoder().encode(["enjoys hiking", "enjoys hiking in the mountains", "interest rates"])
    assert a @ longer > 0.5
    assert abs(a @ other) < 0.2
    upper, lower = HashEncoder().encode(["Enjoys HIKING", "enjoys  hiking"])
    assert np.array_equal(upper, lower)


def test_hash_is_the_same_in_every_process():
    code = "from multitudes.models.encode import HashEncoder as H; print(H(32).encode(['enjoys hiking'])[0].tolist())"
    runs = {
        subprocess.run(
            [sys.executable, "-c", code], env={"PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True
        ).stdout
        for seed in ("1", "2")
    }
    assert runs == {f"{HashEncoder(32).encode(['enjoys hiking'])[0].tolist()}\n"}


@pytest.mark.parametrize("texts", [[""], ["fine", "  "], ["fine", "fine", "\n\t"]])
def test_an_empty_text_is_refused_by_its_index(texts):
    with pytest.raises(ConfigError, match=rf"texts\[{len(texts) - 1}\].*\n?.*"):
        HashEncoder().encode(texts)


def test_names_carry_the_dimension():
    assert load_encoder("hash").name == "hash-ngram-512"
    assert HashEncoder(64).name == "hash-ngram-64"


def test_an_unknown_encoder_lists_the_near_ones():
    with pytest.raises(ConfigError, match="did you mean 'minilm'"):
        load_encoder("minlm")


def test_minilm_must_have_been_fetched(monkeypatch, tmp_path):
    monkeypatch.setenv("MULTITUDES_CACHE", str(tmp_path))
    with pytest.raises(WeightsMissing, match="multitudes models fetch minilm"):
        load_encoder("minilm")


# --- MiniLM ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def minilm():
    if not (folder_of("minilm") / "PROVENANCE.json").is_file():
        pytest.skip("multitudes models fetch minilm")
    return load_encoder("minilm")


@pytest.mark.weights
def test_minilm_rows_are_unit_and_do_not_depend_on_their_batch(minilm):
    rows = minilm.encode(TEXTS)
    assert rows.shape == (len(TEXTS), 384)
    assert rows.dtype == np.float32
    assert np.linalg.norm(rows, axis=1) == pytest.approx(1, abs=1e-5)
    for text, row in zip(TEXTS, rows, strict=True):
        assert minilm.encode([text])[0] == pytest.approx(row, abs=1e-5)
    many = minilm.encode(TEXTS * 8)  # more than one batch
    assert many == pytest.approx(np.tile(rows, (8, 1)), abs=1e-5)
    assert minilm.encode([]).shape == (0, 384)
    with pytest.raises(ConfigError, match=r"texts\[1\]"):
        minilm.encode(["fine", " "])


@pytest.mark.weights
def test_minilm_is_a_topic_encoder(minilm):
    hiking, hates, rates = minilm.encode(["enjoys hiking", "hates the outdoors", "interest rates"])
    assert hiking @ rates < 0.15
    assert hiking @ hates > 0.35  # opposites are near: never a test of contradiction
