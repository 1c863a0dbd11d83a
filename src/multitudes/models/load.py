"""The string a user types → a ``ChatModel``.

| string | model |
|---|---|
| ``smollm2`` | the embedded model |
| ``hf:DIR_OR_ID`` | a Hugging Face folder, or a hub id where the hub can be reached |
| ``gguf:FILE`` | a GGUF file of llama layout, converted once and cached |
| ``http://HOST/v1#MODEL`` | any OpenAI-compatible server (also https) |
| ``verbalized:MODEL`` | asked for five messages with probabilities, one of which is drawn |
| ``minimal:MODEL`` | a local model that goes on with a document, without a chat template |
| ``random-text:MODEL`` | with random words before the prompt: a baseline |
| ``temperature:T:MODEL`` | at this temperature, whatever the study says |
| ``cap:AXIS:MODEL``, ``hold:AXIS:MODEL``, ``steer:C:AXIS:MODEL`` | a local model under an edit along its axis |
| ``fake:KIND`` | a model without weights: echo, scripted, people, latency, faulty, table, tiny |
| ``BASE+NAME_OR_DIR`` | a local BASE with a LoRA adapter, by name or folder, merged into its weights |
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import partial
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from multitudes.core.errors import ConfigError, MissingExtra, ModelError, Unsupported, did_you_mean
from multitudes.models.base import ChatModel, Sampling
from multitudes.models.budget import Budget, Prices

WRAPPERS = ("verbalized", "minimal", "random-text", "temperature")
PLUGINS = "multitudes.models"  # group of entry points: PREFIX = "module:function" of (rest, name, load)
PREFIXES = (
    *(f"{w}:" for w in (*WRAPPERS, "cap", "hold", "steer")),
    "smollm2",
    "hf:",
    "gguf:",
    "http://",
    "https://",
    "fake:",
)


def load(
    name: str,
    *,
    dtype: str = "float32",
    batch_size: int = 32,
    kv_budget_mib: int = 4096,
    budget: Budget | None = None,
    prices: Prices | None = None,
    cache: Path | None = None,
    env: Mapping[str, str] | None = None,
    raw: bool = False,
    shared: dict[tuple[str, bool], ChatModel] | None = None,
) -> ChatModel:
    """The model behind ``name``.

    Args:
        name: See the table above.
        dtype: Number type of a local model. What is reported is computed in float32.
        batch_size: Rows of a local model that decode together.
        kv_budget_mib: Memory of a local model for conversations that may go on.
        budget: Limits of an endpoint: tokens, money, seconds.
        prices: Prices of an endpoint; without them money is unknown, not zero.
        cache: File of an endpoint's call cache; None keeps none.
        env: Where keys are looked for; the process environment if None.
        raw: A local model takes messages as plain text, without its chat template; ``minimal:`` uses it.
        shared: Models that are loaded already, by (name, raw); what is loaded joins them. So a model and a wrapper
            of it use the same weights.

    Raises:
        AdapterMismatch: An adapter of another model.
        ConfigError: An unknown name, with the near ones.
        ModelError: No such folder of weights, or an adapter that is not whole.
        WeightsMissing: The embedded model was not fetched.
        MissingExtra: The engine needs an extra.

    >>> load("fake:echo").info.name
    'fake:echo'
    """
    if shared is not None:
        if (name, raw) not in shared:
            shared[name, raw] = _load(
                name, dtype=dtype, batch_size=batch_size, kv_budget_mib=kv_budget_mib, budget=budget, prices=prices,
                cache=cache, env=env, raw=raw, shared=shared,
            )  # fmt: skip
        return shared[name, raw]
    return _load(
        name, dtype=dtype, batch_size=batch_size, kv_budget_mib=kv_budget_mib, budget=budget, prices=prices,
        cache=cache, env=env, raw=raw, shared=None,
    )  # fmt: skip


def _load(
    name: str, *, dtype: str, batch_size: int, kv_budget_mib: int, budget: Budget | None, prices: Prices | None,
    cache: Path | None, env: Mapping[str, str] | None, raw: bool, shared: dict[tuple[str, bool], ChatModel] | None,
) -> ChatModel:  # fmt: skip
    local: dict[str, Any] = {"dtype": dtype, "batch_size": batch_size, "kv_budget_mib": kv_budget_mib, "raw": raw}
    base, adapter = split_adapter(name)
    if adapter is not None:
        from multitudes.models.local.adapter import find_adapter

        local["adapter"] = find_adapter(adapter)
    if base == "smollm2":
        return _embedded(base, {**local, "name": name})
    kind, _, rest = base.partition(":")
    if kind in WRAPPERS:
        more = {**local, "budget": budget, "prices": prices, "cache": cache, "env": env, "shared": shared}
        return _wrapped(kind, rest, name, local, more)
    if kind in ("hf", "gguf", "fake") and not rest:
        raise ConfigError("the model's name ends too early", where=repr(name), expected=f"{kind}:SOMETHING")
    if kind == "hf":
        where = folder_or_hub_id(rest)
        from multitudes.models.local.open import open_local

        model: ChatModel = open_local(where, name=name, **local)
        return model
    if kind == "gguf":
        from multitudes.models.local.open import open_gguf

        gguf: ChatModel = open_gguf(Path(rest).expanduser(), name=name, **local)
        return gguf
    if kind in ("http", "https"):
        return _endpoint(name, budget=budget, prices=prices, cache=cache, env=env)
    if kind == "fake":
        return _fake(rest, name, local.get("adapter"))
    plugin = next((p for p in entry_points(group=PLUGINS) if p.name == kind), None)
    if plugin is not None and rest:
        inside = partial(load, **local, budget=budget, prices=prices, cache=cache, env=env, shared=shared)
        opened: ChatModel = plugin.load()(rest, name, inside)
        return opened
    raise ConfigError(
        "unknown model", where=repr(name), expected="one of " + ", ".join(PREFIXES), hint=did_you_mean(name, PREFIXES)
    )


def split_adapter(name: str) -> tuple[str, str | None]:
    """The base of a local model's name and its adapter, None without one.

    A folder may have a plus in its name: what exists as a whole has no adapter.

    Raises:
        ConfigError: Nothing after the plus.

    >>> split_adapter("smollm2+midwife"), split_adapter("smollm2")
    (('smollm2', 'midwife'), ('smollm2', None))
    """
    kind, _, rest = name.partition(":")
    if name.startswith("smollm2+") or name.startswith("fake:tiny+"):
        base, _, adapter = name.partition("+")
    elif kind in ("hf", "gguf") and "+" in rest and not Path(rest).expanduser().exists():
        ends = [i for i, c in enumerate(rest) if c == "+"]
        end = next((i for i in ends if Path(rest[:i]).expanduser().exists()), ends[0])
        base, adapter = f"{kind}:{rest[:end]}", rest[end + 1 :]
    else:
        return name, None
    if not adapter:
        raise ConfigError("the model's name ends too early", where=repr(name), expected=f"{base}+NAME_OR_DIR",
                          hint="name an adapter: a folder, or what multitudes train made")  # fmt: skip
    return base, adapter


def _wrapped(kind: str, rest: str, name: str, local: dict[str, Any], more: dict[str, Any]) -> ChatModel:
    """Another way of asking the model that is named after it."""
    from multitudes.models.wrappers.minimal import Minimal
    from multitudes.models.wrappers.random_text import RandomText
    from multitudes.models.wrappers.temperature import Temperature
    from multitudes.models.wrappers.verbalized import Verbalized

    if kind == "temperature":
        value, _, rest = rest.partition(":")
        try:
            degrees = float(value)
            Sampling(temperature=degrees)
        except ValueError as error:
            raise ConfigError(
                "not a temperature", where=repr(name), found=repr(value), expected="temperature:NUMBER:MODEL"
            ) from error
    if not rest:
        raise ConfigError("the model's name ends too early", where=repr(name), expected=f"{kind}:MODEL")
    if kind == "temperature":
        return Temperature(load(rest, **more), degrees)
    if kind == "minimal":
        if split_adapter(rest)[0] != "smollm2" and not rest.startswith(("hf:", "gguf:", "fake:")):
            raise Unsupported("raw text", rest, "minimal: needs a local model: smollm2, hf:DIR or gguf:FILE")
        return Minimal(load(rest, **({**more, "raw": True} if not rest.startswith("fake:") else more)))
    return RandomText(load(rest, **more)) if kind == "random-text" else Verbalized(load(rest, **more))


def folder_or_hub_id(rest: str) -> str | Path:
    """What ``hf:`` names. A folder that is not there is told at once: a hub would be asked for minutes, and in vain.

    Raises:
        ModelError: Neither a folder that exists nor the form of a hub id.
    """
    folder = Path(rest).expanduser()
    if folder.exists():
        return folder
    if "/" not in rest or rest.startswith(("/", "./", "../", "~")) or folder.is_absolute():
        raise ModelError(
            "no model could be loaded", where=f"hf:{rest}", found="no such folder",
            expected="a folder of weights, or a hub id of the form OWNER/NAME", hint="check the path",
        )  # fmt: skip
    return rest


def _embedded(name: str, local: dict[str, Any]) -> ChatModel:
    from multitudes.models.local.embedded import EMBEDDED, require
    from multitudes.models.local.open import open_local

    model: ChatModel = open_local(
        require(name), small_model=True, licence=EMBEDDED[name].licence, **local
    )  # fmt: skip
    return model


def _endpoint(
    name: str, *, budget: Budget | None, prices: Prices | None, cache: Path | None, env: Mapping[str, str] | None
) -> ChatModel:
    from multitudes.models.endpoint import EndpointModel
    from multitudes.models.transport import find_api_key

    url, hash_sign, model = name.partition("#")
    if not hash_sign or not model:
        raise ConfigError(
            "an endpoint needs the name of its model", where=repr(name), expected="http://HOST/v1#MODEL",
            hint=f"multitudes models list {url}",
        )  # fmt: skip
    calls = None
    if cache is not None:
        from multitudes.models.cache import CallCache

        calls = CallCache(cache)
    key = find_api_key(os.environ if env is None else env)
    return EndpointModel(url, model, api_key=key, budget=budget or Budget(), prices=prices, cache=calls)


def _fake(kind: str, name: str, adapter: Path | None) -> ChatModel:
    from multitudes.models.fake import KINDS

    if kind == "tiny":
        try:
            from multitudes.models.local.tiny import tiny_model
        except ImportError as error:
            raise MissingExtra("local", "fake:tiny") from error
        tiny: ChatModel = tiny_model(adapter=adapter, name=name)
        return tiny
    if kind not in KINDS:
        raise ConfigError("unknown fake", where=repr(f"fake:{kind}"), hint=did_you_mean(kind, [*KINDS, "tiny"]))
    return KINDS[kind]()
