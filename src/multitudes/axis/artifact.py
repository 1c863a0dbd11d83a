"""An axis on disk: ``axis.safetensors`` and ``axis.json`` in one folder, both whole or not there."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from multitudes.axis.axis import Axis
from multitudes.axis.errors import AxisMismatch
from multitudes.core.canonical import strict_values
from multitudes.core.errors import MissingExtra

ARRAYS = (
    "axis",
    "default_mean",
    "role_means",
    "halves",
    "components",
    "mu_default",
    "mu_roles",
    "norm",
    "low_default",
)
SCHEMA = 1


def save_axis(axis: Axis, folder: Path) -> Path:
    """Write ``axis`` into ``folder``. The JSON, which holds the hash of the numbers, comes last.

    Raises:
        MissingExtra: Without safetensors.
    """
    library = _library()
    folder.mkdir(parents=True, exist_ok=True)
    arrays = {name: np.ascontiguousarray(getattr(axis, name), dtype=np.float32) for name in ARRAYS}
    arrays |= {f"tau.{k}": np.ascontiguousarray(v, dtype=np.float32) for k, v in axis.tau.items()}
    arrays |= {f"curve.{k}": np.ascontiguousarray(v, dtype=np.float32) for k, v in axis.curves.items()}
    arrays |= {f"other.{k}": np.ascontiguousarray(v, dtype=np.float32) for k, v in axis.others.items()}
    data = library.numpy.save(arrays)
    about = {
        "schema": SCHEMA, "orientation": "assistant_positive", "roles": list(axis.roles), "layer": axis.layer,
        "window": list(axis.window), "sha256": hashlib.sha256(data).hexdigest(),
        "about": strict_values(dict(axis.about)),
    }  # fmt: skip
    _write(folder / "axis.safetensors", data)
    _write(folder / "axis.json", (json.dumps(about, indent=1, ensure_ascii=False) + "\n").encode())
    return folder


def load_axis(folder: str | Path) -> Axis:
    """Read what ``save_axis`` wrote.

    Raises:
        AxisMismatch: No such artifact, one that is cut off or changed, or of another version or orientation.
        MissingExtra: Without safetensors.
    """
    library = _library()
    path = Path(folder)
    hint = "fit the axis again: multitudes axis fit MODEL"
    try:
        about = json.loads((path / "axis.json").read_text(encoding="utf-8"))
        data = (path / "axis.safetensors").read_bytes()
    except (OSError, ValueError) as error:
        raise AxisMismatch(
            "not an axis", where=str(path), found=str(error), expected="axis.json and axis.safetensors", hint=hint
        ) from error
    if about.get("schema") != SCHEMA or about.get("orientation") != "assistant_positive":
        raise AxisMismatch(
            "an axis of another version or orientation", where=str(path), hint=hint,
            found=f"schema {about.get('schema')!r}, {about.get('orientation')!r}",
        )  # fmt: skip
    if hashlib.sha256(data).hexdigest() != about.get("sha256"):
        raise AxisMismatch("the numbers are cut off or not those that were written", where=str(path), hint=hint)
    try:
        arrays = library.numpy.load(data)
        return Axis(
            **{name: arrays[name] for name in ARRAYS}, roles=tuple(about["roles"]), layer=int(about["layer"]),
            window=tuple(about["window"]), about=about["about"],
            tau={k[4:]: v for k, v in arrays.items() if k.startswith("tau.")},
            curves={k[6:]: v for k, v in arrays.items() if k.startswith("curve.")},
            others={k[6:]: v for k, v in arrays.items() if k.startswith("other.")},
        )  # fmt: skip
    except (library.SafetensorError, KeyError, TypeError, ValueError) as error:
        raise AxisMismatch("the parts do not fit together", where=str(path), found=str(error), hint=hint) from error


def _library() -> Any:
    try:
        import safetensors
        import safetensors.numpy
    except ImportError as error:
        raise MissingExtra("local", "reading or writing an axis") from error
    return safetensors


def _write(path: Path, data: bytes) -> None:
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with part.open("wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
