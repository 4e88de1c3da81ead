"""Home: does anything need me now?

Place: blueprint ``home``. Shows what waits for a person, counts per status, the last day, storage and the state
of the agent.
"""

from __future__ import annotations

import shutil

from flask import Blueprint, render_template

from agent.store.reader import operations, studies
from agent.web import orders, status_file
from agent.web.access import allow
from agent.web.context import role, web
from agent.web.pages.study import best_choice

blueprint = Blueprint("home", __name__)

DAY_S = 86_400.0


@blueprint.get("/")
@allow()
def index() -> str:
    """Show what needs somebody."""
    context = web()
    waiting = studies.waiting_for_a_person(12)
    usage = shutil.disk_usage(context.settings.data_dir)
    return render_template(
        "home/home.html",
        waiting=[(line, best_choice(orders.choices(line, role()))) for line in waiting],
        waiting_count=studies.count_waiting() if len(waiting) == 12 else len(waiting),
        alarms=operations.open_alarms(),
        counts=context.feed.counts(),
        figures=operations.figures(context.clock.timestamp() - DAY_S),
        disk=usage,
        engine=status_file.read(context.settings, context.clock.timestamp()),
        cloud=context.settings.cloud.adapter,
        dicom=context.settings.dicom,
    )
