"""A real ``agent serve`` in a folder of its own, watched from outside as an operator would."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.study.agents import share_compiled_kernels

TICK_S = 0.05


def wait_until(condition: Callable[[], Any], what: str, timeout_s: float = 60) -> Any:
    """Poll until the condition gives something true; the deadline is generous, because machines are shared."""
    end = time.monotonic() + timeout_s
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"not within {timeout_s} s: {what}")
        time.sleep(TICK_S)


class AgentProcess:
    """Starts, kills and asks one agent; every setting comes from the environment."""

    def __init__(self, folder: Path, **settings: object) -> None:
        self.folder = folder
        self.data = folder / "data"
        self.log = folder / "serve.log"
        self.process: subprocess.Popen[bytes] | None = None
        share_compiled_kernels(self.data)
        self.token = ""
        self.environment = {k: v for k, v in os.environ.items() if not k.startswith("AGENT_")}
        defaults: dict[str, object] = {
            "data_dir": self.data,
            "dicom__host": "127.0.0.1",
            "dicom__port": 0,
            "web__port": 0,
            "keys__file": folder / "agent.key",
            "study__quiet_s": 1,
            "study__series_quiet_s": 0.5,
            "log__format": "json",
        }
        for key, value in {**defaults, **settings}.items():
            shown = json.dumps(value) if isinstance(value, (list, dict)) else str(value)
            self.environment[f"AGENT_{key.upper()}"] = shown

    # -- life

    def start(self, *, timeout_s: float = 60, command: tuple[str, ...] = ("-m", "agent", "serve")) -> AgentProcess:
        begun = time.time()
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, *command], env=self.environment, stdout=log, stderr=log, cwd=self.folder
            )

        def is_ready() -> bool:
            assert self.process is not None
            code = self.process.poll()
            assert code is None, f"serve ended with {code}:\n{self.log.read_text()[-3000:]}"
            state = self.ready()
            return bool(state.get("ready")) and state.get("at", 0) >= begun

        wait_until(is_ready, "ready.json says ready", timeout_s)
        return self

    def ready(self) -> dict[str, Any]:
        try:
            state: dict[str, Any] = json.loads((self.data / "run" / "ready.json").read_text())
        except (OSError, ValueError):
            return {}
        return state

    def kill(self) -> None:
        """kill -9 the engine."""
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self, timeout_s: float = 40) -> int:
        if self.process is None or self.process.poll() is not None:
            return self.process.returncode if self.process else 0
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError("serve did not stop in time") from None

    def __enter__(self) -> AgentProcess:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    # -- addresses and processes

    @property
    def dicom(self) -> tuple[str, int]:
        return "127.0.0.1", int(self.ready()["dicom_port"])

    @property
    def web(self) -> str:
        def address() -> str:
            try:
                body = json.loads((self.data / "run" / "web.json").read_text())
            except (OSError, ValueError):
                return ""
            return str(body["url"]).rstrip("/") if body["pid"] in self.pids("web") else ""

        url: str = wait_until(address, "the dashboard's address")
        return url

    def pids(self, kind: str) -> list[int]:
        found = self.ready().get("processes", {}).get(kind, [])
        return [found] if isinstance(found, int) else list(found)

    # -- asking

    def cli(self, *arguments: str, check: bool = True, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [sys.executable, "-m", "agent", *arguments],
            env=self.environment, cwd=self.folder, capture_output=True, text=True, input=stdin, timeout=300, check=False,
        )  # fmt: skip
        assert not check or done.returncode == 0, (
            f"agent {' '.join(arguments)}: {done.returncode}\n{done.stdout}{done.stderr}"
        )
        return done

    def make_token(self, role: str = "reviewer") -> str:
        return self.cli("token", "create", f"test-{role}-{time.monotonic_ns()}", "--role", role).stdout.split()[-1]

    def api(self, path: str, body: object = None, *, token: str | None = None) -> Any:
        self.token = self.token or self.make_token()
        request = urllib.request.Request(
            f"{self.web}/api/v1/{path}",
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"Bearer {token or self.token}", "Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)

    def studies(self) -> list[dict[str, Any]]:
        items: list[dict[str, Any]] = []
        page = 1
        while True:
            answer = self.api(f"studies?page={page}&page_size=200")
            items += answer["items"]
            if len(items) >= answer["total"] or not answer["items"]:
                return items
            page += 1

    def wait_for_status(self, *statuses: str, count: int = 1, timeout_s: float = 90) -> list[dict[str, Any]]:
        """Wait until `count` studies are in one of the statuses."""

        def found() -> list[dict[str, Any]]:
            items = [s for s in self.studies() if s["status"] in statuses]
            return items if len(items) >= count else []

        try:
            result: list[dict[str, Any]] = wait_until(found, f"{count} studies {statuses}", timeout_s)
        except AssertionError as error:
            now = [(s["status"], s.get("flags")) for s in self.studies()][:20]
            raise AssertionError(f"{error}; they are {now}; log:\n{self.log.read_text()[-2000:]}") from None
        return result

    def let_pass(self, timeout_s: float = 90) -> dict[str, Any]:
        """Wait until the one study is judged; where quality control did not pass it, a reviewer overrides."""

        def judged() -> dict[str, Any] | None:
            for study in self.studies():
                if study["status"] == "failed" or "needs_review" in study["flags"]:
                    body = {"verb": "override", "reason": "a test of the path"}
                    self.api(f"studies/{study['id']}/commands", body)
                    return study
                if study["status"] in ("qc_passed", "uploading", "pending", "processing", "delivered"):
                    return study
            return None

        study: dict[str, Any] = wait_until(judged, "a study is judged", timeout_s)
        return study

    def has_web(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.web}/healthz", timeout=2):
                return True
        except (urllib.error.URLError, OSError):
            return False
