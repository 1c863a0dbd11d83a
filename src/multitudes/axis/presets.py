"""How much is asked: three sizes, each of which says its cost before it starts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from multitudes.axis.collected import Method
from multitudes.axis.roles import PresetName, Question, Role, RoleSet, chosen_questions
from multitudes.core.errors import ConfigError, did_you_mean

# Tokens per second of the embedded model on two idle cores, for the estimate that is printed before a start.
PREFILL_RATE, DECODE_RATE = 498, 183
TOKENS_PER_WORD = 1.35


@dataclass(frozen=True, slots=True)
class Preset:
    """A size of collection.

    Attributes:
        name: Its name.
        prompts: Prompts used of each role.
        questions: Questions that are answered.
        fixed_questions: Questions after which the fixed text is read.
        draws: Answers per default arm and question.
        max_tokens: Longest answer.
        method: Where the direction comes from.
        min_count: Kept responses a role needs.
        temperature: Of the answers.
        top_p: Of the answers.
    """

    name: PresetName
    prompts: int
    questions: int
    fixed_questions: int
    draws: int
    max_tokens: int
    method: Method
    min_count: int
    temperature: float = 0.7
    top_p: float = 0.9


PRESETS: dict[str, Preset] = {
    p.name: p
    for p in (
        Preset("small", 1, 4, 6, 2, 32, "fixed_text", 3),
        Preset("balanced", 2, 20, 6, 2, 64, "generated", 8),
        Preset("full", 5, 240, 6, 1, 512, "generated", 10),
    )
}


def preset(name: str) -> Preset:
    """The preset of this name.

    Raises:
        ConfigError: An unknown name.
    """
    if name not in PRESETS:
        raise ConfigError("unknown preset", where=repr(name), hint=did_you_mean(name, PRESETS))
    return PRESETS[name]


def roles_of(size: Preset, everything: RoleSet) -> tuple[Role, ...]:
    """Roles that a preset uses; a set without enough of them is used whole."""
    chosen = tuple(r for r in everything.roles if size.name in r.presets)
    return chosen or everything.roles


@dataclass(frozen=True, slots=True)
class Cost:
    """What a collection asks for.

    Attributes:
        answers: Answers to be written.
        written: Tokens they may have, at most.
        read: Tokens to be read, about: prompts of answers, scoring them, fixed texts.
        kept_mib: Memory and disk of what is kept.
    """

    answers: int
    written: int
    read: int
    kept_mib: float

    @property
    def seconds(self) -> float:
        """On the embedded model and two idle cores, about."""
        return self.read / PREFILL_RATE + self.written / DECODE_RATE

    def __str__(self) -> str:
        return (
            f"{self.answers:,} answers of at most {self.written // max(1, self.answers)} tokens, about "
            f"{self.read:,} tokens read; keeps about {self.kept_mib:.0f} MiB"
        )


def role_answers(size: Preset, everything: RoleSet) -> int:
    """Answers in a role: what a judge is asked about."""
    return size.questions * sum(min(size.prompts, len(r.prompts)) for r in roles_of(size, everything))


def cost_of(size: Preset, everything: RoleSet, *, n_layers: int, width: int, default_arms: int) -> Cost:
    """What ``size`` asks of a model with ``n_layers`` blocks of ``width``."""
    roles, arms = roles_of(size, everything), everything.arms
    others = len(arms.neutral) + len(arms.placebo)
    conditions = sum(min(size.prompts, len(r.prompts)) for r in roles)
    answers = conditions * size.questions + default_arms * size.questions * size.draws + others * size.questions
    fixed = (sum(min(size.prompts, len(r.prompts)) for r in roles) + default_arms + others) * size.fixed_questions
    words = sum(len(p.split()) for r in roles for p in r.prompts) / sum(len(r.prompts) for r in roles)
    context = (words + 18) * TOKENS_PER_WORD + 16
    constant = len(arms.continuation.split()) * TOKENS_PER_WORD
    read = answers * (2 * context + size.max_tokens) + fixed * (context + constant)
    kept = (2 * len(roles) + 12) * n_layers * width * 8 * (2 if size.method == "fixed_text" else 1)
    return Cost(answers, answers * size.max_tokens, round(read), kept / (1 << 20))


def questions_of(size: Preset, everything: RoleSet) -> tuple[Question, ...]:
    """Questions that are answered, both halves alike."""
    return chosen_questions(everything.questions, size.questions)


def fixed_questions_of(size: Preset, everything: RoleSet) -> tuple[Question, ...]:
    """Questions after which the fixed text is read."""
    return chosen_questions(everything.questions, size.fixed_questions)


def halves_are_equal(questions: Sequence[Question]) -> bool:
    """Whether both halves have as many questions."""
    return sum(q.half for q in questions) * 2 == len(questions)
