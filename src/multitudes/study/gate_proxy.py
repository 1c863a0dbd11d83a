"""Validity of prose by rules and embeddings, where there is no judge. A table of good texts says what good is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from multitudes.core.errors import ConfigError, DataFormatError
from multitudes.core.seeds import derive_seed
from multitudes.measure.diversity.arms import PairCount, Sample
from multitudes.measure.diversity.prose_gate import greedy_classes
from multitudes.measure.diversity.prose_proxy import (
    MIN_REFERENCE,
    PROXY,
    Reference,
    Threshold,
    calibrate_threshold,
    fit_reference,
    proxy_different,
    proxy_gate,
)
from multitudes.measure.diversity.syntax import not_english
from multitudes.models.encode import Encoder
from multitudes.simulate.tables import Table, read_table
from multitudes.simulate.voice import voice_hits
from multitudes.study.gates import Gated, bags_of, prose


def gate_by_proxy(
    samples: Sequence[Sample], asked: Mapping[str, str], path: Path, encoder: Encoder | None, *, seed: int
) -> Gated:
    """Judge prose by rules, and tell texts apart by their embeddings.

    Args:
        samples: Texts of all arms, with vectors of ``encoder``.
        asked: Words of each prompt, by its id.
        path: Table of good texts with columns ``prompt`` (the words of the prompt), ``text`` and ``paraphrase`` (the
            same said in other words; may be empty), and ``domain`` where texts of several domains are compared.
        encoder: The one behind the vectors.
        seed: Of the orders of greedy classes.

    Raises:
        ConfigError: No encoder, or nothing to judge.
        DataFormatError: A missing column, or too few texts or paraphrases of a domain.
    """
    if encoder is None:
        raise ConfigError("the proxy gate compares embeddings", where="--proxy", found="no encoder",
                          hint="--encoder hash, or minilm")  # fmt: skip
    todo = prose(samples, "--proxy")
    table = read_table(path, require=("prompt", "text", "paraphrase"))
    out, pairs, notes = list(samples), {}, []
    for domain, places in todo.items():
        reference, threshold = _fitted(table, path, domain, encoder)
        said = [i for i in places if samples[i].text.strip()]
        words = {p: asked[p] for p in {samples[i].prompt for i in said}}
        towards = dict(zip(words, encoder.encode(list(words.values())), strict=True))
        x = _vectors(samples, said)
        cosines = np.clip(np.einsum("ij,ij->i", x, np.stack([towards[samples[i].prompt] for i in said])), -1, 1)
        found = proxy_gate(
            [samples[i].text for i in said], cosines, reference, encoder=encoder.name,
            wrong_language=lambda text: bool(not_english(text)), assistant_voice=lambda text: bool(voice_hits(text)),
        )  # fmt: skip
        verdict = dict(zip(said, found.valid.tolist(), strict=True))
        for i in places:
            out[i] = samples[i]._replace(valid=verdict.get(i, False))
        for (arm, prompt), bag in bags_of(samples, places).items():
            pairs[arm, domain, prompt] = _apart(out, bag, threshold, encoder.name, seed)
        reasons = [r for reason in found.reasons for r in reason.split("; ") if r]
        broken = ", ".join(f"{reasons.count(r)} {r}" for r in dict.fromkeys(reasons)) or "none"
        notes.append(
            f"{domain}: validity by proxy, {reference.texts} reference texts, same from cosine {threshold.tau:.2f} "
            f"({threshold.paraphrases} paraphrases); rules broken: {broken}"
        )
    return Gated(out, pairs, dict.fromkeys(todo, PROXY), notes)


def _vectors(samples: Sequence[Sample], places: Sequence[int]) -> Any:
    rows = [samples[i].vector for i in places]
    return np.stack([np.zeros(1) if v is None else np.asarray(v, dtype=np.float64) for v in rows])


def _apart(samples: Sequence[Sample], bag: Sequence[int], threshold: Threshold, encoder: str, seed: int) -> PairCount:
    """Ordered pairs of one prompt and arm that are valid, and that differ."""
    good = [i for i in bag if samples[i].valid]
    k, v = len(bag), len(good)
    drawn = k * (k - 1)
    if v < 2:
        return PairCount(0, 0, drawn, v)
    different = proxy_different(_vectors(samples, good), threshold, encoder=encoder)
    own = derive_seed("classes", seed, samples[bag[0]].arm, samples[bag[0]].prompt)
    return PairCount(int(different.sum()), v * (v - 1), drawn, greedy_classes(different, seed=own))


def _fitted(table: Table, path: Path, domain: str, encoder: Encoder) -> tuple[Reference, Threshold]:
    """What good texts of a domain look like, and from which cosine two of them count as the same."""
    roles = table.roles
    rows = np.arange(table.n)
    if "domain" in roles:
        rows = np.flatnonzero(roles["domain"].astype(str) == domain)
        if not len(rows):
            raise DataFormatError(
                f"no reference texts of the domain {domain!r}", where=str(path),
                found=", ".join(sorted(set(roles["domain"].astype(str)))), expected=f"at least {MIN_REFERENCE} of it",
            )  # fmt: skip
    prompts, texts, again = ([str(roles[r][i]) for i in rows] for r in ("prompt", "text", "paraphrase"))
    empty = [
        table.place(int(i)) for i, t, p in zip(rows, texts, prompts, strict=True) if not (t.strip() and p.strip())
    ]
    if empty:
        raise DataFormatError("a reference without text or prompt", where=empty[0], expected="both in every row")
    x = encoder.encode(texts)
    pairs = [k for k, t in enumerate(again) if t.strip()]
    if len(texts) < MIN_REFERENCE or len(pairs) < MIN_REFERENCE:
        raise DataFormatError(
            f"too few reference texts or paraphrases for {domain!r}", where=str(path),
            found=f"{len(texts)} texts, {len(pairs)} with a paraphrase", expected=f"at least {MIN_REFERENCE} of both",
            hint="good texts of people; in the column 'paraphrase' the same said in other words",
        )  # fmt: skip
    towards = _cosines(x, encoder.encode(prompts))
    same = _cosines(x[pairs], encoder.encode([again[k] for k in pairs]))
    return fit_reference(texts, towards, encoder=encoder.name), calibrate_threshold(same, encoder=encoder.name)


def _cosines(x: Any, y: Any) -> Any:
    return np.clip(np.einsum("ij,ij->i", x.astype(np.float64), y.astype(np.float64)), -1, 1)
