"""Receivers to compare with, each started fresh in a folder of its own: ours, DCMTK's storescp, Orthanc, plain
pynetdicom.

A peer that is not installed is left out and named. DCMTK and Orthanc run with TCP_NODELAY, the setting that is fair
to them.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil

AET = "BENCH"
SYSTEM_PATH = "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"
START_WITHIN_S = 60.0
SETTLE_WITHIN_S = 30.0
SETTLED_CPU_S = 0.05


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def program(name: str) -> str | None:
    """Path of a system program, never one that a Python package put into the environment."""
    return shutil.which(name, path=SYSTEM_PATH)


@dataclass(frozen=True)
class Peer:
    """How to start one receiver."""

    name: str
    command: Callable[[Path, int], list[str]]
    missing: str = ""
    environment: dict[str, str] = field(default_factory=dict)
    ready: Callable[[Path, int], bool] | None = None
    stop_signal: int = signal.SIGTERM


@dataclass
class Running:
    """A receiver that listens."""

    peer: Peer
    port: int
    process: psutil.Process

    def cpu_s(self) -> float:
        """CPU seconds of the whole process tree, ended children included."""
        total = 0.0
        for process in [self.process, *self.process.children(recursive=True)]:
            try:
                times = process.cpu_times()
            except psutil.NoSuchProcess:
                continue
            total += times.user + times.system + times.children_user + times.children_system
        return total

    def peak_memory_mb(self) -> float:
        """Sum of the processes' proportional memory."""
        total = 0
        for process in [self.process, *self.process.children(recursive=True)]:
            try:
                total += process.memory_full_info().pss
            except psutil.NoSuchProcess:
                continue
        return total / 1e6


def _listens(_folder: Path, port: int) -> bool:
    """Whether somebody listens, without a connection that the receiver would notice."""
    wanted = f":{port:04X} "
    return any(
        wanted in line and " 0A " in line
        for table in ("/proc/net/tcp", "/proc/net/tcp6")
        if Path(table).exists()
        for line in Path(table).read_text().splitlines()
    )


def _web_is_ready(folder: Path, _port: int) -> bool:
    told = folder / "data" / "run" / "web.json"
    if not told.exists():
        return False
    try:
        port = json.loads(told.read_text())["port"]
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=2) as answer:
            return answer.status == 200
    except (OSError, ValueError, KeyError, urllib.error.URLError):
        return False


def _own_environment(folder: Path, port: int, *, on_arrival: bool) -> dict[str, str]:
    return {
        "AGENT_DATA_DIR": str(folder / "data"),
        "AGENT_DICOM__HOST": "127.0.0.1",
        "AGENT_DICOM__PORT": str(port),
        "AGENT_DICOM__AE_TITLE": AET,
        "AGENT_KEYS__FILE": str(folder / "agent.key"),
        "AGENT_WEB__PORT": "0",
        "AGENT_QC__ON_ARRIVAL": str(on_arrival).lower(),
        "AGENT_STORE__SOFT_MARGIN_PERCENT": "0",
        "AGENT_STORE__HARD_MARGIN_PERCENT": "0",
        "AGENT_LOG__LEVEL": "error",
    }


def _own(name: str, *, on_arrival: bool) -> Peer:
    if importlib.util.find_spec("agent.cli.serve") is None:
        missing = "agent serve is not there" if on_arrival else ""
        return Peer(f"{name}, receive path and index only", _engine_command, missing)
    return Peer(name, lambda _folder, _port: [sys.executable, "-m", "agent", "serve"], ready=_web_is_ready)


def _engine_command(folder: Path, port: int) -> list[str]:
    return [sys.executable, "-m", "benchmarks.peers.receive_and_index", str(folder), str(port)]


def _storescp(folder: Path, port: int) -> list[str]:
    path = program("storescp") or "storescp"
    return [path, "-q", "--fork", "-aet", AET, "-pdu", "131072", "-od", str(folder), str(port)]


def _orthanc(folder: Path, port: int) -> list[str]:
    configuration = {
        "Name": "bench", "StorageDirectory": str(folder / "db"), "IndexDirectory": str(folder / "db"), "Plugins": [],
        "HttpServerEnabled": False, "DicomServerEnabled": True, "DicomAet": AET, "DicomCheckCalledAet": False,
        "DicomPort": port, "DicomAlwaysAllowStore": True, "StoreMD5ForAttachments": False,
    }  # fmt: skip
    (folder / "db").mkdir()
    (folder / "orthanc.json").write_text(json.dumps(configuration))
    return [program("Orthanc") or "Orthanc", str(folder / "orthanc.json")]


def _plain(folder: Path, port: int) -> list[str]:
    return [sys.executable, "-m", "benchmarks.peers.plain_pynetdicom", str(folder), str(port)]


def _missing(name: str) -> str:
    return "" if program(name) else f"{name} is not installed"


def peers() -> list[Peer]:
    """All receivers, ours first."""
    no_delay = {"TCP_NODELAY": "1"}
    return [
        _own("agent", on_arrival=False),
        Peer("storescp --fork", _storescp, _missing("storescp"), no_delay),
        Peer("Orthanc", _orthanc, _missing("Orthanc"), no_delay, stop_signal=signal.SIGINT),
        Peer("plain pynetdicom", _plain),
    ]


@contextmanager
def running(peer: Peer, folder: Path) -> Iterator[Running]:
    """Start a receiver in `folder` and wait until it can receive."""
    folder.mkdir(parents=True)
    port = free_port()
    environment = {k: v for k, v in os.environ.items() if not k.startswith("AGENT_") and k != "TCP_NODELAY"}
    environment |= peer.environment
    if peer.name.startswith("agent"):
        environment |= _own_environment(folder, port, on_arrival=False)
    command = peer.command(folder, port)
    with (folder / "log").open("wb") as log:
        started = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
        try:
            _wait(peer, folder, port, started)
            server = Running(peer, port, psutil.Process(started.pid))
            _settle(server)
            yield server
        finally:
            started.send_signal(peer.stop_signal)
            try:
                started.wait(30)
            except subprocess.TimeoutExpired:
                started.kill()
                started.wait()


def _settle(server: Running) -> None:
    """Wait until what a start sets off (compiling, warming workers) is over, so that it is nobody's receiving."""
    deadline = time.monotonic() + SETTLE_WITHIN_S
    before = server.cpu_s()
    while time.monotonic() < deadline:
        time.sleep(0.5)
        now = server.cpu_s()
        if now - before <= SETTLED_CPU_S:
            return
        before = now


def _wait(peer: Peer, folder: Path, port: int, started: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_WITHIN_S
    ready = peer.ready or _listens
    while not ready(folder, port):
        if started.poll() is not None or time.monotonic() > deadline:
            started.kill()
            raise RuntimeError(f"{peer.name} did not start: {(folder / 'log').read_text(errors='replace')[-800:]}")
        time.sleep(0.05)
