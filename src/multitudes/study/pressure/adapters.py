"""Condition C2: personas that lie in the weights. One adapter per persona, trained in the run or given.

Conversations of C2 are held apart, one adapted model after another, with the seeds of the other conditions. What is
said in them is weighed by the plain model, like everything else.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from multitudes.core.errors import ConfigError, MixedEngines, Unsupported
from multitudes.models.base import ADAPTED, ChatModel
from multitudes.models.load import load, split_adapter
from multitudes.study.pressure.spec import PressureSpec
from multitudes.study.pressure.store import PressureStore
from multitudes.train.adapter import rung_folder

FOLDER = "adapters"  # in the run folder
KV_MIB = 1024  # of an adapted model, which stands beside the plain one

Adapters = Mapping[tuple[str, str], Path]


def check(spec: PressureSpec, personas: Sequence[str], model: ChatModel | None, *, base: Path) -> None:
    """Refuse what could not be run, before anything is asked.

    Args:
        spec: The run.
        personas: Their ids.
        model: A model that was handed in and not loaded by name.
        base: Folder that relative paths start from.

    Raises:
        ConfigError: A model that is not known by its name, or a rung of an adapter that is not there.
        MissingExtra: Adapters are to be trained, without the extra.
    """
    if "C2" not in spec.conditions:
        return
    if split_adapter(spec.model)[1] is not None:
        raise ConfigError("C2 puts adapters on a plain model", where="model", found=repr(spec.model),
                          expected=repr(split_adapter(spec.model)[0]))  # fmt: skip
    if model is not None and model.info.name != spec.model:
        raise ConfigError("C2 loads its models by name", where="model", found=repr(model.info.name),
                          expected=repr(spec.model), hint="name the model instead of handing it in")  # fmt: skip
    if spec.adapters is None:
        from multitudes.models.local.trainable import check_trainable
        from multitudes.train.sft import require_trainer

        require_trainer()
        check_trainable(spec.model)
        return
    from multitudes.models.local.adapter import CONFIG

    for place in _given(spec, personas, base).values():
        if not (place / CONFIG).is_file():
            raise ConfigError("no adapter for a persona", where="adapters", found=f"no {CONFIG} in {place}",
                              expected="DIR/PERSONA, and DIR/PERSONA/RUNG for the rungs of c2_rungs",
                              hint="multitudes train distil PERSONA --out DIR")  # fmt: skip


async def adapters_of(
    store: PressureStore, spec: PressureSpec, systems: Mapping[str, str], model: ChatModel, *, base: Path,
    watch: Callable[[int, int], None] = lambda done, total: None,
) -> Adapters:  # fmt: skip
    """The adapter of every persona at every rung; those that are trained here lie in the run folder before any use.

    Args:
        store: Of the run.
        spec: The run.
        systems: By persona, the system text that is distilled.
        model: The plain model.
        base: Folder that relative paths start from.
        watch: Told the personas done and in all.

    Raises:
        MixedEngines: The adapters are not those that the run was begun with.
    """
    from multitudes.models.local.adapter import read_adapter

    if spec.adapters is not None:
        found = _given(spec, tuple(systems), base)
    else:
        found = {}
        for i, (who, system) in enumerate(systems.items()):
            watch(i, len(systems))
            folder = await _trained(store.folder / FOLDER / who, who, system, model, spec)
            found |= {(who, rung): rung_folder(folder, rung) for rung in spec.adapter_rungs}
        watch(len(systems), len(systems))
    hashes = {f"{who}/{rung}": read_adapter(place).sha256 for (who, rung), place in found.items()}
    known = store.get_meta("adapters")
    if known is not None and known != hashes:
        changed = sorted(k for k in {*known, *hashes} if known.get(k) != hashes.get(k))
        raise MixedEngines("the adapters are not those that the run was begun with", where=str(store.folder),
                           found=", ".join(changed[:3]), hint="give this run another folder with --out")  # fmt: skip
    store.put_meta(adapters=hashes)
    return found


@asynccontextmanager
async def adapted(name: str, folder: str, plain: ChatModel) -> AsyncIterator[ChatModel]:
    """The model under one adapter, for as long as its conversations are held.

    Raises:
        AdapterMismatch: The adapter belongs to another base.
        MixedEngines: It would be another engine than the plain model's.
    """
    model = load(f"{name}+{folder}", kv_budget_mib=KV_MIB)
    try:
        engine = model.info.fingerprint.partition(ADAPTED)[0]
        if engine != plain.info.fingerprint:
            raise MixedEngines("the adapted model runs on another engine than the plain one", where=folder,
                               found=engine, expected=plain.info.fingerprint)  # fmt: skip
        if not model.info.score:
            raise Unsupported("score", model.info.name, "probes need log-likelihoods")
        yield model
    finally:
        await model.aclose()


async def _trained(folder: Path, who: str, system: str, model: ChatModel, spec: PressureSpec) -> Path:
    from multitudes.train.distil import DistilConfig, distil
    from multitudes.train.sft import SftConfig

    training = SftConfig(epochs=spec.epochs, learning_rate=spec.learning_rate)
    how = DistilConfig(answers=spec.answers, sampling=spec.sampling, training=training, seed=spec.seed)
    return await distil(who, system, folder, model=spec.model, speaker=model, config=how)


def _given(spec: PressureSpec, personas: Sequence[str], base: Path) -> dict[tuple[str, str], Path]:
    root = base / Path(str(spec.adapters)).expanduser()
    return {(who, rung): rung_folder(root / who, rung) for who in personas for rung in spec.adapter_rungs}
