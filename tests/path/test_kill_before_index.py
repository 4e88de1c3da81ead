"""The engine dies after the key was handed out and before the index is committed; the segments are the journal."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from pydicom.uid import generate_uid

from tests.path.agent_process import AgentProcess, wait_until
from tests.path.stored_objects import exported_hashes
from tests.path.test_kill import EXPLICIT, wire_object
from tests.proof import record
from tests.raw_sender import RawAssociation

MakeAgent = Callable[..., AgentProcess]
WITHOUT_RECOVERY = (
    "-c",
    "import multiprocessing\n"
    "from agent.config import load_settings\n"
    "from agent.engine import Engine\n"
    "if __name__ == '__main__':\n"
    "    Engine(load_settings(), recover=False).run()\n",
)


def acknowledge_and_kill(agent: AgentProcess) -> list[str]:
    """First object of a new study (its key is handed out now), acknowledged, and the engine is gone at once."""
    study, series = generate_uid(), generate_uid()
    association = RawAssociation(agent.dicom, [("1.2.840.10008.5.1.4.1.1.4", EXPLICIT)])
    acknowledged = []
    for number in (1, 2):
        item = wire_object(study, series, number)
        association.socket.sendall(association.encode(item))
        if association._status() == 0:
            acknowledged.append(item.sha256)
    agent.kill()
    association.drop()
    return acknowledged


def run_rounds(agent: AgentProcess, rounds: int, command: tuple[str, ...]) -> list[str]:
    acknowledged: list[str] = []
    for _ in range(rounds):
        acknowledged += acknowledge_and_kill(agent)
        agent.start(command=command)
    return acknowledged


def check(agent: AgentProcess, acknowledged: list[str], out: Path) -> int:
    wait_until(lambda: not [s for s in agent.studies() if s["status"] == "receiving"], "every study moves on", 120)
    return len(set(acknowledged) - set(exported_hashes(agent, out)))


@pytest.mark.timeout(300)
def test_what_was_acknowledged_before_the_index_is_recovered(make_agent: MakeAgent, tmp_path: Path) -> None:
    with make_agent(study__association_quiet_s=2) as agent:
        acknowledged = run_rounds(agent, 5, ("-m", "agent", "serve"))
        assert len(acknowledged) == 10
        assert check(agent, acknowledged, tmp_path / "out") == 0


@pytest.mark.timeout(300)
def test_without_recovery_the_same_kills_lose_images(make_agent: MakeAgent, tmp_path: Path) -> None:
    """The negative control: if this did not lose, the test above would be blind."""
    with make_agent(study__association_quiet_s=2) as agent:
        acknowledged = run_rounds(agent, 5, WITHOUT_RECOVERY)
        present = set(exported_hashes(agent, tmp_path / "out")) if agent.studies() else set()
        assert set(acknowledged) - present


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_fifty_kills_between_key_and_index_lose_nothing(make_agent: MakeAgent, tmp_path: Path) -> None:
    with make_agent(study__association_quiet_s=2) as agent:
        acknowledged = run_rounds(agent, 50, ("-m", "agent", "serve"))
        lost = check(agent, acknowledged, tmp_path / "out")
        record("kill_between_key_and_index", kills=50, acknowledged=len(acknowledged), lost=lost)
        assert lost == 0
