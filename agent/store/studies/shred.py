"""Deleting the objects of a study for good.

Job: delete keys, instances and what was derived from pixels, so that what is left in segments cannot be read by anybody, and say
which segment files are dead altogether. Place: inside operations of the writer, called by the janitor. The study's row stays
as a tombstone; it must never delete history or audit.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from agent.store import audit
from agent.store.database import change, query
from agent.store.writer import Writer


@dataclass(frozen=True, slots=True)
class Shredded:
    """What a shredding left behind.

    Attributes
    ----------
    objects : int
        Stored versions that are gone.
    dead_segments : tuple of str
        Files in which no readable record is left: they may be unlinked.
    part_dead_segments : tuple of str
        Files that hold dead bytes beside living records; their dead bytes are unreadable but not yet given back.
    """

    objects: int
    dead_segments: tuple[str, ...]
    part_dead_segments: tuple[str, ...]


def shred(study_id: str, by: str = "agent", reason: str = "") -> Shredded:
    """Delete a study's keys, instances, measurements, pictures, reports and mappings; inside a writer operation.

    The caller then calls `unlink_dead`, which empties the write-ahead log too. That the study is flagged `deleted` is a
    transition of its own.
    """
    touched = query(
        "SELECT segment FROM instance WHERE study_id = ?1 UNION SELECT segment FROM duplicate WHERE study_id = ?1",
        (study_id,),
    )
    segments = [name for (name,) in touched]
    change("DELETE FROM study_key WHERE study_id = ?", (study_id,))
    change("DELETE FROM measurement WHERE study_id = ?", (study_id,))
    objects = change("DELETE FROM instance WHERE study_id = ?", (study_id,))
    change("DELETE FROM duplicate WHERE study_id = ?", (study_id,))
    change("DELETE FROM series WHERE study_id = ?", (study_id,))
    change("DELETE FROM qc_report WHERE study_id = ?", (study_id,))
    change("DELETE FROM report WHERE study_id = ?", (study_id,))
    change("DELETE FROM uid_mapping WHERE study_id = ?", (study_id,))
    change(
        "UPDATE study SET identifiers = NULL, instances_received = 0, series_received = 0, updated_at = ? WHERE id = ?",
        (time.time(), study_id),
    )
    dead, part_dead = [], []
    for name in segments:
        living = query(
            "SELECT EXISTS (SELECT 1 FROM instance WHERE segment = ?1) OR EXISTS (SELECT 1 FROM duplicate WHERE segment = ?1)",
            (name,),
        )
        settled = query("SELECT settled FROM segment WHERE name = ?", (name,))
        is_dead = not living[0][0] and bool(settled and settled[0][0])
        (dead if is_dead else part_dead).append(name)
    audit.append_in_transaction(
        audit.Entry(
            actor=by,
            role="",
            source="agent",
            action="study_shredded",
            object=study_id,
            detail={"objects": objects, "reason": reason},
        ),
        time.time(),
    )
    return Shredded(objects, tuple(dead), tuple(part_dead))


def unlink_dead(writer: Writer, folder: Path, shredded: Shredded) -> None:
    """Empty the write-ahead log, then unlink the dead segment files.

    Raises
    ------
    StorageError
        When a reader kept the log from being emptied: call it again.
    """
    writer.checkpoint()
    for name in shredded.dead_segments:
        (folder / name).unlink(missing_ok=True)
    if shredded.dead_segments:
        names = list(shredded.dead_segments)
        writer.run(lambda: [change("DELETE FROM segment WHERE name = ?", (name,)) for name in names])
