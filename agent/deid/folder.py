"""De-identification of a folder, without the agent.

Job: take every file of a folder through the same steps as an upload, write the clean ones under names made from their
new UIDs, and report every action without values. Place: called by ``agent deid``. It must never write a name, path or
value of the source into the output or the report.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from agent.deid.part10 import split_part10
from agent.deid.pseudonyms import PseudonymKeys
from agent.deid.rules.profile import load_profile
from agent.deid.worker import DeidentifiedObject, deidentify_bytes
from agent.errors import ConfigError, DeidError


@dataclass(slots=True)
class FolderReport:
    """What was done with a folder."""

    profile: str
    dates: str
    files: int = 0
    written: int = 0
    not_dicom: list[tuple[int, int]] = field(default_factory=list)
    """Position (from 1, by path) and bytes of each file that is not DICOM; its name may hold identity."""
    excluded: Counter[str] = field(default_factory=Counter)
    blocked: Counter[str] = field(default_factory=Counter)
    actions: Counter[tuple[str, str, str]] = field(default_factory=Counter)

    def to_json(self) -> str:
        """Return the report as JSON; counts and words of ours, no values."""
        body = {
            "profile": self.profile,
            "dates": self.dates,
            "files": self.files,
            "written": self.written,
            "not_dicom": len(self.not_dicom),
            "not_dicom_files": [{"position": position, "bytes": size} for position, size in self.not_dicom],
            "excluded": [{"because": because, "files": n} for because, n in sorted(self.excluded.items())],
            "blocked": [{"because": because, "files": n} for because, n in sorted(self.blocked.items())],
            "actions": [
                {"tag": tag, "keyword": keyword, "action": action, "count": n}
                for (tag, keyword, action), n in sorted(self.actions.items())
            ],
        }
        return json.dumps(body, indent=1)


def source_files(path: Path) -> list[Path]:
    """Return the files below a path in a fixed order, without following links out of it.

    Raises
    ------
    ConfigError
        When there is nothing at `path`.
    """
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise ConfigError(f"There is nothing at {path}.", code="deid_source", hint="Name a file or a folder.")
    return sorted(p for p in _walk(path) if p.is_file() and not p.is_symlink())


def _walk(path: Path) -> Iterator[Path]:
    for folder, _, names in os.walk(path):
        yield from (Path(folder, name) for name in names)


def deid_folder(
    path: Path,
    out: Path,
    profile: str,
    keys: PseudonymKeys,
    progress: Callable[[int, int], None] | None = None,
) -> FolderReport:
    """De-identify every DICOM file of `path` into `out`.

    Parameters
    ----------
    path, out : Path
        Source file or folder; a folder that is empty or does not exist yet.
    profile : str
        Name of a profile or path of a site's.
    keys : PseudonymKeys
        Keys of the pseudonyms.
    progress : callable, optional
        Called with files done and files in all.

    Raises
    ------
    ConfigError
        When a path or the profile cannot be used.
    """
    loaded = load_profile(profile)
    files = source_files(path)
    _prepare(path, out)
    report = FolderReport(f"{loaded.name} {loaded.version}", keys.dates)
    for number, file in enumerate(files, 1):
        report.files += 1
        _one(file, out, profile, keys, report)
        if progress:
            progress(number, len(files))
    return report


def _prepare(path: Path, out: Path) -> None:
    if out.resolve().is_relative_to(path.resolve()):
        raise ConfigError(
            "The output folder lies inside the source.", code="deid_output", hint="Choose a folder elsewhere."
        )
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ConfigError(f"{out} is not an empty folder.", code="deid_output", hint="Choose an empty or new folder.")
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"{out} cannot be made: {error.strerror}.", code="deid_output") from error


def _one(file: Path, out: Path, profile: str, keys: PseudonymKeys, report: FolderReport) -> None:
    try:
        content = file.read_bytes()
    except OSError:
        report.excluded["The file cannot be opened."] += 1
        return
    try:
        data, syntax = split_part10(content)
    except DeidError:
        report.not_dicom.append((report.files, len(content)))
        return
    try:
        done = deidentify_bytes(data, syntax, keys, profile)
    except DeidError as error:
        report.blocked[error.message] += 1
        return
    if done.excluded_because:
        report.excluded[done.excluded_because] += 1
        return
    _write(done, out, report)
    report.actions.update({(a.tag, a.keyword, a.action): a.count for a in done.actions})


def _write(done: DeidentifiedObject, out: Path, report: FolderReport) -> None:
    """Write under the new SOP Instance UID; a second object with the same UID gets a number."""
    name = done.new_sop_uid or done.sha256[:32]
    target, number = out / f"{name}.dcm", 1
    while target.exists():
        number += 1
        target = out / f"{name}-{number}.dcm"
    target.write_bytes(done.data)
    report.written += 1
