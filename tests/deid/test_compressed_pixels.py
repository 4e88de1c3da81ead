"""Compressed frames lose their comments and keep every pixel."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pydicom import dcmread
from pydicom.encaps import encapsulate

from agent.deid.part10 import split_part10
from agent.deid.pixels import clear_unused_bits, strip_jpeg, strip_jpeg_2000
from agent.deid.pseudonyms import PseudonymKeys
from agent.deid.worker import deidentify_bytes
from tests.deid.planted import EXPLICIT, encode
from tests.dicom_files import make_image

JPEG_BASELINE, J2K = "1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.90"


def _jpeg(comment: bytes, frame: int = 0) -> bytes:
    y, x = np.mgrid[0:32, 0:32]
    buffer = BytesIO()
    Image.fromarray(((x * 5 + y * 2 + frame * 9) % 256).astype(np.uint8)).save(buffer, "JPEG", comment=comment)
    return buffer.getvalue()


def jpeg_object(*, comment: bytes, frames: int = 2, tail: bytes = b"", **elements: Any) -> tuple[Any, str]:
    """An object with JPEG frames that carry a comment, and text behind the end of the image."""
    ds = make_image(shape=(32, 32), **elements)
    ds.BitsAllocated = ds.BitsStored = 8
    ds.HighBit, ds.NumberOfFrames = 7, frames
    ds.PixelData = encapsulate([_jpeg(comment, n) + tail for n in range(frames)], has_bot=True)
    ds["PixelData"].VR = "OB"
    ds["PixelData"].is_undefined_length = True
    return ds, JPEG_BASELINE


def test_comment_and_text_behind_the_end_are_gone_and_frames_decode_the_same(keys: PseudonymKeys) -> None:
    ds, syntax = jpeg_object(comment=b"Wilhelmine Ottokarsen 77123409", tail=b"born 1931-04-17 ")
    done = deidentify_bytes(encode(ds, syntax), syntax, keys, "basic")
    assert done.excluded_because is None
    assert b"Wilhelmine" not in done.data and b"1931-04-17" not in done.data and b"JFIF" not in done.data
    after = dcmread(BytesIO(done.data))
    ds.file_meta = after.file_meta
    np.testing.assert_array_equal(after.pixel_array, ds.pixel_array)


def test_offset_tables_follow_the_shorter_frames(keys: PseudonymKeys) -> None:
    from pydicom.encaps import parse_basic_offsets, parse_fragments

    ds, syntax = jpeg_object(comment=b"x" * 101, frames=3)
    done = deidentify_bytes(encode(ds, syntax), syntax, keys, "basic")
    value = dcmread(BytesIO(done.data)).PixelData
    offsets = parse_basic_offsets(value)
    count, places = parse_fragments(value)
    first = 8 + 4 * len(offsets)
    assert count - 1 in (2, 3) or count == 4
    assert [p - first for p in places][-len(offsets) :] == offsets


def test_segments_that_decoders_need_stay() -> None:
    buffer = BytesIO()
    Image.new("RGB", (16, 16), (200, 10, 30)).save(
        buffer, "JPEG", comment=b"secret words", icc_profile=b"profile with words"
    )
    adobe = b"\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00\x01"
    source = buffer.getvalue()
    with_adobe = source[:2] + adobe + source[2:]
    stripped = strip_jpeg(with_adobe)
    assert adobe in stripped
    assert b"secret" not in stripped and b"profile" not in stripped
    np.testing.assert_array_equal(
        np.asarray(Image.open(BytesIO(stripped))), np.asarray(Image.open(BytesIO(with_adobe)))
    )


def test_jpeg_2000_comments_are_gone_and_the_image_is_the_same() -> None:
    pixels = np.random.default_rng(3).integers(0, 250, (64, 64), dtype=np.uint8)
    buffer = BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG2000", no_jp2=True, irreversible=False)
    code = buffer.getvalue()
    body = b"\x00\x01Wilhelmine Ottokarsen"
    marked = code[:2] + _after_size(code, b"\xff\x64" + (len(body) + 2).to_bytes(2, "big") + body)
    assert b"Ottokarsen" in marked
    stripped = strip_jpeg_2000(marked)
    assert b"Ottokarsen" not in stripped
    np.testing.assert_array_equal(np.asarray(Image.open(BytesIO(stripped))), pixels)


def _after_size(code: bytes, segment: bytes) -> bytes:
    size = int.from_bytes(code[4:6], "big") + 4
    return code[2:size] + segment + code[size:]


@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2.4.100", "1.2.840.10008.1.2.4.102", "1.2.3.4.5"])
def test_a_compression_that_cannot_be_searched_is_left_out(syntax: str, keys: PseudonymKeys) -> None:
    ds, _ = jpeg_object(comment=b"x")
    done = deidentify_bytes(encode(ds, syntax), syntax, keys, "basic")
    assert done.data == b"" and "compression" in str(done.excluded_because)


def test_bits_above_bits_stored_are_cleared_only_where_an_overlay_is_declared(keys: PseudonymKeys) -> None:
    ds = make_image()
    pixels = np.frombuffer(ds.PixelData, "<u2") | np.uint16(0x4000)
    ds.PixelData = pixels.tobytes()
    plain = dcmread(BytesIO(deidentify_bytes(encode(ds, EXPLICIT), EXPLICIT, keys, "basic").data))
    assert plain.PixelData == ds.PixelData
    ds.add_new(0x60000100, "US", 16)
    ds.add_new(0x60000102, "US", 14)
    cleared = dcmread(BytesIO(deidentify_bytes(encode(ds, EXPLICIT), EXPLICIT, keys, "basic").data))
    np.testing.assert_array_equal(np.frombuffer(cleared.PixelData, "<u2"), pixels & 0x0FFF)
    ds.PixelRepresentation = 1
    assert "overlay" in str(deidentify_bytes(encode(ds, EXPLICIT), EXPLICIT, keys, "basic").excluded_because)


def test_clearing_bits_knows_the_byte_order() -> None:
    assert clear_unused_bits(b"\xff\xff\x34\xf2", 12, little=True) == b"\xff\x0f\x34\x02"
    assert clear_unused_bits(b"\xff\xff\xf2\x34", 12, little=False) == b"\x0f\xff\x02\x34"


def test_real_compressed_slices_decode_to_the_same_pixels(real_data: Path, keys: PseudonymKeys) -> None:
    for path in sorted((real_data / "compressed" / "real_slice_many_syntaxes").glob("*.dcm")):
        data, syntax = split_part10(path.read_bytes())
        done = deidentify_bytes(data, syntax, keys, "basic")
        assert done.excluded_because is None, path.name
        np.testing.assert_array_equal(
            dcmread(BytesIO(done.data)).pixel_array, dcmread(path).pixel_array, err_msg=path.name
        )
