"""The whole path on this machine.

Job: start a real S3 server, the reference analysis service and the agent, each a process of its own; send invented
studies by C-STORE; print address, login and one line a status change. Place: called by ``cli.demo``. It must never
write a status: it only sends images, makes the logins and reads. Every process it started ends with it.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from agent.clock import SystemClock
from agent.config import Settings, load_settings
from agent.demo.children import Child
from agent.demo.s3_server import S3Server
from agent.demo.studies import DemoStudy, StudyKind, plan, study_uid_of, write_study
from agent.demo.watching import Watcher
from agent.errors import AgentError, ConfigError

READY_S = 90.0
LOOK_S = 0.3
FIRST_S = 30.0
CALLING = "DEMO_PACS"
_STOP_S = 40.0


@dataclass(frozen=True, slots=True)
class DemoOptions:
    """What the caller chose.

    Parameters
    ----------
    folder : Path
        Where everything of the demonstration is kept.
    studies : int
        How many are sent.
    exit_when_done : bool
        End when every study is where it is expected to end.
    """

    folder: Path
    studies: int
    exit_when_done: bool = False


@dataclass(slots=True)
class _Running:
    """What has been started, in the order of the start."""

    stops: list[Callable[[], None]] = field(default_factory=list)

    def stop(self) -> None:
        """Stop everything, the last one first."""
        while self.stops:
            self.stops.pop()()


class Demo:
    """One demonstration.

    Parameters
    ----------
    options : DemoOptions
        What the caller chose.
    say : callable
        Prints a line.
    """

    def __init__(self, options: DemoOptions, say: Callable[[str], None]) -> None:
        self._options, self._say = options, say
        self._folder = options.folder.expanduser().absolute()
        self._clock = SystemClock()
        self._halt = threading.Event()
        self._running = _Running()

    def run(self) -> int:
        """Run until Ctrl-C, or until everything has ended.

        Returns
        -------
        int
            0 when every study ended as expected or the user ended it; 1 otherwise.

        Raises
        ------
        ConfigError
            When a part cannot be started.
        """
        before = {number: signal.signal(number, self._on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            return self._run()
        finally:
            self._running.stop()
            for number, handler in before.items():
                signal.signal(number, handler)

    def _on_signal(self, _number: int, _frame: object) -> None:
        self._halt.set()

    def _run(self) -> int:
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        server = S3Server(self._folder / "s3")
        self._say("demo: starting an S3 server, the analysis service and the agent ...")
        self._running.stops.append(server.stop)
        server.start()
        self._running.stops.append(self._start_analysis(server).stop)
        os.environ.update(agent_environment(self._folder, server))
        settings = load_settings()
        agent = self._start_agent(settings)
        port, address = self._await_ready(agent, settings)
        watcher = Watcher(settings)
        self._greet(watcher, settings, port, address)
        studies = plan(self._options.studies)
        sender = _Sender(studies, self._folder / "studies", (_own_host(settings), port, settings.dicom.ae_title))
        thread = threading.Thread(target=sender.run, args=(self._say, self._halt), name="demo-sender", daemon=True)
        thread.start()
        try:
            return self._watch(watcher, {watcher.id_of(study_uid_of(s)): s for s in studies}, agent, sender)
        finally:
            self._halt.set()
            sender.first_ended.set()
            thread.join(10)
            watcher.close()

    # ------------------------------------------------------------------ start

    def _start_analysis(self, server: S3Server) -> Child:
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("AWS_")},
            "AWS_ACCESS_KEY_ID": server.access_key_id,
            "AWS_SECRET_ACCESS_KEY": server.secret_access_key,
        }
        command = [sys.executable, "-m", "agent.demo.analysis_service", "--endpoint", server.endpoint_url]
        log = self._folder / "analysis.log"
        return Child([*command, "--bucket", server.bucket, "--poll", "0.5"], log, environment=environment)

    def _start_agent(self, settings: Settings) -> Child:
        for name in ("ready.json", "web.json"):
            (settings.data_dir / "run" / name).unlink(missing_ok=True)
        command = [sys.executable, "-m", "agent", "serve"]
        child = Child(command, self._folder / "agent.log", on_parent_death=signal.SIGTERM)
        self._running.stops.append(lambda: child.stop(_STOP_S))
        return child

    def _await_ready(self, agent: Child, settings: Settings) -> tuple[int, str]:
        end = self._clock.monotonic() + READY_S
        while self._clock.monotonic() < end and not self._halt.is_set():
            if agent.exit_code is not None:
                raise ConfigError(f"The agent did not start. {agent.tail(3)}", code="demo_agent", hint="See agent.log.")
            state = _json_of(settings.data_dir / "run" / "ready.json")
            web = _json_of(settings.data_dir / "run" / "web.json")
            if state.get("ready") and state.get("dicom_port") and web.get("url"):
                return int(str(state["dicom_port"])), str(web["url"])
            self._clock.wait(self._halt, 0.05)
        if self._halt.is_set():
            raise AgentError("Stopped before the agent was ready.", code="demo_stopped")
        raise ConfigError(
            "The agent was not ready in time.", code="demo_agent", hint="See agent.log in the demo's folder."
        )

    def _greet(self, watcher: Watcher, settings: Settings, port: int, address: str) -> None:
        self._say(
            f"demo: ready. DICOM {settings.dicom.ae_title} on {_own_host(settings)}:{port}; files in {self._folder}"
        )
        self._say(f"demo: dashboard {address}")
        for name, role in (("demo", "reviewer"), ("demo-admin", "admin")):
            password = watcher.one_time_login(name, role)
            known = "has chosen a password already" if password is None else f"one-time password {password}"
            self._say(f"demo: log in as {name} ({role}), {known}")
        self._say("demo: Ctrl-C ends everything")

    # ------------------------------------------------------------------ watch

    def _watch(self, watcher: Watcher, studies: Mapping[str, DemoStudy], agent: Child, sender: _Sender) -> int:
        ended: dict[str, bool] = {}
        while not self._halt.is_set():
            if agent.exit_code is not None:
                raise ConfigError(f"The agent ended. {agent.tail(3)}", code="demo_agent", hint="See agent.log.")
            for step in watcher.steps():
                study = studies.get(step.study_id)
                self._say(f"{datetime.now():%H:%M:%S}  {study.name if study else step.study_id:<14} {step.words}")  # noqa: DTZ005 - for the eyes of one user
            for study_id, study in studies.items():
                end = _end_of(study, watcher.status_of(study_id))
                if end is not None and study_id not in ended:
                    ended[study_id] = end
                    if study.kind is StudyKind.T1:
                        sender.first_ended.set()
            if self._options.exit_when_done and len(ended) == len(studies) and sender.finished.is_set():
                self._say(f"demo: {sum(ended.values())} of {len(studies)} studies ended as expected")
                return 0 if all(ended.values()) else 1
            self._clock.wait(self._halt, LOOK_S)
        self._say("demo: stopping ...")
        return 0


class _Sender:
    """Makes the studies and sends them over the wire, one after the other."""

    def __init__(self, studies: list[DemoStudy], folder: Path, peer: tuple[str, int, str]) -> None:
        self._clock = SystemClock()
        self._studies, self._folder, self._peer = studies, folder, peer
        self.first_ended = threading.Event()
        self.finished = threading.Event()

    def run(self, say: Callable[[str], None], halt: threading.Event) -> None:
        """Thread main."""
        from agent.dicom.scu import SendRequest, send

        host, port, called = self._peer
        request = SendRequest(host, port, called, CALLING, associations=1)
        for study in self._studies:
            if study.kind in {StudyKind.DROPOUTS, StudyKind.DIFFUSION}:
                # thousands of images: let the first small study through, so that something is delivered early
                self._clock.wait(self.first_ended, FIRST_S)
            if halt.is_set():
                return
            try:
                paths = write_study(study, self._folder / f"{study.number:03d}-{study.kind}")
                began = time.monotonic()
                summary = send(paths, request)
                stored = summary.counts().get("stored", 0)
                say(
                    f"{datetime.now():%H:%M:%S}  {study.name:<14} {stored} of {len(paths)} images sent in "  # noqa: DTZ005
                    f"{time.monotonic() - began:.1f} s; expected: {study.expectation}"
                )
            except (AgentError, OSError) as error:
                say(f"demo: sending {study.name} failed: {error}")
        self.finished.set()


def agent_environment(folder: Path, server: S3Server) -> dict[str, str]:
    """Return the agent's settings: the demo's own, and before them whatever ``AGENT_*`` the user has set."""
    ours = {
        "AGENT_DATA_DIR": str(folder / "agent"),
        "AGENT_KEYS__FILE": str(folder / "agent.key"),
        "AGENT_DICOM__HOST": "127.0.0.1",
        "AGENT_DICOM__PORT": str(_port_or_free(11112)),
        "AGENT_WEB__PORT": str(_port_or_free(8080)),
        "AGENT_STUDY__QUIET_S": "3",
        "AGENT_STUDY__SERIES_QUIET_S": "2",
        "AGENT_CLOUD__POLL_S": "0.5",
    }
    cloud = {
        "AGENT_CLOUD__ADAPTER": "s3",
        "AGENT_CLOUD__ENDPOINT_URL": server.endpoint_url,
        "AGENT_CLOUD__BUCKET": server.bucket,
        "AGENT_CLOUD__ACCESS_KEY_ID": server.access_key_id,
        "AGENT_CLOUD__SECRET_ACCESS_KEY": server.secret_access_key,
    }
    return {name: os.environ.get(name, value) for name, value in {**ours, **cloud}.items()}


def _own_host(settings: Settings) -> str:
    return "127.0.0.1" if settings.dicom.host in {"0.0.0.0", "::", ""} else settings.dicom.host


def _port_or_free(port: int) -> int:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return 0
    return port


def _json_of(path: Path) -> dict[str, object]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def _end_of(study: DemoStudy, status: str | None) -> bool | None:
    """Say whether a study has ended, and whether as expected; None while it is on its way."""
    match study.kind:
        case StudyKind.INCOMPLETE:
            return {None: None, "receiving": None, "unstable": True}.get(status, False)
        case StudyKind.DROPOUTS:
            return {"failed": True, "delivered": False}.get(status or "")
        case _:
            return {"delivered": True, "failed": False}.get(status or "")
