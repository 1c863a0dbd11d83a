"""A random two-layer model with a byte tokenizer, built in code: everything the engine does, nothing worth reading.

For tests and documents: ``fake:tiny``. Its architecture can be that of any supported family.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, Literal

import torch

from multitudes.models.base import ADAPTED, Capabilities
from multitudes.models.local.adapter import adapted_sha256, merge, read_adapter
from multitudes.models.local.engine import LocalModel
from multitudes.models.local.runner import Runner
from multitudes.models.local.template import ChatTemplate

Family = Literal[
    "llama", "qwen2", "qwen3", "gemma", "gemma2", "gemma3_text", "gpt_neox", "mistral", "olmo2", "smollm3"
]  # fmt: skip

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
# Gemma's habits: no system role, strict alternation, another name for the assistant.
TURNS = (
    "{% for m in messages %}{% if m['role'] == 'system' %}{{ raise_exception('no system role') }}{% endif %}"
    "{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('roles must alternate') }}{% endif %}"
    "<|im_start|>{{ 'model' if m['role'] == 'assistant' else m['role'] }}\n{{ m['content'] }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>model\n{% endif %}"
)


def byte_tokenizer(template: str = CHATML) -> Any:
    """A tokenizer with one token per byte and two control tokens."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {"<|im_start|>": 0, "<|im_end|>": 1} | {c: i + 2 for i, c in enumerate(alphabet)}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(t, special=True) for t in ("<|im_start|>", "<|im_end|>")])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|im_end|>", chat_template=template)


def tiny_module(family: Family = "llama", *, dtype: torch.dtype = torch.float64, seed: int = 0) -> Any:
    """A random two-layer causal language model of ``family``, under 0.1 M parameters."""
    from transformers import AutoConfig, AutoModelForCausalLM

    shape: dict[str, Any] = {
        "vocab_size": 258, "hidden_size": 48, "intermediate_size": 96, "num_hidden_layers": 2,
        "num_attention_heads": 6, "num_key_value_heads": 2, "head_dim": 8, "max_position_embeddings": 2048,
        "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 1,
    }  # fmt: skip
    if family in ("gemma2", "gemma3_text", "mistral"):
        shape["sliding_window"] = 24
    if family in ("gemma2", "gemma3_text"):
        shape["layer_types"] = ["sliding_attention", "full_attention"]
    if family == "gpt_neox":
        shape |= {"num_key_value_heads": None}
        shape.pop("head_dim")
    config = AutoConfig.for_model(family, **{k: v for k, v in shape.items() if v is not None})
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        module = AutoModelForCausalLM.from_config(config, dtype=dtype)
        with torch.no_grad():
            for parameter in module.parameters():
                if parameter.ndim > 1:
                    parameter.normal_(0, 0.15)  # the usual 0.02 makes every next token equally likely
    module.eval()
    return module


def module_sha256(module: Any) -> str:
    """Hash of a model's weights, which lie in no file."""
    total = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        total.update(name.encode() + tensor.contiguous().view(torch.uint8).numpy().tobytes())
    return total.hexdigest()


def tiny_model(
    family: Family = "llama", *, template: str = CHATML, dtype: torch.dtype = torch.float64, seed: int = 0,
    batch_size: int = 32, kv_budget_mib: int = 64, adapter: Path | None = None, name: str = "fake:tiny",
) -> LocalModel:  # fmt: skip
    """The tiny model behind the real engine, with or without an adapter."""
    module = tiny_module(family, dtype=dtype, seed=seed)
    base = module_sha256(module)
    lora = None if adapter is None else read_adapter(adapter)
    if lora is not None:
        merge(module, lora, base_sha256=base, base="fake:tiny")
    chat = ChatTemplate(byte_tokenizer(template), end_ids=[1])
    info = Capabilities(
        name=name, engine="local", dtype=str(dtype)[6:],
        fingerprint=f"tiny:{family}:{seed}:{dtype}" + ("" if lora is None else f"{ADAPTED}{lora.sha256[:16]}"),
        weights_sha256=base if lora is None else adapted_sha256(base, lora),
        context_tokens=2048, score=True, taps=True, seed_status="honoured", small_model=True,
        base_sha256=None if lora is None else base,
    )  # fmt: skip
    return LocalModel(Runner(module), chat, info, batch_size=batch_size, kv_budget_mib=kv_budget_mib)
