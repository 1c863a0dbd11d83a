"""What all tests share: no network, the real data beside the project, and the embedded model where it was fetched."""

import os
import socket
from pathlib import Path

import pytest

LOOPBACK = ("127.", "::1", "localhost")

os.environ.setdefault("OMP_NUM_THREADS", "1")


def _refuse_strangers(address: object) -> None:
    host = address[0] if isinstance(address, tuple) else None  # a path is a socket of this machine
    if isinstance(host, str) and not host.startswith(LOOPBACK):
        raise RuntimeError(f"a test tried to reach {address!r}; tests may speak to this machine only")


@pytest.fixture(autouse=True)
def _no_network(monkeypatch):
    connect, connect_ex = socket.socket.connect, socket.socket.connect_ex

    def guarded(self, address):
        _refuse_strangers(address)
        return connect(self, address)

    def guarded_ex(self, address):
        _refuse_strangers(address)
        return connect_ex(self, address)

    monkeypatch.setattr(socket.socket, "connect", guarded)
    monkeypatch.setattr(socket.socket, "connect_ex", guarded_ex)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real public data that lies beside the project."""
    folder = Path(__file__).resolve().parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("no ../shared/data beside the project")
    return folder


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("weights") is not None:
        from multitudes.models.local.embedded import folder_of

        if not (folder_of("smollm2") / "PROVENANCE.json").is_file():
            pytest.skip("multitudes models fetch smollm2")
