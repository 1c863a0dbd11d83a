"""The four drift domains on one model, plain or under several edits: hold them, read them while they run.

Arms hear identical messages in identical order and draw from identical seeds, at the same time, so that arms which
share a local engine share its batches. Given a folder, every conversation is stored as it ends.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import aclosing, nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from multitudes.axis.axis import Axis
from multitudes.axis.project import axis_id
from multitudes.axis.remedy import engine_of
from multitudes.axis.watch import Tapped, watched_layers
from multitudes.core.canonical import content_hash
from multitudes.core.errors import ConfigError
from multitudes.core.records import Conversation
from multitudes.models.base import Capabilities, ChatModel, Sampling
from multitudes.simulate.conversation import Rules, hold_all
from multitudes.simulate.drift_domains import (
    DOMAINS,
    TURNS,
    DriftTalk,
    Mode,
    PlayedUser,
    auditor_talks,
    scripted_talks,
)
from multitudes.simulate.guards import GUARDS
from multitudes.simulate.targets import ModelTarget
from multitudes.study.drift_store import DriftStore

IN_FLIGHT = 64
HELD_SCHEMA = 1  # raise it when the same settings lead to other conversations: older ones are then held again
Told = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class DriftSetup:
    """What is held.

    Attributes:
        domains: Which domains.
        scripts: Scripts of each domain; all five if None. Scripted mode.
        topics: Topics of each person. Auditor mode.
        turns: Messages of the user in a domain.
        neutral: Everyday questions after them.
        replicates: Runs of each script or topic. Two runs of five scripts make the ten conversations that a point
            of a curve needs.
        sampling: How the model's words are drawn.
        user_sampling: How the auditor's words are drawn.
        seed: Root of the seeds.
    """

    domains: tuple[str, ...] = DOMAINS
    scripts: int | None = None
    topics: int = 2
    turns: int = TURNS
    neutral: int = 2
    replicates: int = 2
    sampling: Sampling = field(default_factory=lambda: Sampling(temperature=0.7, top_p=0.9, max_tokens=96))
    user_sampling: Sampling = field(default_factory=lambda: Sampling(temperature=0.9, top_p=0.95, max_tokens=80))
    seed: int = 0

    def talks(self, mode: Mode) -> list[DriftTalk]:
        """The conversations that are to be held."""
        if mode == "auditor":
            return auditor_talks(
                self.domains, topics=self.topics, turns=self.turns, neutral=self.neutral,
                replicates=self.replicates, seed=self.seed,
            )  # fmt: skip
        return scripted_talks(
            self.domains, scripts=self.scripts, turns=self.turns, neutral=self.neutral, replicates=self.replicates,
            seed=self.seed,
        )  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class DriftRun:
    """What was held.

    Attributes:
        setup: How.
        mode: ``scripted``, or ``auditor`` where a model played the users.
        axis: The axis along which the model was read.
        talks: The conversations that were planned, in order.
        held: By arm, the conversations by id of their talk. The first arm is what others are compared with.
        models: By arm, who spoke.
        auditor: Name of the auditor; empty without one.
    """

    setup: DriftSetup
    mode: Mode
    axis: Axis
    talks: tuple[DriftTalk, ...]
    held: Mapping[str, Mapping[str, Conversation]]
    models: Mapping[str, Capabilities]
    auditor: str = ""

    @property
    def axis_id(self) -> str:
        """Id of the axis."""
        return axis_id(self.axis)

    @property
    def layers(self) -> tuple[int, ...]:
        """Blocks that were watched: the analysis layer, and the first behind the default cap."""
        return watched_layers(self.axis)


async def run_drift(
    arms: Mapping[str, ChatModel],
    axis: Axis,
    *,
    setup: DriftSetup | None = None,
    auditor: ChatModel | None = None,
    folder: Path | None = None,
    told: Told = lambda done, total: None,
) -> DriftRun:
    """Hold the domains with every arm, or go on where an earlier run in ``folder`` stopped.

    Args:
        arms: Models by name, all with the weights of ``axis``: plain, capped, steered, held.
        axis: Their axis.
        setup: What is held; the default if None.
        auditor: Who plays the users; without one the scripts are sent as they stand.
        folder: Where conversations are stored as they end, and what is there is not held again; nothing is stored
            if None.
        told: Called with the number of conversations that have ended, and of all.

    Raises:
        ConfigError: No arm.
        Unsupported: An arm without taps.
        AxisMismatch: An arm that the axis was not fitted on.
        StoreError, RunLocked: The folder cannot be used.
    """
    if not arms:
        raise ConfigError("nobody is talked to", where="arms", expected="at least one model")
    how = setup or DriftSetup()
    mode: Mode = "scripted" if auditor is None else "auditor"
    talks = how.talks(mode)
    user = PlayedUser(talks, auditor)
    rules = Rules(
        turns=how.turns + how.neutral, sampling=how.user_sampling,
        guards=frozenset() if auditor is None else frozenset(GUARDS), attempts=1 if auditor is None else 3,
    )  # fmt: skip
    tapped = {name: Tapped(model, axis) for name, model in arms.items()}
    done = 0

    async def hold_arm(name: str, store: DriftStore | None) -> dict[str, Conversation]:
        nonlocal done
        keys = _keys(talks, tapped[name], how, auditor)
        kept = {} if store is None else store.held(keys.values())
        found = {t.talk.id: kept[keys[t.talk.id]] for t in talks if keys[t.talk.id] in kept}
        done += len(found)
        told(done, len(talks) * len(arms))
        held = hold_all(
            [t.talk for t in talks if t.talk.id not in found], simulator=user,
            target=ModelTarget(tapped[name], how.sampling), rules=rules, in_flight=IN_FLIGHT,
        )  # fmt: skip
        async with aclosing(held):  # a store that fails must not leave conversations going on unheard
            async for conversation in held:
                if store is not None:
                    store.add(keys[conversation.id], conversation)
                found[conversation.id] = conversation
                done += 1
                told(done, len(talks) * len(arms))
        return {t.talk.id: found[t.talk.id] for t in talks}

    told(0, len(talks) * len(arms))
    with nullcontext() if folder is None else DriftStore(folder, write=True) as store:
        held = await _all([hold_arm(name, store) for name in arms])
    return DriftRun(
        how, mode, axis, tuple(talks), dict(zip(arms, held, strict=True)),
        {name: model.info for name, model in arms.items()}, "" if auditor is None else auditor.info.name,
    )  # fmt: skip


def _keys(talks: Sequence[DriftTalk], model: Tapped, how: DriftSetup, auditor: ChatModel | None) -> dict[str, str]:
    """By id of a talk, the hash of everything that the conversation depends on."""
    setting = {
        "schema": HELD_SCHEMA, "engine": engine_of(model.inner), "axis": model.id, "layers": model.layers,
        "sampling": asdict(how.sampling),
        "user": None if auditor is None else [auditor.info.fingerprint, asdict(how.user_sampling)],
    }  # fmt: skip
    return {t.talk.id: content_hash([setting, t.talk.id, t.talk.prompt]) for t in talks}


async def _all(arms: Sequence[Any]) -> list[dict[str, Conversation]]:
    """All arms at the same time; the failure of one ends the others."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(arm) for arm in arms]
    return [task.result() for task in tasks]


def arms_of(
    model: ChatModel, axis: Axis, *, caps: Sequence[str] = (), steers: Sequence[float] = ()
) -> dict[str, ChatModel]:
    """The plain model, and beside it the same weights under caps and pushes.

    Args:
        model: A local model.
        axis: Its axis.
        caps: Thresholds of caps; ``""`` or ``default`` for the recommended one.
        steers: Strengths of pushes along the axis.

    Raises:
        ConfigError: A threshold that the axis does not have, or an arm twice.
        AxisMismatch: An axis of another model.
    """
    from multitudes.axis.remedy import cap, steer

    wanted: list[tuple[str, ChatModel]] = [("plain", model)]
    for q in caps:
        chosen = None if q in ("", "default") else q
        wanted.append((f"cap {chosen or 'default'}", cap(model, axis, chosen)))
    wanted += [(f"steer {c:+g}", steer(model, axis, c)) for c in steers]
    if len(dict(wanted)) < len(wanted):
        raise ConfigError("an arm is there twice", where="arms", found=", ".join(name for name, _ in wanted))
    return dict(wanted)
