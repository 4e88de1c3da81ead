"""``agent store``: verify and export what was received, beside a running agent."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import click

_CONFIG = click.option("--config", type=click.Path(path_type=Path, dir_okay=False), help="Configuration file.")
_DATA = click.option("--data", type=click.Path(path_type=Path, file_okay=False), help="Data directory.")
_JSON = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")


@click.group()
def command() -> None:
    """Verify and export the received objects."""


@command.command()
@_CONFIG
@_DATA
@_JSON
def verify(config: Path | None, data: Path | None, as_json: bool) -> int:
    """Decrypt every object, compare it with its index row, and say how many are bad.

    Exit code 0: all are good; 1: some are bad or a segment was cut short.
    """
    from agent.config import load_settings
    from agent.store.database import open_store
    from agent.store.recovery import verify as verify_store

    settings = load_settings(config, {"data_dir": data} if data else None)
    database = open_store(settings)
    with _progress("Verifying") as show:
        report = verify_store(settings.data_dir / "segments", database.keyring, on_progress=show)
    if as_json:
        content: dict[str, object] = {"objects": report.objects, "bad": report.bad}
        content |= {"bytes": report.size_bytes, "cut_segments": report.cut_segments}
        content["bad_objects"] = [
            {"instance": bad.instance_id, "study": bad.study_id, "code": bad.code} for bad in report.bad_objects
        ]
        click.echo(json.dumps(content))
    else:
        click.echo(f"{report.objects} objects, {report.size_bytes / 1e6:.1f} MB, {report.bad} bad.")
        for bad in report.bad_objects:
            click.echo(f"  instance {bad.instance_id} of study {bad.study_id}: {bad.code}")
        for name in report.cut_segments:
            click.echo(f"  segment {name} is missing or shorter than its index says")
    return 1 if report.bad or report.cut_segments else 0


@command.command()
@click.argument("study")
@click.argument("out", type=click.Path(path_type=Path, file_okay=False))
@_CONFIG
@_DATA
@_JSON
def export(study: str, out: Path, config: Path | None, data: Path | None, as_json: bool) -> int:
    """Write the received objects of STUDY (id or Study Instance UID) into the empty or new folder OUT.

    One Part 10 file for each stored version, transfer syntax and data set bytes as received. The export is audited.
    Exit code 0: every object was written; 1: some could not be read.
    """
    from agent.config import load_settings
    from agent.store import audit
    from agent.store.database import open_store
    from agent.store.studies import export_study, resolve
    from agent.store.studies.export import check_out

    settings = load_settings(config, {"data_dir": data} if data else None)
    keyring = open_store(settings, read_only=False).keyring
    study_id = resolve(study)
    check_out(out)
    actor = operator()
    audit.append(keyring, actor=actor, role="", source="cli", action="study_export_begun", object=study_id)
    with _progress("Exporting") as show:
        report = export_study(settings.data_dir / "segments", keyring, study_id, out, show)
    detail = {"objects": report.objects, "bad": report.bad}
    outcome = "failed" if report.bad else "ok"
    audit.append(
        keyring,
        actor=actor,
        role="",
        source="cli",
        action="study_exported",
        object=study_id,
        outcome=outcome,
        detail=detail,
    )
    if as_json:
        click.echo(json.dumps({"study": study_id, **detail, "bytes": report.size_bytes}))
    else:
        click.echo(f"{report.objects} objects of study {study_id} written to {out}, {report.bad} could not be read.")
    return 1 if report.bad else 0


def operator() -> str:
    """Name of the account that runs the command, for the audit."""
    import getpass

    try:
        return f"cli:{getpass.getuser()}"
    except (KeyError, OSError):
        return "cli:unknown"


@contextmanager
def _progress(what: str) -> Iterator[Callable[[int, int], None]]:
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
