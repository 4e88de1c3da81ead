"""A real Orthanc on loopback that sends to the agent."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import urllib.request
from pathlib import Path
from typing import Any

from tests.conftest import program
from tests.path.agent_process import wait_until


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Orthanc:
    """Started with its own folder and ports; knows the agent as modality ``agent``."""

    def __init__(self, folder: Path, agent: tuple[str, int]) -> None:
        self.folder = folder
        self.http = free_port()
        folder.mkdir(parents=True)
        configuration = {
            "Name": "peer", "StorageDirectory": str(folder), "IndexDirectory": str(folder), "HttpPort": self.http,
            "RemoteAccessAllowed": False, "AuthenticationEnabled": False, "DicomServerEnabled": False, "Plugins": [],
            "DicomModalities": {"agent": ["NEUROPACS_AGENT", agent[0], agent[1]]}, "DicomAet": "ORTHANC",
        }  # fmt: skip
        (folder / "orthanc.json").write_text(json.dumps(configuration))

    def __enter__(self) -> Orthanc:
        command = [program("Orthanc"), str(self.folder / "orthanc.json")]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_until(self._answers, "Orthanc answers")
        return self

    def __exit__(self, *_: object) -> None:
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(20)

    def _answers(self) -> bool:
        try:
            return bool(self._call("system"))
        except OSError:
            return False

    def _call(self, path: str, body: bytes | None = None) -> Any:
        with urllib.request.urlopen(
            urllib.request.Request(f"http://127.0.0.1:{self.http}/{path}", body), timeout=120
        ) as answer:
            return json.load(answer)

    def upload(self, path: Path) -> str:
        return str(self._call("instances", path.read_bytes())["ID"])

    def send(self, ids: list[str]) -> int:
        """Send instances to the agent and return how many were."""
        body = json.dumps({"Resources": ids, "Synchronous": True}).encode()
        answer = self._call("modalities/agent/store", body)
        return int(answer["InstancesCount"]) - int(answer["FailedInstancesCount"])
