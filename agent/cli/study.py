"""``agent study``: list, show and command studies beside a running agent.

Job: read rows, insert command rows and wait for their outcome. Place: works on the database only; the study's actor
in the running agent obeys. Descriptions and identifiers are left out. It must never change a study itself.
"""

from __future__ import annotations

import difflib
import getpass
import json
import threading
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import click

from agent.cli.store_access import is_agent_running, open_installation, open_store, settings_options
from agent.errors import AgentError
from agent.study import LOOKS, REASON_REQUIRED, CommandContext, Role, StudyStatus, Verb, allowed_commands

if TYPE_CHECKING:
    from agent.config import Settings
    from agent.store.reader.studies import StudyLine

POLL_S = 0.1
HEADINGS = ("study", "status", "rev", "patient", "date", "modality", "series", "images", "quality", "flags")
HELP = {
    Verb.FORCE_STABLE: "Declare a study complete.",
    Verb.RETRY: "Repeat the step that failed.",
    Verb.OVERRIDE: "Let a study pass in spite of its quality report.",
    Verb.REJECT: "Fail a study that waits for review.",
    Verb.REPROCESS: "Run quality control again as a new revision.",
    Verb.HOLD: "Let nothing run until it is released.",
    Verb.RELEASE: "End a hold.",
    Verb.CANCEL: "Cancel the upload or the order.",
    Verb.DELETE: "Shred the objects of a study.",
}


class NoAnswer(AgentError):
    """No agent took a command in time."""

    default_code = "no_answer"
    exit_code = 75


class StatusName(click.ParamType[str]):
    """A status as a person may write it: ``qc_passed``, ``qc-passed`` or ``QC Passed``."""

    name = "status"

    def get_metavar(self, param: click.Parameter, ctx: click.Context | None = None) -> str:
        """Show the choices in the help."""
        del param, ctx
        return "[" + "|".join(s.value for s in StudyStatus) + "]"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the status's own spelling, or name the one that was probably meant."""
        known = [s.value for s in StudyStatus]
        plain = value.strip().lower().replace(" ", "_").replace("-", "_")
        if plain in known:
            return plain
        near = difflib.get_close_matches(plain, known, n=1)
        meant = f"Did you mean {near[0]}?" if near else f"Known: {', '.join(known)}."
        raise click.BadParameter(f"{value} is no status. {meant}", ctx, param)


@click.group()
def command() -> None:
    """Studies: as in the dashboard."""


@command.command("list")
@click.option("--status", "statuses", multiple=True, type=StatusName(), help="Only these.")
@click.option("--limit", default=50, show_default=True, type=click.IntRange(1, 200), help="How many.")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
@settings_options
def list_(statuses: tuple[str, ...], limit: int, as_json: bool, config: Path | None, data: Path | None) -> int:
    """List studies, the newest first."""
    open_store(config, data)
    from agent.store.reader.studies import StudyQuery, read_studies

    page = read_studies(StudyQuery(status=statuses, page_size=limit))
    if as_json:
        click.echo(json.dumps({"total": page.total, "items": [_record(line) for line in page.items]}))
        return 0
    if not page.items:
        click.echo(
            f"No study is {' or '.join(LOOKS[StudyStatus(s)].word for s in statuses)}." if statuses else "No study yet."
        )
        return 0
    rows = [HEADINGS, *(_cells(line) for line in page.items)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADINGS))]
    for row in rows:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    if page.total > len(page.items):
        click.echo(f"{len(page.items)} of {page.total} studies; --limit shows more.", err=True)
    return 0


def _cells(line: StudyLine) -> tuple[str, ...]:
    verdict = f"{line.qc_verdict or '-'} {line.qc_score if line.qc_score is not None else ''}".strip()
    return (
        line.id, line.status.value, f"r{line.revision}", line.patient, _date(line.study_date), line.modality,
        str(line.series_received), str(line.instances_received), verdict, ",".join(line.flags.names()),
    )  # fmt: skip


def _date(text: str) -> str:
    """Return a DICOM date as people write it; anything else as it is."""
    return f"{text[:4]}-{text[4:6]}-{text[6:]}" if len(text) == 8 and text.isdigit() else text or "-"


def _time(at: float, settings: Settings) -> str:
    """Return a moment in the hospital's time zone, as the dashboard does."""
    zone = ZoneInfo(settings.web.time_zone) if settings.web.time_zone else None
    return datetime.fromtimestamp(at, zone).astimezone(zone).strftime("%Y-%m-%d %H:%M:%S %Z")


@command.command()
@click.argument("study")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
@settings_options
def show(study: str, as_json: bool, config: Path | None, data: Path | None) -> int:
    """Show a study (its id or Study Instance UID): status, evidence, history."""
    settings, _ = open_installation(config, data)
    from agent.store.reader.studies import read_line
    from agent.store.reader.study import read_history
    from agent.store.studies import resolve

    line = read_line(resolve(study))
    assert line is not None
    history = [
        {"from": h.from_status, "to": h.to_status, "trigger": h.trigger, "by": h.by, "at": h.at, "revision": h.revision}
        for h in read_history(line.id)
    ]
    evidence = [
        {"evidence": f["judge"], "met": f["answer"], "detail": f["sentence"]}
        for f in json.loads(line.completeness_json)
    ]
    record = {**_record(line), "history": history, "completeness": evidence}
    if as_json:
        click.echo(json.dumps(record))
        return 0
    record |= {"study_date": _date(line.study_date), "updated_at": _time(line.updated_at, settings)}
    for key, value in record.items():
        if key not in ("history", "completeness"):
            click.echo(f"{key:<16} {_text(value)}")
    for finding in evidence:
        click.echo(f"evidence         {finding['met']:<8} {finding['evidence']}: {finding['detail']}")
    for step in read_history(line.id):
        steps = f"{step.from_status or '-'} -> {step.to_status} ({step.trigger}, {step.by})"
        click.echo(f"history          {_time(step.at, settings)}  r{step.revision} {steps}")
    return 0


def _record(line: StudyLine) -> dict[str, Any]:
    return {
        "id": line.id, "status": line.status.value, "revision": line.revision, "patient": line.patient,
        "study_date": line.study_date, "modality": line.modality,
        "series": {"received": line.series_received, "expected": line.series_expected},
        "instances": {"received": line.instances_received, "expected": line.instances_expected},
        "qc": {"verdict": line.qc_verdict, "score": line.qc_score}, "source_aet": line.source_aet,
        "flags": line.flags.names(), "updated_at": line.updated_at,
        "failure": {"step": line.failed_step, "code": line.failure_code, "text": line.failure_text},
        "upload": {"objects": [line.upload_done_objects, line.upload_total_objects], "problem": line.upload_problem},
    }  # fmt: skip


def _text(value: object) -> str:
    if isinstance(value, dict):
        return " ".join(f"{k}={_text(v)}" for k, v in value.items() if v not in (None, ""))
    return ",".join(str(v) for v in value) if isinstance(value, list) else str(value)


def _give(verb: Verb, study: str, reason: str, timeout_s: float, as_json: bool, data_dir: Path) -> int:
    from agent.store.commands import NewCommand, insert_command, read_command
    from agent.store.studies import resolve

    study_id = resolve(study)
    if not is_agent_running(data_dir):
        raise NoAnswer(
            f"No agent runs on {data_dir}, so nothing was done.",
            code="agent_missing",
            hint="Start `agent serve` first.",
        )
    by = f"cli:{getpass.getuser()}"
    number = insert_command(NewCommand(study_id, verb.value, by, Role.REVIEWER.value, reason.strip()))
    row = _wait(lambda: read_command(number), timeout_s)
    if row is None:
        raise NoAnswer(
            "No agent has answered within the time.",
            hint="The command stays; a running `agent serve` will carry it out.",
        )
    answer = {"id": row.id, "study": study_id, "verb": verb.value, "state": row.state, "outcome": row.outcome}
    if row.state == "refused":
        answer["allowed"] = _allowed(study_id)
    if as_json:
        click.echo(json.dumps(answer))
    else:
        takes = f" It takes now: {', '.join(answer['allowed']) or 'none'}." if row.state == "refused" else ""
        click.echo(f"{study_id}: {row.outcome}{takes}", err=row.state == "refused")
    return 0 if row.state == "done" else 1


def _allowed(study_id: str) -> list[str]:
    """Return the commands a study takes at this moment."""
    from agent.store.studies import read_study

    row = read_study(study_id)
    if row is None:
        return []
    return [v.value for v in allowed_commands(row.status, Role.REVIEWER, CommandContext(row.flags, row.failed_step))]


def _wait(read: Callable[[], Any], timeout_s: float) -> Any:
    """Return a command once it is answered; None when that takes too long."""
    from agent.clock import SystemClock

    clock, pause = SystemClock(), threading.Event()
    deadline = clock.monotonic() + timeout_s
    while True:
        row = read()
        if row is not None and row.state in ("done", "refused"):
            return row
        if clock.monotonic() > deadline:
            return None
        clock.wait(pause, POLL_S)


def _add(verb: Verb) -> None:
    @click.argument("study")
    @click.option("--reason", default="", help="Why; goes into history and audit.")
    @click.option("--timeout", default=30.0, show_default=True, help="Seconds to wait for the outcome.")
    @click.option("--json", "as_json", is_flag=True, help="As JSON.")
    @settings_options
    def give(study: str, reason: str, timeout: float, as_json: bool, config: Path | None, data: Path | None) -> int:
        if verb in REASON_REQUIRED and not reason.strip():
            raise click.UsageError(f"{verb.value} needs --reason.")
        settings, _ = open_installation(config, data)
        return _give(verb, study, reason, timeout, as_json, settings.data_dir)

    command.command(verb.value, help=f"{HELP[verb]} STUDY is its id or Study Instance UID.")(give)


for _verb in Verb:
    _add(_verb)
