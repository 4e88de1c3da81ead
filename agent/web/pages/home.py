"""Home: does anything need me now?

Place: blueprint ``home``. Shows what waits for a person, counts per status, the last day, storage and the state
of the agent.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from flask import Blueprint, Response, current_app, render_template

from agent.store.reader import operations, studies
from agent.store.reader.study import read_qc_reasons
from agent.web import orders, status_file, telling
from agent.web.access import allow, open_to_all
from agent.web.context import role, web
from agent.web.pages.study import best_choice

blueprint = Blueprint("home", __name__)

DAY_S = 86_400.0
SHOWN = 12


@blueprint.get("/")
@allow()
def index() -> str:
    """Show what needs somebody."""
    context = web()
    now = context.clock.timestamp()
    late_before = telling.late_before()
    waiting = studies.waiting_for_a_person(SHOWN, late_before)
    reasons = read_qc_reasons([line.id for line in waiting if line.needs_review])
    usage = shutil.disk_usage(context.settings.data_dir)
    return render_template(
        "home/home.html",
        waiting=[
            (line, telling.headline(line, reasons.get(line.id, ())), best_choice(orders.choices(line, role())))
            for line in waiting
        ],
        waiting_count=studies.count_waiting(late_before) if len(waiting) == SHOWN else len(waiting),
        alarms=operations.open_alarms(),
        counts=context.feed.counts(),
        figures=operations.figures(now - DAY_S),
        disk=usage,
        engine=status_file.read(context.settings, now),
        cloud=context.settings.cloud.adapter,
        dicom=context.settings.dicom,
    )


@blueprint.get("/favicon.ico")
@open_to_all
def icon() -> Response:
    """Send the icon where browsers look for it without being told, as beside a PDF."""
    return Response(Path(current_app.static_folder or "", "icon.svg").read_bytes(), mimetype="image/svg+xml")
