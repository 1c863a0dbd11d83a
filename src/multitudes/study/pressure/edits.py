"""Steering, holds and caps of the personas of a run.

What was read of a model is stored, so that a resumed run has the very same edits.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from multitudes.axis.axis import Axis
from multitudes.axis.cap import cap_edit
from multitudes.axis.hold import Ranges, own_directions, read_ranges
from multitudes.axis.nulls import random_directions
from multitudes.axis.steer import push_edit
from multitudes.core.canonical import content_hash
from multitudes.core.errors import ConfigError
from multitudes.core.seeds import derive_seed
from multitudes.models.base import ChatModel
from multitudes.models.edit import Edit, orthonormal
from multitudes.study.pressure.plan import Sources
from multitudes.study.pressure.spec import PressureSpec
from multitudes.study.pressure.store import PressureStore


async def pushes(
    store: PressureStore, model: ChatModel, axis: Axis, systems: Mapping[str, str], spec: PressureSpec
) -> dict[tuple[str, float], Edit]:
    """Steering along each persona's own direction, at every strength of the ladder.

    Args:
        store: Where what was read is kept.
        model: A model with taps.
        axis: Its axis.
        systems: System text by persona, from which the own direction is read.
        spec: The run.
    """
    if "C5" not in spec.conditions:
        return {}
    out = {}
    for who, system in systems.items():
        ranges = await _ranges(store, model, axis, who, system, spec)
        at = ranges.layers.index(axis.layer)
        own = own_directions(axis, axis.layer, ranges.own_mean[at])[1]
        for c in spec.c5_rungs:
            out[who, float(c)] = push_edit(axis, float(c), direction=own)
    return out


async def with_holds(
    sources: Sources,
    store: PressureStore,
    model: ChatModel,
    axis: Axis,
    systems: Mapping[str, str],
    spec: PressureSpec,
) -> Sources:
    """The sources with holds on own, another's and random ranges, and the cap; only those that the run needs."""
    wanted = set(spec.with_controls)
    how: dict[str, Any] = {"alpha": spec.hold_alpha, "sides": spec.hold_sides}
    own: dict[str, Edit] = {}
    if wanted & {"C6", "C6w"}:
        for who, system in systems.items():
            ranges = await _ranges(store, model, axis, who, system, spec)
            own[who] = _held_at(ranges, hold_layers(spec, axis)).edit(name="hold", **how)
    ids = list(systems)
    wrong = (
        {who: own[ids[(i + 1) % len(ids)]] for i, who in enumerate(ids)} if "C6w" in wanted and len(ids) > 1 else {}
    )
    random = {}
    if "C6r" in wanted:
        for who, system in systems.items():
            ranges = await _ranges(store, model, axis, who, system, spec, directions=_random(axis, spec))
            random[who] = ranges.edit(name="hold on random directions", **how)
    cap = cap_edit(axis) if wanted & {"C7a", "C7b"} else None
    return replace(sources, hold=own, wrong=wrong, random=random, cap=cap)


def hold_layers(spec: PressureSpec, axis: Axis) -> tuple[int, ...]:
    """Blocks at which people are held.

    Raises:
        ConfigError: A block that the model of the axis does not have.
    """
    layers = spec.hold_layers or tuple(axis.window)
    if layers[-1] >= axis.n_layers:
        raise ConfigError(
            "no such block", where="hold_layers", found=str(layers[-1]), expected=f"0 to {axis.n_layers - 1}"
        )
    return layers


def _random(axis: Axis, spec: PressureSpec) -> NDArray[np.float32]:
    """(K, 2, d) two covariance-matched random directions at each block of the hold, the same for all personas."""
    out = []
    for layer in hold_layers(spec, axis):
        seed = derive_seed(spec.root, "random-hold", layer) % (1 << 32)
        drawn = random_directions(
            "covariance", axis.unit[layer], seed=seed, role_means=axis.role_means[:, layer], draws=2
        )
        out.append(orthonormal(drawn, where=f"layer {layer}"))
    return np.stack(out)


def _held_at(ranges: Ranges, layers: Sequence[int]) -> Ranges:
    """The part of the ranges at the blocks of the hold: the analysis layer is read for steering alone."""
    keep = [i for i, layer in enumerate(ranges.layers) if layer in layers]
    return replace(
        ranges, layers=tuple(ranges.layers[i] for i in keep), directions=ranges.directions[keep],
        projections=ranges.projections[:, keep], own_mean=ranges.own_mean[keep],
    )  # fmt: skip


async def _ranges(
    store: PressureStore, model: ChatModel, axis: Axis, who: str, system: str, spec: PressureSpec,
    directions: NDArray[np.float32] | None = None,
) -> Ranges:  # fmt: skip
    """What a persona was like in its first answers: from the store, or read now and stored."""
    held = hold_layers(spec, axis)
    layers = held if directions is not None else tuple(sorted({*held, axis.layer}))
    key = f"ranges.{who}.{content_hash(system, length=12)}.{'own' if directions is None else 'random'}"
    known = store.arrays(key)
    if known is None:
        found = await read_ranges(
            model, axis, system, seed=derive_seed(spec.root, "ranges", who), layers=layers, directions=directions
        )
        known = {
            "layers": np.array(found.layers), "directions": found.directions, "projections": found.projections,
            "own_mean": found.own_mean, "n_answers": np.array(found.n_answers),
        }  # fmt: skip
        store.put_arrays(key, known)
    return Ranges(
        tuple(int(x) for x in known["layers"]), known["directions"], known["projections"], known["own_mean"],
        int(known["n_answers"]),
    )  # fmt: skip
