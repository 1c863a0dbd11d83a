"""The house keeps its shape: imports point down, nothing heavy loads by itself, and what is banned stays out."""

import ast
import re
import socket
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

import pytest

SRC = Path(__file__).parents[1] / "src"
PACKAGE = SRC / "multitudes"
FILES = sorted(PACKAGE.rglob("*.py"))

# From the ground up. Rooms of one floor do not import each other.
FLOORS = (
    {"core"},
    {"models", "sandbox"},
    {"personas"},
    {"simulate"},
    {"measure"},
    {"evolve", "align", "train", "axis"},
    {"study"},
    {"report"},
    {"api"},  # one file: the public calls, which the faces share
    {"cli", "web"},
)
MAX_LINES = 400
# Files in which one idea is that long. A file may shrink below its ceiling, never grow above it.
LONG = {"core/records.py": 500}


def floor_of(room: str) -> int:
    return next((i for i, rooms in enumerate(FLOORS) if room in rooms), -1)  # -1: a name of the package itself


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(SRC).with_suffix("").parts).removesuffix(".__init__")


def imported(source: str, module: str, *, is_package: bool) -> set[str]:
    """Full names of the modules of this package that ``source`` imports, wherever in it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parts = module.split(".")
                parts = parts[: len(parts) - node.level + is_package]
                base = ".".join([*parts, *([node.module] if node.module else [])])
            found |= {f"{base}.{alias.name}" for alias in node.names} | {base}
    return {name for name in found if name.split(".")[0] == "multitudes"}


def wrong_arrows(graph: Mapping[str, Iterable[str]]) -> list[str]:
    """Imports that point up, or sideways between rooms of one floor."""
    wrong = []
    for module, targets in graph.items():
        room = module.split(".")[1] if "." in module else ""
        for target in sorted(targets):
            other = target.split(".")[1] if "." in target else ""
            if not room or not other or room == other:
                continue  # the package itself looks everything up lazily
            if floor_of(other) >= floor_of(room):
                wrong.append(f"{module} -> {target}")
    return wrong


def graph_of(files: Iterable[Path]) -> dict[str, set[str]]:
    return {
        name_of(f): imported(f.read_text(encoding="utf-8"), name_of(f), is_package=f.name == "__init__.py")
        for f in files
    }


def test_imports_point_down():
    graph = graph_of(FILES)
    assert sum(len(targets) for targets in graph.values()) > 100  # it does see imports
    assert wrong_arrows(graph) == []


def test_every_room_has_a_floor():
    rooms = {f.relative_to(PACKAGE).with_suffix("").parts[0] for f in FILES} - {"__init__"}
    assert {r for r in rooms if not any(r in floor for floor in FLOORS)} == set()


@pytest.mark.parametrize(
    ("module", "source", "arrow"),
    [
        ("multitudes.core.x", "from multitudes.models.base import Message", "multitudes.models.base"),
        ("multitudes.measure.x", "def f():\n    import multitudes.study.store", "multitudes.study.store"),
        ("multitudes.axis.x", "from multitudes.train import y", "multitudes.train"),
        ("multitudes.models.local.x", "from ...simulate import views", "multitudes.simulate.views"),
        ("multitudes.personas.x", "from ..simulate.views import view", "multitudes.simulate.views"),
        ("multitudes.models.x", "if True:\n    from multitudes import study", "multitudes.study"),
    ],
)
def test_a_planted_arrow_is_found(module, source, arrow):
    found = wrong_arrows({module: imported(source, module, is_package=False)})
    assert any(entry == f"{module} -> {arrow}" for entry in found), found


def test_arrows_that_point_down_are_fine():
    source = "from multitudes.core.records import Turn\nfrom .base import Message\nimport numpy"
    assert wrong_arrows({"multitudes.study.x": imported(source, "multitudes.study.x", is_package=False)}) == []


HEAVY = ("torch", "transformers", "scipy", "numpy", "aiohttp", "plotly", "pydantic")


def loaded_by(statement: str) -> set[str]:
    code = f"import sys\n{statement}\nprint(*[m for m in {HEAVY!r} if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    return set(out.stdout.split())


def test_importing_the_package_loads_nothing_heavy():
    assert loaded_by("import multitudes") == set()


def test_the_command_line_starts_without_engines():
    assert loaded_by("import multitudes.cli.main") & {"torch", "transformers", "scipy", "aiohttp", "plotly"} == set()


def test_the_probe_for_loaded_modules_can_see_one():
    assert loaded_by("import multitudes.core.records") == {"numpy", "pydantic"} & loaded_by("import pydantic") | {
        "pydantic"
    }


GLOBAL_RNG = {
    *(f"np.random.{f}" for f in ("seed", "rand", "randn", "random", "choice", "shuffle", "normal", "uniform")),
    *(f"numpy.random.{f}" for f in ("seed", "rand", "random", "choice", "shuffle", "normal", "uniform")),
    *(f"random.{f}" for f in ("seed", "random", "choice", "choices", "shuffle", "randint", "sample", "uniform")),
    "torch.seed",
}
FORKED = "torch.random.fork_rng"  # torch.manual_seed is fine inside it: the global state comes back
BANNED_MODULES = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}


def offences(source: str, *, may_print: bool = False) -> list[str]:
    """Banned calls and modules in ``source``, each with its line."""
    found = []
    tree = ast.parse(source)
    forks = [n for n in ast.walk(tree) if isinstance(n, ast.With) and FORKED in ast.unparse(n.items[0])]
    sheltered = {id(inner) for fork in forks for inner in ast.walk(fork)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else [node.module or ""]
            found += [f"{node.lineno}: {n}" for n in names if n.split(".")[0] in BANNED_MODULES]
        if not isinstance(node, ast.Call):
            continue
        called = ast.unparse(node.func)
        banned = called in GLOBAL_RNG or called in {"eval", "exec", "compile"}
        banned |= called == "torch.manual_seed" and id(node) not in sheltered
        banned |= called == "print" and not may_print
        banned |= called == "torch.load" and "weights_only=True" not in ast.unparse(node)  # then no code is run
        banned |= called == "np.load" and "allow_pickle=True" in ast.unparse(node)
        banned |= any(k.arg == "allow_pickle" and ast.unparse(k.value) == "True" for k in node.keywords)
        if banned:
            found.append(f"{node.lineno}: {called}")
    return found


@pytest.mark.parametrize("path", FILES, ids=[str(f.relative_to(PACKAGE)) for f in FILES])
def test_nothing_banned_is_used(path):
    assert offences(path.read_text(encoding="utf-8"), may_print=path.is_relative_to(PACKAGE / "cli")) == []


@pytest.mark.parametrize(
    "line",
    [
        "np.random.seed(1)", "random.random()", "import pickle", "from pickle import loads", "eval('1')", "exec(x)",
        "print(1)", "np.load(f, allow_pickle=True)", "torch.load(f)",
        "torch.load(f, weights_only=False)", "def f():\n    import shelve",
        "torch.manual_seed(0)",
    ],
)  # fmt: skip
def test_planted_offences_are_found(line):
    assert offences(line)


def test_fine_lines_are_fine():
    assert offences("with torch.random.fork_rng():\n    torch.manual_seed(1)") == []
    assert (
        offences("rng = np.random.default_rng(7)\nrng.random()\nmodel.eval()\nprint_json(1)\nre.compile('x')") == []
    )


def test_no_file_is_longer_than_a_room():
    lines = {str(f.relative_to(PACKAGE)): len(f.read_text(encoding="utf-8").splitlines()) for f in FILES}
    assert {name: n for name, n in lines.items() if n > LONG.get(name, MAX_LINES)} == {}
    assert {name for name in LONG if lines[name] <= MAX_LINES} == set()  # then it needs no ceiling any more


def test_source_names_no_place_of_one_machine():
    strange = re.compile(r"(?<![\w.])/(?:home|root|work|tmp|Users)/\w")
    assert [str(f) for f in FILES if strange.search(f.read_text(encoding="utf-8"))] == []


def test_tests_cannot_reach_the_network():
    with pytest.raises(RuntimeError, match="this machine only"):
        socket.create_connection(("192.0.2.1", 80), timeout=0.1)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", 1), timeout=1)
