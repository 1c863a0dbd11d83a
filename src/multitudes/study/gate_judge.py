"""Validity of prose by a model that judges: a file names it, its rubric, and the pairs that people labelled."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from pydantic import Field, ValidationError

from multitudes.core.errors import DataFormatError
from multitudes.core.loop import run_sync
from multitudes.core.records import Frozen
from multitudes.core.seeds import derive_seed
from multitudes.core.toml import key_lines, line_of, parse, read_text
from multitudes.measure.diversity.arms import PairCount, Sample
from multitudes.measure.diversity.prose_gate import (
    MIN_CALIBRATION,
    MIN_KAPPA,
    PAIRS,
    UNCALIBRATED,
    ask_both_orders,
    calibrate_judge,
    judged_pairs,
)
from multitudes.models.base import ChatModel
from multitudes.models.load import load
from multitudes.simulate.judges import ask_new, ask_valid
from multitudes.simulate.tables import read_table
from multitudes.study.gates import Gated, bags_of, prose

NO_LABELS = "none"  # what a judge file says where nobody labelled pairs


class JudgeSpec(Frozen):
    """How a judge is asked; written down before the texts are looked at.

    Attributes:
        model: Who judges, as in a study file.
        rubric: What makes a text good, one sentence.
        labels: Table of pairs that people labelled, with columns ``first``, ``second`` and ``different``; ``none``
            where there is none, and then every verdict is stamped uncalibrated.
        pairs: Random pairs of each prompt and model.
    """

    model: str
    rubric: str = Field(min_length=1)
    labels: str
    pairs: int = Field(default=PAIRS, ge=1)


def read_judge(path: Path) -> JudgeSpec:
    """The judge file.

    Raises:
        DataFormatError: Not TOML, a missing or unknown key; names the line.
    """
    text = read_text(path)
    try:
        return JudgeSpec.model_validate(parse(text, where=str(path)))
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"]))
        line = line_of(key_lines(text), tuple(first["loc"]))
        hint = 'labels = "pairs.csv"' + f', or labels = "{NO_LABELS}": then every verdict is stamped {UNCALIBRATED}'
        raise DataFormatError(
            f"a judge file whose {key!r} cannot be used", where=f"{path}:{line}", found=first["msg"],
            expected="model, rubric and labels", hint=hint if key == "labels" else "",
        ) from error  # fmt: skip


class _Pairs:
    """The judge of pairs as a plain function; what cannot be read is "nothing new", and counted."""

    def __init__(self, model: ChatModel) -> None:
        self.model, self.unread, self.asked = model, 0, 0

    def __call__(self, questions: Sequence[tuple[str, str]]) -> list[bool]:
        found = run_sync(ask_new(self.model, questions))
        self.asked += len(found)
        self.unread += sum(v is None for v in found)
        return [bool(v) for v in found]


def gate_by_judge(
    samples: Sequence[Sample], asked: Mapping[str, str], path: Path, *, cache: Path | None = None, seed: int
) -> Gated:
    """Let a model judge prose: each text by a rubric, and random pairs of good texts in both orders.

    Args:
        samples: Texts of all arms.
        asked: Words of each prompt, by its id.
        path: Judge file, see ``JudgeSpec``.
        cache: File that keeps the verdicts of a served judge.
        seed: Of the random pairs.

    Raises:
        ConfigError: Nothing to judge.
        DataFormatError: A judge file or a table of labels that cannot be used.
        ModelError: Verdicts that could not be had.
    """
    spec = read_judge(path)
    todo = prose(samples, "--judge")
    labels = _labels(path.parent / spec.labels) if spec.labels != NO_LABELS else []
    model = load(spec.model, cache=cache)
    try:
        return _judged(samples, asked, todo, spec, labels, model, seed)
    finally:
        run_sync(model.aclose())


def _judged(
    samples: Sequence[Sample], asked: Mapping[str, str], todo: Mapping[str, list[int]], spec: JudgeSpec,
    labels: Sequence[tuple[str, str, bool]], model: ChatModel, seed: int,
) -> Gated:  # fmt: skip
    judge = _Pairs(model)
    stamp, notes = _calibrated(labels, judge, spec)
    if model.info.small_model:
        notes.append(f"the judge {spec.model} is a small model, known to be weak")
    if spec.model in {s.arm for s in samples}:
        notes.append(f"the judge {spec.model} is one of those compared, and may like its own texts")
    out, pairs = list(samples), {}
    for domain, places in todo.items():
        said = [i for i in places if samples[i].text.strip()]
        verdicts = run_sync(
            ask_valid(model, spec.rubric, [asked[samples[i].prompt] for i in said], [samples[i].text for i in said])
        )
        good = dict(zip(said, verdicts, strict=True))
        disagree = among = 0
        for i in places:
            out[i] = samples[i]._replace(valid=bool(good.get(i)))
        for (arm, prompt), bag in bags_of(samples, places).items():
            if len(bag) < 2:
                continue
            own = derive_seed("pairs", seed, arm, domain, prompt)
            texts, valid = [out[i].text for i in bag], [bool(out[i].valid) for i in bag]
            found = judged_pairs(texts, valid, judge, seed=own, pairs=spec.pairs)
            pairs[arm, domain, prompt] = PairCount(found.d_pair * found.pairs, found.asked, found.pairs, None)
            disagree, among = disagree + found.disagree, among + found.asked
        unread = sum(v is None for v in verdicts)
        notes.append(
            f"{domain}: judged by {spec.model}; {unread} of {len(verdicts)} verdicts on texts could not be read and "
            f"count as not valid; the two orders disagree on {disagree} of {among} pairs, which count as the same"
        )
    if judge.unread:
        notes.append(f"{judge.unread} of {judge.asked} verdicts on pairs could not be read and count as nothing new")
    return Gated(out, pairs, dict.fromkeys(todo, stamp) if stamp else {}, notes)


def _labels(path: Path) -> list[tuple[str, str, bool]]:
    table = read_table(path, require=("first", "second", "different"))
    rows = zip(*(table.roles[r] for r in ("first", "second", "different")), strict=True)
    found = [(str(a), str(b), bool(d)) for a, b, d in rows]
    empty = next((k for k, (a, b, _) in enumerate(found) if not (a and b)), None)
    if empty is not None:
        raise DataFormatError("a labelled pair without a text", where=table.place(empty), expected="two texts")
    return found


def _calibrated(labels: Sequence[tuple[str, str, bool]], judge: _Pairs, spec: JudgeSpec) -> tuple[str, list[str]]:
    """The stamp of all verdicts, and what it rests on."""
    need = f"at least {MIN_CALIBRATION} pairs and κ of {MIN_KAPPA} are wanted"
    if not labels:
        return UNCALIBRATED, [f"the judge {spec.model} was compared with nobody: {need}"]
    texts = [t for a, b, _ in labels for t in (a, b)]
    places = [(2 * k, 2 * k + 1) for k in range(len(labels))]
    found = calibrate_judge(ask_both_orders(texts, places, judge).different, [d for _, _, d in labels])
    kappa = "undefined" if found.kappa is None else f"{found.kappa:.2f}"
    said = f"the judge {spec.model} agrees with people on {found.agreement:.0%} of {found.pairs} pairs, κ {kappa}"
    return found.stamp, [said + ("" if not found.stamp else f"; {need}")]
