"""Pixels of an object, slice by slice, or the reason why there are none.

Job: check sizes before anything is decoded, decode frame by frame, cut mosaics and grids into slices. Place: called by
`agent.qc.measure`. It must never allocate more than its limits allow, and never raise for what an object contains: a
decoder's failure is a finding.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.pixels.decoders.base import get_decoder
from pydicom.uid import UID, ExplicitVRBigEndian, JPEGExtended12Bit

from agent.qc.image_headers import ImageHeaders, PixelFacts
from agent.qc.measurement import REASONS, NotComputable, Problem
from agent.qc.reading.geometry import find_tiling
from agent.qc.reading.objects import DAMAGE

MAX_FRAME_BYTES = 256 << 20
MAX_OBJECT_BYTES = 4 << 30
MAX_EXPANSION = 2000
ALWAYS_ALLOWED_BYTES = 64 << 20
_DTYPES = {(8, False): "u1", (8, True): "i1", (16, False): "u2", (16, True): "i2", (32, False): "u4", (32, True): "i4"}
Pixels = NDArray[np.integer]


class PixelReader:
    """Slices of one object in the order of ``headers.frames``.

    Parameters
    ----------
    ds : Dataset
        The object with its pixel data.
    headers : ImageHeaders
        Its headers.

    Attributes
    ----------
    problems : list of Problem
        Findings, filled while the slices are read.
    """

    def __init__(self, ds: Dataset, headers: ImageHeaders) -> None:
        self.problems: list[Problem] = []
        self._ds = ds
        self._headers = headers
        self._facts = headers.pixels

    def slices(self) -> Iterator[Pixels | NotComputable]:
        """One array (rows, cols), native byte order, C-contiguous and writable, or a reason, for each slice."""
        reason = self._check()
        wanted = len(self._headers.frames)
        done = 0
        if reason is None:
            for item in self._cut():
                if done == wanted:
                    break
                done += 1
                yield item
            reason = "frame_missing" if not self.problems else self.problems[-1].code
        missing = NotComputable(reason if reason in REASONS else "frame_missing")
        for _ in range(wanted - done):
            yield missing

    def _check(self) -> str | None:
        facts = self._facts
        if not facts.has_pixels:
            return self._problem("no_pixels") if self._headers.is_image else "no_pixels"
        if facts.is_float:
            return "float_pixels"
        if facts.samples_per_pixel not in (1, None) or not facts.photometric.startswith("MONOCHROME"):
            self._check_colour()
            return "colour"
        if (facts.bits_allocated, facts.is_signed) not in _DTYPES:
            return "bits_allocated"
        return self._check_size()

    def _check_size(self) -> str | None:
        facts = self._facts
        frame = _frame_bytes(facts)
        promised = frame * facts.number_of_frames
        if frame <= 0:
            return self._problem("size_mismatch")
        if frame > MAX_FRAME_BYTES or promised > MAX_OBJECT_BYTES:
            return self._problem("too_large")
        stored = self._stored_bytes()
        if self._is_encapsulated():
            if promised > ALWAYS_ALLOWED_BYTES and promised > MAX_EXPANSION * stored:
                return self._problem("too_large")
            return None
        if stored not in (promised, promised + promised % 2):
            self._problem("size_mismatch")
        return None

    def _check_colour(self) -> None:
        """Colour is not measured, but whether it decodes is an integrity finding of its own."""
        if self._is_encapsulated() and self._check_size() is None:
            for _ in self._decode():
                pass

    def _problem(self, code: str) -> str:
        self.problems.append(Problem(code, REASONS[code]))
        return code

    def _stored_bytes(self) -> int:
        value = self._ds.get_item((0x7FE0, 0x0010))
        content = getattr(value, "value", None)
        return len(content) if isinstance(content, bytes | bytearray) else 0

    def _syntax(self) -> UID:
        return UID(self._facts.transfer_syntax_uid)

    def _is_encapsulated(self) -> bool:
        syntax = self._syntax()
        return bool(syntax.is_transfer_syntax and syntax.is_encapsulated) if syntax and not syntax.is_private else False

    def _cut(self) -> Iterator[Pixels]:
        tiling = find_tiling(self._ds) if self._headers.layout in ("mosaic", "grid") else None
        for picture in self._decode() if self._is_encapsulated() else self._read_native():
            if tiling is None:
                yield _prepare(picture)
                continue
            for index in range(tiling.count):
                top, left = tiling.origin(index)
                yield _prepare(picture[top : top + tiling.rows, left : left + tiling.columns])

    def _read_native(self) -> Iterator[Pixels]:
        facts = self._facts
        content = self._ds.get_item((0x7FE0, 0x0010))
        raw = getattr(content, "value", None)
        if not isinstance(raw, bytes | bytearray):
            self._problem("no_pixels")
            return
        dtype = np.dtype(_DTYPES[facts.bits_allocated or 0, facts.is_signed])
        if self._is_big_endian():
            dtype = dtype.newbyteorder(">")
        rows, columns = facts.rows or 0, facts.columns or 0
        size = rows * columns * dtype.itemsize
        for index in range(facts.number_of_frames):
            if (index + 1) * size > len(raw):
                return
            yield np.frombuffer(raw, dtype, rows * columns, index * size).reshape(rows, columns)

    def _is_big_endian(self) -> bool:
        syntax = self._syntax()
        if syntax:
            return syntax == ExplicitVRBigEndian
        return self._ds.original_encoding[1] is False

    def _decode(self) -> Iterator[Pixels]:
        """Decoded pictures; pixels of colour images come flat, they are only decoded to see that they can be.

        Buffers are taken instead of arrays: pydicom corrects signs in place, which fails on the read-only buffers of
        some decoders, and the kernels extend the sign themselves.
        """
        facts = self._facts
        try:
            decoder = get_decoder(self._syntax())
        except NotImplementedError:
            self._problem("unknown_syntax")
            return
        if not decoder.is_available or (self._syntax() == JPEGExtended12Bit and (facts.bits_stored or 8) > 8):
            self._problem("unknown_syntax")
            return
        rows, columns = facts.rows or 0, facts.columns or 0
        try:
            for buffer, meta in decoder.iter_buffer(self._ds, validate=False):
                bits, is_signed = int(meta["bits_allocated"]), meta["pixel_representation"] == 1
                flat = np.frombuffer(buffer, _DTYPES[bits, is_signed])
                if flat.size < rows * columns:
                    self._problem("decode_failed")
                    return
                yield flat[: rows * columns].reshape(rows, columns)
        except DAMAGE:
            self._problem("decode_failed")
        except BaseException as error:  # a decoder in Rust panics with a BaseException of its own
            if isinstance(error, GeneratorExit | KeyboardInterrupt | SystemExit | MemoryError):
                raise
            self._problem("decode_failed")


def _frame_bytes(facts: PixelFacts) -> int:
    bits = facts.bits_allocated or 0
    return (facts.rows or 0) * (facts.columns or 0) * (facts.samples_per_pixel or 1) * ((bits + 7) // 8)


def _prepare(picture: Pixels) -> Pixels:
    """Native byte order, contiguous, writable: one machine-code variant of each kernel is enough."""
    native = picture.astype(picture.dtype.newbyteorder("="), copy=False)
    return np.require(native, requirements=["C", "A", "W"])
