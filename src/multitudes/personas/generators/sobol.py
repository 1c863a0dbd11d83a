"""People placed evenly on the dimensions, then written: positions reach a model only as ladder phrases."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

from multitudes.core.canonical import content_hash
from multitudes.core.errors import ConfigError
from multitudes.core.records import Dimension, Persona, Placement, Population
from multitudes.core.seeds import derive_rng, derive_seed
from multitudes.models.base import ChatModel
from multitudes.personas._templates import fill, hash_of, lines_of, template
from multitudes.personas.generators.base import (
    MAX_WORDS,
    GenerationShortfall,
    Order,
    Written,
    check_order,
    need_model,
    write,
)
from multitudes.personas.generators.lint import lint
from multitudes.personas.generators.registry import register
from multitudes.personas.placement import place, placements

_log = logging.getLogger(__name__)

Writer = Literal["model", "model_or_template", "template"]

_MAX_TOKENS = 320  # 180 words and some air
_WORDLISTS = ("work", "home", "habit")
_TEMPLATES = ("describe", "retry", "person", "person_frames", "other_frames")
_ADVERBS = set("always often never sometimes seldom no longer just still nearly almost more than not".split())
_MODALS = {"will", "would", "can", "cannot", "could", "may", "must", "should"}


class Details(NamedTuple):
    """What a person's life is like apart from the dimensions, so that people differ in more than those."""

    work: str
    home: str
    habit: str


@register("sobol")
@dataclass(frozen=True)
class SobolGenerator:
    """Two stages: scrambled Sobol points become ladder phrases, phrases become a person.

    Attributes:
        writer: ``model`` asks the model and raises ``GenerationShortfall`` for people it cannot write;
            ``model_or_template`` writes those from a template and marks them ``fallback``; ``template`` asks no
            model at all.
        name: Stored with the population.
    """

    writer: Writer = "model"
    name: str = "sobol"

    def __post_init__(self) -> None:
        if self.writer not in get_args(Writer):
            raise ConfigError(
                "unknown writer", where="writer", found=repr(self.writer), expected=", ".join(get_args(Writer))
            )

    @property
    def recipe(self) -> str:
        """Hash of all that this generator is made of."""
        words = [lines_of("wordlists", w) for w in (*_WORDLISTS, "first_names", "last_names")]
        return content_hash([self.name, self.writer, hash_of(*_TEMPLATES), words])

    async def generate(
        self, context: str, dimensions: Sequence[Dimension], n: int, *, llm: ChatModel | None, seed: int
    ) -> Population:
        """``n`` people, placed and written. See ``Generator.generate``."""
        check_order(n, dimensions, needs_dimensions=True)
        order = Order.of(self.name, self.recipe, context, dimensions, n, seed)
        placed = placements(place(n, len(dimensions), seed=derive_seed(seed, "placement")), dimensions)
        details = [_details(seed, i) for i in range(n)]
        written, engine = Written({}, {}, {}), ""
        if self.writer != "template":
            writer = need_model(llm, self.name)
            engine = writer.info.fingerprint
            written = await write(
                {i: _prompt(order, i, placed[i], details[i]) for i in range(n)},
                llm=writer,
                seed=seed,
                purpose="describe",
                max_tokens=_MAX_TOKENS,
                fault_of=lambda _, text: "; ".join(lint(text, dimensions)),
            )
        personas = []
        for i in range(n):
            by_model = i in written.texts
            if not by_model and self.writer == "model":
                continue
            provenance = {"generator": self.name, "seed": str(seed), "index": str(i)}
            if by_model:
                provenance |= {
                    "writer": engine,
                    "prompt": hash_of("describe", "retry"),
                    "tries": str(written.tries[i]),
                }
            else:
                provenance |= {"writer": "template", "prompt": hash_of("person", "person_frames", "other_frames")}
            if i in written.reasons:
                provenance["rejected"] = written.reasons[i]
            personas.append(
                Persona(
                    id=order.ids[i],
                    name=order.names[i],
                    text=written.texts[i] if by_model else _from_template(seed, i, placed[i], details[i]),
                    placement=placed[i],
                    fallback=i in written.reasons,
                    provenance=provenance,
                )
            )
        population = order.population(personas, placed=True)
        if len(personas) < n:
            raise GenerationShortfall(population, written.reasons)
        if written.reasons:
            _log.warning("%d of %d people were written from the template", len(written.reasons), n)
        return population


@register("template")
def template_generator() -> SobolGenerator:
    """The same placement, written from a template: needs no model."""
    return SobolGenerator(writer="template", name="template")


@register("sobol-or-template")
def sobol_or_template_generator() -> SobolGenerator:
    """The same placement, written by the model; whom it cannot write, the template does, and it is counted."""
    return SobolGenerator(writer="model_or_template", name="sobol-or-template")


def _details(seed: int, index: int) -> Details:
    rng = derive_rng(seed, "details", index)
    lists = [lines_of("wordlists", w) for w in _WORDLISTS]
    return Details(*(words[int(rng.integers(len(words)))] for words in lists))


def _prompt(order: Order, index: int, placed: Mapping[str, Placement], details: Details) -> str:
    return fill(
        template("describe"),
        context=order.context,
        name=order.names[index],
        phrases="\n".join(f"- {p.phrase}" for p in placed.values()),
        details=f"You {details.work} and {details.home}. You {details.habit}.",
        words=str(MAX_WORDS),
    )


def _from_template(seed: int, index: int, placed: Mapping[str, Placement], details: Details) -> str:
    rng = derive_rng(seed, "template", index)
    frames = {k: lines_of("templates", f"{k}_frames") for k in ("person", "other")}
    first = int(rng.integers(60))  # where in the frames to begin, so that no two sentences of a person share one
    phrases = [p.phrase for p in placed.values()]
    traits = []
    for i, at in enumerate(rng.permutation(len(phrases))):
        phrase = phrases[at].strip().removesuffix(".")
        kind = frames["person" if is_predicate(phrase) else "other"]
        traits.append(fill(kind[(first + i) % len(kind)], phrase=phrase))
    return fill(template("person"), traits=" ".join(traits), **details._asdict())


def is_predicate(phrase: str) -> bool:
    """Whether a phrase completes "someone who …": its first word apart from adverbs is a verb in the third person.

    >>> [is_predicate(p) for p in ("often loses papers", "cannot wait", "very impatient")]
    [True, True, False]
    """
    words = re.findall(r"[\w'’-]+", phrase.casefold())
    first = next((w for w in words if w not in _ADVERBS and not w.endswith("ly")), "")
    return first in _MODALS or (first.endswith("s") and not first.endswith("ss"))
