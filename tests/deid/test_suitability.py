"""Objects that cannot be cleaned stay inside, with a sentence that says why."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydicom import uid

from agent.deid.pseudonyms import PseudonymKeys
from agent.deid.worker import deidentify_bytes
from tests.deid.planted import EXPLICIT, encode
from tests.dicom_files import make_image

NAMES = [
    name
    for name in dir(uid)
    if name.endswith("Storage") and str(getattr(uid, name)).startswith("1.2.840.10008.5.1.4.1.1.")
]
MAY_LEAVE = {
    "CTImageStorage", "EnhancedCTImageStorage", "LegacyConvertedEnhancedCTImageStorage", "MRImageStorage",
    "EnhancedMRImageStorage", "LegacyConvertedEnhancedMRImageStorage", "PositronEmissionTomographyImageStorage",
    "EnhancedPETImageStorage", "LegacyConvertedEnhancedPETImageStorage", "NuclearMedicineImageStorage",
}  # fmt: skip
WITH_A_WORD = {
    "ComputedRadiographyImageStorage", "DigitalXRayImageStorageForPresentation", "DigitalXRayImageStorageForProcessing",
    "DigitalMammographyXRayImageStorageForPresentation", "DigitalMammographyXRayImageStorageForProcessing",
}  # fmt: skip


def because(keys: PseudonymKeys, **elements: Any) -> str | None:
    done = deidentify_bytes(encode(make_image(**elements), EXPLICIT), EXPLICIT, keys, "basic")
    assert bool(done.data) == (done.excluded_because is None)
    return done.excluded_because


def test_only_the_listed_sop_classes_may_leave(keys: PseudonymKeys) -> None:
    assert len(NAMES) > 100
    left = {name for name in NAMES if because(keys, SOPClassUID=getattr(uid, name)) is None}
    assert left == MAY_LEAVE & set(NAMES)
    told = {name for name in NAMES if because(keys, SOPClassUID=getattr(uid, name), BurnedInAnnotation="NO") is None}
    assert told == (MAY_LEAVE | WITH_A_WORD | {n for n in NAMES if getattr(uid, n) in _projection()}) & set(NAMES)


def _projection() -> frozenset[str]:
    return frozenset(f"1.2.840.10008.5.1.4.1.1.{tail}" for tail in ("1", "1.1", "1.1.1", "1.2", "1.2.1"))


@pytest.mark.parametrize(
    ("elements", "word"),
    [
        ({"SOPClassUID": "1.3.12.2.1107.5.9.1"}, "not one of the Standard's"),
        ({"SOPClassUID": uid.EncapsulatedPDFStorage}, "documents and reports"),
        ({"SOPClassUID": uid.ComprehensiveSRStorage}, "documents and reports"),
        ({"SOPClassUID": uid.GrayscaleSoftcopyPresentationStateStorage}, "documents and reports"),
        ({"SOPClassUID": uid.SecondaryCaptureImageStorage}, "drawn into the pixels"),
        ({"SOPClassUID": uid.UltrasoundImageStorage}, "drawn into the pixels"),
        ({"SOPClassUID": uid.XRayAngiographicImageStorage}, "drawn into the pixels"),
        ({"BurnedInAnnotation": "YES"}, "burned into the pixels"),
        ({"ImageType": ["DERIVED", "SECONDARY", "MPR"]}, "SECONDARY"),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "SCREEN SAVE"]}, "screen capture"),
        ({"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB"}, "colour image"),
        ({"PhotometricInterpretation": "PALETTE COLOR"}, "colour image"),
        ({"SOPClassUID": None, "PixelData": None}, "names no SOP class"),
    ],
)  # fmt: skip
def test_the_reason_is_a_plain_sentence(elements: dict[str, Any], word: str, keys: PseudonymKeys) -> None:
    sentence = because(keys, **elements)
    assert sentence is not None and word in sentence and sentence.endswith(".")
    assert "Test" not in sentence and "0001" not in sentence


@pytest.mark.parametrize("cut", [1, 5, 9, 100, 700])
def test_a_data_set_that_ends_too_early_is_left_out(cut: int, keys: PseudonymKeys) -> None:
    source = encode(make_image(), EXPLICIT)
    done = deidentify_bytes(source[:-cut], EXPLICIT, keys, "basic")
    assert done.data == b"" and "cannot be read" in str(done.excluded_because)


def test_random_damage_never_ends_in_anything_but_a_verdict(keys: PseudonymKeys) -> None:
    import random

    from agent.errors import DeidError

    source = bytearray(encode(make_image(shape=(8, 8)), EXPLICIT))
    dice = random.Random(11)
    for _ in range(150):
        damaged = bytearray(source)
        for _ in range(dice.randint(1, 6)):
            damaged[dice.randrange(len(damaged))] = dice.randrange(256)
        try:
            deidentify_bytes(bytes(damaged), EXPLICIT, keys, "basic")
        except DeidError as error:
            assert error.code in ("outbound_hit", "outbound_unreadable", "deid_unreadable")


def test_a_deflated_bomb_is_left_out(keys: PseudonymKeys) -> None:
    import zlib

    deflater = zlib.compressobj(9, wbits=-15)
    bomb = deflater.compress(bytes(200_000_000)) + deflater.flush()
    done = deidentify_bytes(bomb, "1.2.840.10008.1.2.1.99", keys, "basic")
    assert done.data == b"" and "bounds" in str(done.excluded_because)


def test_real_captures_and_reports_stay_inside(real_data: Path, keys: PseudonymKeys) -> None:
    from agent.deid.part10 import split_part10

    summary = sorted((real_data / "ct" / "philips_ingenuity_head_phantom" / "S4010_exam_summary").glob("I*"))
    documents = sorted((real_data / "non_image").rglob("*.dcm"))
    assert summary and documents
    for path in (*summary, *documents):
        data, syntax = split_part10(path.read_bytes())
        assert deidentify_bytes(data, syntax, keys, "basic").excluded_because, path.name
