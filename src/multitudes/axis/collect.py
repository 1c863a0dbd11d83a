"""Collect what an axis is fitted to: ask, read inside while the answers are written, keep sums.

Two passes, which never meet in one axis. *Fixed text*: one constant text is read after every (system, question).
*Generated*: the model answers, and the residual stream is summed while it does. Answers are asked in shards of a few
conditions. After each, sums and answers are on the disk under the number of the shard, so that a killed collection
goes on where it stopped and ends with the same sums.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from multitudes.axis.accumulate import Accumulator
from multitudes.axis.adherence import IN_ROLE, PARTLY, RUBRIC_HASH, UNSCORED, Filter, threshold
from multitudes.axis.answers import Aim, Answer, Collection, Step, read_answers, write_whole
from multitudes.axis.collected import Collected, merge
from multitudes.axis.conditions import Condition, conditions_of, messages_of
from multitudes.axis.controls import SOMEWHAT, UNFILTERED
from multitudes.axis.errors import CollectionMismatch
from multitudes.axis.fit import analysis_layer
from multitudes.axis.presets import Preset, fixed_questions_of, questions_of, roles_of
from multitudes.axis.roles import Question, RoleSet
from multitudes.axis.scoring import MIN_TOKENS, null_ratios, scored
from multitudes.axis.sums_file import load_collected, save_collected
from multitudes.axis.topic import TopicFilter
from multitudes.axis.verdicts import Verdicts
from multitudes.axis.window import cap_window
from multitudes.core.canonical import content_hash
from multitudes.core.seeds import derive_seed
from multitudes.models.base import ChatModel, Message, Reply, Request, Sampling, ScoreItem
from multitudes.models.encode import Encoder

SHARD = 8  # conditions whose answers are folded and written together
FEW_QUESTIONS = 24  # up to so many, sums by question are kept at every layer; else at those that are looked at
NORMS_AT_ONCE = 32  # answers whose tokens are held, at every layer, while their norms are taken
CODE_SCHEMA = 2  # raise it when what is asked or folded changes: older parts are then not continued


async def collect(
    model: Any,
    everything: RoleSet,
    size: Preset,
    folder: Path,
    *,
    seed: int = 0,
    judge: ChatModel | None = None,
    topic: Encoder | None = None,
    watch: Callable[[Step], None] | None = None,
    aim: Callable[[Collected], Aim] | None = None,
) -> Collection:
    """Ask ``model`` what ``size`` asks, or go on where an earlier call in ``folder`` stopped.

    Args:
        model: A local model: it must have taps.
        everything: Roles, questions, arms.
        size: How much.
        folder: Where parts are kept; made if it is not there.
        seed: Seed of the answers.
        judge: Scores answers; without one the likelihood filter does.
        topic: A second condition beside either: an answer must lie closer to its role's definition than to others'.
        watch: Told after each part.
        aim: From the sums of the fixed text, the directions along which answers are projected as they are written.

    Raises:
        CollectionMismatch: The folder holds a collection of something else.
        Unsupported: A model without taps.
    """
    told = watch or (lambda _step: None)
    plan = conditions_of(model, everything, size)
    folder.mkdir(parents=True, exist_ok=True)
    filter_: Filter = "likelihood" if judge is None else "judge"
    _claim(folder, model, everything, size, seed=seed, judge=judge, topic=topic)
    fixed = await _fixed(model, everything, size, plan, folder, told)
    aimed = None if aim is None else aim(fixed)
    filters = _Filters(
        None if judge is None else Verdicts(folder, judge),
        None if topic is None else TopicFilter(topic, roles_of(size, everything), seed=seed),
    )
    sums, off_topic, about = await _generated(model, everything, size, plan, folder, seed, filters, told, aimed)
    parts = [np.load(f) for f in sorted(folder.glob("projections-*.npy"))] if aimed is not None else []
    projections = np.concatenate(parts) if parts else None
    return Collection(
        fixed, sums, tuple(read_answers(folder)), about["theta"], tuple(about["null"]), filter_, projections,
        off_topic, "" if topic is None else topic.name,
    )  # fmt: skip


async def collect_fixed(
    model: Any, everything: RoleSet, size: Preset, folder: Path, *, watch: Callable[[Step], None] | None = None
) -> Collected:
    """The fixed-text pass alone: enough for a direction, not for its scale. Arguments as for ``collect``."""
    folder.mkdir(parents=True, exist_ok=True)
    plan = conditions_of(model, everything, size)
    return await _fixed(model, everything, size, plan, folder, watch or (lambda _step: None))


class _Filters(NamedTuple):
    """Who says whether an answer is in role: a judge, or the likelihood filter; and a condition beside either."""

    verdicts: Verdicts | None
    topic: TopicFilter | None


def _claim(
    folder: Path, model: Any, everything: RoleSet, size: Preset, *, seed: int, judge: ChatModel | None,
    topic: Encoder | None,
) -> None:  # fmt: skip
    """Note what the folder is for; refuse a folder that is for something else."""
    key = {
        "schema": CODE_SCHEMA, "model": model.info.fingerprint, "roles": everything.hash, "preset": asdict(size),
        "seed": seed, "judge": None if judge is None else [judge.info.fingerprint, RUBRIC_HASH],
        "topic": None if topic is None else topic.name,
    }  # fmt: skip
    file = folder / "collection.json"
    if file.is_file():
        known = json.loads(file.read_text(encoding="utf-8"))
        if content_hash(known) != content_hash(key):
            differs = [k for k in key if content_hash(known.get(k)) != content_hash(key[k])]
            raise CollectionMismatch(
                "this folder holds a collection of something else", where=str(folder),
                found=f"another {', '.join(differs)}", hint="give another --out, or remove the folder",
            )  # fmt: skip
        return
    write_whole(file, json.dumps(key, indent=1))


def _accumulator(
    model: Any, everything: RoleSet, size: Preset, questions: Sequence[Question], method: Any
) -> Accumulator:
    roles = roles_of(size, everything)
    few = len(questions) <= FEW_QUESTIONS
    layers = range(model.n_layers) if few else sorted({analysis_layer(model.n_layers), *cap_window(model.n_layers)})
    return Accumulator(
        [r.id for r in roles], [r.family for r in roles], [q.id for q in questions], n_layers=model.n_layers,
        width=model.d_model, question_layers=layers, method=method,
    )  # fmt: skip


def _fold(
    sums: Accumulator, condition: Condition, j: int, question: Question, x: NDArray[Any], *, kept: bool,
    somewhat: bool = False,
) -> None:  # fmt: skip
    """One response into its sums."""
    if condition.kind == "role":
        if kept:
            sums.add(condition.role, question.half, j, x)
        if somewhat:
            sums.add_control(SOMEWHAT, x)
        sums.add_control(UNFILTERED, x)
    elif condition.kind == "default":
        sums.add(None, question.half, j, x)
    else:
        sums.add_control(condition.kind, x)


# --- fixed text -------------------------------------------------------------------------------------------------


async def _fixed(
    model: Any,
    everything: RoleSet,
    size: Preset,
    plan: Sequence[Condition],
    folder: Path,
    told: Callable[[Step], None],
) -> Collected:
    file = folder / "fixed.safetensors"
    if file.is_file():
        return load_collected(file)
    questions = fixed_questions_of(size, everything)
    sums = _accumulator(model, everything, size, questions, "fixed_text")
    text, layers = everything.arms.continuation, range(model.n_layers)
    for k, part in enumerate(shards := list(_shards(plan))):
        told(Step("fixed text", k, len(shards)))
        cells = [(c, j, q) for c in part for j, q in enumerate(questions)]
        talks = [(*messages_of(c, q), Message("assistant", text)) for c, _, q in cells]
        for (condition, j, question), turns in zip(cells, await model.read_turns(talks, layers), strict=True):
            _fold(sums, condition, j, question, turns[-1], kept=True)
    items = [
        ScoreItem(messages_of(c, q), text, include_end=False) for c in plan if c.kind == "default" for q in questions
    ]
    for start in range(0, len(items), NORMS_AT_ONCE):
        for acts in await model.read(items[start : start + NORMS_AT_ONCE], layers):
            sums.add_norms(np.linalg.norm(acts, axis=2).sum(axis=1), tokens=acts.shape[1])
    told(Step("fixed text", len(shards), len(shards)))
    done = sums.collected()
    done = replace(done, controls={k: v for k, v in done.controls.items() if k != UNFILTERED})
    save_collected(done, file)
    return done


# --- generated --------------------------------------------------------------------------------------------------


async def _generated(
    model: Any, everything: RoleSet, size: Preset, plan: Sequence[Condition], folder: Path, seed: int,
    filters: _Filters, told: Callable[[Step], None], aim: Aim | None,
) -> tuple[Collected, Collected | None, dict[str, Any]]:  # fmt: skip
    """Sums of kept answers; of those that only the topic filter dropped; and what is known of the null."""
    questions = questions_of(size, everything)
    shards = list(_shards(plan))
    done, total, off_topic = _resume(folder)
    about: dict[str, Any] = {"theta": float("nan"), "null": []}
    if done:
        about = json.loads((folder / "null.json").read_text(encoding="utf-8"))
    for k in range(done, len(shards)):
        told(Step("roles", k, len(shards)))
        sums, off = (_accumulator(model, everything, size, questions, "generated") for _ in range(2))
        answers, means = await _ask(model, size, shards[k], questions, seed)
        if k == 0:  # the arms without a role come first: their answers are the null of the filter
            if filters.verdicts is None:
                about["null"] = await null_ratios(model, everything, size, shards[0], questions, answers, seed)
                about["theta"] = threshold(about["null"])
            write_whole(folder / "null.json", json.dumps(about))
        answers = await scored(
            model, everything, shards[k], questions, answers, about["theta"], verdicts=filters.verdicts,
            topic=filters.topic,
        )  # fmt: skip
        places = {c.id: c for c in shards[k]}, {q.id: (j, q) for j, q in enumerate(questions)}
        for answer, x in zip(answers, means, strict=True):
            if answer.n_tokens >= MIN_TOKENS:
                condition, (j, question) = places[0][answer.condition], places[1][answer.question]
                _fold(sums, condition, j, question, x, kept=answer.kept, somewhat=answer.score == PARTLY)
                if answer.score == IN_ROLE and answer.off_topic:
                    off.add(condition.role, question.half, j, x)
        total = _added(total, sums)
        if filters.topic is not None:
            off_topic = _added(off_topic, off)
            save_collected(off_topic, folder / f"off-topic-{k + 1:04d}.safetensors")
        if aim is not None:
            nothing = np.full(model.n_layers + len(aim.beside), np.nan, np.float32)
            rows = [aim(x) if a.n_tokens >= MIN_TOKENS else nothing for a, x in zip(answers, means, strict=True)]
            write_whole(folder / f"projections-{k:04d}.npy", np.stack(rows))
        lines = [json.dumps(asdict(a), ensure_ascii=False, allow_nan=True) for a in answers]
        write_whole(folder / f"answers-{k:04d}.jsonl", "\n".join(lines) + "\n")
        save_collected(total, folder / f"sums-{k + 1:04d}.safetensors")  # last: it says that the shard is done
        for name in ("sums", "off-topic"):
            (folder / f"{name}-{k:04d}.safetensors").unlink(missing_ok=True)
    told(Step("roles", len(shards), len(shards)))
    assert total is not None
    return total, off_topic, about


def _added(total: Collected | None, sums: Accumulator) -> Collected:
    return sums.collected() if total is None else merge([total, sums.collected()])


def _resume(folder: Path) -> tuple[int, Collected | None, Collected | None]:
    """Shards that are done, their sums, and the sums of what the topic filter dropped."""
    files = sorted(folder.glob("sums-*.safetensors"))
    if not files:
        return 0, None, None
    off = files[-1].with_name(files[-1].name.replace("sums", "off-topic"))
    done = int(files[-1].stem.partition("-")[2])
    return done, load_collected(files[-1]), load_collected(off) if off.is_file() else None


def _shards(plan: Sequence[Condition]) -> Iterable[list[Condition]]:
    """Arms without a role first, then roles, a few at a time."""
    yield [c for c in plan if c.kind != "role"]
    roles = [c for c in plan if c.kind == "role"]
    for start in range(0, len(roles), SHARD):
        yield roles[start : start + SHARD]


async def _ask(
    model: Any, size: Preset, part: Sequence[Condition], questions: Sequence[Question], seed: int
) -> tuple[list[Answer], list[NDArray[Any]]]:
    """Answers of a shard, and the mean residual stream (L, d) of each, read while it was written."""
    sampling = Sampling(temperature=size.temperature, top_p=size.top_p, max_tokens=size.max_tokens)
    layers = tuple(range(model.n_layers))
    cells = [(c, q, d) for c in part for q in questions for d in range(size.draws if c.kind == "default" else 1)]
    replies: list[Reply] = await model.reply(
        [
            Request(
                messages_of(c, q), sampling, seed=derive_seed("axis", seed, c.id, q.id, d), keep=False, watch=layers,
                call_id=f"{c.id}:{q.id}:{d}",
            )
            for c, q, d in cells
        ]
    )  # fmt: skip
    answers, means = [], []
    for (c, q, d), reply in zip(cells, replies, strict=True):
        seen, ids = reply.internals, reply.token_ids or ()
        n = seen.n_tokens if seen is not None and reply.fault is None else 0
        answers.append(Answer(c.id, q.id, d, reply.text, ids, n, float("nan"), UNSCORED))
        means.append(seen.means if seen is not None and n else np.zeros((model.n_layers, model.d_model), np.float32))
    return answers, means
