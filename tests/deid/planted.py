"""An object with an invented identity planted wherever one can stand, and the list of what was planted."""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field
from datetime import date, timedelta
from functools import cache
from io import BytesIO
from typing import Any

import dicomanonymizer.dicom_anonymization_databases.dicomfields_2026c as table
from pydicom import config
from pydicom.datadict import DicomDictionary
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filewriter import write_dataset
from pydicom.filebase import DicomBytesIO
from pydicom.sequence import Sequence
from pydicom.uid import generate_uid

from tests.dicom_files import make_image

EXPLICIT, IMPLICIT, BIG, DEFLATED = (
    "1.2.840.10008.1.2.1", "1.2.840.10008.1.2", "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99",
)  # fmt: skip
# Attributes whose presence decides whether the object may leave at all, or how it is written and found.
STRUCTURE = {
    "SpecificCharacterSet", "SOPClassUID", "BurnedInAnnotation", "PhotometricInterpretation", "SamplesPerPixel", "ImageType",
    "PixelData", "TransferSyntaxUID", "FloatPixelData", "DoubleFloatPixelData", "PixelRepresentation",
}  # fmt: skip
# The Basic Profile with dates shifted keeps times, and the options keep these.
KEPT_ON_PURPOSE = {"PatientWeight", "PatientSize", "TimezoneOffsetFromUTC"}
TEXT = {"LO", "SH", "ST", "LT", "UT", "UC", "UR", "PN"}


def listed_tags() -> list[int]:
    """Every dictionary attribute of Table E.1-1."""
    return sorted(t[0] << 16 | t[1] for t in table.ALL_TAGS if len(t) == 2 and t[0] << 16 | t[1] in DicomDictionary)


@dataclass
class Planted:
    """A data set, and each token with the place it stands in."""

    dataset: Dataset
    tokens: dict[bytes, str] = field(default_factory=dict)
    preamble: bytes = bytes(128)
    meta: list[tuple[int, str, Any]] = field(default_factory=list)
    counter: int = 0

    def token(self, place: str, *, upper: bool = False) -> str:
        """A fresh word that stands nowhere else."""
        self.counter += 1
        text = f"Qz{self.counter:05d}Wv"
        text = text.upper() if upper else text
        self.tokens[text.encode()] = place
        return text

    def date(self, place: str) -> str:
        """A fresh date, written as DICOM does."""
        self.counter += 1
        text = f"{date(2190, 1, 1) + timedelta(days=self.counter):%Y%m%d}"
        self.tokens[text.encode()] = place
        return text

    def uid(self, place: str) -> str:
        """A fresh UID."""
        self.counter += 1
        text = f"1.2.826.0.1.3680043.8.777.{100000 + self.counter}"
        self.tokens[text.encode()] = place
        return text


def set_raw(ds: Dataset, tag: int, vr: str, value: Any) -> None:
    """Add an element without a check of its value."""
    ds[tag] = DataElement(tag, vr, value, validation_mode=config.IGNORE)


def value_for(plan: Planted, vr: str, place: str) -> Any:
    """A value of this VR that holds a token; None where the VR cannot carry one."""
    if vr in TEXT:
        return plan.token(place)
    if vr in ("CS", "AE"):
        return plan.token(place, upper=True)
    if vr == "DA":
        return plan.date(place)
    if vr == "DT":
        return plan.date(place) + "101112.000000+0000"
    if vr == "UI":
        return plan.uid(place)
    if vr in ("OB", "UN", "OB or OW"):
        return plan.token(place).encode() + b" "
    if vr == "AS":
        return "095Y"
    if vr == "SQ":
        item = Dataset()
        set_raw(item, 0x00100010, "PN", plan.token(f"{place} > PatientName"))
        set_raw(item, 0x00080080, "LO", plan.token(f"{place} > InstitutionName"))
        set_raw(item, 0x00081155, "UI", plan.uid(f"{place} > ReferencedSOPInstanceUID"))
        return Sequence([item])
    return None


def plant_all(plan: Planted, ds: Dataset, tags: list[int], where: str) -> None:
    """Plant a token in each of these attributes."""
    for tag in tags:
        vr, _, _, _, keyword = DicomDictionary[tag]
        if (
            keyword in STRUCTURE | KEPT_ON_PURPOSE
            or tag >> 16 in (0x0000, 0x0002, 0x0004, 0xFFFE, 0x7FE0)
            or not tag & 0xFFFF
        ):
            continue
        value = value_for(plan, vr.split(" or ")[0], f"{where} {keyword}")
        if value is not None:
            set_raw(ds, tag, vr.split(" or ")[0], value)


def every_text_attribute() -> list[int]:
    """Every attribute of the dictionary that can carry text, listed in the table or not."""
    return sorted(
        t for t, e in DicomDictionary.items() if e[0] in TEXT | {"CS", "AE", "UI", "SQ", "OB", "UN", "DA", "DT"}
    )


def plant_private(plan: Planted, ds: Dataset, where: str) -> None:
    """Private elements: known and unknown creators, none, and a creator that is itself a name."""
    blocks = [
        (0x2001, 0x10, "Philips Imaging DD 001", {0x03: "FL", 0x04: "CS", 0x22: "LO"}),
        (0x2005, 0x11, "Philips MR Imaging DD 005", {0x12: "IS", 0x99: "LT"}),
        (0x0019, 0x10, "SIEMENS MR HEADER", {0x0C: "IS", 0x0D: "CS", 0x0B: "LO", 0x0E: "FD"}),
        (0x0029, 0x10, "SIEMENS CSA HEADER", {0x10: "OB", 0x20: "OB"}),
        (0x0043, 0x10, "GEMS_PARM_01", {0x39: "IS", 0x6F: "LO"}),
        (0x0065, 0x10, "Image Private Header", {0x09: "FD", 0x37: "FD", 0x50: "DS"}),
        (0x0099, 0x10, "NOWHERE SCANNER 1.0", {0x01: "LO", 0x02: "PN", 0x03: "UI", 0x04: "UN"}),
        (0x0099, 0x11, plan.token(f"{where} private creator"), {0x01: "LO"}),
    ]
    for group, block, creator, elements in blocks:
        set_raw(ds, group << 16 | block, "LO", creator)
        for low, vr in elements.items():
            tag = group << 16 | block << 8 | low
            token = plan.token(f"{where} private {creator} {low:02X}", upper=vr == "CS")
            # text in disguise: the element of a known block holds another VR than the vendor's
            set_raw(
                ds,
                tag,
                vr if vr in ("LO", "LT", "PN", "CS") else "UN",
                token if vr in ("LO", "LT", "PN", "CS") else token.encode(),
            )
    set_raw(ds, 0x00771001, "LO", plan.token(f"{where} private without creator"))
    set_raw(ds, 0x001110AB, "UN", plan.token(f"{where} private without creator").encode() + b" ")


def plant_odd_places(plan: Planted, ds: Dataset) -> None:
    """Overlays, curves, padding, unknown even groups, signatures, preamble, file meta information."""
    set_raw(ds, 0x60000010, "US", 1)
    set_raw(ds, 0x60003000, "OW", plan.token("overlay data").encode() + b" ")
    set_raw(ds, 0x60001500, "LO", plan.token("overlay label"))
    set_raw(ds, 0x60004000, "LT", plan.token("overlay comments"))
    set_raw(ds, 0x50003000, "OW", plan.token("curve data").encode() + b" ")
    set_raw(ds, 0x50000022, "LO", plan.token("curve description"))
    set_raw(ds, 0xFFFCFFFC, "OB", plan.token("padding").encode() + b" ")
    set_raw(ds, 0x0018FFF0, "LO", plan.token("unknown attribute of an image group"))
    set_raw(ds, 0x7FD00010, "OB", plan.token("unknown group").encode() + b" ")
    signature = Dataset()
    set_raw(signature, 0x04000105, "DT", plan.date("signature date") + "000000")
    set_raw(signature, 0x04000115, "OB", plan.token("certificate").encode() + b" ")
    set_raw(ds, 0xFFFAFFFA, "SQ", Sequence([signature]))
    plan.preamble = plan.token("preamble").encode().ljust(128, b"\x00")
    plan.meta = [
        (0x00020016, "AE", plan.token("source AE", upper=True)),
        (0x00020013, "SH", plan.token("implementation version")),
        (0x00020100, "UI", plan.uid("private information creator")),
        (0x00020102, "OB", plan.token("private information").encode() + b" "),
    ]


def plant_person(plan: Planted, ds: Dataset) -> None:
    """One person's data in text: reversed, in other case, dates in ISO and American form, a telephone number."""
    for text, keyword in [
        ("Ottokarsen Wilhelmine, MRN 77123409", "ImageComments"),
        ("WILHELMINE OTTOKARSEN born 1931-04-17", "PatientComments"),
        ("T1 for Ottokarsen, 04/17/1931", "SeriesDescription"),
        ("call 555-0199-42 wilhelmine.ottokarsen@example.invalid", "AdditionalPatientHistory"),
        ("ottokarsen axial DTI", "ProtocolName"),
    ]:
        setattr(ds, keyword, text)
    for word in ("ottokarsen", "wilhelmine", "77123409", "1931-04-17", "04/17/1931", "555-0199-42", "19310417"):
        plan.tokens[word.encode()] = "the person"
    ds.PatientName, ds.PatientID, ds.PatientBirthDate = "Ottokarsen^Wilhelmine", "77123409", "19310417"
    ds.PatientTelephoneNumbers = "555-0199-42"


@cache
def make_planted(*, depth: bool = True) -> Planted:
    """The whole: every text attribute at the top, the table again at depth 1 and 3, private, odd places, the person."""
    ds = make_image(modality="CT", shape=(16, 16), patient_id="77123409")
    plan = Planted(ds)
    plant_all(plan, ds, every_text_attribute(), "top")
    plant_all(plan, ds, listed_tags(), "top")
    plant_private(plan, ds, "top")
    plant_odd_places(plan, ds)
    for keyword in ("SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"):
        setattr(ds, keyword, plan.uid(keyword))
    if depth:
        shared, frame, echo, referenced = Dataset(), Dataset(), Dataset(), Dataset()
        for item, where in ((shared, "depth 1"), (referenced, "depth 3")):
            plant_all(plan, item, listed_tags(), where)
            plant_private(plan, item, where)
        set_raw(echo, 0x00081140, "SQ", Sequence([referenced]))
        set_raw(frame, 0x00189114, "SQ", Sequence([echo]))
        set_raw(ds, 0x52009229, "SQ", Sequence([shared]))
        set_raw(ds, 0x52009230, "SQ", Sequence([frame]))
    ds.Modality, ds.PatientAge = "CT", "095Y"
    plant_person(plan, ds)
    return plan


def encode(ds: Dataset, syntax: str) -> bytes:
    """The encoded data set, without file meta information."""
    buffer = DicomBytesIO()
    buffer.is_implicit_VR, buffer.is_little_endian = syntax == IMPLICIT, syntax != BIG
    write_dataset(buffer, ds)
    plain = buffer.getvalue()
    if syntax != DEFLATED:
        return plain
    deflater = zlib.compressobj(wbits=-15)
    packed = deflater.compress(plain) + deflater.flush()
    return packed + b"\x00" * (len(packed) % 2)


def part10(plan: Planted, syntax: str) -> bytes:
    """A Part 10 file with the planted preamble and file meta information."""
    meta = Dataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = (
        plan.dataset.SOPClassUID,
        plan.dataset.SOPInstanceUID,
    )
    meta.TransferSyntaxUID = syntax
    for tag, vr, value in plan.meta:
        set_raw(meta, tag, vr, value)
    meta.ImplementationClassUID = generate_uid()
    return plan.preamble + b"DICM" + encode(meta, EXPLICIT) + encode(plan.dataset, syntax)


def spellings(token: bytes) -> set[bytes]:
    """How a token might still be there: letter case, two-byte text."""
    text = token.decode()
    forms = {text, text.upper(), text.lower(), text.title()}
    return {form.encode(e) for form in forms for e in ("utf-8", "utf-16-le", "utf-16-be")}


def leaked(plan: Planted, outgoing: bytes) -> dict[str, str]:
    """Tokens that the outgoing bytes still hold, by raw search."""
    return {t.decode(): place for t, place in plan.tokens.items() if any(s in outgoing for s in spellings(t))}


def file_meta_of(content: bytes) -> FileMetaDataset:
    """File meta information as pydicom reads it."""
    from pydicom import dcmread

    return dcmread(BytesIO(content)).file_meta
