"""What capping and projecting cost while a batch decodes, on the embedded model, side by side in one process.

Arms, interleaved round by round on the same contexts, seeds and number of tokens:

* off: plain decoding;
* cap: the floor on the default window, engaged on every row;
* cap + project: the same, and the residual stream of the analysis layer summed for its projection;
* capture: the mean residual stream of all blocks, as a collection reads it.

An arm's figure is the median over rounds of its seconds per step divided by those of the off arm in the same round.
Capping is to cost at most 3 % and capturing at most 5 %. Published for all-layer steering in serving engines: 14 to
24 % (second-hand figures, not checked here).
"""

import argparse
import os
import statistics
import time

import numpy as np
import torch

from _common import finish, machine
from multitudes.axis.window import cap_window
from multitudes.models.base import Sampling
from multitudes.models.edit import Edit, LayerEdit, orthonormal
from multitudes.models.load import load
from multitudes.models.local import sampling
from multitudes.models.local.batch import Generation, Row

ROWS, STEPS, CONTEXT, ROUNDS = 32, 24, 96, 14


def edit_of(d: int, layers: tuple[int, ...]) -> Edit:
    """A floor above what the model does by itself, so that the clamp works at every token."""
    rng = np.random.default_rng(0)
    up = np.array([np.inf], np.float32)
    parts = tuple(LayerEdit(k, orthonormal([rng.normal(size=d)]), np.array([1.0], np.float32), up) for k in layers)
    return Edit("floor", parts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    args = parser.parse_args()
    at = machine()
    if os.getloadavg()[0] > 1:
        torch.set_num_threads(1)
    model = load("smollm2")
    cap = edit_of(model.d_model, cap_window(model.n_layers))
    everything, middle = tuple(range(model.n_layers)), (model.n_layers // 2,)
    arms = {"off": (None, ()), "cap": (cap, ()), "cap + project": (cap, middle), "capture": (None, everything)}
    rng = np.random.default_rng(1)
    contexts = [rng.integers(1000, 40_000, CONTEXT).tolist() for _ in range(ROWS)]

    @torch.inference_mode()
    def run(edit: Edit | None, watch: tuple[int, ...], seed: int) -> float:
        """Seconds per decoding step; prefill is outside, because it is done once."""
        draw = Sampling(max_tokens=STEPS)
        rows = [
            Generation(Row(list(c), keep=False, edit=edit), draw, sampling.uniforms(seed + i, STEPS), watch)
            for i, c in enumerate(contexts)
        ]
        before = model.batcher.decode_s
        model.batcher.generate(rows, frozenset())
        return (model.batcher.decode_s - before) / STEPS

    for edit, watch in arms.values():
        run(edit, watch, 0)
    seconds: dict[str, list[float]] = {name: [] for name in arms}
    start = time.perf_counter()
    for k in range(args.rounds):
        order = list(arms)[k % len(arms) :] + list(arms)[: k % len(arms)]
        for name in order:
            seconds[name].append(run(*arms[name], 100 * k))
    ratios = {n: [s / o for s, o in zip(v, seconds["off"], strict=True)] for n, v in seconds.items()}
    print(
        f"{ROWS} rows, contexts of {CONTEXT} tokens, {STEPS} steps, {args.rounds} rounds, "
        f"{torch.get_num_threads()} threads, {time.perf_counter() - start:.0f} s"
    )
    print(f"{'arm':<16}{'ms a step':>10}{'tokens/s':>10}{'ratio':>8}{'quartiles':>18}")
    for name, values in ratios.items():
        low, middle_, high = statistics.quantiles(values, n=4) if len(values) > 1 else values * 3
        step = statistics.median(seconds[name])
        print(f"{name:<16}{1000 * step:>10.1f}{ROWS / step:>10.0f}{middle_:>8.3f}{f'{low:.3f} to {high:.3f}':>18}")
    kept = {name: round(1 / statistics.median(v), 4) for name, v in ratios.items()}
    finish(
        "axis_overhead", {"tokens_per_second_kept": kept, "rounds": args.rounds},
        "cap + project keeps at least .97 of plain tokens per second, capture of all blocks at least .95",
        kept["cap + project"] >= 0.97 and kept["capture"] >= 1 / 1.05, at,
    )  # fmt: skip


if __name__ == "__main__":
    main()
