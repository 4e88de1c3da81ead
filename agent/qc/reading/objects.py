"""Bytes to data sets, within limits.

Job: parse a Part 10 stream of untrusted origin. Place: called by `agent.qc.worker`. It must never inflate more than its
limit, and never raise anything but `BadDataset`.
"""

from __future__ import annotations

import struct
import zlib
from io import BytesIO

from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian

from agent.errors import BadDataset
from agent.qc.reading.quiet import quiet_reading

MAX_INFLATED_BYTES = 1 << 30
PREAMBLE_BYTES = 128
_META_LENGTH = struct.Struct("<HH2sHI")
DAMAGE = (
    InvalidDicomError,
    BytesLengthException,
    RuntimeError,
    ValueError,
    TypeError,
    AttributeError,
    LookupError,
    ArithmeticError,
    OSError,
    EOFError,
    MemoryError,
    AssertionError,
    struct.error,
    zlib.error,
)


def read_part10(data: bytes, max_inflated_bytes: int = MAX_INFLATED_BYTES) -> Dataset:
    """Parse a Part 10 stream; values stay undecoded until they are used.

    Parameters
    ----------
    data : bytes
        Preamble, prefix, file meta information, data set; a data set alone is tried too.
    max_inflated_bytes : int, optional
        Limit for the deflated transfer syntax.

    Returns
    -------
    Dataset
        With file meta information if there was any.

    Raises
    ------
    BadDataset
        When nothing can be read, or the deflated data set is larger than the limit.
    """
    try:
        with quiet_reading():
            data, was_deflated = _inflate(data, max_inflated_bytes)
            ds = dcmread(BytesIO(data), force=True)
            if was_deflated:
                ds.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    except BadDataset:
        raise
    except DAMAGE as error:
        raise BadDataset("The data set cannot be parsed.", code="unreadable") from error
    return ds


def _inflate(data: bytes, limit: int) -> tuple[bytes, bool]:
    """Replace a deflated data set by its content, so that the parser never inflates."""
    if data[PREAMBLE_BYTES : PREAMBLE_BYTES + 4] != b"DICM":
        return data, False
    start = PREAMBLE_BYTES + 4
    group, element, _, _, length = _META_LENGTH.unpack_from(data, start)
    end = start + _META_LENGTH.size + length
    if (group, element) != (2, 0) or end > len(data):
        end = len(data)
    wanted = DeflatedExplicitVRLittleEndian.encode()
    meta = data[start:end]
    at = meta.find(b"\x02\x00\x10\x00UI")
    if at < 0 or meta[at + 8 : at + 8 + len(wanted)] != wanted or end == len(data):
        return data, False
    decompressor = zlib.decompressobj(-zlib.MAX_WBITS)
    content = decompressor.decompress(data[end:], limit)
    if decompressor.unconsumed_tail:
        raise BadDataset("The deflated data set is larger than the limit.", code="too_large")
    replacement = ExplicitVRLittleEndian.encode().ljust(len(wanted), b"\0")
    padded = len(wanted) + len(wanted) % 2
    plain = meta[: at + 8] + replacement.ljust(padded, b"\0") + meta[at + 8 + padded :]
    return data[:start] + plain + content, True
