"""The sandbox of Linux: bubblewrap around a bare CPython.

The program sees an empty root with the interpreter, its standard library and the system's shared libraries, all
read-only, and one small folder of its own to write to. It has no network, no ``/proc``, no ``/dev``, no environment,
no other process and no file of the user. Limits of memory, processor time, file size and processes are set by a
bootstrap inside, before the first line of the program, and cannot be raised again.

A process that belongs to root is exempt from the limit on processes. Started by root, the bootstrap therefore first
becomes a user number that exists nowhere else, which gives up all capabilities; started by anybody else, the sandbox
is a user namespace in which no further one can be made. Not included: a filter of system calls. The kernel itself is
trusted to hold.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import secrets
import selectors
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple

from multitudes.sandbox.executor import Limits, Ran, SandboxError, SandboxUnavailableError, Status

INSTALL = "apt install bubblewrap (dnf, pacman and apk name it the same); version 0.8 or newer; Linux only"
TAIL = 2_000
HOME = "/py"  # where the interpreter lies inside; says nothing of where it lies outside
MEMORY_EXIT = 97  # how the bootstrap reports a refused allocation
NOBODY_FROM, NOBODY_RANGE = 1_500_000_000, 2**28  # user numbers that no machine hands out
_CHUNK = 65_536

_BOOTSTRAP = f"""
import os, resource, sys
uid, memory, cpu, files, processes = map(int, sys.argv[1:])
source = open("/program.py", "rb").read()
for kind, soft, hard in (
    (resource.RLIMIT_CORE, 0, 0),
    (resource.RLIMIT_NOFILE, 32, 32),
    (resource.RLIMIT_FSIZE, files, files),
    (resource.RLIMIT_CPU, cpu, cpu + 1),
    (resource.RLIMIT_NPROC, processes, processes),
    (resource.RLIMIT_AS, memory, memory),
):
    resource.setrlimit(kind, (soft, hard))
if uid:
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)
os.environ.clear()
os.chdir("/tmp")
sys.argv = ["program"]
bootstrap, main = sys.modules["__main__"], type(sys)("__main__")
sys.modules["__main__"] = main
try:
    exec(compile(source, "program", "exec"), main.__dict__)
except MemoryError:
    os._exit({MEMORY_EXIT})
"""

# Tries what must not work. Prints one word only if all of it failed.
_PROBE = """
import os, socket
found = []
try:
    if os.fork() == 0:
        os._exit(0)
    found.append("could fork")
except OSError:
    pass
try:
    socket.create_connection(("127.0.0.1", int(input())), timeout=1)
    found.append("could reach the network")
except OSError:
    pass
try:
    open("/py/new", "w")
    found.append("could write outside its folder")
except OSError:
    pass
if set(os.listdir("/")) - {"lib", "lib32", "lib64", "libx32", "py", "program.py", "tmp", "usr"}:
    found.append("could see " + " ".join(os.listdir("/")))
if os.environ or os.getuid() == 0:
    found.append("has an environment or is root")
print("; ".join(found) or "contained")
"""


class _Stopped(NamedTuple):
    """What the pipes gave: what was written, and why the program was stopped, if it was."""

    stdout: bytes
    stderr: bytes
    why: Status | None


class BwrapExecutor:
    """Programs in bubblewrap, each in a sandbox of its own. Use ``find_executor``, which tries it out first.

    Args:
        command: The path of ``bwrap``.
    """

    def __init__(self, command: str) -> None:
        self._command = command
        self._root = os.geteuid() == 0
        self._namespaces = _namespaces(root=self._root)
        self._mounts, self._python = _mounts()

    @property
    def name(self) -> str:
        """The sandbox and the interpreter inside."""
        return f"bwrap cpython-{sys.version_info.major}.{sys.version_info.minor}.{sys.version_info.micro}"

    def run(self, program: str, stdin: str = "", *, limits: Limits = Limits()) -> Ran:  # noqa: B008 (frozen)
        """One program, from the start of its sandbox to its last process.

        Raises:
            SandboxError: bubblewrap did not get as far as starting the program.
        """
        started = time.monotonic()
        with _file(program) as source, _file(stdin) as given, tempfile.TemporaryFile() as status:
            process = subprocess.Popen(
                self._arguments(source.fileno(), status.fileno(), limits),
                stdin=given,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                pass_fds=(source.fileno(), status.fileno()),
                start_new_session=True,
                env={},
                cwd="/",
            )
            try:
                stopped = _read(process, started + limits.wall, limits.output)
            finally:
                _end(process)
            status.seek(0)
            code = _exit_code(status.read())
        stderr = stopped.stderr[-TAIL:].decode("utf-8", "replace")
        seconds = time.monotonic() - started
        if stopped.why is None and code is None:
            raise SandboxError(
                "the sandbox did not start the program",
                where=self._command,
                found=stderr.strip() or f"exit code {process.returncode}",
                hint=INSTALL,
            )
        verdict = stopped.why or _verdict(code or 0, seconds, limits)
        exit_code = None if stopped.why else code
        return Ran(verdict, exit_code, stopped.stdout.decode("utf-8", "replace"), stderr, seconds)

    def _arguments(self, source: int, status: int, limits: Limits) -> list[str]:
        uid = NOBODY_FROM + secrets.randbelow(NOBODY_RANGE) if self._root else 0
        # In a user namespace the first process of the sandbox counts as one of the user's.
        processes = limits.processes + (0 if self._root else 1)
        inner = (uid, limits.memory, math.ceil(limits.cpu), limits.files, processes)
        return [
            self._command,
            *self._namespaces,
            *self._mounts,
            *("--perms", "0444", "--ro-bind-data", str(source), "/program.py"),
            *("--perms", "1777", "--size", str(limits.files), "--tmpfs", "/tmp"),
            *("--remount-ro", "/", "--json-status-fd", str(status), "--"),
            *(self._python, "-I", "-S", "-B", "-X", "utf8", "-c", _BOOTSTRAP, *map(str, inner)),
        ]


def probed() -> BwrapExecutor:
    """The executor, after a program inside has tried what must not work.

    Raises:
        SandboxUnavailableError: bubblewrap is missing, refused by this machine, or does not hold.
    """
    command = shutil.which("bwrap")
    if command is None or not sys.platform.startswith("linux"):
        raise SandboxUnavailableError(
            "no sandbox to run programs in", found=f"no bwrap on {sys.platform}", expected="bubblewrap", hint=INSTALL
        )
    executor = BwrapExecutor(command)
    try:
        with socket.create_server(("127.0.0.1", 0)) as open_port:
            ran = executor.run(_PROBE, stdin=str(open_port.getsockname()[1]))
    except SandboxError as error:
        raise SandboxUnavailableError(
            "bubblewrap is here but cannot build a sandbox",
            where=command,
            found=error.found,
            hint=f"allow user namespaces on this machine (inside containers they are often refused); else {INSTALL}",
        ) from error
    if ran.status != "ok" or ran.stdout != "contained\n":
        found = ran.stdout.strip() or ran.stderr.strip() or f"{ran.status}, exit code {ran.exit_code}"
        raise SandboxUnavailableError(
            "the sandbox does not hold, so nothing is run in it", where=command, found=found, hint=INSTALL
        )
    return executor


def _namespaces(*, root: bool) -> tuple[str, ...]:
    common = (
        "--unshare-pid", "--unshare-net", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try",
        "--die-with-parent", "--new-session", "--clearenv", "--cap-drop", "ALL",
    )  # fmt: skip
    if root:  # enough to become nobody, which drops these too
        return (*common, "--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID")
    return (*common, "--unshare-user", "--disable-userns", "--uid", "65534", "--gid", "65534")


def _mounts() -> tuple[tuple[str, ...], str]:
    """Read-only binds of what CPython needs, and the path of the interpreter inside."""
    base = Path(sys.base_prefix)
    interpreter = Path(os.path.realpath(getattr(sys, "_base_executable", None) or sys.executable))
    inside = f"{HOME}/bin/{interpreter.name}"
    binds: list[tuple[str, ...]] = [("--ro-bind", str(interpreter), inside)]
    libraries = {Path(sysconfig.get_path(kind, vars={"base": str(base), "platbase": str(base)})) for kind in
                 ("stdlib", "platstdlib")}  # fmt: skip
    for library in sorted(libraries):
        there = f"{HOME}/{library.relative_to(base)}"
        binds.append(("--ro-bind", str(library), there))
        binds += [
            ("--tmpfs", f"{there}/{extra}")
            for extra in ("site-packages", "dist-packages")
            if (library / extra).is_dir()
        ]
    shared = Path(str(sysconfig.get_config_var("LIBDIR") or ""), str(sysconfig.get_config_var("INSTSONAME") or ""))
    if ".so" in shared.name and shared.is_file():
        binds.append(("--ro-bind", str(shared), f"{HOME}/lib/{shared.name}"))
    binds += [("--ro-bind", folder, folder) for folder in _system_libraries()]
    flat = [part for bind in binds for part in bind]
    return (*_folders(bind[-1] for bind in binds), *flat, "--setenv", "LD_LIBRARY_PATH", f"{HOME}/lib"), inside


def _folders(paths: Iterable[str]) -> list[str]:
    """All folders above ``paths``, readable: bubblewrap would make them for its own user only."""
    above = {str(folder) for path in paths for folder in Path(path).parents} - {"/"}
    return [part for folder in sorted(above) for part in ("--perms", "0755", "--dir", folder)]


def _system_libraries() -> list[str]:
    multiarch = sysconfig.get_config_var("MULTIARCH")
    names = ["/lib64", "/usr/lib64"]
    names += [f"/lib/{multiarch}", f"/usr/lib/{multiarch}"] if multiarch and Path("/lib", multiarch).is_dir() else [
        "/lib", "/usr/lib"]  # fmt: skip
    return [name for name in names if Path(name).is_dir()]


@contextlib.contextmanager
def _file(text: str) -> Iterator[IO[bytes]]:
    """A nameless file that holds ``text``, open for reading only: the program must not write to what it reads."""
    with tempfile.NamedTemporaryFile() as written:
        written.write(text.encode("utf-8", "surrogatepass"))
        written.flush()
        file = open(written.name, "rb")  # outlives its name
    with file:
        yield file


def _read(process: subprocess.Popen[bytes], deadline: float, most: int) -> _Stopped:
    """What the program writes, until it ends, time is up, or it wrote more than ``most`` bytes; never holds more."""
    streams = (process.stdout, process.stderr)
    kept = (bytearray(), bytearray())
    room = most
    with selectors.DefaultSelector() as waiting:
        for stream, buffer in zip(streams, kept, strict=True):
            if stream is not None:
                waiting.register(stream, selectors.EVENT_READ, buffer)
        while waiting.get_map():
            left = deadline - time.monotonic()
            ready = waiting.select(left) if left > 0 else []
            if not ready:
                return _Stopped(bytes(kept[0]), bytes(kept[1]), "timeout")
            for key, _ in ready:
                piece = os.read(key.fd, _CHUNK)
                if not piece:
                    waiting.unregister(key.fileobj)
                key.data.extend(piece[:room])
                room -= len(piece)
                if room < 0:
                    return _Stopped(bytes(kept[0]), bytes(kept[1]), "output")
    try:  # both streams may be closed by a program that goes on
        process.wait(max(0.0, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
        return _Stopped(bytes(kept[0]), bytes(kept[1]), "timeout")
    return _Stopped(bytes(kept[0]), bytes(kept[1]), None)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Nothing of the program is left: with bubblewrap dies its first process, and with that one all others inside."""
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    for stream in (process.stdout, process.stderr):
        if stream is not None:
            stream.close()


def _exit_code(status: bytes) -> int | None:
    """The exit code that bubblewrap noted; None if it did not start the program or was killed."""
    for line in status.decode().splitlines():
        note: dict[str, Any] = json.loads(line)
        if "exit-code" in note:
            return int(note["exit-code"])
    return None


def _verdict(code: int, seconds: float, limits: Limits) -> Status:
    if code == 0:
        return "ok"
    if code == MEMORY_EXIT:
        return "memory"
    # A program may ignore the first signal at its limit of processor time; the second kills it.
    out_of_time = code == 128 + signal.SIGXCPU or (code == 128 + signal.SIGKILL and seconds >= limits.cpu)
    return "timeout" if out_of_time else "crashed"
