"""The weights behind a model's name as a plain module that can be trained, with the pieces of its chat template."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from multitudes.core.errors import ConfigError, MissingExtra, ModelError
from multitudes.models.load import folder_or_hub_id, split_adapter
from multitudes.models.local.template import ChatTemplate


class Trainable(NamedTuple):
    """A model that nobody speaks with: its attention and layers are those of its makers.

    Attributes:
        module: A ``transformers`` causal language model on the CPU, in float32 or wider.
        tokenizer: Its tokenizer.
        template: Its chat template, as the engine uses it.
        name: What the user typed.
        weights_sha256: Hash of its weights; None for a hub id.
        licence: Of the weights, where known.
        context_tokens: Longest sequence.
    """

    module: Any
    tokenizer: Any
    template: ChatTemplate
    name: str
    weights_sha256: str | None
    licence: str | None
    context_tokens: int


def open_trainable(name: str) -> Trainable:
    """Load the weights of a local model once more, to train on them; the model that speaks is not touched.

    Raises:
        ConfigError: Not a local model, or one that is under an adapter already.
        ModelError: No such weights.
        MissingExtra: Without the ``local`` extra.
    """
    check_trainable(name)
    kind, _, rest = name.partition(":")
    if name == "fake:tiny":
        from multitudes.models.local.tiny import byte_tokenizer, module_sha256, tiny_module

        module, tokenizer = tiny_module(), byte_tokenizer()
        template = ChatTemplate(tokenizer, end_ids=[1])
        return Trainable(module, tokenizer, template, name, module_sha256(module), None, 2048)
    if name == "smollm2":
        from multitudes.models.local.embedded import EMBEDDED, require

        return _opened(require(name), name, EMBEDDED[name].licence)
    if kind == "hf":
        return _opened(folder_or_hub_id(rest), name, None)
    from multitudes.models.local.open import converted

    return _opened(converted(Path(rest).expanduser()), name, None)


def check_trainable(name: str) -> None:
    """Refuse a name that is no local model's, or one under an adapter already; nothing is loaded.

    Raises:
        ConfigError: Says which.
    """
    base, adapter = split_adapter(name)
    if adapter is not None:
        raise ConfigError("an adapter is trained on a plain model", where=repr(name), expected=repr(base),
                          hint=f"--model {base}")  # fmt: skip
    kind, _, rest = name.partition(":")
    if name not in ("smollm2", "fake:tiny") and not (kind in ("hf", "gguf") and rest):
        raise ConfigError("only a local model can be trained", where=repr(name),
                          expected="smollm2, hf:DIR or gguf:FILE")  # fmt: skip


def _opened(folder: str | Path, name: str, licence: str | None) -> Trainable:
    try:
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer
    except ImportError as error:
        raise MissingExtra("local", f"training {name!r}") from error
    from multitudes.models.local.open import DEFAULT_CONTEXT_TOKENS, end_ids, weights_hash
    from multitudes.models.local.quiet import no_bars

    path = str(folder)
    try:
        tokenizer = AutoTokenizer.from_pretrained(path, trust_remote_code=False)
        with no_bars():
            module = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32, trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise ModelError(
            "no model could be loaded", where=path, found=str(error).strip().splitlines()[0][:300],
            expected="a folder with config.json, *.safetensors and tokenizer.json",
        ) from error  # fmt: skip
    template = ChatTemplate(tokenizer, end_ids=end_ids(module))
    context = int(getattr(module.config, "max_position_embeddings", 0) or 0) or DEFAULT_CONTEXT_TOKENS
    return Trainable(module, tokenizer, template, name, weights_hash(Path(path)), licence, context)
