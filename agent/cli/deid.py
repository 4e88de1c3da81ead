"""``agent deid``: de-identify a folder without the agent."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from agent.config import Settings
    from agent.deid.folder import FolderReport


@click.command()
@click.argument("path", type=click.Path(path_type=Path))
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--profile", default=None, help="Name of a profile or a TOML file; default: the configured one.")
@click.option(
    "--report", type=click.Path(path_type=Path, dir_okay=False), help="Write every action to this file (JSON)."
)
@click.option("--config", type=click.Path(path_type=Path, dir_okay=False), help="Configuration file.")
@click.option("--data", type=click.Path(path_type=Path, file_okay=False), help="Data directory whose key is used.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
def command(  # noqa: PLR0913, PLR0917 - one parameter an option
    path: Path,
    out: Path,
    profile: str | None,
    report: Path | None,
    config: Path | None,
    data: Path | None,
    as_json: bool,
) -> int:
    """De-identify the DICOM files of PATH into the empty folder OUT.

    No name of a file is told: it may hold a patient's. Exit code 0: every file was written; 4: some were left out, the
    summary says why; 1: the outbound check blocked one.
    """
    from agent.config import load_settings
    from agent.deid.folder import deid_folder
    from agent.deid.pseudonyms import PseudonymKeys

    settings = load_settings(config, {"data_dir": data} if data else None)
    secret, version, origin = _pseudonym_key(settings)
    click.echo(origin, err=True)
    keys = PseudonymKeys(secret, version, settings.deid.prefix, settings.deid.dates)
    with _progress() as show:
        done = deid_folder(path, out, profile or settings.deid.profile, keys, show)
    if report:
        report.write_text(done.to_json() + "\n", encoding="utf-8")
    if as_json:
        click.echo(done.to_json())
    else:
        _summary(done)
    if done.blocked:
        return 1
    return 4 if done.excluded or done.not_dicom else 0


def _pseudonym_key(settings: Settings) -> tuple[bytes, int, str]:
    """Return the site's pseudonym key, or a fresh one when there is none, and a sentence that says which."""
    import secrets

    if settings.key_file.exists():
        from agent.store.keys import Keyring

        keyring = Keyring.open(settings)
        return keyring.pseudonym_key, keyring.pseudonym_version, "Pseudonyms are made with this site's key."
    fresh = "No key file was found: pseudonyms of this run are made with a fresh random key and match no other run."
    return secrets.token_bytes(32), 0, fresh


@contextmanager
def _progress() -> Iterator[Callable[[int, int], None]]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("De-identifying"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("files", total=None)
        yield lambda done, of: bar.update(task, completed=done, total=of)


def _summary(done: FolderReport) -> None:
    click.echo(f"{done.written} of {done.files} files de-identified with profile {done.profile}, dates: {done.dates}.")
    if done.not_dicom:
        are = "file is" if len(done.not_dicom) == 1 else "files are"
        click.echo(f"{len(done.not_dicom):>6}  {are} not DICOM; --report lists their positions by path and their sizes")
    for because, count in done.excluded.most_common():
        click.echo(f"{count:>6}  left out: {because}")
    for because, count in done.blocked.most_common():
        click.echo(f"{count:>6}  BLOCKED: {because}")
