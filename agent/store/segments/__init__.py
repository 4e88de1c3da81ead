"""Append-only encrypted segments: the journal of everything received.

Job: keep objects. Place: written by receivers, read by workers, export and recovery. SQLite is their index and may
trail. It must never acknowledge what a power cut would take.
"""

from agent.store.segments.margins import free_bytes, has_room_for_associations
from agent.store.segments.record import RecordHeader, StoredRecord
from agent.store.segments.writer import SegmentWriter

__all__ = ["RecordHeader", "SegmentWriter", "StoredRecord", "free_bytes", "has_room_for_associations"]
