"""The few elements of Siemens' CSA image header that have no other home.

Job: read (0029,xx10) of creator ``SIEMENS CSA HEADER``. Place: used by `diffusion` and `frames` as a last resort. It
must never trust a length: everything is bounded by the bytes that are there, and damage gives an empty answer.

The layout (CSA2: ``SV10``, count, then name[64], vm, vr[4], syngodt, items, and per item four lengths and padded bytes)
is known from the documentation of nibabel and GDCM; the older CSA1 differs in its start.
"""

from __future__ import annotations

import struct

from pydicom.dataset import Dataset

from agent.qc.reading.values import as_float, clean, find_private

MAX_TAGS = 400
MAX_ITEMS = 4096
_TAG = struct.Struct("<64si4siii")
_ITEM = struct.Struct("<iiii")


def read_csa(ds: Dataset) -> dict[str, tuple[str, ...]]:
    """All elements of the CSA image header by name; empty when there is none or it is damaged."""
    raw = find_private(ds, 0x0029, "SIEMENS CSA HEADER", 0x10)
    if not isinstance(raw, bytes) or len(raw) < 16:
        return {}
    try:
        return dict(_read_tags(raw))
    except (struct.error, ValueError):
        return {}


def _read_tags(raw: bytes) -> list[tuple[str, tuple[str, ...]]]:
    second = raw[:4] == b"SV10"
    position = 8 if second else 0
    (count, _) = struct.unpack_from("<ii", raw, position)
    if not 0 < count <= MAX_TAGS:
        return []
    position += 8
    found = []
    for _ in range(count):
        name, _multiplicity, _vr, _type, items, _check = _TAG.unpack_from(raw, position)
        position += _TAG.size
        if not 0 <= items <= MAX_ITEMS:
            raise ValueError("number of items out of range")
        values = []
        for _item in range(items):
            lengths = _ITEM.unpack_from(raw, position)
            position += _ITEM.size
            length = lengths[1] if second else lengths[0]
            if not 0 <= length <= len(raw) - position:
                raise ValueError("length out of range")
            values.append(clean(raw[position : position + length].split(b"\0")[0]))
            position += (length + 3) // 4 * 4
        found.append((clean(name.split(b"\0")[0]), tuple(value for value in values if value)))
    return found


def csa_floats(csa: dict[str, tuple[str, ...]], name: str) -> tuple[float, ...]:
    """Numbers of one element; empty when it is absent or unusable."""
    numbers = [as_float(value) for value in csa.get(name, ())]
    return tuple(number for number in numbers if number is not None) if None not in numbers else ()
