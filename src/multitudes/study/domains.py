"""Models side by side on the shipped domains: sample, store, judge what can be judged, compare."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from multitudes.core.canonical import canonical_json
from multitudes.core.errors import DataFormatError, ModelError, StoreError
from multitudes.core.loop import run_sync
from multitudes.measure.diversity.arms import CODE, DiversityComparison, Sample
from multitudes.measure.diversity.code_gate import Case, ClosedTask, OpenTask, extract_code, gate
from multitudes.measure.diversity.syntax import Tagger
from multitudes.models.base import ChatModel, Sampling
from multitudes.models.encode import Encoder
from multitudes.sandbox.executor import Executor
from multitudes.simulate.samples import Prompt, Text, domain_file, prompts, sample
from multitudes.study.gates import compare_gated, gate_prose

OWN = ("", "empty", "parse", "too_long")  # no fault, or the model's own: such a text counts as it is
AT_ONCE = 64  # replies in one batch and one write


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
    seed: int = 0,
    watch: Callable[[str, int, int], None] = lambda name, done, total: None,
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
        seed: Root of the draws.
        watch: Called with the model's name and how much of it is done.
    """
    asked = [p for d in domains for p in prompts(d, n_prompts)]
    sampling = Sampling(temperature=temperature, max_tokens=max_tokens)
    samples: list[Sample] = []
    for name, open_model in models.items():
        path = folder / (re.sub(r"[^\w.-]+", "_", name) + ".jsonl")
        texts = _collected(name, open_model, path, asked, k, sampling, f"compare:{seed}", watch)
        samples += _samples(name, texts, {p.id: p for p in asked}, executor)
    if encoder is not None:
        said = list(dict.fromkeys(s.text for s in samples if s.text.strip()))
        vector = dict(zip(said, encoder.encode(said), strict=True))
        samples = [s._replace(vector=vector.get(s.text)) for s in samples]
    found = gate_prose(
        samples, {p.id: p.text for p in asked}, proxy=proxy, judge=judge, encoder=encoder,
        cache=folder / "judge.sqlite", seed=seed,
    )  # fmt: skip
    return compare_gated(found, tagger=tagger, seed=seed)


def _collected(
    name: str, open_model: Callable[[], ChatModel], path: Path, asked: Sequence[Prompt], k: int, sampling: Sampling,
    root: str, watch: Callable[[str, int, int], None],
) -> list[Text]:  # fmt: skip
    settings = {"model": name, "root": root, "temperature": sampling.temperature, "max_tokens": sampling.max_tokens}
    known = _read(path, settings)
    todo = [(p, i) for p in asked for i in range(k) if (p.id, i) not in known]
    total = len(asked) * k
    watch(name, total - len(todo), total)
    if todo:
        model = open_model()
        try:
            for start in range(0, len(todo), AT_ONCE):
                part = todo[start : start + AT_ONCE]
                found = run_sync(sample(model, part, sampling=sampling, root=root))
                had = [t for t in found if t.fault in OWN]  # what a server could not give is asked again next time
                _append(path, settings, had)
                known |= {(t.prompt, t.sample): t for t in had}
                watch(name, total - len(todo) + start + len(part), total)
        finally:
            run_sync(model.aclose())
    missing = [(p.id, i) for p in asked for i in range(k) if (p.id, i) not in known]
    if missing:
        raise ModelError(
            "some texts could not be had", where=name, found=f"{len(missing)} of {total}",
            hint="run the same command again: what is there is kept",
        )  # fmt: skip
    return [known[p.id, i] for p in asked for i in range(k)]


def _read(path: Path, settings: Mapping[str, Any]) -> dict[tuple[str, int], Text]:
    """Texts that are there already, a line that a kill cut off left out; refused if asked in another way."""
    if not path.is_file():
        return {}
    *lines, rest = path.read_text(encoding="utf-8").split("\n")
    rows = [_row(line, f"{path}:{number}") for number, line in enumerate(lines, 1) if line]
    if rest:  # a line that was never finished
        whole = path.with_name(f".{path.name}.part")
        whole.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
        os.replace(whole, path)
    for row in rows:
        other = {key: row.get(key) for key in settings}
        if other != settings:
            raise DataFormatError(
                "texts that were asked in another way", where=str(path), found=str(other),
                expected=str(dict(settings)), hint="use another --out",
            )  # fmt: skip
    return {(r["prompt"], r["sample"]): Text(**{f: r[f] for f in Text._fields}) for r in rows}


def _row(line: str, where: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except json.JSONDecodeError as error:
        raise DataFormatError("not a line of JSON", where=where, found=line[:80], hint="use another --out") from error
    if not isinstance(row, dict) or not {"model", *Text._fields} <= set(row):
        raise DataFormatError("not a text of ours", where=where, found=line[:80], hint="use another --out")
    return row


def _append(path: Path, settings: Mapping[str, Any], texts: Sequence[Text]) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8") as file:
            file.write("".join(canonical_json({**settings, **t._asdict()}) + "\n" for t in texts))
    except OSError as error:
        raise StoreError("texts cannot be stored", where=str(path), found=error.strerror or str(error)) from error


def _samples(
    name: str, texts: Sequence[Text], by_id: Mapping[str, Prompt], executor: Executor | None
) -> list[Sample]:
    verdicts = {} if executor is None else _judged_programs(texts, executor)
    out = []
    for t in texts:
        valid, kind = verdicts.get((t.prompt, t.sample), (None, ""))
        text = extract_code(t.text) if t.domain in CODE else t.text
        out.append(Sample(name, t.domain, by_id[t.prompt].id, text, valid, kind))
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
