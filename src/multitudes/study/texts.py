"""Files of texts side by side: each file an arm, or each model of a column."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from multitudes.core.errors import DataFormatError
from multitudes.measure.diversity.arms import CODE, DiversityComparison, Sample
from multitudes.measure.diversity.syntax import Tagger
from multitudes.models.encode import Encoder
from multitudes.simulate.tables import Table, read_table
from multitudes.study.gates import compare_gated, gate_prose, words_of


def compare_tables(
    paths: Sequence[str | Path],
    *,
    columns: Mapping[str, str] | None = None,
    encoder: Encoder | None = None,
    tagger: Tagger | None = None,
    proxy: Path | None = None,
    judge: Path | None = None,
    skip_invalid: bool = False,
    seed: int = 0,
) -> DiversityComparison:
    """Compare the texts of several files; the first arm is what the others are compared with.

    Args:
        paths: Tables with columns for prompt (or item) and text; ``domain``, ``valid``, ``class``, ``model`` and
            ``tokens`` (of prompt and reply) are used where they are there. A file is one arm, named after it, unless
            its ``model`` column names several.
        columns: Column by role.
        encoder: For the spread of embeddings.
        tagger: For the syntax of prose.
        proxy: Table of good texts, to judge prose by rules and embeddings: see ``gate_proxy``.
        judge: Judge file, to let a model judge prose: see ``gate_judge``.
        skip_invalid: Leave out unreadable rows, counted.
        seed: Seed of intervals and tests.

    Raises:
        DataFormatError: A file without prompts, two files of one name, or what a gate needs is missing.
        ConfigError: Two gates, or nothing for them to judge.
        GaugeError: As ``compare_arms``.
    """
    samples: list[Sample] = []
    seen: dict[str, Path] = {}
    for path in map(Path, paths):
        table = read_table(path, columns, require=("text",), skip_invalid=skip_invalid)
        prompts = table.roles.get("prompt", table.roles.get("item"))
        if prompts is None:
            raise DataFormatError(
                "no column for 'prompt'", where=str(path), found=", ".join(table.unused) or "text alone",
                expected="which texts answer the same prompt", hint="name it: prompt=COLUMN",
            )  # fmt: skip
        names = _arms(table, path)
        for name in dict.fromkeys(names):
            if seen.setdefault(name, path) != path:
                raise DataFormatError(
                    "two files hold one arm", where=str(path), found=repr(name),
                    expected=f"another name than in {seen[name]}",
                )  # fmt: skip
        samples += _samples(table, prompts, names)
    if encoder is not None:
        said = list(dict.fromkeys(s.text for s in samples if s.text.strip()))
        vector = dict(zip(said, encoder.encode(said), strict=True)) if said else {}
        samples = [s._replace(vector=vector.get(s.text)) for s in samples]
    gated = proxy is not None or judge is not None
    asked = words_of([s.prompt for s in samples if s.domain not in CODE]) if gated else {}
    found = gate_prose(samples, asked, proxy=proxy, judge=judge, encoder=encoder, seed=seed)
    return compare_gated(found, tagger=tagger, seed=seed)


def _arms(table: Table, path: Path) -> list[str]:
    name = path.name.removesuffix(".gz").rpartition(".")[0] or path.name
    models = table.roles.get("model")
    if models is None or len(set(models)) < 2:
        return [name] * table.n
    return [str(m) or name for m in models]


def _samples(table: Table, prompts: Any, names: list[str]) -> list[Sample]:
    roles = table.roles
    domain, valid, kind, cost = (roles.get(r) for r in ("domain", "valid", "class", "tokens"))
    return [
        Sample(
            arm=names[i],
            domain="text" if domain is None else str(domain[i]) or "text",
            prompt=str(prompts[i]),
            text=str(roles["text"][i]),
            valid=None if valid is None or kind is None else bool(valid[i]),
            kind="" if kind is None else str(kind[i]),
            cost=None if cost is None or cost[i] != cost[i] else float(cost[i]),
        )
        for i in range(table.n)
    ]
