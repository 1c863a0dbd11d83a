"""Sums on disk: one safetensors file, whose header holds the rest as JSON, so that one rename makes both whole.

Rows of roles that have no response are not written: a shard of 8 of 275 roles is a 34th of the size.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from multitudes.axis.collected import Collected, Control
from multitudes.axis.errors import DamagedSums
from multitudes.core.errors import MissingExtra, MultitudesError

SCHEMA = 1
_BY_ROLE = {"sums": 1, "squares": 1, "n": 1}  # axis of the roles
_WHOLE = ("cell_n", "question_layers", "question_sums", "default_n", "default_sums", "norm_sums")


def _library() -> Any:
    try:
        import safetensors
        import safetensors.numpy
    except ImportError as error:
        raise MissingExtra("local", "reading or writing the sums of an axis") from error
    return safetensors


def _digest(arrays: Mapping[str, NDArray[Any]]) -> str:
    """SHA-256 over names, types, shapes and bytes: safetensors itself notices a missing end, not a changed byte."""
    sha = hashlib.sha256()
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        sha.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
        sha.update(array.reshape(-1).view(np.uint8).data)
    return sha.hexdigest()


def save_collected(c: Collected, path: str | os.PathLike[str]) -> None:
    """Write ``c`` to ``path``: to a temporary name in the same folder, to the disk, then renamed.

    A process killed at any moment leaves the old file or the new one, never a part.

    Raises:
        MissingExtra: Without safetensors.
    """
    library, target = _library(), Path(path)
    kept = np.flatnonzero(c.n.sum(axis=0))
    arrays: dict[str, NDArray[Any]] = {
        name: np.ascontiguousarray(getattr(c, name).take(kept, axis=axis)) for name, axis in _BY_ROLE.items()
    }
    arrays |= {name: np.ascontiguousarray(getattr(c, name)) for name in _WHOLE}
    arrays |= {f"control.{name}": np.ascontiguousarray(arm.total) for name, arm in c.controls.items()}
    about = {
        "schema": SCHEMA, "roles": c.roles, "families": c.families, "questions": c.questions, "method": c.method,
        "rows": kept.tolist(), "norm_tokens": c.norm_tokens, "sha256": _digest(arrays),
        "controls": {name: arm.n for name, arm in c.controls.items()},
    }  # fmt: skip
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        library.numpy.save_file(arrays, part, metadata={"multitudes": json.dumps(about, ensure_ascii=False)})
        with part.open("rb+") as file:
            os.fsync(file.fileno())
        os.replace(part, target)
    finally:
        part.unlink(missing_ok=True)
    _sync_folder(target.parent)


def _sync_folder(folder: Path) -> None:
    """A rename outlives a power cut only when the folder is on the disk too; some systems cannot open folders."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def load_collected(path: str | os.PathLike[str]) -> Collected:
    """Read what ``save_collected`` wrote.

    Raises:
        DamagedSums: A file that is cut off, changed, of another schema, or none of ours.
        MissingExtra: Without safetensors.
    """
    library, source = _library(), Path(path)
    hint = "remove the file and collect this part again"
    try:
        with library.safe_open(source, framework="numpy") as file:
            about = json.loads((file.metadata() or {})["multitudes"])
            arrays = {name: file.get_tensor(name) for name in file.keys()}
    except FileNotFoundError as error:
        raise DamagedSums("no such file", where=str(source)) from error
    except (library.SafetensorError, OSError, KeyError, ValueError) as error:
        raise DamagedSums(
            "not a whole file of sums; it may be cut off", where=str(source), found=str(error), hint=hint
        ) from error
    if about.get("schema") != SCHEMA:
        raise DamagedSums(
            "sums of another version", where=str(source), found=str(about.get("schema")), expected=str(SCHEMA)
        )
    if _digest(arrays) != about.get("sha256"):
        raise DamagedSums("the numbers are not those that were written", where=str(source), hint=hint)
    try:
        return _assembled(about, arrays)
    except (KeyError, IndexError, TypeError, ValueError, MultitudesError) as error:
        raise DamagedSums("the parts do not fit together", where=str(source), found=str(error), hint=hint) from error


def _assembled(about: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> Collected:
    rows, size = about["rows"], len(about["roles"])
    spread = {}
    for name, axis in _BY_ROLE.items():
        kept = arrays[name]
        full = np.zeros((*kept.shape[:axis], size, *kept.shape[axis + 1 :]), dtype=kept.dtype)
        full[:, rows] = kept
        spread[name] = full
    return Collected(
        roles=tuple(about["roles"]),
        families=tuple(about["families"]),
        questions=tuple(about["questions"]),
        method=about["method"],
        norm_tokens=about["norm_tokens"],
        controls={name: Control(n, arrays[f"control.{name}"]) for name, n in about["controls"].items()},
        **spread,
        **{name: arrays[name] for name in _WHOLE},
    )
