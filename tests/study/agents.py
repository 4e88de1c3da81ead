"""A whole agent inside the test's process, with real children, and what tests ask of it."""

from __future__ import annotations

import contextlib
import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from agent.config import Settings, load_settings
from agent.dicom.scu import SendRequest, SendSummary, send
from agent.engine import Engine
from agent.store import commands, studies
from agent.store.commands import NewCommand
from agent.store.reader.study import HistoryLine, read_history
from agent.store.studies import StudyRow
from agent.study import StudyStatus
from pydicom.uid import generate_uid
from tests.dicom_files import make_series, write_series

PATIENCE_S = 180.0  # a deadline for what hangs, not a promise: the machine may be busy


def settings_for(folder: Path, **sections: Any) -> Settings:
    """Settings of an agent that decides fast; `sections` replace values."""
    values: dict[str, Any] = {
        "data_dir": folder / "data",
        "keys": {"file": folder / "agent.key"},
        "dicom": {"port": 0, "host": "127.0.0.1", "receivers": 1},
        "study": {"quiet_s": 0.3, "series_quiet_s": 0.3, "association_quiet_s": 5, "max_wait_s": 2},
        "qc": {"workers": 1},
        "web": {"port": 0},
    }
    share_compiled_kernels(folder / "data")
    for name, section in sections.items():
        values[name] = {**values[name], **section} if isinstance(section, dict) and name in values else section
    return load_settings(None, values)


def shared_kernels() -> Path:
    """Folder of the kernels that all tests share."""
    shared = Path(tempfile.gettempdir(), f"agent-test-kernels-{os.getuid()}")
    shared.mkdir(mode=0o700, exist_ok=True)
    return shared


def share_compiled_kernels(data_dir: Path) -> None:
    """Compile the kernels once for all tests instead of once a data directory."""
    shared = shared_kernels()
    (data_dir / "cache").mkdir(parents=True, exist_ok=True, mode=0o700)
    link = data_dir / "cache" / "numba"
    if not link.is_symlink():
        link.symlink_to(shared)


def wait_until(condition: Callable[[], Any], what: str, patience_s: float = PATIENCE_S) -> Any:
    """Poll until `condition` is true and return what it gave."""
    pause = threading.Event()
    deadline = time.monotonic() + patience_s
    while True:
        found = condition()
        if found:
            return found
        assert time.monotonic() < deadline, f"not within {patience_s} s: {what}"
        pause.wait(0.02)


class Agent:
    """An engine and the questions tests have."""

    def __init__(self, settings: Settings, *, recover: bool = True, with_web: bool = False) -> None:
        self.settings = settings
        self.engine = Engine(settings, recover=recover, with_web=with_web)

    def send(self, *paths: Path, associations: int = 1) -> SendSummary:
        return send(
            list(paths), SendRequest("127.0.0.1", self.engine.dicom_port, "NEUROPACS_AGENT", "TEST", associations)
        )

    def read(self, query: Callable[[], Any]) -> Any:
        assert self.engine.around is not None
        return self.engine.around.read(query)

    def study(self, study_uid: str) -> StudyRow | None:
        assert self.engine.around is not None
        study_id = self.engine.around.keyring.study_id(study_uid)
        row: StudyRow | None = self.read(lambda: studies.read_study(study_id))
        return row

    def wait_for(self, study_uid: str, *statuses: StudyStatus, revision: int | None = None) -> StudyRow:
        def reached() -> StudyRow | None:
            row = self.study(study_uid)
            fits = row is not None and row.status in statuses and revision in (None, row.revision)
            return row if fits else None

        try:
            row: StudyRow = wait_until(reached, f"{statuses}")
        except AssertionError as error:
            raise AssertionError(f"{error}; it is {self.study(study_uid)}") from None
        return row

    def history(self, study_uid: str) -> list[HistoryLine]:
        assert self.engine.around is not None
        study_id = self.engine.around.keyring.study_id(study_uid)
        lines: list[HistoryLine] = self.read(lambda: read_history(study_id))
        return lines

    def command(self, study_uid: str, verb: str, reason: str = "because", role: str = "reviewer") -> str:
        """Give a command, wait for its outcome and return ``state: outcome``."""
        assert self.engine.around is not None
        study_id = self.engine.around.keyring.study_id(study_uid)
        given = self.engine.around.write(
            lambda: commands.insert_command(NewCommand(study_id, verb, "tester", role, reason))
        )

        def answered() -> str:
            row = self.read(lambda: commands.read_command(given))
            return f"{row.state}: {row.outcome}" if row.state in ("done", "refused") else ""

        answer: str = wait_until(answered, f"an answer to {verb}")
        return answer


@contextlib.contextmanager
def running(settings: Settings, **options: Any) -> Iterator[Agent]:
    """Start an agent, stop it at the end."""
    agent = Agent(settings, **options)
    agent.engine.start()
    try:
        yield agent
    finally:
        agent.engine.stop(20)


def made_study(folder: Path, images: int = 6, **options: Any) -> tuple[str, list[Path]]:
    """Write a synthetic study and return its UID and files."""
    uid = options.pop("study_uid", None) or generate_uid()
    paths = write_series(folder / uid, make_series(images, study_uid=uid, **options))
    return uid, paths
