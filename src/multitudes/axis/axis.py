"""The Assistant Axis of one model: a direction per block, its scale, and everything that says what it is worth."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from multitudes.axis.errors import AxisMismatch
from multitudes.models.base import Capabilities

Float32 = NDArray[np.float32]

QUANTILES = (0.5, 0.75, 0.9)  # thresholds that an artifact holds, by quantile of response-mean projections
DEFAULT_QUANTILE = 0.75
FAR_FROM_DEFAULT = 0.25  # |z(τ) − 1| above which a threshold is not "near the mean default projection"


@dataclass(frozen=True, eq=False)
class Axis:
    """The artifact. L blocks of width d, R roles, K = 10 components, in one orientation: positive = the Assistant.

    Attributes:
        axis: (L, d) default mean minus the mean of role means.
        default_mean: (L, d).
        role_means: (R, L, d).
        roles: R ids.
        halves: (2, L, d) axes of the two question halves.
        components: (K, d) principal directions at the analysis layer.
        mu_default: (L,) mean projection of generated default responses: z = 1.
        mu_roles: (L,) mean over roles of their mean projections: z = 0.
        norm: (L,) mean length of a default token.
        layer: Analysis layer.
        window: Blocks of the default cap.
        tau: By name of the quantile (``0.75``, ``default_mean``), (L,) thresholds in residual units.
        low_default: (L,) 5 % quantile of default response means: below lies outside the calibrated range.
        curves: (L,) numbers of the report by name, see docs/axis.md.
        others: By name, (L, d) axes that another filter would have given, see docs/axis.md.
        about: Provenance: model, hashes, preset, counts, sampling, seeds, versions, control results.
    """

    axis: Float32
    default_mean: Float32
    role_means: Float32
    roles: tuple[str, ...]
    halves: Float32
    components: Float32
    mu_default: Float32
    mu_roles: Float32
    norm: Float32
    layer: int
    window: tuple[int, ...]
    tau: Mapping[str, Float32]
    low_default: Float32
    curves: Mapping[str, Float32] = field(default_factory=dict)
    others: Mapping[str, Float32] = field(default_factory=dict)
    about: Mapping[str, Any] = field(default_factory=dict)

    @property
    def n_layers(self) -> int:
        """L."""
        return int(self.axis.shape[0])

    @property
    def d_model(self) -> int:
        """Width of the residual stream."""
        return int(self.axis.shape[1])

    @property
    def unit(self) -> Float32:
        """(L, d) v = a / ‖a‖."""
        return np.asarray(self.axis / np.linalg.norm(self.axis, axis=1, keepdims=True), dtype=np.float32)

    @property
    def method(self) -> str:
        """How the direction was found: ``fixed_text`` or ``generated``."""
        return str(self.about.get("method", "unknown"))

    def project(self, means: ArrayLike, layers: ArrayLike | None = None) -> NDArray[np.float64]:
        """Projections (..., L) of residual means (..., L, d), in residual units.

        Args:
            means: Mean residual stream over the tokens of a response.
            layers: Blocks that ``means`` holds; all of them if None.
        """
        chosen = np.arange(self.n_layers) if layers is None else np.asarray(layers)
        return np.asarray(np.einsum("...ld,ld->...l", np.asarray(means, np.float64), self.unit[chosen]))

    def z(self, projections: ArrayLike, layers: ArrayLike | None = None) -> NDArray[np.float64]:
        """Projections (..., L) on the scale where the average role is 0 and the default Assistant 1; no unit."""
        chosen = np.arange(self.n_layers) if layers is None else np.asarray(layers)
        low, high = self.mu_roles[chosen].astype(np.float64), self.mu_default[chosen].astype(np.float64)
        gap = np.where(high == low, np.nan, high - low)
        return np.asarray((np.asarray(projections, np.float64) - low) / gap)

    def fits(self, model: Any) -> None:
        """Refuse a model of another shape or with other weights.

        Raises:
            AxisMismatch: Says what differs.
        """
        info: Capabilities = model.info
        shape = (getattr(model, "n_layers", None), getattr(model, "d_model", None))
        if shape != (self.n_layers, self.d_model):
            raise AxisMismatch(
                "the axis was fitted on a model of another shape", where=info.name,
                found=f"{shape[0]} blocks of width {shape[1]}", expected=f"{self.n_layers} blocks of {self.d_model}",
                hint=f"multitudes axis fit {info.name}",
            )  # fmt: skip
        known = self.about.get("weights_sha256")
        if known and known == info.base_sha256:
            raise AxisMismatch(
                "the axis was fitted on the base of this model: under an adapter it is another model",
                where=info.name, found=str(info.weights_sha256)[:16], expected=str(known)[:16],
                hint=f"multitudes axis fit {info.name}",
            )  # fmt: skip
        if known and info.weights_sha256 and known != info.weights_sha256:
            raise AxisMismatch(
                "the axis was fitted on other weights", where=info.name, found=str(info.weights_sha256)[:16],
                expected=str(known)[:16], hint=f"multitudes axis fit {info.name}",
            )  # fmt: skip
