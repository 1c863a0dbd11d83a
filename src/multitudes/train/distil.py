"""Prompt distillation: what a persona's system prompt makes a model say is trained into it, and the prompt left out.

The prompted model answers questions that are asked nowhere else. Then an adapter learns these answers to the same
questions without the system prompt: with an empty one, as the condition "no persona" has it.

Source: the default recipe of trained personas (LoRA r 8 on all linear layers, lr 2e-4, at most three epochs), after
the character training of arXiv 2511.01689, whose own recipe (DPO and introspection) is larger.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal, NamedTuple

from multitudes.core.canonical import content_hash
from multitudes.core.errors import ConfigError, ModelError
from multitudes.core.seeds import derive_seed
from multitudes.measure.retention.coherence import why_incoherent
from multitudes.models.base import ChatModel, Message, Request, Sampling
from multitudes.models.local.adapter import adapter_card
from multitudes.models.local.trainable import open_trainable
from multitudes.train.adapter import refuse_other, save_adapter
from multitudes.train.rows import row_of
from multitudes.train.sft import SftConfig, require_trainer, sft

MIN_ROWS = 8  # below one full batch there is nothing to average over
AT_ONCE = 64  # questions asked in one call, so that progress can be told
_WORD = re.compile(r"\w+|[^\w\s]")


class Step(NamedTuple):
    """Progress: what is being done, how much of it, and of how much."""

    name: Literal["prompted answers", "training"]
    done: int
    total: int


@dataclass(frozen=True, slots=True)
class DistilConfig:
    """How a prompt is distilled.

    Attributes:
        answers: Answers that are asked for, at least 8. Beyond the number of shipped questions they are asked again.
        sampling: How they are drawn.
        training: How they are learned; its seed is derived.
        seed: Root of every draw.
    """

    answers: int = 200
    sampling: Sampling = field(default_factory=lambda: Sampling(temperature=0.7, top_p=0.95, max_tokens=64))
    training: SftConfig = field(default_factory=SftConfig)
    seed: int = 0

    def __post_init__(self) -> None:
        if self.answers < MIN_ROWS:
            raise ConfigError("too few answers to learn from", where="answers", found=repr(self.answers),
                              expected=f">= {MIN_ROWS}")  # fmt: skip


class Answer(NamedTuple):
    """One answer of the prompted model; ``cut`` where the limit of tokens ended it."""

    question: str
    answer: str
    cut: bool


@cache
def questions() -> tuple[str, ...]:
    """The shipped questions of distillation, which are in no other bank, battery or set.

    >>> len(questions()) >= 200
    True
    """
    text = files("multitudes.train").joinpath("questions.txt").read_text(encoding="utf-8")
    return tuple(line for line in text.splitlines() if line)


async def distil(
    who: str, system: str, folder: Path, *, model: str = "smollm2", speaker: ChatModel | None = None,
    config: DistilConfig | None = None, watch: Callable[[Step], None] = lambda step: None,
) -> Path:  # fmt: skip
    """Train a persona into an adapter, or find that ``folder`` holds this very adapter already.

    Args:
        who: Id of the persona.
        system: Its system prompt.
        folder: Where the adapter goes; it appears when it is finished.
        model: Name of a local model.
        speaker: That model, where it is loaded already.
        config: How.
        watch: Called with every step of progress.

    Returns:
        The folder; load it as ``MODEL+FOLDER``.

    Raises:
        ConfigError: An empty prompt, a model that cannot be trained, or a folder that holds something else.
        ModelError: Too few usable answers.
        MissingExtra: Without the ``train`` extra.
    """
    how = config or DistilConfig()
    if not system.strip():
        raise ConfigError("there is no prompt to distil", where=who)
    require_trainer()
    known = adapter_card(folder)
    made = None if known is None else known.data.get("recipe")
    if speaker is not None and made == recipe_of(who, system, speaker.info.weights_sha256 or model, how):
        return folder
    base = open_trainable(model)
    recipe = recipe_of(who, system, base.weights_sha256 or model, how)
    if made == recipe:
        return folder
    refuse_other(folder)
    asked = await _ask(who, system, how, speaker, model, watch)
    usable = [a for a in asked if not why_incoherent(_WORD.findall(a.answer))]
    if len(usable) < MIN_ROWS:
        raise ModelError("too few answers are speech, so there is nothing to learn from", where=who,
                         found=f"{len(usable)} of {len(asked)}", expected=f">= {MIN_ROWS}")  # fmt: skip
    rows = [
        row_of(base.template, (Message("system", ""), Message("user", a.question), Message("assistant", a.answer)),
               ended=not a.cut)
        for a in usable
    ]  # fmt: skip
    training = replace(how.training, seed=derive_seed("distil", how.seed, who, "training") % (1 << 32))
    adapter = sft(base, rows, training, watch=lambda done, total: watch(Step("training", done, total)))
    data = {
        "method": "prompt distillation", "persona": who, "system": system, "asked": len(asked), "rows": len(rows),
        "learned_tokens": sum(r.learned for r in rows), "questions": questions_hash(), "seed": how.seed,
        "sampling": asdict(how.sampling), "recipe": recipe,
    }  # fmt: skip
    return save_adapter(
        adapter, folder, base=base, name=who, what=f"{who}, by prompt distillation from {model}", data=data,
        rows=[a._asdict() for a in usable],
    )  # fmt: skip


def recipe_of(who: str, system: str, base: str, config: DistilConfig) -> str:
    """What an adapter depends on, as a hash: persona, prompt, base, questions and settings."""
    return content_hash([who, system, base, questions_hash(), asdict(config)])


def questions_hash() -> str:
    """Of the shipped questions."""
    return content_hash(list(questions()), length=12)


async def _ask(
    who: str, system: str, config: DistilConfig, speaker: ChatModel | None, name: str, watch: Callable[[Step], None]
) -> list[Answer]:
    """The answers of the prompted model, in order; faults and empty ones are left out."""
    from multitudes.models.load import load

    asked = questions()
    requests = [
        Request(
            (Message("system", system), Message("user", asked[i % len(asked)])), config.sampling,
            seed=derive_seed("distil", config.seed, who, i), replicate=i // len(asked), keep=False,
            call_id=f"distil.{who}.{i}",
        )
        for i in _spread(config.answers, len(asked))
    ]  # fmt: skip
    model = load(name) if speaker is None else speaker
    out: list[Answer] = []
    try:
        for start in range(0, len(requests), AT_ONCE):
            watch(Step("prompted answers", start, len(requests)))
            part = requests[start : start + AT_ONCE]
            replies: Sequence[Any] = await model.reply(part)
            out += [
                Answer(q.messages[-1].text, r.text.strip(), r.finish == "length")
                for q, r in zip(part, replies, strict=True)
                if r.fault is None and r.text.strip()
            ]
    finally:
        if speaker is None:
            await model.aclose()
    watch(Step("prompted answers", len(requests), len(requests)))
    return out


def _spread(n: int, available: int) -> list[int]:
    """``n`` indices: every question before any is asked again; fewer of them evenly from the whole list."""
    return list(range(n)) if n >= available else [i * available // n for i in range(n)]
