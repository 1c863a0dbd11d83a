"""An adapter on disk: PEFT's two files and our card, all of it or nothing.

A folder holds the adapter after the last epoch. Below it lie the earlier ones, ``epoch-1``, ``epoch-2`` and so on: a
ladder of strength. ``rows.jsonl`` holds what it was trained on.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from multitudes.core.canonical import strict_values
from multitudes.core.errors import ConfigError
from multitudes.models.local.adapter import CARD, CONFIG, WEIGHTS, Card
from multitudes.models.local.trainable import Trainable
from multitudes.train.sft import Adapter

ROWS = "rows.jsonl"
LAST = "final"  # name of the adapter after the last epoch, as a rung of a ladder


def rung_name(epoch: int, epochs: int) -> str:
    """Name of the adapter after one of ``epochs`` epochs.

    >>> [rung_name(e, 3) for e in (1, 2, 3)]
    ['epoch-1', 'epoch-2', 'final']
    """
    return LAST if epoch == epochs else f"epoch-{epoch}"


def rung_folder(folder: Path, rung: str) -> Path:
    """Where a rung of an adapter's ladder lies."""
    return folder if rung == LAST else folder / rung


def save_adapter(
    adapter: Adapter, folder: Path, *, base: Trainable, name: str, what: str, data: Mapping[str, Any],
    rows: Iterable[Mapping[str, Any]] = (),
) -> Path:  # fmt: skip
    """Write an adapter, its earlier epochs and its rows into ``folder``, which appears whole.

    Args:
        adapter: What was trained.
        folder: Must not exist, or be empty.
        base: What it was trained on.
        name: Short name.
        what: One line for people.
        data: Where the rows come from; goes on the card.
        rows: The rows as text.

    Raises:
        ConfigError: The folder holds something else.
    """
    refuse_other(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        steps = [*((a, staging / f"epoch-{i + 1}") for i, a in enumerate(adapter.earlier)), (adapter, staging)]
        for one, place in steps:
            _write(one, place, base=base, name=name, what=what, data=data)
        lines = [json.dumps(strict_values(dict(r)), ensure_ascii=False) + "\n" for r in rows]
        (staging / ROWS).write_text("".join(lines), encoding="utf-8")
        staging.chmod(0o755)  # a temporary folder is closed to others
        if folder.is_dir():
            folder.rmdir()  # it is empty
        os.replace(staging, folder)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return folder


def refuse_other(folder: Path) -> None:
    """Refuse a folder that holds anything.

    Raises:
        ConfigError: It does.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigError("the folder is not empty", where=str(folder), expected="a new folder for the adapter",
                          hint="give another one with --out")  # fmt: skip


def _write(
    adapter: Adapter, folder: Path, *, base: Trainable, name: str, what: str, data: Mapping[str, Any]
) -> None:  # fmt: skip
    from safetensors.torch import save

    folder.mkdir(exist_ok=True)
    weights = save(dict(adapter.tensors), metadata={"format": "pt"})
    card = Card(
        name=name, what=what, base=base.name, base_sha256=base.weights_sha256, licence=base.licence,
        adapter_sha256=hashlib.sha256(weights).hexdigest(), data=dict(data),
        config={**adapter.config, "losses": list(adapter.losses)}, versions=_versions(),
    )  # fmt: skip
    settings = json.dumps(strict_values(dict(adapter.settings)), indent=1, sort_keys=True)
    (folder / CONFIG).write_text(settings + "\n", encoding="utf-8")
    (folder / WEIGHTS).write_bytes(weights)
    (folder / CARD).write_text(card.model_dump_json(indent=1) + "\n", encoding="utf-8")


def _versions() -> dict[str, str]:
    out = {}
    for package in ("multitudes", "torch", "transformers", "peft", "trl", "accelerate"):
        try:
            out[package] = version(package)
        except PackageNotFoundError:
            continue
    return out
