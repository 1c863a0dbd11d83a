"""The released axis files of Lu et al., arXiv 2601.10387, turned into our orientation.

``assistant_axis.pt`` holds default minus roles, as ours. ``capping_config.pt`` holds the opposite vectors and a
*ceiling* with negative thresholds: ⟨h, −v⟩ ≤ τ′ is ⟨h, v⟩ ≥ −τ′. So both are negated, and what was the 25th
percentile there is the 75th here. A file is only believed if its vectors do point away from the axis; nothing is
guessed.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from multitudes.axis.axis import Axis
from multitudes.axis.errors import AxisMismatch, OrientationUnknown
from multitudes.axis.fit import analysis_layer
from multitudes.axis.window import cap_window
from multitudes.core.errors import DataFormatError, MissingExtra

OPPOSITE = -0.5  # cosine with the axis below which a stored vector is the opposite direction
LAYERS = {46: 22}  # published analysis layer where it is not the middle (Gemma 2 27B)


def import_axis(
    axis_file: Path,
    capping_file: Path | None = None,
    *,
    experiment: str | None = None,
    role_minus_default: bool = False,
) -> Axis:
    """An axis from ``assistant_axis.pt`` and, where given, the caps of ``capping_config.pt``.

    The files say nothing about scale: z and strengths are unknown until ``scaling.scale_axis`` puts the axis on one.

    Args:
        axis_file: Tensor (L, d).
        capping_file: Vectors and thresholds of caps.
        experiment: Id of the caps, such as ``layers_46:54-p0.25``; the only one if None.
        role_minus_default: The axis file holds the opposite of the released ones. Only its owner can know that.

    Raises:
        DataFormatError: A file that is none of these.
        OrientationUnknown: Cap vectors that point neither clearly along the axis nor clearly away from it, or
            positive thresholds on vectors that point away.
        AxisMismatch: Caps of another width.
        MissingExtra: Without torch.
    """
    stored = _load(axis_file)
    if hasattr(stored, "detach"):
        a = np.asarray(stored.detach().float().cpu().numpy())
    else:
        raise DataFormatError("not an axis file", where=str(axis_file), expected="one tensor (layers, width)")
    if a.ndim != 2 or not np.isfinite(a).all() or (np.linalg.norm(a, axis=1) == 0).any():
        raise DataFormatError(
            "not an axis", where=str(axis_file), found=str(a.shape), expected="finite (layers, width)"
        )
    a = -a if role_minus_default else a
    n_layers, width = a.shape
    nothing = np.full(n_layers, np.nan, np.float32)
    tau, window, caps = {}, cap_window(n_layers), ""
    if capping_file is not None:
        tau["imported"], window, caps = _caps(capping_file, a, experiment)
    return Axis(
        axis=a.astype(np.float32), default_mean=np.full((n_layers, width), np.nan, np.float32),
        role_means=np.zeros((0, n_layers, width), np.float32), roles=(),
        halves=np.full((2, n_layers, width), np.nan, np.float32), components=np.zeros((0, width), np.float32),
        mu_default=nothing, mu_roles=nothing, norm=nothing, layer=LAYERS.get(n_layers, analysis_layer(n_layers)),
        window=window, tau=tau, low_default=nothing,
        about={
            "schema": 1, "method": "imported", "orientation": "assistant_positive", "from": axis_file.name,
            "caps": caps, "negated": role_minus_default,
            "recommended": {"quantile": "imported", "layers": list(window)} if tau else None,
        },
    )  # fmt: skip


def _load(path: Path) -> Any:
    try:
        import torch
    except ImportError as error:
        raise MissingExtra("local", "reading a .pt file") from error
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise DataFormatError("no such file", where=str(path)) from error
    except Exception as error:  # the library raises its own kinds for truncated files and for code in files
        raise DataFormatError(
            "cannot be read as plain weights", where=str(path), found=str(error).splitlines()[0][:200],
            expected="a file of tensors; files that need code to be run are refused",
        ) from error  # fmt: skip


def _caps(path: Path, a: NDArray[Any], experiment: str | None) -> tuple[NDArray[np.float32], tuple[int, ...], str]:
    """Thresholds (L,) in our orientation, NaN where there is none; blocks; name of the experiment."""
    stored = _load(path)
    try:
        by_id = {e["id"]: e for e in stored["experiments"]}
        name = experiment or (next(iter(by_id)) if len(by_id) == 1 else "")
        if name not in by_id:
            raise DataFormatError(
                "which caps?", where=str(path), found=repr(experiment), expected="one of " + ", ".join(sorted(by_id))
            )
        rows = [(stored["vectors"][i["vector"]], float(i["cap"])) for i in by_id[name]["interventions"] if "cap" in i]
        caps = [(int(v["layer"]), v["vector"].float().numpy(), t) for v, t in rows]
    except (KeyError, TypeError, AttributeError) as error:
        raise DataFormatError(
            "not a file of caps", where=str(path), found=repr(error), expected="'vectors' and 'experiments'"
        ) from error
    if not caps:
        raise DataFormatError("an experiment without caps", where=str(path), found=name)
    tau = np.full(len(a), np.nan, np.float32)
    for layer, vector, threshold in caps:
        if not 0 <= layer < len(a) or vector.shape != a[0].shape:
            raise AxisMismatch("caps of another model", where=str(path), found=f"layer {layer}, width {vector.shape}")
        cosine = float(vector @ a[layer] / (np.linalg.norm(vector) * np.linalg.norm(a[layer])))
        if not cosine < OPPOSITE:
            raise OrientationUnknown(
                "a cap vector that does not point away from the axis", where=f"{path}, layer {layer}",
                found=f"cosine {cosine:.2f}", expected=f"below {OPPOSITE}, as in the released files",
                hint="if the axis file holds role minus default, say so: --role-minus-default",
            )  # fmt: skip
        tau[layer] = -threshold
    return tau, tuple(sorted({layer for layer, _, _ in caps})), name
