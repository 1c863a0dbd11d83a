"""What gauges need from models: collected once, stored, and never asked again."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, NamedTuple

from multitudes.core.records import Conversation, Population, Usage
from multitudes.core.seeds import derive_rng
from multitudes.models.base import ChatModel, ScoreItem
from multitudes.models.encode import Encoder
from multitudes.personas.render import render
from multitudes.simulate.views import view
from multitudes.study.spec import StudySpec
from multitudes.study.store import Store

CONVERSATIONS_AT_ONCE = 16


class Evidence(NamedTuple):
    """What a listener made of one conversation."""

    conversation_id: str
    record: dict[str, Any]
    usage: Usage


def candidates_of(persona_id: str, population: Population, n: int, *, root: str) -> list[str]:
    """The true person and ``n − 1`` others, drawn once per person and shuffled by seed."""
    others = [p.id for p in population.personas if p.id != persona_id]
    rng = derive_rng(root, "distractors", persona_id)
    chosen = [persona_id, *rng.choice(others, size=min(n - 1, len(others)), replace=False).tolist()]
    rng.shuffle(chosen)
    return chosen


async def likelihoods(
    conversations: Sequence[Conversation],
    population: Population,
    *,
    goals: Mapping[str, str],
    n_candidates: int,
    root: str,
    listener: ChatModel,
) -> AsyncIterator[Evidence]:
    """Log-likelihood of every line of every person under each candidate, given all that was said before it.

    Yields one ``Evidence`` per conversation whose person is known; its ``record`` is ``{"listener", "candidates",
    "true", "turns": [own turn…], "logp": [[nats per candidate]…], "tokens": [of each line…]}``.
    """
    todo = [
        c for c in conversations
        if c.complete and c.persona_id in population.by_id and any(t.strip() for t in c.user_texts)
    ]  # fmt: skip
    for start in range(0, len(todo), CONVERSATIONS_AT_ONCE):
        part = todo[start : start + CONVERSATIONS_AT_ONCE]
        items: list[ScoreItem] = []
        records: list[dict[str, Any]] = []
        for c in part:
            assert c.persona_id is not None
            people = candidates_of(c.persona_id, population, n_candidates, root=root)
            goal = goals.get(c.scenario_id or "")
            prompts = [render(population.by_id[p], scenario_goal=goal, context=population.context) for p in people]
            own = [i for i, t in enumerate(c.turns) if t.speaker == "user"]
            scored = [i for i in own if c.turns[i].text.strip()]
            for i in scored:
                items += [ScoreItem(view(c.turns[:i], "user", system=p), c.turns[i].text) for p in prompts]
            turns = [own.index(i) + 1 for i in scored]
            records.append(
                {"listener": listener.info.fingerprint, "candidates": people, "true": people.index(c.persona_id),
                 "turns": turns}
            )  # fmt: skip
        found = iter(await listener.score(items))
        for c, record in zip(part, records, strict=True):
            lines = [[next(found) for _ in record["candidates"]] for _ in record["turns"]]
            usage = sum((s.usage for line in lines for s in line), Usage())
            tokens = [len(line[record["true"]].token_logp) for line in lines]
            logp = [[s.total for s in line] for line in lines]
            yield Evidence(c.id, {**record, "logp": logp, "tokens": tokens}, usage)


async def collect_likelihoods(
    store: Store, conversations: Sequence[Conversation], population: Population, spec: StudySpec, listener: ChatModel
) -> Usage:
    """Store the evidence of conversations that have none of this listener yet; returns what it cost."""
    known = store.likelihoods()
    todo = [c for c in conversations if known.get(c.id, {}).get("listener") != listener.info.fingerprint]
    spent = Usage()
    found = likelihoods(
        todo, population, goals={s.id: s.goal for s in spec.scenarios}, n_candidates=spec.measure.candidates,
        root=spec.root, listener=listener,
    )  # fmt: skip
    async for evidence in found:
        store.add_likelihoods([(evidence.conversation_id, evidence.record)])
        spent = spent + evidence.usage
    return spent


def text_key(text: str) -> str:
    """Key of a text's vector."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def collect_embeddings(store: Store, texts: Sequence[str], encoder: Encoder) -> None:
    """Vectors of all texts that have none yet."""
    known = store.embeddings(encoder.name)
    todo = {text_key(t): t for t in texts if t.strip()}
    missing = {k: t for k, t in todo.items() if k not in known}
    if missing:
        vectors = encoder.encode(list(missing.values()))
        store.add_embeddings(encoder.name, zip(missing, vectors, strict=True))
