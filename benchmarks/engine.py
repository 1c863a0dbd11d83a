"""The local engine against two plain ways of doing the same, on the embedded model, greedy, float32.

W6: 32 conversations of 6 messages; W60: 8 of 60; both sides the embedded model, at most 40 new tokens.

* A: one ``generate()`` per message on the whole conversation, batch 1. Its cost is linear in conversations, so it
  runs on the first 4 and is multiplied; the table says so.
* B: one padded ``generate()`` per turn for all conversations. On W60 it runs on every 6th turn and is interpolated
  linearly between them; the table says so.

Our engine runs first and its contexts are handed to the baselines as token ids, so every message is compared: a
difference is allowed only where the baseline's two best logits are closer than 1e-3, and is listed. Arms run in one
process, interleaved per workload, with the same number of threads.
"""

import argparse
import asyncio
import statistics
import subprocess
import sys
from typing import Any

import torch
from transformers.utils import logging

from _common import Timer, finish, machine, peak_rss_mib
from multitudes.core.records import Turn
from multitudes.models.base import Request, Sampling
from multitudes.models.local import packing
from multitudes.models.local.embedded import require
from multitudes.models.local.open import open_local
from multitudes.simulate.views import view

NEW, TIE, A_ROWS, B_EVERY = 40, 1e-3, 4, 6
GREEDY = Sampling(temperature=0, max_tokens=NEW)
JOBS = ("nurse", "tram driver", "baker", "retired sailor", "law student", "roofer", "bookseller", "farmer")
TOWNS = ("Porto", "Leeds", "Turin", "Gdansk", "Malmo", "Graz", "Cork", "Basel")


def prompt(i: int, side: str) -> str:
    """A persona prompt of 60 to 120 tokens."""
    job, town = JOBS[i % 8], TOWNS[(i * 3 + i // 8) % 8]
    now = "calling about a lost parcel" if side == "user" else "on the phone of a small post office"
    habit = "You like long walks, strong tea and short answers. " * (1 + i % 3)
    return (
        f"You are a {job} from {town}, {30 + i} years old, and you have lived there for {i + 2} years with a dog. "
        f"{habit}You are {now}. "
        "Speak in one or two short everyday sentences and say what you think."
    )


async def ours(model: Any, n: int, messages: int) -> list[list[tuple[list[int], list[int]]]]:
    """Per message and conversation: context ids and sampled ids."""
    turns: list[list[Turn]] = [[] for _ in range(n)]
    log = []
    for m in range(messages):
        side: Any = "user" if m % 2 == 0 else "target"
        requests = [Request(view(turns[i], side, system=prompt(i, side)), GREEDY, seed=i) for i in range(n)]
        contexts = [model.template.context_ids(r.messages)[0] for r in requests]
        replies = await model.reply(requests)
        log.append([(c, list(r.token_ids)) for c, r in zip(contexts, replies, strict=True)])
        for i, reply in enumerate(replies):
            turns[i].append(Turn(speaker=side, text=reply.text))
    return log


def generate(module: Any, contexts: list[list[int]], end: int) -> list[list[int]]:
    """What ``transformers`` makes of left-padded contexts; tokens up to and with the end."""
    width = max(map(len, contexts))
    ids = torch.tensor([[end] * (width - len(c)) + c for c in contexts])
    mask = torch.tensor([[0] * (width - len(c)) + [1] * len(c) for c in contexts])
    with torch.inference_mode():
        out = module.generate(
            input_ids=ids, attention_mask=mask, do_sample=False, max_new_tokens=NEW, pad_token_id=end
        )
    rows = [row[width:].tolist() for row in out]
    return [row[: row.index(end) + 1] if end in row else row for row in rows]


def differences(module: Any, context: list[int], a: list[int], b: list[int]) -> list[float]:
    """The gap of the two best logits where two replies first differ; empty if they are equal."""
    if a == b:
        return []
    k = next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
    with torch.inference_mode():
        top = module(torch.tensor([context + a[:k]])).logits[0, -1].topk(2).values
    return [float(top[0] - top[1])]


def workload(model: Any, plain: Any, n: int, messages: int, *, sampled_b: bool) -> dict[str, Any]:
    """One round of one workload: seconds of each arm and every difference in tokens."""
    end = 2
    model.batcher.prefixes.clear()
    before = (model.batcher.prefill_s, model.batcher.decode_s, model.batcher.forward_s, model.batcher.decode_tokens)
    with Timer() as mine:
        log = asyncio.run(ours(model, n, messages))
    after = (model.batcher.prefill_s, model.batcher.decode_s, model.batcher.forward_s, model.batcher.decode_tokens)
    prefill, decode, forward, tokens = (y - x for x, y in zip(before, after, strict=True))
    gaps: list[float] = []
    a_cpu = a_wall = 0.0
    if not sampled_b:
        with Timer() as timer:
            alone = [[generate(plain, [log[m][i][0]], end)[0] for i in range(A_ROWS)] for m in range(messages)]
        a_cpu, a_wall = timer.cpu * n / A_ROWS, timer.wall * n / A_ROWS
        for m in range(messages):
            for i in range(A_ROWS):
                gaps += differences(plain, log[m][i][0], log[m][i][1], alone[m][i])
    chosen = sorted({*range(0, messages, B_EVERY), messages - 1}) if sampled_b else list(range(messages))
    cost: dict[int, tuple[float, float]] = {}
    for m in chosen:
        with Timer() as timer:
            together = generate(plain, [c for c, _ in log[m]], end)
        cost[m] = (timer.cpu, timer.wall)
        for (context, mine_ids), other in zip(log[m], together, strict=True):
            gaps += differences(plain, context, mine_ids, other)
    b_cpu, b_wall = (_interpolated({m: c[k] for m, c in cost.items()}, messages) for k in (0, 1))
    return {
        "ours_cpu": mine.cpu, "ours_wall": mine.wall, "a_cpu": a_cpu, "a_wall": a_wall,
        "b_cpu": b_cpu, "b_wall": b_wall,
        "gaps": gaps, "compared": len(chosen) * n + (0 if sampled_b else A_ROWS * messages),
        "prefill_share": prefill / mine.wall, "decode_share": decode / mine.wall,
        "outside_forward_share": 1 - forward / mine.wall, "decode_tps": tokens / decode,
    }  # fmt: skip


def _interpolated(cost: dict[int, float], n: int) -> float:
    known = sorted(cost)
    total = 0.0
    for m in range(n):
        left = max(k for k in known if k <= m)
        right = min(k for k in known if k >= m)
        total += (
            cost[left] if left == right else cost[left] + (cost[right] - cost[left]) * (m - left) / (right - left)
        )
    return total


def matmul_peak(dtype: torch.dtype, size: int = 1024) -> float:
    """GFLOP/s of a square product on this machine, best of several."""
    a, b = (torch.randn(size, size).to(dtype) for _ in range(2))
    best = float("inf")
    for _ in range(6 if dtype == torch.float32 else 2):
        with Timer() as timer:
            a @ b
        best = min(best, timer.wall)
    return 2 * size**3 / best / 1e9


def step_ms(module: Any, rows: int = 32, steps: int = 8) -> float:
    """Milliseconds of the linear layers' part of one decoding step: all blocks and the last layer, no context."""
    ids, ones = torch.zeros((rows, 1), dtype=torch.long), torch.zeros((rows, 1), dtype=torch.long)
    times = []
    with torch.inference_mode():
        for _ in range(steps):
            with Timer() as timer:
                module(input_ids=ids, position_ids=ones, use_cache=False)
            times.append(timer.wall)
    return 1000 * statistics.median(times)


def load_plain(dtype: torch.dtype) -> Any:
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(str(require("smollm2")), dtype=dtype).eval()


def what_pays() -> dict[str, float]:
    """One decoding step of 32 rows as the library does it, with packed layers, and packed and fused."""
    out = {"library float32": step_ms(load_plain(torch.float32))}
    fused, packing.FUSED = packing.FUSED, ()
    module = load_plain(torch.float32)
    packing.pack_linears(module)
    out["packed layers"] = step_ms(module)
    packing.FUSED = fused
    module = load_plain(torch.float32)
    packing.pack_linears(module)
    out["packed and fused (ours)"] = step_ms(module)
    out["library bfloat16"] = step_ms(load_plain(torch.bfloat16), steps=1)
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=1, help="interleaved rounds; the median is reported")
    parser.add_argument("--only", choices=("W6", "W60"), help="one workload")
    parser.add_argument("--memory", action="store_true", help="only run W6 and print the peak memory in MiB")
    args, at = parser.parse_args(), machine()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    if args.memory:
        asyncio.run(ours(open_local(require("smollm2"), name="smollm2"), 32, 6))
        print(round(peak_rss_mib()))
        return
    peak, peak_bf16 = matmul_peak(torch.float32), matmul_peak(torch.bfloat16)
    print(f"matrix product peak: float32 {peak:.0f} GFLOP/s, bfloat16 {peak_bf16:.1f} GFLOP/s")
    steps = what_pays()
    for label, ms in steps.items():
        print(f"one decoding step, 32 rows, {label:26}{ms:9.1f} ms")
    plain = load_plain(torch.float32)
    flops = 2 * sum(p.numel() for p in plain.parameters())
    model = open_local(require("smollm2"), name="smollm2", small_model=True)
    figures: dict[str, Any] = {
        "peak_gflops": round(peak, 1), "peak_bf16_gflops": round(peak_bf16, 2),
        "step_ms": {k: round(v, 1) for k, v in steps.items()},
    }  # fmt: skip
    holds = True
    for name, n, messages, far in (("W6", 32, 6, False), ("W60", 8, 60, True)):
        if args.only not in (None, name):
            continue
        rounds = [workload(model, plain, n, messages, sampled_b=far) for _ in range(args.rounds)]
        mid = {k: statistics.median(r[k] for r in rounds) for k in rounds[0] if k not in ("gaps",)}
        gaps = [g for r in rounds for g in r["gaps"]]
        share = mid["decode_tps"] * flops / 1e9 / peak
        print(f"\n{name}: {n} conversations x {messages} messages, {args.rounds} round(s)")
        print(f"{'':34}{'CPU s':>10}{'wall s':>10}{'x ours':>10}")
        print(f"{'ours':34}{mid['ours_cpu']:>10.1f}{mid['ours_wall']:>10.1f}{1:>10.2f}")
        if not far:
            label = f"A per message ({A_ROWS} of {n}, scaled)"
            print(f"{label:34}{mid['a_cpu']:>10.1f}{mid['a_wall']:>10.1f}{mid['a_cpu'] / mid['ours_cpu']:>10.2f}")
        label = f"B per turn{f' (every {B_EVERY}th turn)' if far else ''}"
        print(f"{label:34}{mid['b_cpu']:>10.1f}{mid['b_wall']:>10.1f}{mid['b_cpu'] / mid['ours_cpu']:>10.2f}")
        print(f"shares of our wall time: prefill {mid['prefill_share']:.0%}, decode {mid['decode_share']:.0%}, "
              f"of both outside the forward pass {mid['outside_forward_share']:.0%}")  # fmt: skip
        print(f"decode {mid['decode_tps']:.0f} tokens/s = {share:.0%} of the float32 peak (attention not counted)")
        worst = max(gaps, default=0.0)
        print(
            f"{mid['compared']:.0f} messages compared, {len(gaps)} differ; logit gaps: {[f'{g:.0e}' for g in gaps]}"
        )
        figures[name] = {
            "b_over_ours": round(mid["b_cpu"] / mid["ours_cpu"], 2), "ours_cpu_s": round(mid["ours_cpu"], 1),
            "ours_wall_s": round(mid["ours_wall"], 1), "decode_tps": round(mid["decode_tps"]),
            "decode_share_of_peak": round(share, 2), "prefill_share": round(mid["prefill_share"], 2),
            "decode_share": round(mid["decode_share"], 2), "compared": int(mid["compared"]), "differ": len(gaps),
            "largest_gap": worst,
        }  # fmt: skip
        if not far:
            figures[name]["a_over_ours"] = round(mid["a_cpu"] / mid["ours_cpu"], 2)
            holds &= mid["a_cpu"] >= 3 * mid["ours_cpu"] and mid["b_cpu"] >= 1.5 * mid["ours_cpu"]
        else:
            holds &= mid["b_cpu"] >= 5 * mid["ours_cpu"]
        holds &= worst < TIE
    alone = subprocess.run([sys.executable, __file__, "--memory"], check=True, capture_output=True, text=True)
    figures["w6_peak_rss_mib"] = int(alone.stdout.split()[-1])
    print(f"\npeak memory of a process that only runs our W6: {figures['w6_peak_rss_mib']} MiB")
    goal = "W6: 3 x A, 1.5 x B; W60: 5 x B; equal greedy tokens (CPU-seconds)"
    finish("engine", figures, goal, holds, at)


if __name__ == "__main__":
    main()
