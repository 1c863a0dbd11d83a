"""A model inside this process: many awaiting conversations become batches, and nothing is computed twice."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from typing import Literal, NamedTuple, TypeVar
from weakref import WeakKeyDictionary

import torch

from multitudes.core.errors import ConfigError, ModelError, MultitudesError, Unsupported
from multitudes.core.records import Usage
from multitudes.core.seeds import derive_seed
from multitudes.models.base import (
    Capabilities,
    Reply,
    ReplyFault,
    Request,
    Scored,
    ScoreItem,
    check_requests,
    check_score_items,
)
from multitudes.models.edit import Edit
from multitudes.models.local import sampling
from multitudes.models.local.batch import Batcher, Generation, Row
from multitudes.models.local.inside import ReadsInside, salt_of
from multitudes.models.local.reading import told_logp
from multitudes.models.local.runner import Runner
from multitudes.models.local.template import ChatTemplate

T = TypeVar("T")

SEED_RANGE = 1 << 64
GATHER_S = 0.005  # a batch is cut after this long without a new request
SCORE_ITEMS = 512  # scored in one go; between two goes waiting replies get their turn


class _Planned(NamedTuple):
    """All tokens of an item, how many of them are context, and the edit they are read under."""

    ids: list[int]
    n_context: int
    edit: Edit | None


@dataclass(slots=True, eq=False)
class _Job:
    request: Request
    asked_at: float
    future: asyncio.Future[Reply]


@dataclass(slots=True, eq=False)
class _Queue:
    """Who waits in one event loop. Loops have queues of their own and share the thread that computes."""

    waiting: list[_Job]
    arrived: asyncio.Event
    worker: asyncio.Task[None] | None = None


class LocalModel(ReadsInside):
    """A ``transformers`` model as a ``ChatModel``.

    Args:
        runner: The model itself.
        template: Its chat template and tokenizer.
        info: What it is.
        batch_size: Rows that decode together. Eight times the throughput of one row at 32, little more beyond 64.
        kv_budget_mib: Memory for keys and values kept between calls, in MiB; least recently used out first. The
            batch that is being computed needs memory of its own beside it.

    Raises:
        ConfigError: A batch size below 1.
    """

    def __init__(
        self,
        runner: Runner,
        template: ChatTemplate,
        info: Capabilities,
        *,
        batch_size: int = 32,
        kv_budget_mib: int = 4096,
    ) -> None:
        if batch_size < 1:
            raise ConfigError("no row can be computed", where="batch_size", found=repr(batch_size), expected=">= 1")
        self.batcher = Batcher(runner, kv_budget_bytes=kv_budget_mib << 20, batch_size=batch_size)
        self.runner, self.template = runner, template
        self._info = info
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="multitudes-engine")
        self._queues: WeakKeyDictionary[asyncio.AbstractEventLoop, _Queue] = WeakKeyDictionary()
        self._closed = False
        self._drawn_seeds = 0
        self._salt = int.from_bytes(os.urandom(8), "big")

    @property
    def info(self) -> Capabilities:
        """What this engine is and can do."""
        return self._info

    # --- reply ----------------------------------------------------------------------------------------------

    async def reply(self, requests: Sequence[Request]) -> list[Reply]:
        """One reply per request; requests of all callers that wait at the same time decode as one batch.

        Raises:
            ConfigError: A request that no engine could answer; names its index.
            Unsupported: A request with a schema: this engine writes text.
            ModelError: The engine was closed.
        """
        check_requests(requests, taps=True)
        if any(r.schema is not None for r in requests):
            raise Unsupported("json_schema", self._info.name, "leave out the schema, or use a served model")
        self._check_open()
        loop = asyncio.get_running_loop()
        queue = self._queues.setdefault(loop, _Queue([], asyncio.Event()))
        jobs = [_Job(r, time.perf_counter(), loop.create_future()) for r in requests]
        queue.waiting += jobs
        queue.arrived.set()
        if queue.worker is None or queue.worker.done():
            queue.worker = loop.create_task(self._work(queue))
        return list(await asyncio.gather(*(j.future for j in jobs)))

    def _check_open(self) -> None:
        if self._closed:
            raise ModelError("the engine was closed", where=self._info.name, hint="load the model again")

    async def _work(self, queue: _Queue) -> None:
        """Cut batches as long as anybody waits."""
        size = self.batcher.batch_size
        while queue.waiting:
            while len(queue.waiting) < size:
                queue.arrived.clear()
                try:
                    await asyncio.wait_for(queue.arrived.wait(), GATHER_S)
                except TimeoutError:
                    break
            batch = [j for j in queue.waiting[:size] if not j.future.done()]
            del queue.waiting[:size]
            if batch:
                await self._answer(batch)

    async def _answer(self, batch: Sequence[_Job]) -> None:
        """Compute one batch and hand out its replies; what goes wrong goes to those who asked."""
        try:
            replies = await self._in_thread(partial(self._reply_now, [j.request for j in batch]))
        except BaseException as error:
            for job in batch:
                if not job.future.done():
                    job.future.set_exception(error)
            if not isinstance(error, MultitudesError | RuntimeError):
                raise
            return
        now = time.perf_counter()
        for job, reply in zip(batch, replies, strict=True):
            if not job.future.done():
                job.future.set_result(replace(reply, latency_s=now - job.asked_at))

    async def _in_thread(self, work: Callable[[], T]) -> T:
        self._check_open()
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    @torch.inference_mode()
    def _reply_now(self, requests: Sequence[Request]) -> list[Reply]:
        out: list[Reply | None] = [None] * len(requests)
        generations, keys, seeds = {}, {}, {}
        for i, request in enumerate(requests):
            try:
                ids, keys[i] = self.template.context_ids(request.messages, salt=salt_of(request.edit))
            except (ConfigError, TypeError, UnicodeEncodeError) as error:  # lone surrogates have no bytes
                out[i] = self._fault(request, "refused", f"cannot be written as tokens: {error}")
                continue
            room = (self._info.context_tokens or 1 << 30) - request.sampling.max_tokens
            if len(ids) > room:
                out[i] = self._fault(request, "too_long", f"{len(ids)} context tokens, room for {room}")
                continue
            seeds[i] = self._fresh_seed() if request.seed is None else request.seed
            steps = sampling.uniforms(seeds[i] % SEED_RANGE, request.sampling.max_tokens)
            row = Row(ids, keep=request.keep, edit=request.edit)
            generations[i] = Generation(row, request.sampling, steps, request.watch)
        if generations:
            self.batcher.generate(list(generations.values()), self.template.end_ids)
        for i, g in generations.items():
            out[i] = self._finished(requests[i], g, keys[i], seeds[i])
        return [r for r in out if r is not None]

    def _finished(self, request: Request, g: Generation, key: bytes, seed: int) -> Reply:
        if g.bad_step is not None:
            return self._fault(request, "non_finite", f"logits were not finite at step {g.bad_step}")
        text, finish = self.template.decode(g.sampled), g.finish
        cut = min((text.index(s) for s in request.sampling.stop if s in text), default=None)
        if cut is not None:
            text, finish = text[:cut], "stop"
        elif request.keep:
            self.template.remember(key, text, g.sampled)
        return Reply(
            text=text,
            finish="stop" if finish == "stop" else "length",
            usage=Usage(prompt=g.row.n_context, cached=g.row.n_cached - g.row.n_shared, completion=len(g.sampled)),
            seed=seed,
            seed_status=self._info.seed_status,
            cost_usd=0.0,
            token_ids=tuple(g.sampled),
            logprobs=tuple(g.logprobs),
            near_ties=g.near_ties,
            engine=_spoke(self._info, request.edit),
            internals=g.seen,
        )

    def _fault(self, request: Request, code: Literal["too_long", "non_finite", "refused"], detail: str) -> Reply:
        fault = ReplyFault(code, detail)
        return Reply(text="", finish="error", seed=request.seed, fault=fault, engine=self._info.fingerprint)

    def _fresh_seed(self) -> int:
        self._drawn_seeds += 1
        return derive_seed("unseeded", self._salt, self._drawn_seeds)

    # --- score ----------------------------------------------------------------------------------------------

    async def score(self, items: Sequence[ScoreItem]) -> list[Scored]:
        """Log-probabilities of continuations; sequences that continue one another are computed once.

        Raises:
            ConfigError: An item that has no tokens to score or does not fit the context; names its index.
        """
        check_score_items(items, taps=True)
        plans = [self._plan(item, where=f"items[{i}]") for i, item in enumerate(items)]
        order = sorted(range(len(items)), key=lambda i: (salt_of(plans[i].edit), plans[i].ids))
        found: dict[int, Scored] = {}
        for start in range(0, len(order), SCORE_ITEMS):
            chunk = order[start : start + SCORE_ITEMS]
            found |= await self._in_thread(partial(self._score_now, chunk, plans))
        return [found[i] for i in range(len(items))]

    def _plan(self, item: ScoreItem, *, where: str = "item") -> _Planned:
        """All tokens of an item, and how many of them are context."""
        try:
            context, _ = self.template.context_ids(item.context, salt=salt_of(item.edit))
            rest = (
                list(item.token_ids)
                if item.token_ids is not None
                else self.template.continuation_ids(item.continuation, include_end=item.include_end)
            )
        except (TypeError, UnicodeEncodeError) as error:
            raise ConfigError("cannot be written as tokens", where=where, found=str(error)) from error
        if not rest:
            raise ConfigError("the continuation has no tokens", where=where, found=repr(item.continuation))
        if self._info.context_tokens is not None and len(context) + len(rest) > self._info.context_tokens:
            raise ConfigError(
                "does not fit the context", where=where, found=f"{len(context) + len(rest)} tokens",
                expected=f"at most {self._info.context_tokens}",
            )  # fmt: skip
        return _Planned(context + rest, len(context), item.edit)

    @torch.inference_mode()
    def _score_now(self, chunk: Sequence[int], plans: Sequence[_Planned]) -> dict[int, Scored]:
        """Score items that come in order of their edits and tokens: one that begins another shares its row."""
        rows: list[tuple[Row, list[int]]] = []
        for i in chunk:
            fed = plans[i].ids[:-1]  # the last token is only predicted
            salt = salt_of(plans[i].edit)
            if rows and rows[-1][0].salt == salt and rows[-1][0].ids == fed[: len(rows[-1][0].ids)]:
                rows[-1][0].ids = fed
                rows[-1][1].append(i)
            else:
                rows.append((Row(fed, keep=False, edit=plans[i].edit), [i]))
        for row, members in rows:
            row.wanted = sorted({p for i in members for p in range(plans[i].n_context - 1, len(plans[i].ids) - 1)})
        self.batcher.prefill([row for row, _ in rows])
        states: list[int] = []  # of each token, the number of the state that it follows
        tokens: list[int] = []
        first = 0
        for row, members in rows:
            at = {p: first + k for k, p in enumerate(row.wanted or ())}
            for ids, n_context, _ in (plans[i] for i in members):
                states += [at[p] for p in range(n_context - 1, len(ids) - 1)]
                tokens += ids[n_context:]
            first += len(at)
        logp = iter(told_logp(self.batcher, torch.cat([row.hidden for row, _ in rows]), states, tokens))
        out: dict[int, Scored] = {}
        for row, members in rows:
            usage = Usage(prompt=len(row.ids), cached=row.n_cached - row.n_shared)
            for i in members:
                own = tuple(islice(logp, len(plans[i].ids) - plans[i].n_context))
                out[i] = Scored(own, _spoke(self._info, plans[i].edit), usage)
                usage = Usage()
        return out

    async def aclose(self) -> None:
        """Finish what is being computed, refuse what waits, forget all conversations and stop the thread."""
        self._closed = True
        for queue in self._queues.values():
            for job in queue.waiting:
                if not job.future.done():
                    job.future.set_exception(ModelError("the engine was closed", where=self._info.name))
            queue.waiting.clear()
        await asyncio.to_thread(self._thread.shutdown)
        self.batcher.prefixes.clear()


def _spoke(info: Capabilities, edit: Edit | None) -> str:
    """Fingerprint of the engine under an edit: numbers of two settings never meet in one statistic."""
    return info.fingerprint if edit is None else f"{info.fingerprint}+edit:{edit.fingerprint}"
