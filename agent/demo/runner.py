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
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from agent.clock import SystemClock
from agent.config import Settings, load_settings
from agent.demo.children import Child
from agent.demo.folder import DemoFolder
from agent.demo.s3_server import S3Server
from agent.demo.sending import Sender
from agent.demo.studies import DemoStudy, StudyKind, plan, study_uid_of
from agent.demo.watching import End, Watcher
from agent.errors import ConfigError
from agent.study import LOOKS, Role

READY_S = 90.0
LOOK_S = 0.3
AGENT_LOG = "agent.log"
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
        if not self._halt.is_set():
            self._halt.set()
            # not `say`: the signal may have come in the middle of a line
            os.write(1, b"\ndemo: stopping, a few seconds ...\n")

    def _run(self) -> int:
        folder = DemoFolder(self._folder)
        folder.claim()
        self._running.stops.append(folder.release)
        server = S3Server(self._folder / "s3")
        self._say("demo: starting an S3 server, the analysis service and the agent ...")
        self._running.stops.append(server.stop)
        server.start()
        self._running.stops.append(self._start_analysis(server).stop)
        os.environ.update(agent_environment(self._folder, server))
        settings = load_settings()
        agent = self._start_agent(settings)
        found = self._await_ready(agent, settings)
        if found is None:
            return 0
        port, address = found
        watcher = Watcher(settings)
        try:
            self._greet(watcher, settings, port, address)
            studies = {watcher.id_of(study_uid_of(s)): s for s in plan(self._options.studies)}
            return self._follow(watcher, studies, agent, (_own_host(settings), port, settings.dicom.ae_title), address)
        finally:
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
        child = Child(command, self._folder / AGENT_LOG, on_parent_death=signal.SIGTERM)
        self._running.stops.append(lambda: child.stop(_STOP_S))
        return child

    def _await_ready(self, agent: Child, settings: Settings) -> tuple[int, str] | None:
        end = self._clock.monotonic() + READY_S
        log = self._folder / AGENT_LOG
        while self._clock.monotonic() < end and not self._halt.is_set():
            if agent.exit_code is not None:
                raise ConfigError(f"The agent did not start. {agent.tail(1)}", code="demo_agent", hint=f"See {log}.")
            state = _json_of(settings.data_dir / "run" / "ready.json")
            web = _json_of(settings.data_dir / "run" / "web.json")
            if state.get("ready") and state.get("dicom_port") and web.get("url"):
                return int(str(state["dicom_port"])), str(web["url"]).rstrip("/")
            self._clock.wait(self._halt, 0.05)
        if self._halt.is_set():
            return None
        raise ConfigError("The agent was not ready in time.", code="demo_agent", hint=f"See {log}.")

    def _greet(self, watcher: Watcher, settings: Settings, port: int, address: str) -> None:
        self._say(
            f"demo: ready. DICOM {settings.dicom.ae_title} on {_own_host(settings)}:{port}; files in {self._folder}"
        )
        self._say(f"demo: dashboard {address}/")
        for name, role in (("demo", Role.REVIEWER), ("demo-admin", Role.ADMIN)):
            self._say(f"demo: log in as {name} ({role}), one-time password {watcher.one_time_login(name, role)}")
        self._say("demo: the passwords are good for an hour; each start of the demo makes new ones and ends old logins")
        self._say("demo: Ctrl-C ends everything")

    # ------------------------------------------------------------------ watch

    def _follow(
        self,
        watcher: Watcher,
        studies: Mapping[str, DemoStudy],
        agent: Child,
        peer: tuple[str, int, str],
        address: str,
    ) -> int:
        show = _Show(self._say, watcher, studies, address, stays_open=not self._options.exit_when_done)
        sender = Sender(show.tell_stored(), self._folder / "studies", peer)
        thread = threading.Thread(target=sender.run, args=(show.tell, self._halt), name="demo-sender", daemon=True)
        thread.start()
        try:
            return self._watch(show, agent, sender)
        finally:
            self._halt.set()
            sender.first_ended.set()
            thread.join(10)

    def _watch(self, show: _Show, agent: Child, sender: Sender) -> int:
        while not self._halt.is_set():
            if agent.exit_code is not None:
                log = self._folder / AGENT_LOG
                raise ConfigError(f"The agent ended. {agent.tail(1)}", code="demo_agent", hint=f"See {log}.")
            show.look()
            if show.has_ended(StudyKind.T1):
                sender.first_ended.set()
            if sender.finished.is_set() and show.tell_end(sender.failed) and self._options.exit_when_done:
                return 0 if show.is_as_expected else 1
            self._clock.wait(self._halt, LOOK_S)
        return 0


class _Show:
    """Tells on the console what becomes of the studies."""

    def __init__(
        self,
        say: Callable[[str], None],
        watcher: Watcher,
        studies: Mapping[str, DemoStudy],
        address: str,
        *,
        stays_open: bool,
    ) -> None:
        self._say, self._watcher, self._studies, self._address = say, watcher, studies, address
        self._stays_open = stays_open
        self._seen: set[str] = set()
        self._ended: dict[str, End] = {}
        self._told_end = False
        self._preparing_since: float | None = None
        if not watcher.are_kernels_ready():
            self._preparing_since = time.monotonic()
            say("demo: preparing the kernels of quality control (first time only) ...")

    @property
    def is_as_expected(self) -> bool:
        """Every study ended as expected, and by itself."""
        return len(self._ended) == len(self._studies) and set(self._ended.values()) <= {End.EXPECTED}

    def tell(self, name: str, words: str) -> None:
        """Say what happened to a study."""
        self._say(f"{datetime.now():%H:%M:%S}  {name:<14} {words}")  # noqa: DTZ005 - for the eyes of one user

    def tell_stored(self) -> list[DemoStudy]:
        """Say which studies are here from an earlier run, and return those that have to be sent."""
        missing = []
        for study_id, study in self._studies.items():
            line = self._watcher.line_of(study_id)
            if line is None or line.instances_received < study.images:
                missing.append(study)
                continue
            self._introduce(study_id)
            end = self._watcher.end_of(study, study_id)
            what = "goes on" if end is None else end.value if end is End.BY_HAND else "unchanged"
            self.tell(study.name, f"{LOOKS[line.status].word}: already here, {what}")
        return missing

    def look(self) -> None:
        """Say what is new."""
        if self._preparing_since is not None and self._watcher.are_kernels_ready():
            took = time.monotonic() - self._preparing_since
            self._preparing_since = None
            self._say(f"demo: the kernels of quality control are ready ({took:.0f} s)")
        for step in self._watcher.steps():
            study = self._studies.get(step.study_id)
            self._introduce(step.study_id)
            self.tell(study.name if study else step.study_id, step.words)
        for study_id, study in self._studies.items():
            end = self._watcher.end_of(study, study_id)
            if end is None:
                self._ended.pop(study_id, None)
            else:
                self._ended[study_id] = end

    def has_ended(self, kind: StudyKind) -> bool:
        """Say whether a study of this kind has ended."""
        return any(self._studies[study_id].kind is kind for study_id in self._ended)

    def tell_end(self, failed: Collection[str]) -> bool:
        """Say once that everything has ended; True when it has.

        Parameters
        ----------
        failed : collection of str
            Names of studies that could not be sent: nothing more comes of them.
        """
        waiting = [s.name for study_id, s in self._studies.items() if study_id not in self._ended]
        if any(name not in failed for name in waiting):
            return False
        if not self._told_end:
            self._told_end = True
            count = len(self._studies)
            good = sum(end is End.EXPECTED for end in self._ended.values())
            self._say(f"demo: {'all' if good == count else f'{good} of'} {count} studies ended as expected")
            for study_id, end in self._ended.items():
                if end is not End.EXPECTED:
                    self._say(f"demo: {self._studies[study_id].name} {end.value}: {self._address_of(study_id)}")
            if self._stays_open:
                self._say("demo: the dashboard stays open, Ctrl-C ends everything")
        return True

    def _introduce(self, study_id: str) -> None:
        """Say once how the dashboard calls a study, and where it shows it."""
        line = self._watcher.line_of(study_id)
        if line is None or study_id in self._seen:
            return
        self._seen.add(study_id)
        study = self._studies.get(study_id)
        self._say(f"demo: {study.name if study else study_id} is {line.patient} at {self._address_of(study_id)}")

    def _address_of(self, study_id: str) -> str:
        return f"{self._address}/studies/{study_id}"


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
