"""A GGUF file of llama layout → a folder that any Hugging Face code can open.

Tensors are dequantised whole by the ``gguf`` library and stored as float32 (the block formula d·q + m is not exact in
bfloat16). The tokenizer is built directly from the file's tokens and merges.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from multitudes.core.errors import MissingExtra, UnsupportedModel

CONTROL_TOKEN = 3  # GGUF token type of tokens that are never made from text

_BLOCK = {
    "attn_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm",
    "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj",
}  # fmt: skip
_TOP = {
    "token_embd.weight": "model.embed_tokens.weight",
    "output_norm.weight": "model.norm.weight",
    "output.weight": "lm_head.weight",
}


def hf_name(name: str) -> str:
    """The Hugging Face name of a GGUF tensor of llama layout.

    >>> hf_name("blk.3.attn_q.weight")
    'model.layers.3.self_attn.q_proj.weight'

    Raises:
        UnsupportedModel: A tensor of another layout: biases, experts, rotary factors.
    """
    if name in _TOP:
        return _TOP[name]
    match = re.fullmatch(r"blk\.(\d+)\.(\w+)\.weight", name)
    if match is None or match[2] not in _BLOCK:
        raise UnsupportedModel(
            "a tensor that the plain llama layout does not have", where=f"tensor {name}",
            hint="use a safetensors folder: hf:DIR",
        )  # fmt: skip
    return f"model.layers.{match[1]}.{_BLOCK[match[2]]}.weight"


def unpair_rows(rows: NDArray[np.float32], n_heads: int) -> NDArray[np.float32]:
    """Query or key rows, stored with the two halves of each rotary pair side by side, in half-split order.

    Skipping this leaves every shape valid and the model wrong.

    Args:
        rows: (n_heads · d_head, d_model), float32.
        n_heads: Number of heads in ``rows``.
    """
    out, width = rows.shape
    half = out // n_heads // 2
    return rows.reshape(n_heads, half, 2, width).swapaxes(1, 2).reshape(out, width)


def convert_gguf(source: Path, folder: Path) -> None:
    """Write config, weights, tokenizer and chat template of ``source`` into the existing, empty ``folder``.

    Raises:
        UnsupportedModel: Another architecture, or a quantisation that the library cannot read.
        MissingExtra: Without the ``local`` extra.
    """
    try:
        from gguf import GGUFReader
    except ImportError as error:
        raise MissingExtra("local", "reading GGUF weights") from error

    reader = GGUFReader(str(source))
    meta = {k: f.contents() for k, f in reader.fields.items()}
    if meta.get("general.architecture") != "llama":
        raise UnsupportedModel(
            "only the llama layout is read from GGUF",
            where=str(source), found=repr(meta.get("general.architecture")), expected="'llama'",
            hint="use a safetensors folder: hf:DIR",
        )  # fmt: skip
    _refuse_other_layouts(meta, source)
    _write_tensors(reader, meta, folder)
    _write_json(
        folder / "config.json", _config(meta, tied=not any(t.name == "output.weight" for t in reader.tensors))
    )
    ends = {"bos_token_id": meta["tokenizer.ggml.bos_token_id"], "eos_token_id": meta["tokenizer.ggml.eos_token_id"]}
    _write_json(folder / "generation_config.json", {**ends, "pad_token_id": meta["tokenizer.ggml.padding_token_id"]})
    _write_tokenizer(meta, folder)


_NEEDED = (
    "llama.embedding_length", "llama.feed_forward_length", "llama.block_count", "llama.attention.head_count",
    "llama.attention.head_count_kv", "llama.context_length", "llama.attention.layer_norm_rms_epsilon",
    "llama.rope.freq_base", "tokenizer.ggml.tokens", "tokenizer.ggml.token_type", "tokenizer.ggml.merges",
    "tokenizer.ggml.bos_token_id", "tokenizer.ggml.eos_token_id", "tokenizer.ggml.unknown_token_id",
    "tokenizer.ggml.padding_token_id",
)  # fmt: skip
PRE_TOKENIZERS = ("smollm",)  # others split text differently, and every id after that would be wrong


def _refuse_other_layouts(meta: dict[str, Any], source: Path) -> None:
    """What is not known to be converted right is not converted."""
    missing = [k for k in _NEEDED if k not in meta]
    pre = meta.get("tokenizer.ggml.pre")
    scaled = meta.get("llama.rope.scaling.type", "none")
    problem = (
        f"no {missing[0]}" if missing
        else f"pre-tokenizer {pre!r}" if pre not in PRE_TOKENIZERS
        else f"rotary scaling {scaled!r}" if scaled != "none"
        else None
    )  # fmt: skip
    if problem:
        raise UnsupportedModel(
            "this GGUF file cannot be converted faithfully", where=str(source), found=problem,
            hint="use a safetensors folder (hf:DIR), or serve the file and use http://HOST/v1#MODEL",
        )  # fmt: skip


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _write_tensors(reader: Any, meta: dict[str, Any], folder: Path) -> None:
    from gguf import dequantize
    from safetensors.numpy import save_file

    heads = {"attn_q": meta["llama.attention.head_count"], "attn_k": meta["llama.attention.head_count_kv"]}
    state = {}
    for tensor in reader.tensors:
        try:
            array = dequantize(tensor.data, tensor.tensor_type).astype(np.float32, copy=False)
        except NotImplementedError as error:
            raise UnsupportedModel(
                f"quantisation {tensor.tensor_type.name} cannot be read", where=f"tensor {tensor.name}"
            ) from error
        array = array.reshape([int(n) for n in reversed(tensor.shape)])
        for part, n_heads in heads.items():
            if f".{part}." in tensor.name:
                array = unpair_rows(array, n_heads)
        state[hf_name(tensor.name)] = np.ascontiguousarray(array)
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})


def _config(meta: dict[str, Any], *, tied: bool) -> dict[str, Any]:
    width, heads = meta["llama.embedding_length"], meta["llama.attention.head_count"]
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_act": "silu",
        "hidden_size": width,
        "intermediate_size": meta["llama.feed_forward_length"],
        "num_hidden_layers": meta["llama.block_count"],
        "num_attention_heads": heads,
        "num_key_value_heads": meta["llama.attention.head_count_kv"],
        "head_dim": meta.get("llama.attention.key_length", width // heads),
        "max_position_embeddings": meta["llama.context_length"],
        "rms_norm_eps": float(f"{meta['llama.attention.layer_norm_rms_epsilon']:.3g}"),
        "rope_theta": meta["llama.rope.freq_base"],
        "rope_parameters": {"rope_type": "default", "rope_theta": meta["llama.rope.freq_base"]},
        "vocab_size": len(meta["tokenizer.ggml.tokens"]),
        "tie_word_embeddings": tied,
        "attention_bias": False,
        "mlp_bias": False,
        "bos_token_id": meta["tokenizer.ggml.bos_token_id"],
        "eos_token_id": meta["tokenizer.ggml.eos_token_id"],
        "pad_token_id": meta["tokenizer.ggml.padding_token_id"],
        "torch_dtype": "float32",
    }


def _write_tokenizer(meta: dict[str, Any], folder: Path) -> None:
    """Byte-level BPE from the file's tokens and merges; control tokens are special."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

    tokens, types = meta["tokenizer.ggml.tokens"], meta["tokenizer.ggml.token_type"]
    merges = [tuple(m.split(" ")) for m in meta["tokenizer.ggml.merges"]]
    tokenizer = Tokenizer(models.BPE(vocab={t: i for i, t in enumerate(tokens)}, merges=merges))
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), byte_level])
    tokenizer.decoder = decoders.ByteLevel()
    special = [t for t, kind in zip(tokens, types, strict=True) if kind == CONTROL_TOKEN]
    tokenizer.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in special])
    tokenizer.save(str(folder / "tokenizer.json"))
    template = meta.get("tokenizer.chat_template")
    if template:
        (folder / "chat_template.jinja").write_text(template, encoding="utf-8")
    named = {k: tokens[meta[f"tokenizer.ggml.{k}_token_id"]] for k in ("bos", "eos", "unknown", "padding")}
    _write_json(
        folder / "tokenizer_config.json",
        {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "model_max_length": meta["llama.context_length"],
            "bos_token": named["bos"],
            "eos_token": named["eos"],
            "unk_token": named["unknown"],
            "pad_token": named["padding"],
            "clean_up_tokenization_spaces": False,
        },
    )
