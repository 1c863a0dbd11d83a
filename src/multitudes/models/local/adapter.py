"""LoRA adapters: a folder in PEFT's own file format, and our card beside it, merged into a base model's weights.

An adapter holds two thin matrices per linear layer. Merged, the layer's weight becomes W + s·B·A, with s = alpha / r
(alpha / √r for rank-stabilised adapters). PEFT is not needed to read one. What this arithmetic would get wrong is
refused by name: settings that change the forward pass in another way, or that expect a changed base.

Departure: the design keeps adapters unmerged. Here one batch speaks with one adapter, so nothing would be gained by
two more products per layer; see docs/architecture.md.
"""

from __future__ import annotations

import hashlib
import json
import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from multitudes.core.canonical import content_hash
from multitudes.core.errors import AdapterMismatch, ConfigError, ModelError, UnsupportedModel, did_you_mean
from multitudes.core.records import Frozen
from multitudes.models.local.embedded import cache_root

CONFIG, WEIGHTS, CARD = "adapter_config.json", "adapter_model.safetensors", "card.json"
MERGED_IN = ("float32", "float64")  # number types in which W + s·B·A keeps what the adapter learned
# Settings of PEFT that change nothing in a merged model, or that are read below.
HARMLESS = {
    "task_type", "peft_type", "auto_mapping", "peft_version", "base_model_name_or_path", "revision", "inference_mode",
    "r", "target_modules", "exclude_modules", "lora_alpha", "lora_dropout", "use_rslora", "layers_to_transform",
    "layers_pattern", "rank_pattern", "alpha_pattern", "megatron_core", "eva_config", "qalora_group_size",
    "ensure_weight_tying", "runtime_config",
}  # fmt: skip
INIT_FROM_ZERO = (True, False, "gaussian", "eva", "orthogonal", None)  # the others train beside a changed base
_KEY = re.compile(r"(?:base_model\.model\.)?(?P<module>.+)\.lora_(?P<part>[AB])\.(?:default\.)?weight")


class Card(Frozen):
    """What an adapter says of itself; written by ``multitudes train``, absent from adapters of other makers.

    Attributes:
        schema_version: Of this record.
        name: Short name.
        what: One line for people.
        base: Name of the model it was trained on.
        base_sha256: Hash of that model's weights; None where they had none.
        adapter_sha256: Hash of the weights file beside the card.
        licence: Of the adapter, which follows that of the base.
        data: What it was trained on: rows, their source, seeds.
        config: How it was trained.
        versions: Of the libraries.
    """

    schema_version: int = 1
    name: str
    what: str = ""
    base: str
    base_sha256: str | None = None
    adapter_sha256: str
    licence: str | None = None
    data: dict[str, Any] = Field(default_factory=dict)
    config: dict[str, Any] = Field(default_factory=dict)
    versions: dict[str, str] = Field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class LoraFile:
    """An adapter as it lies on disk.

    Attributes:
        folder: Where.
        a: By module path, (r, in) the matrix that reads.
        b: By module path, (out, r) the matrix that writes.
        scales: By module path, s.
        sha256: Hash of weights and of the settings that count; part of the fingerprint of the adapted model.
        card: What it says of itself; None without a card.
    """

    folder: Path
    a: Mapping[str, Any]
    b: Mapping[str, Any]
    scales: Mapping[str, float]
    sha256: str
    card: Card | None = field(default=None)


def adapters_root() -> Path:
    """Where adapters with a name are kept."""
    return cache_root() / "adapters"


def named_adapters() -> list[str]:
    """Names of the adapters on this machine, rungs of their ladders included."""
    root = adapters_root()
    return sorted(p.parent.relative_to(root).as_posix() for p in root.glob(f"**/{CONFIG}"))


def find_adapter(named: str) -> Path:
    """The folder behind ``NAME_OR_DIR``: a folder with an adapter, or a name below ``adapters_root``.

    Raises:
        ConfigError: Neither, with the near names.
        ModelError: A folder that holds no adapter.
    """
    folder = Path(named).expanduser()
    if (folder / CONFIG).is_file():
        return folder
    root = adapters_root()
    inside = root / named
    if not folder.is_absolute() and ".." not in folder.parts and (inside / CONFIG).is_file():
        return inside
    if folder.is_dir():
        raise ModelError(
            "not an adapter", where=str(folder), found=f"no {CONFIG}", expected=f"{CONFIG} and {WEIGHTS}"
        )
    known = named_adapters()
    raise ConfigError(
        "unknown adapter", where=repr(named), found="neither a folder nor a name",
        expected=f"a folder with {CONFIG}, or a name below {root}",
        hint=did_you_mean(named, known) if known else "train one: multitudes train distil --help",
    )  # fmt: skip


def read_adapter(folder: Path) -> LoraFile:
    """Read an adapter and its card, if it has one; nothing is checked against a base yet.

    Raises:
        ModelError: A missing, cut-off or malformed file.
        UnsupportedModel: A setting that a merge would get wrong; names it.
        AdapterMismatch: The weights are not those that the card names.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load as load_tensors

    config = _config(folder)
    path = folder / WEIGHTS
    try:
        data = path.read_bytes()
        tensors = load_tensors(data)
    except OSError as error:
        raise ModelError("the adapter's weights cannot be read", where=str(path), found=str(error),
                         expected=f"{WEIGHTS}, as PEFT writes it") from error  # fmt: skip
    except (SafetensorError, ValueError, KeyError) as error:
        raise ModelError("the adapter's weights are cut off or no safetensors", where=str(path),
                         found=str(error)[:200], hint="fetch or train the adapter again") from error  # fmt: skip
    digest = hashlib.sha256(data).hexdigest()
    card = adapter_card(folder)
    if card is not None and card.adapter_sha256 != digest:
        raise AdapterMismatch("the weights are not those of the card", where=str(path), found=digest[:16],
                              expected=card.adapter_sha256[:16], hint="fetch or train the adapter again")  # fmt: skip
    parts: dict[str, dict[str, Any]] = {"A": {}, "B": {}}
    for key, tensor in tensors.items():
        found = _KEY.fullmatch(key)
        if found is None:
            raise UnsupportedModel(
                "the adapter holds a tensor that is no LoRA matrix of a linear layer", where=str(path),
                found=repr(key), expected="… .lora_A.weight and … .lora_B.weight",
            )  # fmt: skip
        parts[found["part"]][found["module"]] = tensor
    if not parts["A"] or parts["A"].keys() != parts["B"].keys():
        alone = sorted(parts["A"].keys() ^ parts["B"].keys())
        raise ModelError("an adapter is pairs of matrices", where=str(path),
                         found=f"no pair for {alone[0]!r}" if alone else "no matrices")  # fmt: skip
    scales = {m: _scale(config, m, a, parts["B"][m], path) for m, a in parts["A"].items()}
    return LoraFile(folder, parts["A"], parts["B"], scales, content_hash([digest, scales]), card)


def merge(module: Any, lora: LoraFile, *, base_sha256: str | None, base: str) -> None:
    """Add ``lora`` to the weights of ``module``, in place: W += s·B·A. Nothing is changed if anything does not fit.

    Args:
        module: A ``transformers`` model on the CPU, in float32 or float64, whose linear layers are not packed yet.
        lora: The adapter.
        base_sha256: Hash of the module's weights; None where it is not known.
        base: Name of the model, for messages.

    Raises:
        AdapterMismatch: Another base, unknown layers, or other shapes.
        ConfigError: A number type in which merging would lose what was learned.
    """
    import torch

    where = str(lora.folder)
    _check_base(lora, base_sha256, base)
    dtype = str(module.dtype).removeprefix("torch.")
    if dtype not in MERGED_IN:
        raise ConfigError(
            "an adapter is merged in float32", where="dtype", found=repr(dtype), expected=" or ".join(MERGED_IN),
            hint="load the adapted model with dtype='float32'",
        )  # fmt: skip
    linears = {name: m for name, m in module.named_modules() if type(m) is torch.nn.Linear}
    unknown = sorted(lora.a.keys() - linears.keys())
    if unknown:
        raise AdapterMismatch(
            f"the adapter changes layers that {base} does not have", where=where,
            found=", ".join(unknown[:3]) + (f" and {len(unknown) - 3} more" if len(unknown) > 3 else ""),
            expected="linear layers of the model", hint=did_you_mean(unknown[0], [n for n in linears if ".0." in n]),
        )  # fmt: skip
    tied = module.get_input_embeddings().weight
    for name, a in lora.a.items():
        weight, change = linears[name].weight, (lora.b[name].shape[0], a.shape[1])
        if tuple(weight.shape) != change:
            raise AdapterMismatch(f"the adapter was made for layers of another size than {base}'s", where=where,
                                  found=f"{name}: {change}", expected=str(tuple(weight.shape)))  # fmt: skip
        if weight is tied:
            raise UnsupportedModel("the adapter changes an output layer that is tied to the embedding", where=where,
                                   found=repr(name), expected="an adapter of layers between them")  # fmt: skip
    with torch.no_grad():
        for name, a in lora.a.items():
            weight = linears[name].weight
            weight += lora.scales[name] * (lora.b[name].to(weight.dtype) @ a.to(weight.dtype))


def adapted_sha256(base_sha256: str | None, lora: LoraFile) -> str | None:
    """Hash of base and adapter together; None where the base has none."""
    return None if base_sha256 is None else content_hash([base_sha256, lora.sha256])


def _check_base(lora: LoraFile, base_sha256: str | None, base: str) -> None:
    recorded = None if lora.card is None else lora.card.base_sha256
    if recorded is None or base_sha256 is None:
        lacking = f"it has no {CARD} with a hash" if recorded is None else f"the weights of {base} have no hash here"
        warnings.warn(f"adapter {lora.folder}: that {base} is its base could not be checked: {lacking}", stacklevel=3)
    elif recorded != base_sha256:
        raise AdapterMismatch(
            "the adapter was trained on another base", where=str(lora.folder), found=f"{base}: {base_sha256[:16]}",
            expected=f"{lora.card.base if lora.card else ''}: {recorded[:16]}",
            hint="load it on the model that its card names, or train one for this model",
        )  # fmt: skip


def _config(folder: Path) -> dict[str, Any]:
    """The adapter's settings, of which each is known to be harmless, read, or refused.

    Raises:
        ModelError: No such file, or none of PEFT's.
        UnsupportedModel: See ``read_adapter``.
    """
    path = folder / CONFIG
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError("the adapter's settings cannot be read", where=str(path), found=str(error),
                         expected=f"{CONFIG}, as PEFT writes it") from error  # fmt: skip
    if not isinstance(config, dict) or config.get("peft_type") != "LORA":
        kind = config.get("peft_type") if isinstance(config, dict) else type(config).__name__
        raise UnsupportedModel("not a LoRA adapter", where=str(path), found=repr(kind), expected="peft_type 'LORA'")
    changed = {
        k: v for k, v in config.items()
        if k not in HARMLESS and v and not (k == "bias" and v == "none") and k != "init_lora_weights"
    }  # fmt: skip
    if config.get("init_lora_weights", True) not in INIT_FROM_ZERO:
        changed["init_lora_weights"] = config["init_lora_weights"]
    if changed:
        name, value = next(iter(changed.items()))
        raise UnsupportedModel("the adapter has a setting that cannot be merged here", where=str(path),
                               found=f"{name} = {value!r}"[:200], expected="plain or rank-stabilised LoRA",
                               hint="merge it with PEFT, and load the merged folder as hf:DIR")  # fmt: skip
    return config


def adapter_card(folder: Path) -> Card | None:
    """What an adapter says of itself; None without a card.

    Raises:
        ModelError: A card that cannot be read.
    """
    path = folder / CARD
    if not path.is_file():
        return None
    try:
        return Card.model_validate_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, ValidationError) as error:
        raise ModelError("the adapter's card cannot be read", where=str(path), found=str(error)[:300]) from error


def _scale(config: Mapping[str, Any], module: str, a: Any, b: Any, path: Path) -> float:
    """S of one layer; checks that the matrices have the rank that the settings name, and finite numbers."""
    rank = _by_pattern(config, "rank_pattern", module, config.get("r"))
    alpha = _by_pattern(config, "alpha_pattern", module, config.get("lora_alpha"))
    if not isinstance(rank, int) or rank < 1 or not isinstance(alpha, int | float):
        raise ModelError("the adapter names no rank or alpha", where=str(path.with_name(CONFIG)),
                         found=f"r {rank!r}, lora_alpha {alpha!r}")  # fmt: skip
    if a.ndim != 2 or b.ndim != 2 or a.shape[0] != rank or b.shape[1] != rank:
        raise AdapterMismatch(
            "a matrix has not the rank that the settings name", where=str(path),
            found=f"{module}: A {tuple(a.shape)}, B {tuple(b.shape)}", expected=f"A ({rank}, in), B (out, {rank})",
        )  # fmt: skip
    if not (a.isfinite().all() and b.isfinite().all()):
        raise ModelError("the adapter holds numbers that are not finite", where=str(path), found=repr(module))
    return float(alpha) / (rank**0.5 if config.get("use_rslora") else rank)


def _by_pattern(config: Mapping[str, Any], key: str, module: str, default: Any) -> Any:
    """The value of the first pattern that is the end of a module's path, as PEFT reads them."""
    patterns = config.get(key) or {}
    return next((v for k, v in patterns.items() if re.fullmatch(rf"(.*\.)?({k})", module)), default)
