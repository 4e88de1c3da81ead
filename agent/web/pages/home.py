"""Home: does anything need me now?

Place: blueprint ``home``. Shows what waits for a person, counts per status, the last day, storage and the state
of the agent.
"""

from __future__ import annotations

import shutil

from flask import Blueprint, render_template

from agent.store.reader import operations, studies
from agent.store.reader.studies import StudyLine
from agent.web import orders, status_file
from agent.web.access import allow
from agent.web.context import role, web
from agent.web.pages.study import best_choice, evidence_of

blueprint = Blueprint("home", __name__)

DAY_S = 86_400.0
SHOWN = 12
LATE_FACTOR = 5.0
LATE_LEAST_S = 60.0
"""An Unstable study needs somebody when nothing came for five quiet times, and for a minute at least."""


@blueprint.get("/")
@allow()
def index() -> str:
    """Show what needs somebody."""
    context = web()
    now = context.clock.timestamp()
    late_before = now - max(LATE_FACTOR * context.settings.study.quiet_s, LATE_LEAST_S)
    waiting = studies.waiting_for_a_person(SHOWN, late_before)
    usage = shutil.disk_usage(context.settings.data_dir)
    return render_template(
        "home/home.html",
        waiting=[(line, best_choice(orders.choices(line, role()))) for line in waiting],
        waiting_count=studies.count_waiting(late_before) if len(waiting) == SHOWN else len(waiting),
        alarms=operations.open_alarms(),
        counts=context.feed.counts(),
        figures=operations.figures(now - DAY_S),
        missing_of=_missing_of,
        disk=usage,
        engine=status_file.read(context.settings, now),
        cloud=context.settings.cloud.adapter,
        dicom=context.settings.dicom,
    )


def _missing_of(line: StudyLine) -> str:
    """Return what a judge of completeness misses, the first of it."""
    return next((row.sentence for row in evidence_of(line) if row.answer == "not_met"), "")
