"""``agent qc``: quality control of a folder, without the agent.

Place: a command of ``agent.cli``; calls ``agent.qc.folder``. It must never print what identifies a patient.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import click

if TYPE_CHECKING:
    from agent.qc.judge_worker import JudgedStudy

EXIT = {"pass": 0, "fail": 1, "review": 4}
COLOURS = {"pass": "green", "warn": "yellow", "fail": "red", "undetermined": "cyan", "review": "yellow"}


@click.command(name="qc", short_help="Judge a folder of DICOM files; 0 pass, 1 fail, 4 review.")
@click.argument("path", type=click.Path(exists=True, path_type=Path))
@click.option("--profile", metavar="NAME_OR_FILE", help="Profile; chosen by what the files hold when omitted.")
@click.option(
    "--profiles", type=click.Path(file_okay=False, exists=True, path_type=Path), help="Folder of site profiles."
)
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
@click.option("--html", type=click.Path(dir_okay=False, path_type=Path), help="Write the report as one page.")
@click.option("--pdf", type=click.Path(dir_okay=False, path_type=Path), help="Write the report as PDF.")
@click.option("--workers", type=click.IntRange(1, 64), default=1, show_default=True, help="Processes that measure.")
@click.option("--all", "show_all", is_flag=True, help="List checks that passed too.")
def command(path: Path, profile: str | None, profiles: Path | None, **options: Any) -> int:
    """Measure and judge the DICOM files of PATH as one study."""
    from agent.qc.folder import check_folder

    wants_pictures = bool(options["html"] or options["pdf"])
    with _Progress() as progress:
        judged = check_folder(
            path, profile, profiles=profiles, workers=options["workers"], progress=progress.told,
            with_pictures=wants_pictures,
        )  # fmt: skip
    record = judged.report.to_record()
    _write(judged, record, options["html"], options["pdf"])
    if options["as_json"]:
        click.echo(json.dumps(record, indent=1, ensure_ascii=False))
    else:
        _print(record, show_all=options["show_all"])
    return EXIT[judged.report.verdict]


class _Progress:
    """A bar on standard error, only where somebody looks."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        console = Console(stderr=True)
        columns = (TextColumn("measuring"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        self._bar = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
        self._task = self._bar.add_task("measuring", total=None)

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, *unused: object) -> None:
        self._bar.stop()

    def told(self, done: int, total: int) -> None:
        """Move the bar."""
        self._bar.update(self._task, completed=done, total=total)


def _write(judged: JudgedStudy, record: dict[str, object], html: Path | None, pdf: Path | None) -> None:
    from datetime import UTC, datetime

    from agent.qc.report import ReportHeading, render_html, render_pdf

    when = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    heading = ReportHeading("Quality report", (("Judged", when), ("Source", "a folder of files")), "Made by agent qc.")
    if html is not None:
        html.write_text(render_html(record, judged.pictures, heading), encoding="utf-8")
    if pdf is not None:
        pdf.write_bytes(render_pdf(record, judged.pictures, heading))


def _print(record: dict[str, Any], *, show_all: bool) -> None:
    score = "–" if record["score"] is None else f"{record['score']:g}"
    verdict = click.style(record["verdict"].upper(), fg=COLOURS[record["verdict"]], bold=True)
    click.echo(f"{verdict}  score {score} of 100  profile {record['profile']} {record['profile_version']}")
    click.echo(f"{record['because']} Evidence {record['evidence_percent']:g} %.")
    for series in record["series"]:
        graded = "" if series["graded"] else ", not graded"
        click.echo(f"  {series['label']}: {series['objects']} objects, {series['slices']} slices{graded}")
    for check in record["checks"]:
        if check["result"] != "pass" or show_all:
            _print_check(check)
    for sentence in record["recommendations"]:
        click.echo(f"→ {sentence}")


def _print_check(check: dict[str, Any]) -> None:
    word = click.style(f"{check['result']:<12}", fg=COLOURS.get(check["result"]))
    limit = f" (limit: {check['limit']})" if check["limit"] else ""
    detail = f" – {check['detail']}" if check["detail"] else ""
    click.echo(f"  {word} {check['id']}: {check['measured_text']}{limit}{detail}")
