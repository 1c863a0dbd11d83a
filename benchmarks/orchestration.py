"""CPU and wall time of a study's conversations against a 50 ms server: 64 conversations of 6 messages.

The server runs in another process, so that only our side is counted. A bare client loop of the same requests over
one pooled session runs in the same process and round: the floor. Every message passes the views, the guards and the
limits, and every finished conversation is stored in SQLite.
"""

import asyncio
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import aiohttp

from _common import Timer, finish, machine
from multitudes.core.records import Dimension
from multitudes.models.endpoint import EndpointModel
from multitudes.simulate.targets import ModelTarget
from multitudes.study.run import Voices, run_study
from multitudes.study.spec import StudySpec

CONVERSATIONS, TURNS, DELAY_S, ROUNDS = 64, 3, 0.05, 5
MESSAGES = CONVERSATIONS * TURNS * 2
IDEAL_S = TURNS * 2 * DELAY_S

SERVER = f"""
import asyncio
from multitudes.models.fake import people
from multitudes.models.loopback import serve
async def main():
    async with serve(people(), delay_s={DELAY_S}) as url:
        print(url, flush=True)
        await asyncio.Event().wait()
asyncio.run(main())
"""


def spec() -> StudySpec:
    axis = Dimension(id="patience", name="Patience", low="hangs up at once", high="waits calmly")
    return StudySpec.model_validate(
        {
            "schema": 1, "name": "orchestration", "scenarios": [{"id": "s", "goal": "you want your card back"}],
            "population": {"n": CONVERSATIONS, "context": "Callers.", "dimensions": [axis.model_dump()]},
            "conversation": {"turns": TURNS, "replicates": 1, "in_flight": CONVERSATIONS},
            "models": {"simulator": "fake:people", "target": "fake:people", "encoder": "none"},
            "measure": {"gauges": ["leak"]},
        }
    )  # fmt: skip


async def ours(url: str) -> tuple[float, float]:
    """CPU per message and wall seconds of the conversations of one run."""
    model = EndpointModel(url, "fake:people", max_in_flight=CONVERSATIONS)
    marks: list[tuple[float, float]] = []

    def watch(step: object) -> None:
        if getattr(step, "name", "") == "conversations":
            marks.append((time.perf_counter(), time.process_time()))

    with tempfile.TemporaryDirectory() as folder:
        voices = Voices(model, ModelTarget(model, spec().target_sampling), model, None)
        run = await run_study(spec(), Path(folder) / "run", voices=voices, watch=watch)
        assert sum(len(c.turns) for c in run.conversations) == MESSAGES
    await model.aclose()
    (wall_0, cpu_0), (wall_1, cpu_1) = marks[0], marks[-1]
    return (cpu_1 - cpu_0) / MESSAGES, wall_1 - wall_0


async def bare(url: str) -> tuple[float, float]:
    """The same number of requests, nothing around them."""
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=CONVERSATIONS)) as session:

        async def talk(i: int) -> None:
            messages = [{"role": "system", "content": f"You are {i}."}, {"role": "user", "content": "Hello."}]
            for _ in range(TURNS * 2):
                body = json.dumps({"model": "fake:people", "messages": messages, "max_tokens": 60})
                headers = {"Content-Type": "application/json"}
                async with session.post(f"{url}/chat/completions", data=body, headers=headers) as answer:
                    text = json.loads(await answer.read())["choices"][0]["message"]["content"]
                messages += [{"role": "assistant", "content": text}, {"role": "user", "content": "And then?"}]

        with Timer() as timer:
            await asyncio.gather(*(talk(i) for i in range(CONVERSATIONS)))
    return timer.cpu / MESSAGES, timer.wall


def main() -> None:
    at = machine()
    server = subprocess.Popen([sys.executable, "-c", SERVER], stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        url = server.stdout.readline().strip()
        asyncio.run(bare(url))
        asyncio.run(ours(url))
        rows = [(asyncio.run(bare(url)), asyncio.run(ours(url))) for _ in range(ROUNDS)]
    finally:
        server.terminate()
        with contextlib.suppress(OSError):
            os.waitpid(server.pid, 0)
    floor_cpu, floor_wall = (statistics.median(r[0][i] for r in rows) for i in (0, 1))
    cpu, wall = (statistics.median(r[1][i] for r in rows) for i in (0, 1))
    print(f"{CONVERSATIONS} conversations x {TURNS * 2} messages, server answers after {DELAY_S * 1000:.0f} ms; "
          f"median of {ROUNDS} rounds, arms interleaved")  # fmt: skip
    print(f"{'':24}{'CPU ms/message':>16}{'wall s':>10}{'x ideal':>10}")
    print(f"{'bare client loop':24}{1000 * floor_cpu:>16.3f}{floor_wall:>10.2f}{floor_wall / IDEAL_S:>10.2f}")
    print(f"{'multitudes study':24}{1000 * cpu:>16.3f}{wall:>10.2f}{wall / IDEAL_S:>10.2f}")
    figures = {
        "cpu_ms_per_message": round(1000 * cpu, 3), "bare_cpu_ms_per_message": round(1000 * floor_cpu, 3),
        "wall_s": round(wall, 3), "wall_over_ideal": round(wall / IDEAL_S, 2),
        "ratio_to_bare": round(cpu / floor_cpu, 2),
    }  # fmt: skip
    goal = "at most 0.5 ms CPU per message, wall at most 1.5 x the 0.3 s ideal"
    finish("orchestration", figures, goal, cpu <= 0.0005 and wall <= 1.5 * IDEAL_S, at)


if __name__ == "__main__":
    main()
