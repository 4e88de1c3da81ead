"""kill -9 of the engine and of its children: nothing acknowledged is lost, every study moves on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from agent.config import Settings
from agent.dicom.scu import SendRequest, send
from agent.store.studies import read_instances
from agent.study import StudyStatus
from tests.study.agents import made_study, running, settings_for, wait_until


class Served:
    """``agent serve`` as a process."""

    def __init__(self, settings: Settings, *options: str) -> None:
        self.settings = settings
        (settings.data_dir / "run" / "ready.json").unlink(missing_ok=True)
        environment = {
            **os.environ,
            "AGENT_DICOM__PORT": "0", "AGENT_DICOM__HOST": "127.0.0.1", "AGENT_DICOM__RECEIVERS": "1",
            "AGENT_WEB__PORT": "0", "AGENT_QC__WORKERS": "1", "AGENT_STUDY__QUIET_S": "0.3",
            "AGENT_STUDY__SERIES_QUIET_S": "0.3", "AGENT_KEYS__FILE": str(settings.key_file),
        }  # fmt: skip
        self._log = settings.data_dir / "serve.log"
        with self._log.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "agent", "serve", "--data", str(settings.data_dir), *options],
                env=environment, stdout=output, stderr=subprocess.STDOUT,
            )  # fmt: skip

    @property
    def lines(self) -> list[str]:
        return self._log.read_text().splitlines()

    def ready(self) -> dict[str, object]:
        def read() -> dict[str, object] | None:
            assert self.process.poll() is None, "".join(self.lines)
            try:
                body = json.loads((self.settings.data_dir / "run" / "ready.json").read_text())
            except (OSError, ValueError):
                return None
            return body if body["ready"] and body["processes"]["engine"] == [self.process.pid] else None

        found: dict[str, object] = wait_until(read, "agent serve is ready")
        return found

    def children(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)

    def end(self) -> int:
        if self.process.poll() is None:
            self.process.terminate()
        return self.process.wait(40)


@pytest.fixture
def served(tmp_path: Path) -> Iterator[list[Served]]:
    started: list[Served] = []
    yield started
    for one in started:
        if one.process.poll() is None:
            one.process.kill()
        one.end()


def test_children_end_with_a_killed_engine_and_the_next_serve_goes_on(tmp_path: Path, served: list[Served]) -> None:
    settings = settings_for(tmp_path)
    served.append(Served(settings))
    port = served[0].ready()["dicom_port"]
    uid, paths = made_study(tmp_path / "files", images=20)
    summary = send(paths, SendRequest("127.0.0.1", port, "NEUROPACS_AGENT", "TEST"))
    assert summary.ok
    children = served[0].children()
    assert len(children) >= 3
    served[0].process.send_signal(signal.SIGKILL)
    gone, alive = psutil.wait_procs(children, timeout=20)  # at most what an import takes on a busy machine
    assert not alive
    with running(settings) as agent:
        agent.wait_for(uid, StudyStatus.STABLE, StudyStatus.QC_PASSED, StudyStatus.FAILED)
        study_id = agent.engine.around.keyring.study_id(uid)
        assert len(agent.read(lambda: read_instances(study_id))) == 20


def test_without_recovery_images_are_missing_and_with_it_they_are_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings_for(tmp_path, qc={"on_arrival": False})
    uid, paths = made_study(tmp_path / "files", images=6)
    with running(settings) as agent:
        # the engine dies after Success and before the index: what that leaves is a segment without rows
        monkeypatch.setattr("agent.arrivals.index_records", lambda rows: (_ for _ in ()).throw(RuntimeError("died")))
        assert agent.send(*paths).ok
    monkeypatch.undo()
    with running(settings, recover=False) as agent:
        assert agent.study(uid) is None
    with running(settings) as agent:
        row = agent.wait_for(uid, StudyStatus.STABLE, StudyStatus.QC_PASSED, StudyStatus.FAILED)
        assert row.instances_received == 6


def test_a_second_serve_on_the_same_data_is_refused_in_one_line(tmp_path: Path, served: list[Served]) -> None:
    settings = settings_for(tmp_path)
    with running(settings):
        served.append(Served(settings, "--no-web"))
        assert served[0].process.wait(40) == 3
        served[0].end()
        assert len(served[0].lines) == 1
        assert "uses the data directory" in served[0].lines[0]


def test_a_dead_receiver_is_replaced_and_its_images_are_indexed(tmp_path: Path) -> None:
    with running(settings_for(tmp_path)) as agent:
        uid, paths = made_study(tmp_path / "files", images=8)
        assert agent.send(*paths[:4]).ok
        old = agent.engine.pids()["receiver"]
        os.kill(old[0], signal.SIGKILL)
        wait_until(lambda: (p := agent.engine.pids()["receiver"]) and p != old, "another receiver")
        wait_until(lambda: agent.send(*paths[4:]).ok, "the new receiver takes images")
        row = agent.wait_for(uid, StudyStatus.STABLE, StudyStatus.QC_PASSED, StudyStatus.FAILED)
        wait_until(lambda: agent.study(uid).instances_received == 8, "all images")
        assert row is not None


def test_a_dead_web_process_is_started_again(tmp_path: Path) -> None:
    with running(settings_for(tmp_path), with_web=True) as agent:
        url = agent.engine.wait_for_web(60)
        assert url
        old = agent.engine.pids()["web"]
        os.kill(old[0], signal.SIGKILL)
        wait_until(lambda: (p := agent.engine.pids()["web"]) and p != old, "another web process")
        assert agent.engine.wait_for_web(60)


def test_a_dead_worker_costs_nothing(tmp_path: Path) -> None:
    with running(settings_for(tmp_path, qc={"gate": False})) as agent:
        wait_until(lambda: agent.engine.pids()["worker"], "a worker")
        uid, paths = made_study(tmp_path / "files", images=8)
        assert agent.send(*paths).ok
        for pid in agent.engine.pids()["worker"]:
            os.kill(pid, signal.SIGKILL)
        agent.wait_for(uid, StudyStatus.QC_PASSED)
