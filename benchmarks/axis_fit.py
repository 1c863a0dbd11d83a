"""The small preset of an axis fit on the embedded model: time, memory, what is kept on the disk, and its worth.

Kept bytes are measured while the fit runs, at their largest. Beside them stands what storing every answer would take:
one (blocks, width) mean per answer in bfloat16, as the published pipeline does (its three models: 140 to 434 GB, from
its paper, not checked here), for this preset and, by arithmetic, for the full protocol at the size of a 70B model.
"""

import asyncio
import tempfile
import threading
from pathlib import Path

from _common import Timer, finish, machine, peak_rss_mib
from multitudes.axis.artifact import save_axis
from multitudes.axis.build import find_axis
from multitudes.axis.check import check_capture
from multitudes.axis.presets import preset
from multitudes.axis.roles import shipped
from multitudes.models.load import load

LIMIT_S, LIMIT_MIB, LIMIT_PEAK_MIB = 240, 50, 2048


def size_of(folder: Path) -> int:
    """Bytes under a folder; a file may go while it is counted."""
    total = 0
    for file in folder.rglob("*"):
        try:
            total += file.stat().st_size if file.is_file() else 0
        except FileNotFoundError:
            continue
    return total


def main() -> None:
    at = machine()
    model, everything, size = load("smollm2"), shipped(), preset("small")
    with tempfile.TemporaryDirectory() as scratch:
        folder, largest, done = Path(scratch), [0], threading.Event()

        def watch() -> None:
            while not done.wait(0.2):
                largest[0] = max(largest[0], size_of(folder))

        watcher = threading.Thread(target=watch)
        watcher.start()
        with Timer() as took:
            axis = asyncio.run(find_axis(model, everything, size, folder / "parts"))
            save_axis(axis, folder)
        peak = round(peak_rss_mib())
        done.set()
        watcher.join()
        kept = max(largest[0], size_of(folder))
    capture = asyncio.run(check_capture(model, everything, size))
    answers = sum(int(v) for v in axis.about["scores"].values())
    split = float(axis.curves["split_half"][axis.layer])
    each = axis.n_layers * axis.d_model * 2
    stored_70b = (275 * 5 * 240 + 1200) * 80 * 8192 * 2
    ours_70b = 2 * 2 * 276 * 80 * 8192 * 4
    checked = round(peak_rss_mib())  # with the check that follows, which no fit needs
    print(f"fit: {took.wall:.0f} s, {took.cpu:.0f} CPU-s; peak memory {peak} MiB, {checked} with the check")
    print(f"kept on the disk: {kept / 2**20:.1f} MiB at most; every answer stored: {answers * each / 2**20:.1f} MiB")
    share = ours_70b / stored_70b
    print(f"full protocol, 80 blocks of 8,192: {ours_70b / 1e9:.1f} of {stored_70b / 1e9:.0f} GB, {share:.1%}")
    pc1 = float(axis.curves["pc1_cosine"][axis.layer])
    print(f"split-half cosine at layer {axis.layer}: {split:.3f}; cos(axis, PC1) {pc1:.2f}")
    print(
        f"one pass against two: relative error {capture.error:.1e}, cosine {capture.cosine:.7f}, {capture.n} answers"
    )
    figures = {
        "seconds": round(took.wall, 1), "cpu_seconds": round(took.cpu, 1), "kept_mib": round(kept / 2**20, 1),
        "peak_mib": peak, "peak_with_check_mib": checked, "split_half": round(split, 4),
        "capture_error": capture.error,
    }  # fmt: skip
    small = kept <= LIMIT_MIB << 20 and peak <= LIMIT_PEAK_MIB
    holds = took.wall <= LIMIT_S and small and split >= 0.8 and capture.error <= 1e-5
    goal = (
        f"{LIMIT_S} s on two idle cores, {LIMIT_PEAK_MIB} MiB of memory, {LIMIT_MIB} MiB kept, split-half .8, "
        "capture error 1e-5"
    )
    finish("axis_fit", figures, goal, holds, at)


if __name__ == "__main__":
    main()
