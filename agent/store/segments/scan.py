"""Going through a segment file record by record.

Job: find every record of a file from its plain frames, over damaged places too, and say how far it is known to have
been durable. Place: used by recovery and verification; opens files read-only and decrypts nothing. It must never take
a damaged place for the end of the file.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from agent.store.segments.record import (
    ALIGNMENT,
    FILE_HEADER_BYTES,
    FOOTER,
    FRAME_BYTES,
    FRAME_MAGIC,
    Frame,
    parse_frame,
    read_binding,
)

SEARCH_BYTES = 4_194_304


@dataclass(frozen=True, slots=True)
class Gap:
    """A place between records that holds no intact frame."""

    offset: int
    length: int


@dataclass(slots=True)
class Scan:
    """What the frames of a file say."""

    segment: str
    size_bytes: int
    binding: bytes | None
    frames: list[Frame] = field(default_factory=list)
    gaps: list[Gap] = field(default_factory=list)
    footer: Frame | None = None

    @property
    def watermark(self) -> int:
        """Offset below which everything was durable."""
        return max((frame.watermark for frame in self.frames), default=FILE_HEADER_BYTES)

    @property
    def is_cut_short(self) -> bool:
        """Whether a frame reaches beyond the end of the file, or the footer counts other than what was found."""
        beyond = any(frame.end > self.size_bytes for frame in self.frames)
        return beyond or (self.footer is not None and self.footer.size_bytes != len(self.frames))


@contextmanager
def locked(path: Path, *, write: bool = False) -> Iterator[int | None]:
    """Open a file that nobody writes; gives None when its writer lives or it is gone."""
    try:
        descriptor = os.open(path, (os.O_RDWR if write else os.O_RDONLY) | os.O_CLOEXEC)
    except FileNotFoundError:
        yield None
        return
    try:
        try:
            fcntl.flock(descriptor, (fcntl.LOCK_EX if write else fcntl.LOCK_SH) | fcntl.LOCK_NB)
        except BlockingIOError:
            yield None
        else:
            yield descriptor
    finally:
        os.close(descriptor)


def scan_file(descriptor: int, segment: str) -> Scan:
    """Read all frames of a file: one small read a record."""
    size = os.fstat(descriptor).st_size
    binding = read_binding(os.pread(descriptor, FILE_HEADER_BYTES, 0), segment)
    scan = Scan(segment, size, binding)
    if binding is None:
        return scan
    position = FILE_HEADER_BYTES
    while position + FRAME_BYTES <= size:
        frame = parse_frame(os.pread(descriptor, FRAME_BYTES, position), binding, position)
        if frame is None:
            following = _find_frame(descriptor, binding, position + ALIGNMENT, size)
            if following is None:
                break
            scan.gaps.append(Gap(position, following - position))
            position = following
            continue
        if frame.kind == FOOTER:
            scan.footer = frame
            break
        scan.frames.append(frame)
        position = frame.end
    return scan


def _find_frame(descriptor: int, binding: bytes, start: int, size: int) -> int | None:
    """Return the offset of the next intact frame at or behind `start`."""
    position = start
    while position < size:
        block = os.pread(descriptor, SEARCH_BYTES + FRAME_BYTES, position)
        found = block.find(FRAME_MAGIC)
        while found >= 0:
            at = position + found
            if at % ALIGNMENT == 0 and parse_frame(block[found : found + FRAME_BYTES], binding, at) is not None:
                return at
            found = block.find(FRAME_MAGIC, found + 1)
        position += SEARCH_BYTES
    return None


def has_data_behind(descriptor: int, position: int, size: int) -> bool:
    """Whether anything but zeros lies behind `position`: the space reserved ahead is zero."""
    while position < size:
        block = os.pread(descriptor, min(SEARCH_BYTES, size - position), position)
        if not block:
            return False
        if block.count(0) != len(block):
            return True
        position += len(block)
    return False
