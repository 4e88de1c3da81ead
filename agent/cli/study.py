"""``agent study``: list, show and command studies beside a running agent.

Job: read rows, insert command rows and wait for their outcome. Place: works on the database only; the study's actor
in the running agent obeys. Descriptions and identifiers are left out. It must never change a study itself.
"""

from __future__ import annotations

import getpass
import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from agent.cli.store_access import open_store, settings_options
from agent.errors import AgentError
from agent.study import REASON_REQUIRED, Role, StudyStatus, Verb

if TYPE_CHECKING:
    from agent.store.reader.studies import StudyLine

POLL_S = 0.1
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


@click.group()
def command() -> None:
    """Studies: as in the dashboard."""


@command.command("list")
@click.option(
    "--status", "statuses", multiple=True, type=click.Choice([s.value for s in StudyStatus]), help="Only these."
)
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
    for line in page.items:
        verdict = f"{line.qc_verdict or '-'} {line.qc_score if line.qc_score is not None else ''}".strip()
        flags = ",".join(line.flags.names())
        click.echo(
            f"{line.id}  {line.status.value:<10} r{line.revision:<2} {line.patient:<20} {line.study_date:<8} "
            f"{line.modality:<8}"
            f" {line.series_received:>3} series {line.instances_received:>5} images  {verdict:<10} {flags}".rstrip()
        )
    if not page.items:
        click.echo("No study yet.")
    return 0


@command.command()
@click.argument("study")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
@settings_options
def show(study: str, as_json: bool, config: Path | None, data: Path | None) -> int:
    """Show a study (its id or Study Instance UID): status, evidence, history."""
    open_store(config, data)
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
    for key, value in record.items():
        if key not in ("history", "completeness"):
            click.echo(f"{key:<16} {_text(value)}")
    for finding in evidence:
        click.echo(f"evidence         {finding['met']:<8} {finding['evidence']}: {finding['detail']}")
    for step in history:
        click.echo(
            f"history          r{step['revision']} {step['from'] or '-'} -> {step['to']} "
            f"({step['trigger']}, {step['by']})"
        )
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


def _give(verb: Verb, study: str, reason: str, timeout_s: float, as_json: bool) -> int:
    from agent.store.commands import NewCommand, insert_command, read_command
    from agent.store.studies import resolve

    if verb in REASON_REQUIRED and not reason.strip():
        raise click.UsageError(f"{verb.value} needs --reason.")
    study_id = resolve(study)
    by = f"cli:{getpass.getuser()}"
    number = insert_command(NewCommand(study_id, verb.value, by, Role.REVIEWER.value, reason.strip()))
    row = _wait(lambda: read_command(number), timeout_s)
    if row is None:
        raise NoAnswer(
            "No agent has answered within the time.",
            hint="The command stays; a running `agent serve` will carry it out.",
        )
    if as_json:
        click.echo(
            json.dumps(
                {"id": row.id, "study": study_id, "verb": verb.value, "state": row.state, "outcome": row.outcome}
            )
        )
    else:
        click.echo(f"{study_id}: {row.outcome}", err=row.state == "refused")
    return 0 if row.state == "done" else 1


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
        open_store(config, data)
        return _give(verb, study, reason, timeout, as_json)

    command.command(verb.value, help=f"{HELP[verb]} STUDY is its id or Study Instance UID.")(give)


for _verb in Verb:
    _add(_verb)
