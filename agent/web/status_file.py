"""What the engine says about itself once a second.

Job: read ``run/ready.json`` and decide whether the agent is ready. Place: asked by the probes and by the pages
Home and Health. It must never trust a file that is old.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field

from agent.config import Settings

STALE_S = 5.0


@dataclass(frozen=True, slots=True)
class EngineStatus:
    """The engine's last word and whether it counts."""

    is_ready: bool
    because: str
    at: float | None = None
    dicom_port: int | None = None
    receivers: int = 0
    workers: int = 0
    processes: dict[str, object] = field(default_factory=dict)


def read(settings: Settings, now: float) -> EngineStatus:
    """Return what the engine said last.

    Parameters
    ----------
    settings : Settings
        Names the data directory.
    now : float
        Seconds since the epoch.
    """
    try:
        body = json.loads((settings.data_dir / "run" / "ready.json").read_text(encoding="utf-8"))
        at = float(body["at"])
    except (OSError, ValueError, KeyError, TypeError):
        return EngineStatus(False, "The engine has not started.")
    port = body.get("dicom_port")
    said = EngineStatus(
        bool(body.get("ready")), "", at, port if isinstance(port, int) else None,
        _count(body.get("receivers")), _count(body.get("workers")),
        body["processes"] if isinstance(body.get("processes"), dict) else {},
    )  # fmt: skip
    if now - at > STALE_S:
        return EngineStatus(False, "The engine does not answer.", at, said.dicom_port, 0, 0, said.processes)
    if not said.is_ready:
        return EngineStatus(
            False, "The engine is starting or stopping.", at, said.dicom_port, said.receivers, said.workers
        )
    if said.receivers < 1:
        return EngineStatus(
            False, "No receiver process accepts images.", at, said.dicom_port, 0, said.workers, said.processes
        )
    return said


def _count(value: object) -> int:
    return value if isinstance(value, int) else 0
