"""Models side by side on the shipped domains: sample, store, judge what can be judged, compare."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path

from multitudes.measure.diversity.arms import CODE, DiversityComparison, Sample
from multitudes.measure.diversity.code_gate import Case, ClosedTask, OpenTask, extract_code, gate
from multitudes.measure.diversity.outcomes import Placed
from multitudes.measure.diversity.syntax import Tagger
from multitudes.models.base import ChatModel, Sampling
from multitudes.models.encode import Encoder
from multitudes.sandbox.executor import Executor
from multitudes.simulate.samples import Prompt, Text, domain_file, prompts
from multitudes.study.adherence import placed_answers
from multitudes.study.gates import compare_gated, gate_prose
from multitudes.study.shelf import Shelf, Watch, at_cost, cost_of, grid


def compare_models(
    models: Mapping[str, Callable[[], ChatModel]],
    folder: Path,
    *,
    domains: Sequence[str],
    n_prompts: int = 50,
    k: int = 10,
    temperature: float = 1.0,
    max_tokens: int = 120,
    encoder: Encoder | None = None,
    tagger: Tagger | None = None,
    executor: Executor | None = None,
    proxy: Path | None = None,
    judge: Path | None = None,
    equal_cost: bool = False,
    adherence: bool = False,
    seed: int = 0,
    watch: Watch = lambda name, done, total: None,
) -> DiversityComparison:
    """Compare models on the same prompts; the first is what the others are compared with.

    Texts are stored as they come, one JSON line each in ``FOLDER/NAME.jsonl``; what is there is not asked again.

    Args:
        models: How to open each model, by name. One is open at a time.
        folder: Where texts are stored.
        domains: Of ``simulate.samples.DOMAINS``.
        n_prompts: In each domain.
        k: Texts per prompt.
        temperature: Of all models; a wrapper ``temperature:T:MODEL`` overrides it.
        max_tokens: Longest text.
        encoder: For the spread of embeddings.
        tagger: For the syntax of prose.
        executor: Where programs run; without one their validity is unknown and effective diversity not assessed.
        proxy: Table of good texts, to judge prose by rules and embeddings: see ``gate_proxy``.
        judge: Judge file, to let a model judge prose: see ``gate_judge``.
        equal_cost: Ask the cheaper models for more texts, until each domain took as many tokens as with the dearest.
        adherence: Also ask placed people a questionnaire through each model, to see whether they stay where they were
            put.
        seed: Root of the draws.
        watch: Called with the model's name and how much of it is done.
    """
    asked = {d: prompts(d, n_prompts) for d in domains}
    by_id = {p.id: p for found in asked.values() for p in found}
    sampling = Sampling(temperature=temperature, max_tokens=max_tokens)
    shelves = [
        Shelf(name, open_model, folder / f"{_file_name(name)}.jsonl", sampling, f"compare:{seed}", watch)
        for name, open_model in models.items()
    ]
    texts = {shelf.name: shelf.texts(grid([p for d in domains for p in asked[d]], 0, k)) for shelf in shelves}
    if equal_cost:
        texts = _at_equal_cost(shelves, asked, texts)
    samples = [s for name, found in texts.items() for s in _samples(name, found, by_id, executor)]
    placed, notes = _placed(models, folder, seed, watch) if adherence else ({}, [])
    if encoder is not None:
        said = list(dict.fromkeys(s.text for s in samples if s.text.strip()))
        vector = dict(zip(said, encoder.encode(said), strict=True))
        samples = [s._replace(vector=vector.get(s.text)) for s in samples]
    found = gate_prose(
        samples, {p.id: p.text for p in by_id.values()}, proxy=proxy, judge=judge, encoder=encoder,
        cache=folder / "judge.sqlite", seed=seed,
    )  # fmt: skip
    found.notes.extend(notes)
    return compare_gated(found, tagger=tagger, placed=placed, same_cost=equal_cost, seed=seed)


def _file_name(name: str) -> str:
    return re.sub(r"[^\w.-]+", "_", name)


def _at_equal_cost(
    shelves: Sequence[Shelf], asked: Mapping[str, Sequence[Prompt]], texts: Mapping[str, Sequence[Text]]
) -> dict[str, list[Text]]:
    """Every model's texts, with more of the cheaper ones until each domain took the same tokens."""
    out: dict[str, list[Text]] = {shelf.name: [] for shelf in shelves}
    for domain, own in asked.items():
        mine = {name: [t for t in found if t.domain == domain] for name, found in texts.items()}
        dearest = max(sum(map(cost_of, found)) for found in mine.values())
        for shelf in shelves:
            out[shelf.name] += at_cost(shelf, own, mine[shelf.name], dearest)
    return out


def _placed(
    models: Mapping[str, Callable[[], ChatModel]], folder: Path, seed: int, watch: Watch
) -> tuple[dict[str, Placed], list[str]]:
    """Where placed people are by the answers that each model gives for them."""
    found: dict[str, Placed] = {}
    notes = []
    for name, open_model in models.items():
        path = folder / f"{_file_name(name)}.adherence.json"
        found[name], note = placed_answers(name, open_model, path, seed=seed, watch=watch)
        notes += [note] if note else []
    return found, notes


def _samples(
    name: str, texts: Sequence[Text], by_id: Mapping[str, Prompt], executor: Executor | None
) -> list[Sample]:
    verdicts = {} if executor is None else _judged_programs(texts, executor)
    out = []
    for t in texts:
        valid, kind = verdicts.get((t.prompt, t.sample), (None, ""))
        text = extract_code(t.text) if t.domain in CODE else t.text
        out.append(Sample(name, t.domain, by_id[t.prompt].id, text, valid, kind, cost=cost_of(t) or None))
    return out


def _judged_programs(texts: Sequence[Text], executor: Executor) -> dict[tuple[str, int], tuple[bool, str]]:
    """Whether each program is valid and its class, by prompt and sample; the two kinds of task apart."""
    verdicts: dict[tuple[str, int], tuple[bool, str]] = {}
    for domain in sorted(CODE):
        programs = [t for t in texts if t.domain == domain]
        if programs:
            tasks = [task_of(t.prompt) for t in programs]
            found = gate(tasks, [t.text for t in programs], executor)  # type: ignore[arg-type]  # one kind per domain
            verdicts |= {
                (t.prompt, t.sample): (bool(v), str(c))
                for t, v, c in zip(programs, found.valid, found.classes, strict=True)
            }
    return verdicts


@cache
def task_of(prompt: str) -> OpenTask | ClosedTask:
    """The task of a shipped prompt of ``code`` or ``code-closed``, by the id of the prompt."""
    domain, _, number = prompt.rpartition("-")
    raw = domain_file(domain)
    if domain == "code":
        return OpenTask(raw["entry"], raw["returns"], tuple(tuple(p) for p in raw["probes"]))
    _, _, expected = raw["tasks"][int(number)]
    cases = zip(raw["inputs"], expected, strict=True)
    return ClosedTask(raw["entry"], tuple(Case((given,), wanted) for given, wanted in cases))
