"""What makes populations: one protocol, the view it gets, and the loop that asks a model to write people."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, Protocol

from multitudes.core.canonical import content_hash
from multitudes.core.errors import ConfigError, MultitudesError, PersonaError
from multitudes.core.records import Dimension, Persona, Population, Questionnaire
from multitudes.core.seeds import derive_rng, derive_seed
from multitudes.models.base import ChatModel, Message, Request, Sampling
from multitudes.personas._templates import fill, template
from multitudes.personas.names import draw_names
from multitudes.personas.placement import MAX_DIMENSIONS, near_duplicates

MAX_WORDS = 180  # of a persona text
TRIES = 2  # the draw and one regeneration that is told the reason
ID_LENGTH = 16


class GeneratorView(NamedTuple):
    """All that a generator may know of a questionnaire: no items, no labels, nothing to teach to."""

    context: str
    dimensions: tuple[Dimension, ...]

    @classmethod
    def of(cls, questionnaire: Questionnaire) -> GeneratorView:
        """The part of ``questionnaire`` that a generator may see; unpack it into ``generate``."""
        return cls(questionnaire.context, questionnaire.dimensions)


class Generator(Protocol):
    """Makes populations. The arguments are a ``GeneratorView`` laid open, so a questionnaire cannot be passed."""

    @property
    def name(self) -> str:
        """Short name, stored with the population."""
        ...

    async def generate(
        self, context: str, dimensions: Sequence[Dimension], n: int, *, llm: ChatModel | None, seed: int
    ) -> Population:
        """Exactly ``n`` people in the order of their index.

        Args:
            context: The setting, one or two sentences.
            dimensions: The axes to spread people on; generators without placement ignore them.
            n: How many.
            llm: What writes; None for generators that ask no model.
            seed: Root of every draw. Neither concurrency nor ``n`` changes what person ``i`` is.

        Raises:
            GenerationShortfall: If some could not be written; carries those that could.
            PersonaError: If ``n`` < 1 or the dimensions break the rules.
        """
        ...


class GenerationShortfall(MultitudesError):
    """Fewer people than asked for, and why.

    Attributes:
        partial: Those that were written.
        reasons: What was wrong with the others, by index.
    """

    def __init__(self, partial: Population, reasons: Mapping[int, str]) -> None:
        self.partial, self.reasons = partial, dict(reasons)
        shown = [f"\n    person {i}: {reason}" for i, reason in list(self.reasons.items())[:5]]
        more = len(self.reasons) - len(shown)
        super().__init__(
            f"{len(self.reasons)} of {len(partial) + len(self.reasons)} people could not be written",
            where=partial.generator,
            found="".join(shown) + (f"\n    and {more} more" if more else ""),
            hint="use a stronger writer, or the generator 'sobol-or-template', whose template writes those people",
        )


def check_order(n: int, dimensions: Sequence[Dimension], *, needs_dimensions: bool) -> None:
    """Refuse an order that no population can fill.

    Raises:
        PersonaError: If ``n`` < 1, there are no or too many dimensions, or two have one id.
    """
    if n < 1:
        raise PersonaError("a population needs people", where="n", found=repr(n), expected="an integer >= 1")
    if needs_dimensions and not 1 <= len(dimensions) <= MAX_DIMENSIONS:
        raise PersonaError(
            "cannot place people", where="dimensions", found=str(len(dimensions)), expected=f"1 to {MAX_DIMENSIONS}"
        )
    ids = [d.id for d in dimensions]
    if twice := next((i for i in ids if ids.count(i) > 1), None):
        raise PersonaError("two dimensions have the same id", where="dimensions", found=repr(twice))


def need_model(llm: ChatModel | None, name: str) -> ChatModel:
    """``llm``, or an error that says what to do.

    Raises:
        ConfigError: If there is none.
    """
    if llm is None:
        raise ConfigError(
            f"the generator {name!r} needs a model to write with",
            where="llm",
            hint="give one, or use the generator 'template', which asks none",
        )
    return llm


class Order(NamedTuple):
    """What a generator was asked for, with the ids and names of those to be made."""

    generator: str
    context: str
    dimensions: tuple[Dimension, ...]
    seed: int
    ids: tuple[str, ...]
    names: tuple[str, ...]

    @classmethod
    def of(
        cls, generator: str, recipe: str, context: str, dimensions: Sequence[Dimension], n: int, seed: int
    ) -> Order:
        """Ids from (recipe, context, seed, index) and names drawn apart from everything else.

        Args:
            generator: Its name.
            recipe: Hash of all it is made of.
            context: The setting.
            dimensions: The axes.
            n: How many.
            seed: Root seed.
        """
        setting = content_hash([context, [d.model_dump() for d in dimensions]])
        return cls(
            generator, context, tuple(dimensions), seed,
            ids=tuple(content_hash([recipe, setting, seed, i], length=ID_LENGTH) for i in range(n)),
            names=tuple(draw_names(n, derive_rng(seed, "names"))),
        )  # fmt: skip

    def population(self, personas: Sequence[Persona], *, placed: bool) -> Population:
        """The people together, with the pairs of nearly the same text."""
        pairs = near_duplicates([p.text for p in personas])
        return Population(
            id=f"{self.generator}-{content_hash([self.ids[0], len(self.ids)], length=8)}",
            context=self.context,
            dimensions=self.dimensions if placed else (),
            personas=tuple(personas),
            generator=self.generator,
            seed=self.seed,
            near_duplicates=tuple((personas[i].id, personas[j].id) for i, j in pairs),
        )


class Written(NamedTuple):
    """Texts by key, how many tries each took, and what was wrong with those that never came."""

    texts: dict[int, str]
    tries: dict[int, int]
    reasons: dict[int, str]


async def write(
    prompts: Mapping[int, str],
    *,
    llm: ChatModel,
    seed: int,
    purpose: str,
    max_tokens: int,
    fault_of: Callable[[int, str], str],
) -> Written:
    """Ask for one text per prompt; a text with a fault is asked for once more and told why.

    Every round is one batch, so that an engine can answer all of it together.

    Args:
        prompts: What to ask, by key.
        llm: The writer.
        seed: Root seed; each draw derives its own from (purpose, key, attempt).
        purpose: Name of the kind of call.
        max_tokens: Longest text.
        fault_of: What is wrong with a text, or an empty string.
    """
    chats = {key: [Message("user", prompt)] for key, prompt in prompts.items()}
    out = Written({}, {}, {})
    for attempt in range(TRIES):
        waiting = [key for key in prompts if key not in out.texts]
        if not waiting:
            break
        replies = await llm.reply([
            Request(
                tuple(chats[key]),
                Sampling(max_tokens=max_tokens),
                seed=derive_seed(seed, purpose, key, attempt),
                call_id=f"{purpose}/{key}/{attempt}",
            )
            for key in waiting
        ])  # fmt: skip
        for key, reply in zip(waiting, replies, strict=True):
            text = reply.text.strip()
            if reply.fault is not None:
                reason = f"no reply ({reply.fault.code}: {reply.fault.detail})"
            else:
                reason = "cut off before its end" if reply.finish == "length" else fault_of(key, text)
                chats[key] += [
                    Message("assistant", reply.text),
                    Message("user", fill(template("retry"), reason=reason)),
                ]
            if reason:
                out.reasons[key] = reason
            else:
                out.reasons.pop(key, None)
                out.texts[key], out.tries[key] = text, attempt + 1
    return out
