"""What the store holds, seen through its public door: ``agent store export``."""

from __future__ import annotations

import hashlib
import shutil
from collections import Counter
from pathlib import Path

from tests.path.agent_process import AgentProcess
from tests.raw_sender import read_object


def export(agent: AgentProcess, study_id: str, folder: Path) -> list[Path]:
    """Export one study and return its files."""
    shutil.rmtree(folder, ignore_errors=True)
    agent.cli("store", "export", study_id, str(folder))
    return sorted(folder.rglob("*.dcm"))


def exported_hashes(agent: AgentProcess, folder: Path) -> Counter[str]:
    """SHA-256 of the data set bytes of every exported instance of every study, with how often each occurs."""
    found: Counter[str] = Counter()
    for study in agent.studies():
        for path in export(agent, study["id"], folder / study["id"]):
            item = read_object(path)
            assert item is not None, "an export that is no Part 10 file"
            found[hashlib.sha256(item.data).hexdigest()] += 1
        shutil.rmtree(folder / study["id"])
    return found
