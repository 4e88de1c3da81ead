"""Fixtures of the tests that run the whole agent."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.path.agent_process import AgentProcess


@pytest.fixture
def make_agent(tmp_path: Path) -> Iterator[Callable[..., AgentProcess]]:
    """Makes agents that are stopped when the test ends."""
    agents: list[AgentProcess] = []

    def make(name: str = "agent", **settings: object) -> AgentProcess:
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        agents.append(AgentProcess(folder, **settings))
        return agents[-1]

    yield make
    for agent in agents:
        agent.stop()


from tests.s3 import s3_server  # noqa: F401
