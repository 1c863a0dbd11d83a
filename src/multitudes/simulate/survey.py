"""A population answers a questionnaire.

Every item is asked alone, with no memory of the others. Where the engine gives log-probabilities of given texts the
answer is the whole distribution over the labels, averaged over both orders in which they can be listed, so that a
preference for the first one cancels; where it does not, replies are sampled and parsed strictly.

Labels are told by a letter each or by their words. Letters cost one token and have no length bias, but a model must
be able to bind a letter to its label; models of a few hundred million parameters answer "A" whoever they are, and
only their words depend on the person.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.resources import files
from typing import Literal, NamedTuple

from multitudes.core.canonical import content_hash
from multitudes.core.errors import Unsupported
from multitudes.core.records import Answer, Call, Fault, Item, Persona, Questionnaire
from multitudes.core.seeds import derive_seed
from multitudes.models.base import ChatModel, Message, Reply, Request, Sampling
from multitudes.simulate.aside import OptionProbs, Question, option_probs
from multitudes.simulate.faults import PROVIDER_CODES

LETTERS = "ABCDEFGHIJK"
Mode = Literal["exact", "sampled"]
By = Literal["letters", "words"]


class Ask(NamedTuple):
    """One answer that is wanted.

    Attributes:
        prompt: The person's system prompt; empty where nobody is played, and then none is sent.
        arm: ``persona``, or the placebo that answers in a person's place.
    """

    id: str
    persona: Persona
    prompt: str
    item: Item
    replicate: int
    arm: str = "persona"


@dataclass(frozen=True, slots=True)
class SurveyRules:
    """How a survey is asked.

    Attributes:
        mode: ``exact`` or ``sampled``.
        by: Whether an answer is a letter or a label's own words. Sampled replies are parsed for either.
        runs: Sampled answers per persona and item. Exact distributions need one.
        temperature: Of sampled answers.
    """

    mode: Mode = "exact"
    by: By = "letters"
    runs: int = 1
    temperature: float = 1.0


def mode_of(model: ChatModel) -> Mode:
    """The best mode the engine can do."""
    return "exact" if model.info.score else "sampled"


async def ask_all(
    asks: Sequence[Ask], questionnaire: Questionnaire, *, model: ChatModel, root: str, rules: SurveyRules
) -> list[Answer]:
    """One answer per ask, in order. What could not be answered is a record with a fault and a score of NaN.

    Raises:
        Unsupported: Exact mode on an engine without log-probabilities.
    """
    if rules.mode == "exact":
        if not model.info.score:
            raise Unsupported("score", model.info.name, 'set survey mode = "sampled"')
        return await _exact(asks, questionnaire, model, rules.by)
    return await _sampled(asks, questionnaire, model, root, rules)


def frame(
    questionnaire: Questionnaire, ask: Ask, *, by: By = "letters", reverse: bool = False
) -> tuple[Message, ...]:
    """The messages of one ask. Labels come before the statement, so that all items of a person share a prefix."""
    shown = list(reversed(questionnaire.labels)) if reverse else list(questionnaire.labels)
    if by == "letters":
        lines = "\n".join(f"{LETTERS[i]}. {label}" for i, label in enumerate(shown))
    else:
        lines = "; ".join(shown) + "."
    name = f", {ask.persona.name}" if ask.persona.name else ""
    head = _template(by).replace(", {name}", name).replace("{labels}", lines)
    question = Message("user", f"{head}\nStatement: {ask.item.text}")
    return (Message("system", ask.prompt), question) if ask.prompt else (question,)


def keyed(probs: Sequence[float], *, reverse: bool) -> tuple[float, float]:
    """Expected score in [0, 1] and its run variance from label probabilities, lowest label first.

    >>> keyed((0.0, 0.0, 0.0, 0.0, 1.0), reverse=True)
    (0.0, 0.0)
    """
    top = len(probs) - 1
    x = [(top - i if reverse else i) / top for i in range(len(probs))]
    mean = sum(p * v for p, v in zip(probs, x, strict=True))
    return mean, max(0.0, sum(p * v * v for p, v in zip(probs, x, strict=True)) - mean * mean)


async def _exact(asks: Sequence[Ask], questionnaire: Questionnaire, model: ChatModel, by: By) -> list[Answer]:
    labels = questionnaire.labels
    options = tuple(LETTERS[: len(labels)]) if by == "letters" else labels
    questions = [
        Question(frame(questionnaire, ask, by=by, reverse=reverse), options, include_end=by == "words")
        for ask in asks
        for reverse in (False, True)
    ]
    results = await option_probs(model, questions)
    out = []
    for i, ask in enumerate(asks):
        straight, flipped = results[2 * i], results[2 * i + 1]
        if by == "letters":  # upside down, the first letter stands for the last label
            flipped = flipped._replace(probs=tuple(reversed(flipped.probs)))
        out.append(_exact_answer(ask, questionnaire, straight, flipped))
    return out


def _exact_answer(ask: Ask, questionnaire: Questionnaire, straight: OptionProbs, flipped: OptionProbs) -> Answer:
    probs = tuple((a + b) / 2 for a, b in zip(straight.probs, flipped.probs, strict=True))
    mass = (straight.mass + flipped.mass) / 2
    base = {"id": ask.id, "persona_id": ask.persona.id, "questionnaire_id": questionnaire.id, "item_id": ask.item.id,
            "arm": ask.arm}  # fmt: skip
    if not all(math.isfinite(p) for p in probs):
        fault = Fault(kind="simulator", code="non_finite", detail="label probabilities are not finite", side="user")
        return Answer(**base, mode="exact", score=math.nan, fault=fault)
    score, variance = keyed(probs, reverse=ask.item.reverse)
    call = Call(usage=straight.usage + flipped.usage, seed_status="honoured", cost_usd=0.0)
    return Answer(
        **base, mode="exact", probs=probs, by_order=(straight.probs, flipped.probs), score=score, variance=variance,
        label_mass=mass, call=call,
    )  # fmt: skip


async def _sampled(
    asks: Sequence[Ask], questionnaire: Questionnaire, model: ChatModel, root: str, rules: SurveyRules
) -> list[Answer]:
    """Sample, parse, ask once more where the reply was not one label; then the answer is unscored."""
    sampling = Sampling(temperature=rules.temperature, max_tokens=12)

    def request(ask: Ask, attempt: int) -> Request:
        arm = () if ask.arm == "persona" else (ask.arm,)  # a placebo with a person's id draws for itself
        seed = derive_seed(
            root, ask.persona.id, questionnaire.id, ask.item.id, ask.replicate, "survey", attempt, *arm
        )
        # Half of the runs see the labels upside down, so that order is balanced within a person.
        messages = frame(questionnaire, ask, by=rules.by, reverse=_flipped(ask))
        return Request(messages, sampling, seed=seed, replicate=ask.replicate, keep=False, call_id=ask.id)

    replies = await model.reply([request(a, 0) for a in asks])
    again = [
        i for i, r in enumerate(replies)
        if (r.fault is None or r.fault.code == "empty") and parse_label(r.text, questionnaire) is None
    ]  # fmt: skip
    for i, reply in zip(again, await model.reply([request(asks[i], 1) for i in again]), strict=True):
        replies[i] = _both(replies[i], reply)
    return [_sampled_answer(a, questionnaire, r) for a, r in zip(asks, replies, strict=True)]


def _both(first: Reply, second: Reply) -> Reply:
    """The second reply, with what both cost."""
    known = None not in (first.cost_usd, second.cost_usd)
    return replace(
        second,
        usage=first.usage + second.usage,
        latency_s=first.latency_s + second.latency_s,
        cost_usd=(first.cost_usd or 0.0) + (second.cost_usd or 0.0) if known else None,
        tries=first.tries + second.tries,
    )


def _flipped(ask: Ask) -> bool:
    return derive_seed("order", ask.persona.id, ask.item.id, ask.replicate // 2) % 2 != ask.replicate % 2


def parse_label(text: str, questionnaire: Questionnaire, *, flipped: bool = False) -> int | None:
    """Index of the label that ``text`` names, or None where it does not name exactly one.

    Accepted: a letter alone or followed by punctuation, or one label's words at the start; and no other letter or
    label after it. Anything else is unscored: a guess here would be an answer that nobody gave.
    """
    n = len(questionnaire.labels)
    plain = text.strip().strip("*\"'()[]")

    def at(letter: str) -> int:
        shown = LETTERS.index(letter)
        return n - 1 - shown if flipped else shown

    # The longest label wins where one holds another: "disagree" does not name "agree".
    index = {label.casefold(): i for i, label in enumerate(questionnaire.labels)}
    either = "|".join(re.escape(label) for label in sorted(index, key=len, reverse=True))
    words = re.compile(rf"(?<!\w)(?:{either})(?!\w)")
    folded = plain.casefold()
    named = {index[found] for found in words.findall(folded)}
    # "A" before a word is an article and "I" a pronoun; before anything else they are letters.
    named |= {at(found) for found in re.findall(rf"(?<!\w)([{LETTERS[:n]}])(?!\w|[ '’]\w)", plain)}
    starts = re.match(rf"[{LETTERS[:n]}](?:[.):,]|$)", plain) or words.match(folded)
    return named.pop() if starts and len(named) == 1 else None


def _sampled_answer(ask: Ask, questionnaire: Questionnaire, reply: Reply) -> Answer:
    base = {"id": ask.id, "persona_id": ask.persona.id, "questionnaire_id": questionnaire.id, "item_id": ask.item.id,
            "replicate": ask.replicate, "arm": ask.arm, "wording": int(_flipped(ask)), "mode": "sampled",
            "text": reply.text}  # fmt: skip
    call = Call(
        seed=reply.seed, seed_status=reply.seed_status, finish=reply.finish, usage=reply.usage,
        latency_s=reply.latency_s, cost_usd=reply.cost_usd, cache_hit=reply.cache_hit, tries=reply.tries,
    )  # fmt: skip
    if reply.fault is not None:
        kind: Literal["provider", "simulator"] = "provider" if reply.fault.code in PROVIDER_CODES else "simulator"
        fault = Fault(kind=kind, code=reply.fault.code, detail=reply.fault.detail, side="user")
        return Answer.model_validate({**base, "score": math.nan, "fault": fault, "call": call})
    label = parse_label(reply.text, questionnaire, flipped=_flipped(ask))
    if label is None:
        fault = Fault(kind="simulator", code="parse", detail=f"not one label: {reply.text[:80]!r}", side="user")
        return Answer.model_validate({**base, "score": math.nan, "fault": fault, "call": call})
    probs = tuple(float(i == label) for i in range(len(questionnaire.labels)))
    score, _ = keyed(probs, reverse=ask.item.reverse)
    return Answer.model_validate({**base, "probs": probs, "score": score, "call": call})


def _template(by: By) -> str:
    return (files("multitudes.simulate") / "templates" / f"survey_{by}.txt").read_text(encoding="utf-8").strip()


def survey_hash() -> Mapping[str, str]:
    """Hash of the survey's templates, for the run's record."""
    return {f"survey_{by}": content_hash(_template(by), length=16) for by in ("letters", "words")}
