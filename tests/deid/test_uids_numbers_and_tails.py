"""UIDs under the Standard's root, digits in numbers and times, and what stands behind the pixels do not leave."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import pytest
from pydicom import Dataset, dcmread

from agent.deid.numbers import identifier_digits, repeats_identifier
from agent.deid.outbound import OutboundCheck, collect_identifiers
from agent.deid.pseudonyms import PseudonymKeys, new_uid
from agent.deid.worker import deidentify_bytes
from agent.errors import DeidError
from tests.deid.planted import EXPLICIT, encode, set_raw
from tests.dicom_files import make_image

UNREGISTERED = "1.2.840.10008.5.1.4.1.1.4.998877.1"


def clean(ds: Dataset, keys: PseudonymKeys) -> Any:
    done = deidentify_bytes(encode(ds, EXPLICIT), EXPLICIT, keys, "basic")
    assert done.excluded_because is None
    return dcmread(BytesIO(done.data))


@pytest.mark.parametrize(
    "keyword", ["StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "FrameOfReferenceUID", "ConcatenationUID"]
)
@pytest.mark.parametrize("uid", [UNREGISTERED, "1.2.840.10008.5.1.4.1.1.4", "1.2.840.10008.1.20.1"])
def test_a_uid_of_one_thing_is_replaced_whatever_its_root(keyword: str, uid: str, keys: PseudonymKeys) -> None:
    ds = make_image()
    setattr(ds, keyword, uid)
    after = clean(ds, keys)
    assert after[keyword].value == new_uid(keys, uid) != uid


def test_references_agree_and_classes_and_well_known_frames_stay(keys: PseudonymKeys) -> None:
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = "1.2.840.10008.5.1.4.1.1.4", UNREGISTERED
    ds = make_image(SourceImageSequence=[item], FrameOfReferenceUID="1.2.840.10008.1.4.1.1")
    after = clean(ds, keys)
    assert after.SourceImageSequence[0].ReferencedSOPClassUID == "1.2.840.10008.5.1.4.1.1.4"
    assert after.SourceImageSequence[0].ReferencedSOPInstanceUID == new_uid(keys, UNREGISTERED)
    assert after.FrameOfReferenceUID == "1.2.840.10008.1.4.1.1"
    item.ReferencedSOPClassUID = UNREGISTERED
    assert clean(ds, keys).SourceImageSequence[0].ReferencedSOPClassUID != UNREGISTERED


def check_with(ds: Dataset, outgoing: Dataset) -> None:
    from agent.deid.part10 import part10_start

    start = part10_start("1.2.840.10008.5.1.4.1.1.4", "2.25.1", EXPLICIT)
    OutboundCheck(collect_identifiers(encode(ds, EXPLICIT), EXPLICIT)).check(start + encode(outgoing, EXPLICIT))


def outgoing(**values: Any) -> Dataset:
    ds = Dataset()
    for keyword, value in values.items():
        setattr(ds, keyword, value)
    return ds


@pytest.mark.parametrize(
    ("received", "sent"),
    [
        ({"SOPInstanceUID": UNREGISTERED}, {"SOPInstanceUID": UNREGISTERED}),
        ({"PatientID": "12345"}, {"AcquisitionNumber": "12345"}),
        ({"PatientID": "12345"}, {"EchoTime": "12345.0"}),
        ({"PatientID": "101112"}, {"StudyTime": "101112"}),
        ({"PatientName": "Wu^Li"}, {"SeriesDescription": "T1 Li Wu ax"}),
        ({"PatientName": "Wu^Li"}, {"SeriesDescription": "wu_li"}),
    ],
)
def test_the_outbound_check_catches_it_too(received: dict[str, Any], sent: dict[str, Any], keys: PseudonymKeys) -> None:
    with pytest.raises(DeidError) as caught:
        check_with(make_image(**received), outgoing(**sent))
    assert caught.value.code == "outbound_hit"


def test_innocent_numbers_and_words_do_not_block(keys: PseudonymKeys) -> None:
    check_with(make_image(PatientID="1", StudyID="1"), outgoing(InstanceNumber="1", EchoTime="1.0"))
    check_with(make_image(PatientName="Wu^Li"), outgoing(SeriesDescription="limb wulst", PatientID="ANONWULI"))
    after = clean(make_image(patient_id="1", StudyID="1", InstanceNumber="1"), keys)
    assert after.InstanceNumber == 1


@pytest.mark.parametrize(
    ("keyword", "vr", "value", "left"),
    [
        ("StudyTime", "TM", "600123456789", ""),
        ("StudyTime", "TM", "101112.123456", "101112.123456"),
        ("StudyTime", "TM", "10:11:12", "10:11:12"),
        ("StudyTime", "TM", "2460", ""),
        ("SliceThickness", "DS", "600123456", None),
        ("SliceThickness", "DS", "-1.5e-2", "-1.5e-2"),
        ("SliceThickness", "DS", "1.2.3", None),
        ("SeriesNumber", "IS", "600123456", None),
        ("RadionuclideTotalDose", "DS", "600123456", "600120000"),
        ("ImagingFrequency", "DS", "128175953", "128180000"),
        ("AcquisitionDateTime", "DT", "20260102101500600123456789", ""),
        ("AcquisitionDateTime", "DT", "20260102101500.5+9900", ""),
        ("NumberOfAverages", "DS", "1\\2\\3", None),
    ],
)
def test_numbers_and_times_are_only_what_their_vr_allows(
    keyword: str, vr: str, value: str, left: str | None, keys: PseudonymKeys
) -> None:
    from pydicom.datadict import tag_for_keyword

    ds = make_image()
    tag = tag_for_keyword(keyword)
    assert tag is not None
    set_raw(ds, tag, "LO", value)
    source = encode(ds, EXPLICIT)
    head = tag.to_bytes(4, "big")
    head = head[1::-1] + head[:1:-1]
    assert source.count(head + b"LO") == 1
    data = deidentify_bytes(source.replace(head + b"LO", head + vr.encode()), EXPLICIT, keys, "basic").data
    item = dcmread(BytesIO(data)).get_item(tag)
    found = None if item is None else (item.value or b"").decode().strip()  # type: ignore[union-attr]
    assert found == left


@pytest.mark.parametrize(
    ("keyword", "vr", "value"),
    [("SeriesNumber", "IS", "12345"), ("EchoTime", "DS", "12345.0"), ("StudyTime", "TM", "012345"),
     ("EchoTime", "DS", "0.12345"), ("StackID", "SH", "12345")],
)  # fmt: skip
def test_a_number_that_equals_an_identifier_is_emptied_and_said(
    keyword: str, vr: str, value: str, keys: PseudonymKeys
) -> None:
    from pydicom.datadict import tag_for_keyword

    ds = make_image(patient_id="12345")
    tag = tag_for_keyword(keyword)
    assert tag is not None
    set_raw(ds, tag, vr, value)
    done = deidentify_bytes(encode(ds, EXPLICIT), EXPLICIT, keys, "basic")
    assert b"12345" not in done.data
    if vr != "SH":
        assert any(a.keyword == keyword and a.action == "emptied (equals an identifier)" for a in done.actions)


def test_digits_are_compared_without_signs_and_letters() -> None:
    known = identifier_digits(["MR-0012345", "1", "600 123 456", "Head 12"])
    assert known == {"12345", "600123456"}
    for text in ("12345", "+12345", "1.2345E4", "600\\123\\456", "0.12345"):
        assert repeats_identifier(text, known), text
    for text in ("1", "12", "123450", "12.345", "", "."):
        assert not repeats_identifier(text, known) or text == "12.345", text


@pytest.mark.parametrize("vr", ["OW", "OB"])
def test_what_stands_behind_native_pixels_is_cut_off(vr: str, keys: PseudonymKeys) -> None:
    ds = make_image()
    pixels = ds.PixelData
    ds.PixelData = pixels + b"KOWALSKI 600-123-456"
    ds["PixelData"].VR = vr
    assert clean(ds, keys).PixelData == pixels


def test_bit_packed_and_odd_pixels_keep_what_the_image_needs(keys: PseudonymKeys) -> None:
    ds = make_image()
    ds.Rows, ds.Columns, ds.NumberOfFrames = 5, 3, 3  # 45 bits: 6 bytes
    ds.BitsAllocated = ds.BitsStored = 1
    ds.HighBit = 0
    ds.PixelData = b"\x01\x02\x03\x04\x05\x06KOWALSKI"
    assert clean(ds, keys).PixelData == b"\x01\x02\x03\x04\x05\x06"
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.NumberOfFrames = 8, 8, 7, 1  # 15 bytes and a pad
    ds.PixelData = bytes(range(1, 16)) + b"K"
    assert clean(ds, keys).PixelData == bytes(range(1, 16)) + b"\x00"


def test_pixels_that_are_too_short_or_of_unknown_length_are_left_out_with_the_reason(keys: PseudonymKeys) -> None:
    ds = make_image()
    ds.PixelData = ds.PixelData[:-2]
    done = deidentify_bytes(encode(ds, EXPLICIT), EXPLICIT, keys, "basic")
    assert done.data == b"" and done.excluded_because == "Its pixel data are shorter than its header says."
    ds = make_image()
    del ds.Rows
    done = deidentify_bytes(encode(ds, EXPLICIT), EXPLICIT, keys, "basic")
    assert done.data == b"" and "does not say how long" in str(done.excluded_because)


@pytest.mark.parametrize("count", [1, 2])
def test_an_offset_table_that_holds_text_does_not_leave(count: int, keys: PseudonymKeys) -> None:
    from tests.deid.test_compressed_pixels import jpeg_object

    ds, syntax = jpeg_object(comment=b"", frames=count)
    table = b"\xfe\xff\x00\xe0" + (4 * count).to_bytes(4, "little")
    assert ds.PixelData.startswith(table)
    ds.PixelData = table + b"KOWALSKI"[: 4 * count] + ds.PixelData[len(table) + 4 * count :]
    source = encode(ds, syntax)
    place = source.index(b"\xe0\x7f\x10\x00")
    extended = b"\xe0\x7f\x01\x00OV\x00\x00" + (8 * count).to_bytes(4, "little") + b"KOWALSKI" * count
    done = deidentify_bytes(source[:place] + extended + source[place:], syntax, keys, "basic")
    assert done.excluded_because is None and b"KOWA" not in done.data
