"""Deleting the objects of a study for good.

Job: delete keys, instances and what was derived from pixels, so that what is left in segments cannot be read by
anybody, and unlink segment files in which nothing readable is left. Place: called by the janitor; `shred` inside an
operation of the writer, `unlink_dead` after it. The study's row stays as a tombstone; it must never delete history or
audit.
"""

from __future__ import annotations

import time
from pathlib import Path

from agent.store import audit
from agent.store.database import change, query
from agent.store.segments.commit import sync_folder
from agent.store.segments.record import RECORD
from agent.store.segments.scan import locked, scan_file
from agent.store.writer import Writer

_DELETED = ("study_key", "measurement", "instance", "duplicate", "series", "qc_report", "report", "uid_mapping")


def shred(study_id: str, by: str = "agent", reason: str = "") -> int:
    """Delete a study's keys and everything that came of its objects; inside a writer operation.

    The caller then drops the key from memory (`StudyKeys.forget`) and calls `unlink_dead`. That the study is flagged
    `deleted` is a transition of its own.

    Returns
    -------
    int
        Stored versions that are gone.
    """
    objects = 0
    for table in _DELETED:
        count = change(f"DELETE FROM {table} WHERE study_id = ?", (study_id,))  # noqa: S608
        objects += count if table == "instance" else 0
    at = time.time()
    change(
        "UPDATE study SET identifiers = NULL, description = '', instances_received = 0, series_received "
        "= 0, updated_at = ? "
        "WHERE id = ?",
        (at, study_id),
    )
    detail = {"objects": objects, "reason": reason}
    audit.append_in_transaction(audit.Entry(by, "", "agent", "study_shredded", study_id, detail=detail), at)
    return objects


def unlink_dead(writer: Writer, folder: Path) -> list[str]:
    """Empty the write-ahead log, then unlink every closed segment file whose records all lost their keys.

    Space of deleted objects that share a file with living ones is not given back yet; their bytes are unreadable.

    Returns
    -------
    list of str
        The files that are gone.

    Raises
    ------
    StorageError
        When a reader kept the log from being emptied: call it again.
    """
    writer.checkpoint()
    used = {
        name for (name,) in query("SELECT DISTINCT segment FROM instance UNION SELECT DISTINCT segment FROM duplicate")
    }
    gone = [path for path in sorted(folder.glob("*.seg")) if path.name not in used and _unlink_if_dead(path)]
    if gone:
        sync_folder(folder)
        writer.run(lambda: [change("DELETE FROM segment WHERE name = ?", (path.name,)) for path in gone])
    return [path.name for path in gone]


def _unlink_if_dead(path: Path) -> bool:
    with locked(path, write=True) as descriptor:
        if descriptor is None:
            return False
        scan = scan_file(descriptor, path.name)
        if scan.footer is None or scan.gaps or scan.is_cut_short:
            return False
        keys = {frame.key_id for frame in scan.frames if frame.kind == RECORD}
        if any(query("SELECT 1 FROM study_key WHERE key_id = ?", (key_id,)) for key_id in keys):
            return False
        path.unlink(missing_ok=True)
    return True
