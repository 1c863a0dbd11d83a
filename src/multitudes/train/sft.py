"""Supervised fine-tuning of a LoRA adapter on ready rows, by TRL's trainer.

The rows carry their own labels, so nothing of TRL's templates, masks, truncation or packing is used: what is left to
it is the loss, the optimiser and the schedule. Nothing is written here; the adapter comes back as tensors.
"""

from __future__ import annotations

import random
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from multitudes.core.errors import ConfigError, MissingExtra
from multitudes.models.local.trainable import Trainable
from multitudes.train.rows import Row

Watch = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class SftConfig:
    """How an adapter is trained.

    Attributes:
        rank: r of the two matrices.
        alpha: The change is scaled by alpha / r.
        learning_rate: Peak; cosine to zero.
        warmup: Share of the steps over which it rises.
        epochs: Passes over the rows; after each the adapter is kept.
        batch: Rows in one step.
        seed: Of the first matrices and of the order of the rows.
    """

    rank: int = 8
    alpha: int = 16
    learning_rate: float = 2e-4
    warmup: float = 0.05
    epochs: int = 3
    batch: int = 8
    seed: int = 0

    def __post_init__(self) -> None:
        for name, least in (("rank", 1), ("alpha", 1), ("epochs", 1), ("batch", 1)):
            if getattr(self, name) < least:
                raise ConfigError("training is out of range", where=name, found=repr(getattr(self, name)),
                                  expected=f">= {least}")  # fmt: skip
        if not self.learning_rate > 0 or not 0 <= self.warmup < 1:
            raise ConfigError(
                "training is out of range", where="learning_rate, warmup",
                found=f"{self.learning_rate!r}, {self.warmup!r}", expected="> 0, and in [0, 1)",
            )  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class Adapter:
    """A trained adapter in memory; ``train.adapter.save_adapter`` writes it.

    Attributes:
        tensors: The matrices under PEFT's names, float32.
        settings: PEFT's settings.
        config: How it was trained, as plain values.
        losses: Mean loss of each epoch, nats per learned token; NaN where it was not told.
        earlier: The adapter after each epoch but the last, from weak to strong.
    """

    tensors: Mapping[str, Any]
    settings: Mapping[str, Any]
    config: Mapping[str, Any]
    losses: tuple[float, ...] = ()
    earlier: tuple[Adapter, ...] = field(default=())


def require_trainer() -> None:
    """Refuse before any work where the libraries of training are not installed.

    Raises:
        MissingExtra: Without the ``train`` extra.
    """
    from importlib.util import find_spec

    if any(find_spec(name) is None for name in ("trl", "peft")):
        raise MissingExtra("train", "training an adapter")


def sft(
    model: Trainable, rows: Sequence[Row], config: SftConfig, *, watch: Watch = lambda done, total: None
) -> Adapter:
    """Train an adapter of all linear layers between embedding and output.

    The same rows, seed, libraries and number of threads give the same adapter.

    Args:
        model: The base, whose module is used up: load it again to train another adapter.
        rows: What is learned.
        config: How.
        watch: Told the steps done and in all.

    Raises:
        ConfigError: No rows, a row without anything to learn, or one that is longer than the context.
        MissingExtra: Without the ``train`` extra.
    """
    require_trainer()
    _check(model, rows)
    import torch
    from datasets import Dataset
    from peft import LoraConfig, get_peft_model, get_peft_model_state_dict
    from transformers import TrainerCallback
    from trl import SFTConfig, SFTTrainer

    kept: list[dict[str, Any]] = []

    def copied(module: Any) -> dict[str, Any]:
        found = get_peft_model_state_dict(module)
        return {k: v.detach().to("cpu", torch.float32, copy=True).contiguous() for k, v in sorted(found.items())}

    class Keep(TrainerCallback):  # type: ignore[misc]
        def on_step_end(self, args: Any, state: Any, control: Any, **more: Any) -> None:
            watch(state.global_step, state.max_steps)

        def on_epoch_end(self, args: Any, state: Any, control: Any, model: Any = None, **more: Any) -> None:
            kept.append(copied(model))

    data = Dataset.from_dict(
        {"input_ids": [list(r.input_ids) for r in rows], "labels": [list(r.labels) for r in rows]}
    )
    with torch.random.fork_rng(), _global_draws_kept(), tempfile.TemporaryDirectory(prefix="mt-sft-") as scratch:
        torch.manual_seed(config.seed)
        adapted = get_peft_model(
            model.module,
            LoraConfig(r=config.rank, lora_alpha=config.alpha, lora_dropout=0.0, target_modules="all-linear",
                       task_type="CAUSAL_LM", bias="none"),
        )  # fmt: skip
        steps = -(-len(rows) // config.batch) * config.epochs
        arguments = SFTConfig(
            output_dir=scratch, learning_rate=config.learning_rate, lr_scheduler_type="cosine",
            warmup_steps=round(config.warmup * steps), num_train_epochs=config.epochs,
            per_device_train_batch_size=config.batch, seed=config.seed, data_seed=config.seed, max_length=None,
            dataset_kwargs={"skip_prepare_dataset": True}, gradient_checkpointing=False, bf16=False, fp16=False,
            use_cpu=not torch.cuda.is_available(), save_strategy="no", logging_strategy="epoch", report_to="none",
            disable_tqdm=True, weight_decay=0.0, max_grad_norm=1.0, dataloader_pin_memory=False,
        )  # fmt: skip
        trainer = SFTTrainer(model=adapted, args=arguments, train_dataset=data, processing_class=model.tokenizer,
                             callbacks=[Keep()])  # fmt: skip
        _say_nothing(trainer)
        trainer.train()
        losses = tuple(float(x["loss"]) for x in trainer.state.log_history if "loss" in x)
        settings = _settings(adapted.peft_config["default"], model.name)
    *weaker, last = (
        Adapter(t, settings, asdict(config) | {"epoch": i + 1}, losses[: i + 1]) for i, t in enumerate(kept)
    )
    return Adapter(last.tensors, settings, last.config, losses, tuple(weaker))


def _check(model: Trainable, rows: Sequence[Row]) -> None:
    if not rows:
        raise ConfigError("nothing to train on", where="rows")
    for i, row in enumerate(rows):
        if not row.learned:
            raise ConfigError("a row has nothing to learn", where=f"rows[{i}]")
        if len(row.input_ids) > model.context_tokens:
            raise ConfigError(
                "a row is longer than the model's context; nothing is cut off", where=f"rows[{i}]",
                found=f"{len(row.input_ids)} tokens", expected=f"<= {model.context_tokens}",
            )  # fmt: skip


def _settings(config: Any, base: str) -> dict[str, Any]:
    """PEFT's settings as JSON values; sets are sorted, so that the file is the same each time."""
    found = {k: sorted(v) if isinstance(v, set) else v for k, v in config.to_dict().items()}
    found = {k: getattr(v, "value", v) for k, v in found.items()}
    return found | {"base_model_name_or_path": base, "inference_mode": True}


def _say_nothing(trainer: Any) -> None:
    """No tables on the screen: progress is told to ``watch``."""
    from transformers.trainer_callback import PrinterCallback

    trainer.remove_callback(PrinterCallback)


@contextmanager
def _global_draws_kept() -> Iterator[None]:
    """The trainer seeds the generators of Python and numpy too; afterwards they are where they were."""
    state, legacy = random.getstate(), np.random.get_state()  # noqa: NPY002
    try:
        yield
    finally:
        random.setstate(state)
        np.random.set_state(legacy)  # noqa: NPY002
