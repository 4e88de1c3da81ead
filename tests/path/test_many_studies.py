"""Hundreds of small studies at once: all reach their end, memory stays flat, few actors live."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from io import BytesIO

import psutil
import pytest
from pydicom.filewriter import dcmwrite
from pydicom.uid import generate_uid

from tests.dicom_files import make_series
from tests.path.agent_process import AgentProcess, wait_until
from tests.proof import record
from tests.raw_sender import WireObject, send_all

MakeAgent = Callable[..., AgentProcess]
EXPLICIT = "1.2.840.10008.1.2.1"
CAP = 32
FIRST = 20  # until every process holds what it always holds


def small_study(number: int) -> list[WireObject]:
    items = []
    for ds in make_series(3, seed=number, study_uid=generate_uid(), patient_id=f"MANY-{number:04d}"):
        buffer = BytesIO()
        dcmwrite(buffer, ds, implicit_vr=False, little_endian=True)
        items.append(WireObject(ds.SOPClassUID, ds.SOPInstanceUID, EXPLICIT, buffer.getvalue()))
    return items


def tree_memory_mb(agent: AgentProcess) -> float:
    """Unshared memory of the engine and all its children."""
    assert agent.process is not None
    root = psutil.Process(agent.process.pid)
    total = 0
    for process in [root, *root.children(recursive=True)]:
        try:
            total += process.memory_full_info().uss
        except psutil.Error:
            continue
    return total / 1e6


def live_studies(agent: AgentProcess) -> float:
    import urllib.request

    with urllib.request.urlopen(f"{agent.web}/metrics", timeout=20) as answer:
        lines = answer.read().decode().splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.startswith("agent_live_studies"))


def is_at_rest(study: dict[str, object]) -> bool:
    """Judged: passed, failed, or stable and waiting for a person (there is no cloud in this test)."""
    waits = study["status"] == "stable" and "needs_review" in study["flags"]  # type: ignore[operator]
    return waits or study["status"] in ("qc_passed", "failed")


def run_many(agent: AgentProcess, count: int) -> dict[str, float]:
    statuses: list[int] = []
    warm = [send_all(agent.dicom, small_study(10_000 + n)) for n in range(FIRST)]
    assert all(s == 0 for row in warm for s in row)
    wait_until(lambda: sum(is_at_rest(s) for s in agent.studies()) == FIRST, "the first are judged")
    for _ in range(200):  # every thread of the dashboard opens its connection once
        agent.studies()
    before, most_alive, most_mb = tree_memory_mb(agent), 0.0, 0.0

    def send(numbers: range) -> None:
        for number in numbers:
            statuses.extend(send_all(agent.dicom, small_study(number)))

    threads = [threading.Thread(target=send, args=(range(k, count, 6),)) for k in range(6)]
    for thread in threads:
        thread.start()

    def ended() -> bool:
        nonlocal most_alive, most_mb
        most_alive, most_mb = max(most_alive, live_studies(agent)), max(most_mb, tree_memory_mb(agent))
        if any(t.is_alive() for t in threads):
            return False
        studies = agent.studies()
        return len(studies) == count + FIRST and all(is_at_rest(s) for s in studies)

    wait_until(ended, f"{count} studies reach their end", 60 + count)
    for thread in threads:
        thread.join()
    assert all(s == 0 for s in statuses)
    return {"studies": count, "most_alive": most_alive, "before_mb": round(before), "most_mb": round(most_mb),
            "after_mb": round(tree_memory_mb(agent))}  # fmt: skip


@pytest.mark.timeout(300)
def test_forty_studies_at_once_all_reach_their_end(make_agent: MakeAgent) -> None:
    with make_agent(study__live_studies=CAP, log__level="warning") as agent:
        figures = run_many(agent, 40)
        assert figures["most_alive"] <= CAP


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_three_hundred_studies_at_once_all_reach_their_end(make_agent: MakeAgent) -> None:
    with make_agent(study__live_studies=CAP, log__level="warning") as agent:
        figures = run_many(agent, 300)
        record("three_hundred_studies", cap=CAP, cores=os.cpu_count(), **figures)
        assert figures["most_alive"] <= CAP
        assert figures["after_mb"] < figures["before_mb"] + 150
