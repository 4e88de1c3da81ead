"""``agent send``: send files and folders to a DICOM destination, each data set as it is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from agent.cli.echo import check_title, parse_place

if TYPE_CHECKING:
    from agent.dicom.scu import SendRequest, SendSummary

SHOWN = 20


@click.command()
@click.argument("paths", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option("--to", "place", required=True, metavar="HOST:PORT", help="Where to.")
@click.option("--called", required=True, callback=check_title, help="AE title of the peer.")
@click.option(
    "--calling", default="NEUROPACS_AGENT", show_default=True, callback=check_title, help="AE title to call with."
)
@click.option("--associations", default=1, show_default=True, type=click.IntRange(1, 64), help="Parallel associations.")
@click.option("--timeout", default=60.0, show_default=True, help="Seconds to wait for each answer.")
@click.option("--json", "as_json", is_flag=True, help="Summary as JSON, without the progress bar.")
def command(  # noqa: PLR0913, PLR0917 - click hands every option over by name
    paths: tuple[Path, ...], place: str, called: str, calling: str, associations: int, timeout: float, as_json: bool
) -> int:
    """Send files and folders; what is no DICOM object is skipped. Exit 1 when anything was refused or failed."""
    from agent.dicom.scu import SendRequest

    host, port = parse_place(place)
    request = SendRequest(host, port, called, calling, associations, timeout)
    summary = _send(paths, request, quiet=as_json)
    if as_json:
        click.echo(_as_json(summary))
    else:
        _print(summary)
    return 0 if summary.ok else 1


def _send(paths: tuple[Path, ...], request: SendRequest, *, quiet: bool) -> SendSummary:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    from agent.dicom.scu import SentFile, send

    if quiet:
        return send(paths, request)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("Sending", total=None)

        def advance(_sent: SentFile, _size: int) -> None:
            bar.advance(task)

        return send(paths, request, advance, lambda count: bar.update(task, total=count))


def _as_json(summary: SendSummary) -> str:
    import json

    problems = [
        {
            "path": str(f.path),
            "outcome": f.outcome,
            "status": None if f.status is None else f"{f.status:04X}",
            "reason": f.reason,
        }
        for f in summary.files
        if f.outcome != "stored"
    ]
    return json.dumps(
        {
            "ok": summary.ok,
            "counts": summary.counts(),
            "statuses": summary.statuses(),
            "bytes": summary.bytes,
            "seconds": round(summary.seconds, 3),
            "not_stored": problems,
        }
    )


def _print(summary: SendSummary) -> None:
    counts = summary.counts()
    order = ("stored", "warning", "refused", "failed", "skipped")
    told = ", ".join(f"{counts[name]} {name}" for name in order if name in counts) or "nothing to send"
    rate = f" in {summary.seconds:.1f} s" if summary.seconds else ""
    click.echo(f"{told}; {summary.bytes / 1e6:.1f} MB{rate}")
    for status, count in sorted(summary.statuses().items()):
        click.echo(f"  status {status}: {count}")
    others = [f for f in summary.files if f.outcome != "stored"]
    for sent in others[:SHOWN]:
        click.echo(f"  {sent.outcome}: {sent.path}: {sent.reason}", err=True)
    if len(others) > SHOWN:
        click.echo(f"  … and {len(others) - SHOWN} more", err=True)
