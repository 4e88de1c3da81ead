"""Health: is every part alive?

Place: blueprint ``health``, administrators only. Processes, queues, disk, alarms, versions. Everybody sees the
alarms on Home.
"""

from __future__ import annotations

import platform
import shutil
from importlib.metadata import version

import psutil
from flask import Blueprint, render_template

from agent.store.reader import operations
from agent.study import Role
from agent.web import status_file
from agent.web.access import allow
from agent.web.context import web

blueprint = Blueprint("health", __name__)


@blueprint.get("/health")
@allow(Role.ADMIN)
def index() -> str:
    """Show every part and how it does."""
    context = web()
    now = context.clock.timestamp()
    engine = status_file.read(context.settings, now)
    return render_template(
        "health/health.html",
        engine=engine,
        processes=_processes(engine.processes),
        queues=operations.queues(),
        commands_waiting=operations.commands_waiting(),
        alarms=operations.open_alarms(),
        disk=shutil.disk_usage(context.settings.data_dir),
        store=context.settings.store,
        load=psutil.getloadavg(),
        cores=psutil.cpu_count() or 1,
        memory=psutil.virtual_memory(),
        versions=[("Agent", version("imaging-ingestion-agent")), ("Python", platform.python_version())],
    )


def _processes(said: dict[str, object]) -> list[tuple[str, int, float | None]]:
    """Return name, process id and resident bytes of each process the engine named."""
    rows: list[tuple[str, int, float | None]] = []
    for name, value in said.items():
        for pid in value if isinstance(value, list) else [value]:
            if isinstance(pid, int):
                rows += [(name, pid, _resident(pid))]
    return rows


def _resident(pid: int) -> float | None:
    try:
        return float(psutil.Process(pid).memory_info().rss)
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return None
