"""What runs a program nobody has read: one protocol, its limits, and what came of a run.

A program is a text of Python. It never runs inside this process: where no sandbox works, ``find_executor`` raises.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol

from multitudes.core.errors import ConfigError, MultitudesError

MIB = 1024 * 1024
LEAST_MEMORY = 64 * MIB  # below this CPython itself may not start
Status = Literal["ok", "timeout", "memory", "crashed", "output"]


class SandboxUnavailableError(MultitudesError):
    """No sandbox works on this machine, so nothing was run."""

    exit_code = 2


class SandboxError(MultitudesError):
    """The sandbox itself failed while starting a program. It says nothing about the program."""


@dataclass(frozen=True)
class Limits:
    """What one program may use.

    Attributes:
        cpu: Seconds of processor time, for each of its processes; rounded up to whole seconds.
        memory: Bytes of address space, for each of its processes.
        wall: Seconds from start to end, the start of the sandbox included.
        output: Bytes on standard output and standard error together; one byte more stops the program.
        processes: Processes and threads at a time, itself included.
        files: Bytes of the private folder it may write to, gone when it ends.
    """

    cpu: float = 2.0
    memory: int = 256 * MIB
    wall: float = 5.0
    output: int = 64 * 1024
    processes: int = 1
    files: int = 16 * MIB

    def __post_init__(self) -> None:
        for name, least in (("cpu", 0), ("wall", 0), ("output", 1), ("processes", 1), ("files", 4096)):
            value = getattr(self, name)
            if not math.isfinite(value) or value < least or value <= 0:
                raise ConfigError(
                    f"{name!r} is no limit",
                    where=f"Limits.{name}",
                    found=repr(value),
                    expected=f">= {least}, above 0",
                )
        if self.memory < LEAST_MEMORY:
            raise ConfigError(
                "too little memory to start Python in",
                where="Limits.memory",
                found=repr(self.memory),
                expected=f">= {LEAST_MEMORY}",
            )


@dataclass(frozen=True)
class Ran:
    """What came of one run.

    Attributes:
        status: ``ok`` ended by itself with exit code 0; ``timeout`` processor or wall time used up; ``memory`` an
            allocation was refused; ``output`` wrote too much; ``crashed`` ended in any other way.
        exit_code: The program's exit code, 128 + signal if one ended it; None if it was stopped from outside.
        stdout: What it wrote, at most ``Limits.output`` bytes; bytes that are not UTF-8 become U+FFFD.
        stderr: The last 2,000 bytes of its standard error.
        seconds: Wall time with the start of the sandbox.
    """

    status: Status
    exit_code: int | None
    stdout: str
    stderr: str
    seconds: float


class Job(NamedTuple):
    """A program and what it reads from standard input."""

    program: str
    stdin: str = ""


class Executor(Protocol):
    """Runs programs nobody has read. ``run`` may be called from several threads at once."""

    @property
    def name(self) -> str:
        """The sandbox and the interpreter, with versions: results of two names are not mixed."""
        ...

    def run(self, program: str, stdin: str = "", *, limits: Limits = ...) -> Ran:
        """One program in a fresh, empty place of its own.

        Raises:
            SandboxError: The sandbox could not start it.
        """
        ...


def run_many(
    executor: Executor, jobs: Sequence[Job], *, limits: Limits | None = None, at_once: int | None = None
) -> list[Ran]:
    """All jobs, at most ``at_once`` at a time; results in the order of the jobs.

    Args:
        executor: What runs them.
        jobs: Programs with their input.
        limits: Of each job.
        at_once: Programs at a time; the number of processors this process may use if None.

    Raises:
        SandboxError: The sandbox failed for a job; jobs that have not started are dropped.
    """
    if at_once is not None and at_once < 1:
        raise ConfigError("no job can run", where="at_once", found=repr(at_once), expected=">= 1")
    allowed = limits or Limits()
    with ThreadPoolExecutor(at_once or _processors(), thread_name_prefix="sandbox") as pool:
        waiting = [pool.submit(executor.run, job.program, job.stdin, limits=allowed) for job in jobs]
        try:
            return [future.result() for future in waiting]
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _processors() -> int:
    import os

    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def find_executor() -> Executor:
    """The sandbox of this machine, tried out before it is handed back.

    Raises:
        SandboxUnavailableError: There is none that holds; says why and what to install. Programs are then not run
            at all: there is no way of running them inside this process.
    """
    from multitudes.sandbox.bwrap import probed

    return probed()
