"""A folder of weights → a local model."""

from __future__ import annotations

import hashlib
import json
import tempfile
from pathlib import Path
from typing import Any

from multitudes.core.canonical import content_hash
from multitudes.core.errors import ConfigError, MissingExtra, ModelError, UnsupportedModel
from multitudes.models.base import ADAPTED, Capabilities
from multitudes.models.local.card import read_card
from multitudes.models.local.embedded import CONVERTER_VERSION, cache_root, publish, sha256_of

RAW_TEMPLATE = "{% for m in messages %}{{ m.content }}{% endfor %}"
DEFAULT_CONTEXT_TOKENS = 8192  # where neither config nor tokenizer names a sane length


def open_local(
    folder: str | Path,
    *,
    name: str,
    dtype: str = "float32",
    batch_size: int = 32,
    kv_budget_mib: int = 4096,
    small_model: bool = False,
    licence: str | None = None,
    raw: bool = False,
    adapter: Path | None = None,
) -> Any:
    """Load a Hugging Face causal language model from a local folder (or a hub id, where the hub can be reached).

    float32 is the default because everything that is reported is computed in it; on CPUs without bfloat16 units
    bfloat16 is also slower by orders of magnitude (``benchmarks/engine.py`` measures both).

    Args:
        folder: The weights.
        name: What the user typed.
        dtype: Number type.
        batch_size: Rows that decode together.
        kv_budget_mib: Memory for conversations that may go on.
        small_model: Whether it is known to be weak at playing people.
        licence: Of the weights.
        raw: Messages as plain text, without a chat template.
        adapter: Folder of a LoRA adapter that is merged into the weights.

    Raises:
        AdapterMismatch: The adapter belongs to another model.
        ConfigError: An unknown number type, or one that adapters are not merged in.
        MissingExtra: Without the ``local`` extra.
        ModelError: No such folder, or nothing that can be loaded in it.
        UnsupportedModel: A model type or template that this engine does not run.
    """
    try:
        import torch
        from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer
        from transformers.utils import logging as transformers_logging
    except ImportError as error:
        raise MissingExtra("local", f"running {name!r} in this process") from error

    from multitudes.models.local.adapter import adapted_sha256, merge, read_adapter
    from multitudes.models.local.engine import LocalModel
    from multitudes.models.local.packing import pack_linears
    from multitudes.models.local.quiet import no_bars
    from multitudes.models.local.runner import MASK_BY_LAYER, SINGLE_MASK, Runner
    from multitudes.models.local.template import ChatTemplate

    transformers_logging.set_verbosity_error()
    path = str(folder)
    lora = None if adapter is None else read_adapter(adapter)
    number_type = getattr(torch, dtype, None)
    if not isinstance(number_type, torch.dtype) or not number_type.is_floating_point:
        raise ConfigError(
            "unknown number type", where="dtype", found=repr(dtype), expected="float32, bfloat16, float16 or float64"
        )
    try:
        config = AutoConfig.from_pretrained(path, trust_remote_code=False)
        if config.model_type not in SINGLE_MASK | MASK_BY_LAYER:
            raise UnsupportedModel(
                f"model type {config.model_type!r} is not supported by the local engine", where=path,
                expected="one of " + ", ".join(sorted(SINGLE_MASK | MASK_BY_LAYER)),
                hint="serve it with an OpenAI-compatible server and use http://HOST/v1#MODEL",
            )  # fmt: skip
        tokenizer = AutoTokenizer.from_pretrained(path, trust_remote_code=False)
        with no_bars():
            module = AutoModelForCausalLM.from_pretrained(path, dtype=number_type, trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise ModelError(
            "no model could be loaded", where=path, found=str(error).strip().splitlines()[0][:300],
            expected="a folder with config.json, *.safetensors, tokenizer.json and a chat template",
        ) from error  # fmt: skip
    weights = weights_hash(Path(path))
    if lora is not None:
        merge(module, lora, base_sha256=weights, base=name.partition("+")[0])
    if torch.cuda.is_available():
        module = module.to("cuda")
    module = module.eval()
    if raw:  # messages as they are, one after the other
        tokenizer.chat_template = RAW_TEMPLATE
    template = ChatTemplate(tokenizer, end_ids=end_ids(module))
    if module.device.type == "cpu" and dtype == "float32" and torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        pack_linears(module)
    runner = Runner(module)
    identity = weights or content_hash([path, getattr(config, "_commit_hash", None), config.to_dict()])
    versions = f"torch {torch.__version__}"
    card = read_card(path, own_system=template.own_system())
    context = int(getattr(config, "max_position_embeddings", 0) or 0) or DEFAULT_CONTEXT_TOKENS
    info = Capabilities(
        name=name,
        engine="local",
        fingerprint=f"local:{identity[:16]}:{dtype}:{module.device.type}:{versions}"
        + (":raw" if raw else "")
        + ("" if lora is None else f"{ADAPTED}{lora.sha256[:16]}"),
        weights_sha256=weights if lora is None else adapted_sha256(weights, lora),
        dtype=dtype,
        context_tokens=context,
        score=True,
        taps=True,
        seed_status="honoured",
        small_model=small_model,
        licence=licence,
        names=card.names,
        makers=card.makers,
        base_sha256=None if lora is None else weights,
    )
    return LocalModel(runner, template, info, batch_size=batch_size, kv_budget_mib=kv_budget_mib)


def end_ids(module: Any) -> list[int]:
    """Tokens with which the model itself ends a turn."""
    ends = module.generation_config.eos_token_id if module.generation_config is not None else None
    ends = ends if ends is not None else module.config.eos_token_id
    return [] if ends is None else ([ends] if isinstance(ends, int) else list(ends))


def weights_hash(folder: Path) -> str | None:
    """SHA-256 of the weights: noted when we converted them, else of the files' own hashes; None for a hub id."""
    provenance = folder / "PROVENANCE.json"
    if provenance.is_file() and cache_root() in folder.parents:
        return str(json.loads(provenance.read_text(encoding="utf-8"))["weights_sha256"])
    files = sorted(folder.glob("*.safetensors")) if folder.is_dir() else []
    if not files:
        return None
    total = hashlib.sha256()
    for file in files:
        with file.open("rb") as stream:
            total.update(hashlib.file_digest(stream, "sha256").digest())
    return total.hexdigest()


def open_gguf(file: Path, *, name: str, **options: Any) -> Any:
    """A GGUF file of llama layout as a local model; raises what ``converted`` and ``open_local`` raise."""
    return open_local(converted(file), name=name, **options)


def converted(file: Path) -> Path:
    """The folder of a GGUF file of llama layout, which is converted once into the cache.

    Raises:
        ModelError: No such file.
        UnsupportedModel: Another architecture or quantisation.
    """
    from multitudes.models.local.convert import convert_gguf

    if not file.is_file():
        raise ModelError("no such file", where=str(file))
    digest = sha256_of(file)
    folder = cache_root() / "gguf" / f"{digest[:16]}-v{CONVERTER_VERSION}"
    if not (folder / "PROVENANCE.json").is_file():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix="convert-") as scratch:
            staging = Path(scratch) / "out"
            staging.mkdir()
            convert_gguf(file, staging)
            provenance = {"from": file.name, "gguf_sha256": digest,
                          "weights_sha256": sha256_of(staging / "model.safetensors")}  # fmt: skip
            (staging / "PROVENANCE.json").write_text(json.dumps(provenance, indent=1), encoding="utf-8")
            publish(staging, folder)
    return folder
