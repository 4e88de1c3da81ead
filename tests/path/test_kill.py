"""kill -9 of any process at any moment loses no image that was acknowledged, and every study moves on."""

from __future__ import annotations

import hashlib
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from pydicom.uid import generate_uid

from tests.dicom_files import make_image
from tests.path.agent_process import AgentProcess, wait_until
from tests.path.stored_objects import exported_hashes
from tests.proof import record
from tests.raw_sender import RawAssociation, WireObject

MakeAgent = Callable[..., AgentProcess]
VICTIMS = ("engine", "receiver", "worker", "web")
EXPLICIT = "1.2.840.10008.1.2.1"


def wire_object(study_uid: str, series_uid: str, number: int) -> WireObject:
    from io import BytesIO

    from pydicom.filewriter import dcmwrite

    ds = make_image(study_uid=study_uid, series_uid=series_uid, number=number, shape=(128, 128), seed=number)
    buffer = BytesIO()
    dcmwrite(buffer, ds, implicit_vr=False, little_endian=True)
    return WireObject(ds.SOPClassUID, ds.SOPInstanceUID, EXPLICIT, buffer.getvalue())


class Sender(threading.Thread):
    """Sends new studies until told to stop; remembers what was acknowledged and whether one is in flight."""

    def __init__(self, agent: AgentProcess, stop: threading.Event) -> None:
        super().__init__(daemon=True)
        self.agent, self.stop = agent, stop
        self.acknowledged: list[str] = []
        self.refused: list[int] = []
        self.in_flight = False

    def run(self) -> None:
        while not self.stop.is_set():
            try:
                association = RawAssociation(self.agent.dicom, [("1.2.840.10008.5.1.4.1.1.4", EXPLICIT)], timeout_s=20)
            except (OSError, KeyError):
                self.stop.wait(0.1)
                continue
            try:
                self._send_study(association)
            except OSError:
                self.stop.wait(0.1)
            finally:
                self.in_flight = False
                association.drop()

    def _send_study(self, association: RawAssociation) -> None:
        study, series = generate_uid(), generate_uid()
        for number in range(1, 40):
            if self.stop.is_set():
                break
            item = wire_object(study, series, number)
            self.in_flight = True
            status = association.store(item)
            if status == 0:
                self.acknowledged.append(item.sha256)
            else:
                self.refused.append(status)
            self.in_flight = False
        association.release()


def one_kill(agent: AgentProcess, victim: str, senders: list[Sender]) -> bool:
    """Kill one process; returns whether an object was in flight at that moment."""
    if victim == "engine":
        flying = any(s.in_flight for s in senders)
        agent.kill()
        agent.start()
        return flying
    before = wait_until(lambda: agent.pids(victim), f"a {victim} runs")
    flying = any(s.in_flight for s in senders)
    os.kill(random.choice(before), signal.SIGKILL)
    wait_until(lambda: agent.ready().get("ready") and set(agent.pids(victim)) - set(before), f"a new {victim}")
    return flying


def run_kills(agent: AgentProcess, kills: int, seed: int) -> dict[str, object]:
    dice = random.Random(seed)
    stop = threading.Event()
    senders = [Sender(agent, stop) for _ in range(4)]
    for sender in senders:
        sender.start()
    flying, starts = 0, []
    try:
        for n in range(kills):
            acknowledged = sum(len(s.acknowledged) for s in senders)
            wait_until(lambda: sum(len(s.acknowledged) for s in senders) > acknowledged + 3, "images flow")  # noqa: B023
            time.sleep(dice.uniform(0.05, 1.5))
            begun = time.monotonic()
            flying += one_kill(agent, VICTIMS[n % 4], senders)
            starts.append(time.monotonic() - begun)
    finally:
        stop.set()
        for sender in senders:
            sender.join(30)
    return {
        "kills": kills,
        "in_flight": flying,
        "acknowledged": [h for s in senders for h in s.acknowledged],
        "refused": sum(len(s.refused) for s in senders),
        "slowest_restart_s": round(max(starts), 2),
    }


def check_nothing_lost(agent: AgentProcess, result: dict[str, object], out: Path) -> None:
    acknowledged = set(result["acknowledged"])  # type: ignore[call-overload]
    wait_until(lambda: not [s for s in agent.studies() if s["status"] == "receiving"], "no study is stuck", 150)
    found = set(exported_hashes(agent, out))
    lost = acknowledged - found
    assert not lost, f"{len(lost)} of {len(acknowledged)} acknowledged images are gone"
    verified = agent.cli("store", "verify", "--json")
    assert '"bad": 0' in verified.stdout


@pytest.mark.timeout(400)
def test_killing_each_process_once_loses_nothing(make_agent: MakeAgent, tmp_path: Path) -> None:
    with make_agent(study__association_quiet_s=2) as agent:
        result = run_kills(agent, 4, seed=1)
        check_nothing_lost(agent, result, tmp_path / "out")


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_twenty_kills_under_load_lose_nothing(make_agent: MakeAgent, tmp_path: Path) -> None:
    with make_agent(study__association_quiet_s=2) as agent:
        result = run_kills(agent, 20, seed=2)
        check_nothing_lost(agent, result, tmp_path / "out")
        figures = {**result, "acknowledged": len(result["acknowledged"]), "lost": 0}  # type: ignore[arg-type]
        record("kill_under_load", **figures)
        assert int(str(result["in_flight"])) >= 6, "too few kills with an object in flight: the test is blind"
