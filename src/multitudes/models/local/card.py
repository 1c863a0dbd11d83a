"""What a model may call itself: its names and its makers, as its card and its template state them.

Read are the head of ``README.md``, ``config.json``, what we noted when we converted the weights, the id of a hub
model and the text that the chat template writes by itself. Where none of them names the model, the name of its
architecture stands in. Nothing of this is shown to a model; it is what a filter looks for in its answers.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_IN_CACHE = re.compile(r"models--([\w.-]+?)--([\w.-]+)")
_KEYS = re.compile(r"^(?:base_model|model_name|model_creator|name)\s*:\s*(.*)$")
_PIECE = re.compile(r"([A-Za-z]{3,})(\d[\d.]*)?")
_NAMED = re.compile(r"\b(?:named|called|[Yy]ou are)\s+([A-Z](?:[\w.-]*\w)?)")
_MADE_BY = re.compile(
    r"\b(?:trained|created|developed|made|built|designed)\s+by\s+([A-Z](?:[\w&.-]*\w)?(?:\s+[A-Z](?:[\w&.-]*\w)?){0,2})"
)
_GENERIC = frozenset(
    "model models instruct chat base gguf the and for large small medium mini tiny nano micro pro preview sft dpo "
    "distill version main latest hub merged lora adapter checkpoint final thinking uncensored".split()
)
# Who stands behind the owner of a hub id, where people would say it in another way.
_OWNERS = {
    "meta-llama": "Meta", "qwen": "Alibaba", "google": "Google", "mistralai": "Mistral", "openai": "OpenAI",
    "huggingfacetb": "Hugging Face", "microsoft": "Microsoft", "eleutherai": "EleutherAI", "nvidia": "NVIDIA",
    "deepseek-ai": "DeepSeek", "ibm-granite": "IBM", "allenai": "Allen Institute", "stabilityai": "Stability AI",
}  # fmt: skip
_FAMILIES = {
    "llama": ("Llama", "Meta"), "qwen2": ("Qwen", "Alibaba"), "qwen3": ("Qwen", "Alibaba"),
    "gemma": ("Gemma", "Google"), "gemma2": ("Gemma", "Google"), "gemma3_text": ("Gemma", "Google"),
    "mistral": ("Mistral", "Mistral"), "gpt_neox": ("Pythia", "EleutherAI"), "phi3": ("Phi", "Microsoft"),
}  # fmt: skip


class Card(NamedTuple):
    """Names under which a model may speak of itself, and of who made it; both in the spelling of their source."""

    names: tuple[str, ...] = ()
    makers: tuple[str, ...] = ()


def read_card(folder: str | Path, *, own_system: str | None = None) -> Card:
    """The card of the model in ``folder``, or of a hub id.

    Args:
        folder: Where the weights are, or OWNER/NAME.
        own_system: The text that the chat template writes by itself.
    """
    path = Path(folder)
    config = _json(path / "config.json")
    stated = [*_head(path / "README.md"), str(config.get("_name_or_path", "")), *_converted(path)]
    stated += ["/".join(found.groups()) for found in _IN_CACHE.finditer(path.as_posix())]
    if not path.is_dir() and _HUB_ID.fullmatch(str(folder)):
        stated.append(str(folder))
    names: list[str] = []
    makers: list[str] = []
    for text in stated:
        owner, _, name = text.rpartition("/")
        if owner and not _HUB_ID.fullmatch(text):
            continue  # somebody's path
        names += spoken_names(name)
        if owner:
            makers += [_OWNERS.get(owner.casefold(), owner), owner]
    names += [m[1] for m in _NAMED.finditer(own_system or "")]
    makers += [m[1] for m in _MADE_BY.finditer(own_system or "")]
    if not names and str(config.get("model_type")) in _FAMILIES:
        family = _FAMILIES[str(config["model_type"])]
        names, makers = [family[0]], [*makers, family[1]]
    return Card(_once(names), _once(makers))


def spoken_names(name: str) -> list[str]:
    """A published name, and the words of it by which a model would call itself.

    >>> spoken_names("SmolLM2-135M-Instruct"), spoken_names("Llama-3.1-8B")
    (['SmolLM2-135M-Instruct', 'SmolLM2', 'SmolLM'], ['Llama-3.1-8B', 'Llama'])
    """
    out = [name] if name else []
    for piece in re.split(r"[-_\s]+", name):
        found = _PIECE.fullmatch(piece)
        if found and found[1].casefold() not in _GENERIC:
            out += [piece, found[1]]
    return list(_once(out))


def _once(texts: Iterable[str]) -> tuple[str, ...]:
    seen: dict[str, str] = {}
    for text in texts:
        if text.strip():
            seen.setdefault(text.strip().casefold(), text.strip())
    return tuple(seen.values())


def _json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _head(path: Path) -> list[str]:
    """Values of the card's head that name a model; a list goes on over indented lines with dashes."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
    if not lines or lines[0].strip() != "---":
        return []
    out: list[str] = []
    listing = False
    for line in lines[1:]:
        if line.strip() == "---":
            break
        key = _KEYS.match(line)
        if key:
            out += [part.strip(" '\"") for part in key[1].strip("[] ").split(",")]
        elif listing and line.lstrip().startswith("- "):
            out.append(line.lstrip()[2:].strip(" '\""))
            continue
        listing = key is not None and not key[1].strip()
    return [text for text in out if text]


def _converted(path: Path) -> list[str]:
    """Names of the files that the weights were converted from."""
    noted = _json(path / "PROVENANCE.json")
    files = [*(noted.get("members") or ()), noted.get("from")]
    return [Path(f).name.partition(".")[0] if f.count(".") < 2 else re.sub(r"\.[\w]+\.gguf$", "", Path(f).name)
            for f in files if isinstance(f, str) and f.endswith(".gguf")]  # fmt: skip
