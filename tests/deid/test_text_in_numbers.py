"""Nothing that can be read leaves in the place of numbers, tags, times or UIDs; real numbers stay."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from pydicom import Dataset, dcmread
from pydicom.datadict import tag_for_keyword

from agent.deid.pseudonyms import PseudonymKeys, new_uid
from agent.deid.rules.compile import Action, Rules
from agent.deid.worker import DeidentifiedObject, deidentify_bytes
from tests.deid.planted import EXPLICIT, encode, set_raw
from tests.dicom_files import make_image

TEXT = b"KOWALSKI 600-123-456"
NUMERIC = {Action.KEEP, Action.NUMBER, Action.TIME, Action.DATE, Action.LUT, Action.AGE, Action.TERMS, Action.PATTERN}
LONG = {"OB", "OW", "UN"}


def deidentify(ds: Dataset, keys: PseudonymKeys) -> DeidentifiedObject:
    done = deidentify_bytes(encode(ds, EXPLICIT), EXPLICIT, keys, "basic")
    assert done.excluded_because is None
    return done


def clean(ds: Dataset, keys: PseudonymKeys) -> Any:
    return dcmread(BytesIO(deidentify(ds, keys).data))


def encoded(tag: int, vr: str, value: bytes) -> bytes:
    head = struct.pack("<HH2s", tag >> 16, tag & 0xFFFF, vr.encode())
    return head + (struct.pack("<HL", 0, len(value)) if vr in LONG else struct.pack("<H", len(value))) + value


def with_element(tag: int, vr: str, value: bytes) -> bytes:
    """An image with one element of any bytes more, in its place."""
    ds = make_image()
    if tag in ds:
        del ds[tag]
    plain = encode(ds, EXPLICIT)
    reread = dcmread(BytesIO(plain), force=True)
    later = [e for e in (reread.get_item(t) for t in sorted(reread.keys())) if e is not None and int(e.tag) > tag]
    if not later:
        return plain + encoded(tag, vr, value)
    first = later[0]
    place = plain.index(struct.pack("<HH", first.tag.group, first.tag.element))
    return plain[:place] + encoded(tag, vr, value) + plain[place:]


def vrs_of(vr: str) -> Iterator[str]:
    yield from vr.split(" or ")
    yield from ("US", "FL", "OB", "UN", "LO")


@pytest.mark.parametrize("wide", [False, True])
def test_text_leaves_in_no_attribute_that_is_kept(wide: bool, rules: Rules, keys: PseudonymKeys) -> None:
    text = TEXT.decode().encode("utf-16-le") + b"\x00\x00" * 4 if wide else TEXT + b"    "
    needle = TEXT.decode().encode("utf-16-le") if wide else TEXT
    body = b"".join(
        encoded(tag, rule.vr.split(" or ")[0], text)
        for tag, rule in sorted(rules.public.items())
        if rule.action in NUMERIC and 0x00180000 <= tag < 0x00540000 and tag not in STRUCTURE
    )
    item = struct.pack("<HHL", 0xFFFE, 0xE000, len(body)) + body
    source = with_element(0x00082112, "SQ", b"")
    marker = struct.pack("<HH2s", 0x0008, 0x2112, b"SQ")
    place = source.index(marker)
    head = marker + struct.pack("<HL", 0, len(item))
    source = source[:place] + head + item + source[place + 8 :]
    done = deidentify_bytes(source, EXPLICIT, keys, "basic")
    assert done.excluded_because is None
    assert needle not in done.data and needle[:12] not in done.data


STRUCTURE = {0x00280002, 0x00280004, 0x00280008, 0x00280010, 0x00280011, 0x00280100, 0x00280101, 0x00280103, 0x00280301}


@pytest.mark.parametrize(
    "tag", [0x00186052, 0x00186058, 0x00209157, 0x00280009, 0x00281201, 0x00540010, 0x00189087, 0x00280106]
)
@pytest.mark.parametrize("vr", ["US", "UL", "FL", "FD", "AT", "UN", "LT"])
def test_an_attribute_is_kept_only_in_its_own_vr_and_as_what_that_vr_holds(
    tag: int, vr: str, keys: PseudonymKeys
) -> None:
    done = deidentify_bytes(with_element(tag, vr, TEXT + b"    "), EXPLICIT, keys, "basic")
    assert TEXT[:8] not in done.data


@pytest.mark.parametrize(
    ("creator", "tag", "vr"),
    [
        ("Philips Imaging DD 001", 0x20011018, "SL"),
        ("Philips MR Imaging DD 005", 0x20051014, "SL"),
        ("Philips MR Imaging DD 005", 0x20051015, "SL"),
        ("SIEMENS MR HEADER", 0x0019100A, "US"),
        ("SIEMENS MR HEADER", 0x0019100A, "LO"),
        ("SIEMENS MR HEADER", 0x00191027, "FD"),
        ("Philips Imaging DD 001", 0x20011003, "OB"),
    ],
)
@pytest.mark.parametrize("text", [b"KOWA", b"KOWALSKA", TEXT + b"    "])
def test_private_numbers_hold_no_text(creator: str, tag: int, vr: str, text: bytes, keys: PseudonymKeys) -> None:
    ds = make_image()
    set_raw(ds, tag & 0xFFFF0000 | 0x10, "LO", creator)
    place_tag = tag & 0xFFFF0000 | 0x10
    plain = encode(ds, EXPLICIT)
    creator_bytes = encoded(place_tag, "LO", creator.encode() + b" " * (len(creator) % 2))
    assert creator_bytes in plain
    source = plain.replace(creator_bytes, creator_bytes + encoded(tag, vr, text))
    done = deidentify_bytes(source, EXPLICIT, keys, "basic")
    assert text[:4] not in done.data


def lut(values: bytes, entries: int) -> Dataset:
    item = Dataset()
    set_raw(item, 0x00283002, "US", [entries % 65536, 0, 16])
    set_raw(item, 0x00283006, "OW", values)
    return make_image(VOILUTSequence=[item])


@pytest.mark.parametrize(
    "curve",
    [
        np.arange(256) * 257,
        np.arange(4096) * 16,
        np.arange(65536),
        np.arange(256),
        65535 / (1 + np.exp(-np.linspace(-6, 6, 4096))),
        65535 - np.arange(1024) * 64,
        32768 + 32767 * np.sin(np.linspace(0, 6.28, 1024)),
    ],
    ids=["grey ramp", "steep", "full", "8 bits", "sigmoid", "falling", "wave"],
)
def test_real_lookup_tables_stay(curve: Any, keys: PseudonymKeys) -> None:
    values = curve.astype("<u2").tobytes()
    after = clean(lut(values, len(curve)), keys)
    assert after.VOILUTSequence[0].LUTData == values


@pytest.mark.parametrize("fill", [TEXT * 26, TEXT.decode().encode("utf-16-le") * 13, bytes(400) + TEXT + bytes(100)])
def test_text_in_a_lookup_table_takes_it_out(fill: bytes, keys: PseudonymKeys) -> None:
    for entries in (256, len(fill) // 2):
        after = clean(lut(fill[: 2 * entries], entries), keys)
        assert "LUTData" not in after.VOILUTSequence[0]
    after = clean(lut((np.arange(256) * 257).astype("<u2").tobytes() + TEXT, 256), keys)
    assert "LUTData" not in after.VOILUTSequence[0]


def test_frame_vectors_and_pointers_of_real_images_stay(keys: PseudonymKeys) -> None:
    ds = make_image()
    kept: dict[str, Any] = {
        "SliceVector": [*range(1, 129), *range(1, 129)], "EnergyWindowVector": [1] * 200,
        "FrameIncrementPointer": [0x00540010, 0x00540080], "DimensionIndexValues": [1, 40, 60, 70, 80, 90, 100],
        "AcquisitionMatrix": [0, 256, 256, 0], "LargestImagePixelValue": 0x4142,
    }  # fmt: skip
    for keyword, value in kept.items():
        setattr(ds, keyword, value)
    after = clean(ds, keys)
    for keyword, value in kept.items():
        assert (list(after[keyword].value) if isinstance(value, list) else after[keyword].value) == value, keyword
