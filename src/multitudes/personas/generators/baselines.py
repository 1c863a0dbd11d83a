"""What people do without placement: the rows that every other generator is compared with."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from multitudes.core.canonical import content_hash
from multitudes.core.records import Dimension, Persona, Population
from multitudes.models.base import ChatModel
from multitudes.personas._templates import fill, hash_of, lines_of, template
from multitudes.personas.generators.base import (
    MAX_WORDS,
    GenerationShortfall,
    Order,
    check_order,
    need_model,
    write,
)
from multitudes.personas.generators.lint import lint
from multitudes.personas.generators.registry import register

BATCH = 10  # people a call of ``naive``; longer lists are cut off or repeat themselves
_TOKENS_A_PERSON = 320
_NUMBERED = re.compile(r"^\s*\d+\s*[.):]\s*", re.MULTILINE)


@register("iid")
@dataclass(frozen=True)
class IidGenerator:
    """``n`` independent calls "write about one person who could be here"; no word of dimensions or diversity."""

    name: str = "iid"

    async def generate(
        self, context: str, dimensions: Sequence[Dimension], n: int, *, llm: ChatModel | None, seed: int
    ) -> Population:
        """``n`` people without placement. See ``Generator.generate``."""
        check_order(n, dimensions, needs_dimensions=False)
        writer = need_model(llm, self.name)
        order = Order.of(self.name, _recipe(self.name, "one_person"), context, dimensions, n, seed)
        written = await write(
            {
                i: fill(template("one_person"), context=context, name=order.names[i], words=str(MAX_WORDS))
                for i in range(n)
            },
            llm=writer,
            seed=seed,
            purpose="one-person",
            max_tokens=_TOKENS_A_PERSON,
            fault_of=lambda _, text: "; ".join(lint(text)),
        )
        return _finish(order, written.texts, written.reasons, writer.info.fingerprint, hash_of("one_person", "retry"))


@register("naive")
@dataclass(frozen=True)
class NaiveGenerator:
    """One call for many people of the setting, in batches of at most ten; no word of dimensions or diversity."""

    name: str = "naive"

    async def generate(
        self, context: str, dimensions: Sequence[Dimension], n: int, *, llm: ChatModel | None, seed: int
    ) -> Population:
        """``n`` people without placement. See ``Generator.generate``."""
        check_order(n, dimensions, needs_dimensions=False)
        writer = need_model(llm, self.name)
        order = Order.of(self.name, _recipe(self.name, "many_people"), context, dimensions, n, seed)
        batches = [range(start, min(start + BATCH, n)) for start in range(0, n, BATCH)]
        written = await write(
            {b: fill(template("many_people"), context=context, count=str(len(r))) for b, r in enumerate(batches)},
            llm=writer,
            seed=seed,
            purpose="many-people",
            max_tokens=_TOKENS_A_PERSON * min(BATCH, n),
            fault_of=lambda b, text: _batch_fault(text, len(batches[b])),
        )
        texts = {
            i: t
            for b, r in enumerate(batches)
            if b in written.texts
            for i, t in zip(r, _split(written.texts[b]), strict=True)
        }
        reasons = {i: why for b, why in written.reasons.items() for i in batches[b]}
        return _finish(order, texts, reasons, writer.info.fingerprint, hash_of("many_people", "retry"))


def _recipe(name: str, prompt: str) -> str:
    return content_hash(
        [name, hash_of(prompt, "retry"), [lines_of("wordlists", w) for w in ("first_names", "last_names")]]
    )


def _split(text: str) -> list[str]:
    return [" ".join(part.split()) for part in _NUMBERED.split(text)[1:] if part.strip()]


def _batch_fault(text: str, count: int) -> str:
    parts = _split(text)
    if len(parts) != count:
        return f"has {len(parts)} numbered paragraphs, not {count}"
    return "; ".join(f"paragraph {i}: {why}" for i, part in enumerate(parts, start=1) for why in lint(part))


def _finish(order: Order, texts: dict[int, str], reasons: dict[int, str], engine: str, prompt: str) -> Population:
    personas = [
        Persona(
            id=order.ids[i],
            name=order.names[i],
            text=text,
            provenance={
                "generator": order.generator,
                "seed": str(order.seed),
                "index": str(i),
                "writer": engine,
                "prompt": prompt,
            },
        )
        for i, text in sorted(texts.items())
    ]
    population = order.population(personas, placed=False)
    if reasons:
        raise GenerationShortfall(population, reasons)
    return population
