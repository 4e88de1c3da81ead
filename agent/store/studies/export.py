"""Writing received objects back as files.

Job: one Part 10 file a stored version, data set bytes as they were on the wire. Place: called by the command line,
beside a running agent. It must never name a file after anything that a sender chose, nor leave a file whose bytes
were not authenticated.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from agent.errors import ConfigError, IntegrityError, StorageError
from agent.store.database import query
from agent.store.keys import Keyring, read_secrets
from agent.store.objects import ObjectReader, part10_header
from agent.store.studies.rows import InstanceRow, read_instances, read_study


@dataclass(slots=True)
class ExportReport:
    """What an export wrote."""

    objects: int = 0
    bad: int = 0
    size_bytes: int = 0


def check_out(out: Path) -> None:
    """Refuse a folder in which files of two exports would mix.

    Raises
    ------
    ConfigError
        When `out` exists and is no empty folder.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ConfigError(f"{out} is not an empty folder.", code="export_output", hint="Choose an empty or new folder.")


def export_study(
    segments: Path,
    keyring: Keyring,
    study_id: str,
    out: Path,
    on_progress: Callable[[int, int], None] | None = None,
) -> ExportReport:
    """Write every stored version of every instance of a study to `out`.

    Files are named ``<study id>-<instance id>.dcm``. An object that fails authentication is counted and not written.

    Parameters
    ----------
    segments : Path
        The folder of segments.
    keyring : Keyring
        Unwraps the study's data keys.
    study_id : str
        Which study.
    out : Path
        Folder that is empty; made when missing.
    on_progress : callable, optional
        Told (objects done, objects in all).

    Raises
    ------
    IntegrityError
        When the study was deleted: its keys are gone.
    ConfigError
        When `out` holds something already.
    StorageError
        When `out` cannot be written.
    """
    check_out(out)
    instances = read_instances(study_id, active_only=False)
    if not instances:
        _refuse_deleted(study_id)
    report = ExportReport()
    secrets = read_secrets(keyring, {instance.key_id for instance in instances})
    try:
        out.mkdir(parents=True, exist_ok=True)
        with ObjectReader(segments, secrets) as reader:
            for number, instance in enumerate(instances, 1):
                _write(reader, instance, out / f"{study_id}-{instance.id:08d}.dcm", report)
                if on_progress is not None:
                    on_progress(number, len(instances))
    except OSError as error:
        raise StorageError(
            f"The export cannot be written: {error.strerror}.",
            code="export_unwritable",
            hint="Check the folder and its disk.",
        ) from error
    return report


def _refuse_deleted(study_id: str) -> None:
    """Say so when there is nothing to write because the study was deleted."""
    study = read_study(study_id)
    if study is None or not study.deleted:
        return
    ((at,),) = query("SELECT max(at) FROM history WHERE study_id = ? AND trigger = 'deleted'", (study_id,))
    when = f" on {datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M} UTC" if at else ""
    raise IntegrityError(
        f"Study {study_id} was deleted{when}.",
        code="study_deleted",
        hint="Its keys were destroyed; send it again from where it came.",
    )


def _write(reader: ObjectReader, instance: InstanceRow, path: Path, report: ExportReport) -> None:
    ref = instance.ref()
    part = path.with_suffix(".part")
    try:
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "wb") as file:
            file.write(part10_header(ref))
            for chunk in reader.chunks(ref):
                file.write(chunk)
        part.replace(path)
    except IntegrityError:
        report.bad += 1
        return
    finally:
        part.unlink(missing_ok=True)
    report.objects += 1
    report.size_bytes += ref.size_bytes
