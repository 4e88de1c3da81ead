"""Header facts of a received object.

Job: read from the encoded data set what the index, the completeness judges and the rules need, and (apart from it)
what identifies the patient. Place: called by ``intake`` in the receiver on every object; ``scanner`` first, pydicom
for what it cannot read. No pixel is touched, memory is bounded: a deflated data set is inflated up to 1 MB only.
`HeaderFacts` must never hold an identifier; `PatientIdentifiers` leave the receiver only inside the sealed record
header.
"""

from __future__ import annotations

import hashlib
import json
import re
import struct
import warnings
import zlib
from dataclasses import dataclass, fields
from io import BytesIO
from operator import attrgetter
from typing import Any, NewType

from pydicom.filereader import read_dataset

from agent.dicom.contexts import DEFLATED_SYNTAXES, EXPLICIT_BE, IMPLICIT_SYNTAXES
from agent.dicom.scanner import ElementReader, Elements, ScanError, count_items, scan
from agent.dicom.vendors import b_value, directionality, gradient, vendor_counts
from agent.errors import BadDataset

StudyUid = NewType("StudyUid", str)
SeriesUid = NewType("SeriesUid", str)
SopUid = NewType("SopUid", str)
SopClassUid = NewType("SopClassUid", str)

MAX_INFLATED_BYTES = 1_048_576
MAX_DEFLATED_BYTES = 262_144
MAX_PARSED_BYTES = 4_194_304
_UID = re.compile(r"[0-9.]{1,64}")
PER_FRAME = 0x52009230


@dataclass(frozen=True, slots=True)
class InstanceUids:
    """The UIDs of an object.

    An object without a Study (Series) Instance UID gets one of its own, made from its SOP Instance UID: it is kept
    and shown as a study by itself, and quality control names what is missing. The stored bytes do not change.
    """

    study: StudyUid
    series: SeriesUid
    sop: SopUid
    sop_class: SopClassUid


@dataclass(frozen=True, slots=True)
class HeaderFacts:
    """What the headers say of the image; no identifiers (descriptions are free text and shown with care)."""

    study_date: str | None = None
    study_time: str | None = None
    study_description: str | None = None
    modality: str | None = None
    series_number: int | None = None
    series_description: str | None = None
    protocol_name: str | None = None
    sequence_name: str | None = None
    body_part: str | None = None
    manufacturer: str | None = None
    model: str | None = None
    station_name: str | None = None
    instance_number: int | None = None
    acquisition_number: int | None = None
    acquisition_time: str | None = None
    image_type: tuple[str, ...] = ()
    rows: int | None = None
    columns: int | None = None
    number_of_frames: int | None = None
    frame_items: int | None = None
    """Items of the Per-Frame Functional Groups Sequence."""
    in_concatenation_number: int | None = None
    in_concatenation_total: int | None = None
    position: tuple[float, ...] | None = None
    orientation: tuple[float, ...] | None = None
    slice_thickness: float | None = None
    spacing_between_slices: float | None = None
    pixel_spacing: tuple[float, ...] | None = None
    b_value: float | None = None
    directionality: str | None = None
    gradient: tuple[float, ...] | None = None
    echo_time: float | None = None
    repetition_time: float | None = None
    echo_number: int | None = None
    temporal_position: int | None = None
    number_of_temporal_positions: int | None = None
    images_in_acquisition: int | None = None
    trigger_time: float | None = None
    philips_slices: int | None = None
    philips_b_values: int | None = None
    philips_gradient_orientations: int | None = None
    philips_dynamic_scans: int | None = None
    siemens_mosaic: int | None = None
    uih_tiles: int | None = None
    ge_locations: int | None = None
    series_uid_is_made: bool = False
    study_uid_is_made: bool = False

    def to_json(self) -> str:
        """Return JSON without the fields that are unset."""
        return _to_json(self)

    @classmethod
    def from_json(cls, text: str) -> HeaderFacts:
        """Read what `to_json` wrote; fields of other versions are left out."""
        return cls(**_from_json(cls, text))


@dataclass(frozen=True, slots=True)
class PatientIdentifiers:
    """What identifies the patient; kept sealed."""

    patient_id: str = ""
    issuer: str = ""
    patient_name: str = ""
    birth_date: str = ""
    other_ids: tuple[str, ...] = ()
    other_names: tuple[str, ...] = ()
    address: str = ""
    telephone: str = ""
    accession_number: str = ""
    study_id: str = ""
    referring_physician: str = ""

    def to_json(self) -> str:
        """Return JSON without the fields that are empty."""
        return _to_json(self)

    @classmethod
    def from_json(cls, text: str) -> PatientIdentifiers:
        """Read what `to_json` wrote; fields of other versions are left out."""
        return cls(**_from_json(cls, text))

    def values(self) -> tuple[str, ...]:
        """Return every value that is not empty."""
        flat: list[str] = []
        for field in fields(self):
            value = getattr(self, field.name)
            flat += value if isinstance(value, tuple) else [value]
        return tuple(v for v in flat if v)


_encode = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False).encode
_values_of = {kind: attrgetter(*kind.__slots__) for kind in (HeaderFacts, PatientIdentifiers)}


def _to_json(record: HeaderFacts | PatientIdentifiers) -> str:
    values = zip(record.__slots__, _values_of[type(record)](record), strict=True)
    # zero is a fact: slice position, series number, b value
    kept = {n: value for n, value in values if value is not None and value is not False and value not in ("", ())}
    return _encode(kept)


def _from_json(kind: type, text: str) -> dict[str, Any]:
    known = {field.name for field in fields(kind)}
    return {k: tuple(v) if isinstance(v, list) else v for k, v in json.loads(text).items() if k in known}


_TAGS = {
    "charset": 0x00080005, "image_type": 0x00080008, "sop_class": 0x00080016, "sop": 0x00080018, "study_date":
    0x00080020, "study_time": 0x00080030, "acquisition_time": 0x00080032, "accession_number": 0x00080050, "modality":
    0x00080060, "manufacturer": 0x00080070, "referring_physician": 0x00080090, "station_name": 0x00081010,
    "study_description": 0x00081030, "series_description": 0x0008103E, "model": 0x00081090, "patient_name":
    0x00100010, "patient_id": 0x00100020, "issuer": 0x00100021, "birth_date": 0x00100030, "other_ids": 0x00101000,
    "other_names": 0x00101001, "address": 0x00101040, "telephone": 0x00102154, "body_part": 0x00180015,
    "sequence_name": 0x00180024, "slice_thickness": 0x00180050, "repetition_time": 0x00180080, "echo_time":
    0x00180081, "echo_number": 0x00180086, "spacing_between_slices": 0x00180088, "protocol_name": 0x00181030,
    "trigger_time": 0x00181060, "directionality": 0x00189075, "b_value": 0x00189087, "gradient": 0x00189089, "study":
    0x0020000D, "series": 0x0020000E, "study_id": 0x00200010, "series_number": 0x00200011, "acquisition_number":
    0x00200012, "instance_number": 0x00200013, "position": 0x00200032, "orientation": 0x00200037, "temporal_position":
    0x00200100, "number_of_temporal_positions": 0x00200105, "images_in_acquisition": 0x00201002,
    "in_concatenation_number": 0x00209162, "in_concatenation_total": 0x00209163, "number_of_frames": 0x00280008,
    "rows": 0x00280010, "columns": 0x00280011, "pixel_spacing": 0x00280030,
}  # fmt: skip
_WANTED = frozenset(_TAGS.values()) | {PER_FRAME}

_TEXTS = (
    "study_date", "study_time", "study_description", "modality", "series_description", "protocol_name", "sequence_name",
    "body_part", "manufacturer", "model", "station_name", "acquisition_time",
)  # fmt: skip
_INTEGERS = (
    "series_number", "instance_number", "acquisition_number", "echo_number", "temporal_position",
    "number_of_temporal_positions", "images_in_acquisition", "number_of_frames",
)  # fmt: skip
_DECIMALS = ("slice_thickness", "spacing_between_slices", "echo_time", "repetition_time", "trigger_time")


def _facts(reader: ElementReader, uids: InstanceUids, frame_items: int | None) -> HeaderFacts:
    values: dict[str, Any] = {name: reader.optional(name) for name in _TEXTS}
    values |= {name: reader.integer(name) for name in _INTEGERS}
    values |= {name: reader.decimal(name) for name in _DECIMALS}
    values |= vendor_counts(reader)
    return HeaderFacts(
        **values,
        image_type=reader.texts("image_type"),
        rows=reader.unsigned("rows"),
        columns=reader.unsigned("columns"),
        frame_items=frame_items,
        in_concatenation_number=reader.unsigned("in_concatenation_number"),
        in_concatenation_total=reader.unsigned("in_concatenation_total"),
        position=reader.decimals("position", 3),
        orientation=reader.decimals("orientation", 6),
        pixel_spacing=reader.decimals("pixel_spacing", 2),
        b_value=b_value(reader),
        directionality=directionality(reader),
        gradient=gradient(reader),
        study_uid_is_made=uids.study != reader.uid("study"),
        series_uid_is_made=uids.series != reader.uid("series"),
    )


def _identifiers(reader: ElementReader) -> PatientIdentifiers:
    single = (
        "patient_id",
        "issuer",
        "patient_name",
        "birth_date",
        "address",
        "telephone",
        "accession_number",
        "study_id",
    )
    return PatientIdentifiers(
        **{name: reader.text(name) for name in single},
        referring_physician=reader.text("referring_physician"),
        other_ids=reader.texts("other_ids"),
        other_names=reader.texts("other_names"),
    )


def _made_uid(kind: str, sop: str) -> str:
    return f"2.25.{int.from_bytes(hashlib.sha256(f'{kind}:{sop}'.encode()).digest()[:16])}"


def _uids(reader: ElementReader) -> InstanceUids:
    found = {name: reader.uid(name) for name in ("sop_class", "sop", "study", "series")}
    for name, value in found.items():
        if value and not _UID.fullmatch(value):
            raise BadDataset(f"The {name.replace('_', ' ')} UID holds characters that no UID has.", code="invalid_uid")
    if not found["sop"] or not found["sop_class"]:
        raise BadDataset("The data set has no SOP Class UID or SOP Instance UID.", code="missing_uid")
    sop = found["sop"]
    return InstanceUids(
        StudyUid(found["study"] or _made_uid("study", sop)),
        SeriesUid(found["series"] or _made_uid("series", sop)),
        SopUid(sop),
        SopClassUid(found["sop_class"]),
    )


def read_facts(
    dataset: bytes | bytearray | memoryview, transfer_syntax_uid: str
) -> tuple[InstanceUids, HeaderFacts, PatientIdentifiers]:
    """Read UIDs, facts and identifiers of an encoded data set.

    Parameters
    ----------
    dataset : bytes-like
        The data set as it was on the wire, without preamble and file meta information.
    transfer_syntax_uid : str
        How it is encoded.

    Raises
    ------
    BadDataset
        If it cannot be read, or has no SOP Class or SOP Instance UID.
    """
    data = memoryview(dataset).cast("B")
    if transfer_syntax_uid in DEFLATED_SYNTAXES:
        data = _inflated_beginning(data)
    implicit, big_endian = transfer_syntax_uid in IMPLICIT_SYNTAXES, transfer_syntax_uid == EXPLICIT_BE
    try:
        elements, frame_items = _scan(data, implicit=implicit, big_endian=big_endian)
    except (ScanError, struct.error):
        elements, frame_items = _parse(data, implicit=implicit, big_endian=big_endian), None
    return _known(elements, frame_items, big_endian=big_endian)


def read_beginning(
    beginning: memoryview, transfer_syntax_uid: str
) -> tuple[InstanceUids, HeaderFacts, PatientIdentifiers] | None:
    """Read the same of the beginning of a data set; None when more of it must be there first.

    Parameters
    ----------
    beginning : memoryview
        The first megabyte or so.
    transfer_syntax_uid : str
        How it is encoded.

    Raises
    ------
    BadDataset
        If the headers are whole, but have no SOP Class or SOP Instance UID.
    """
    if transfer_syntax_uid in DEFLATED_SYNTAXES:
        return read_facts(beginning, transfer_syntax_uid)
    implicit, big_endian = transfer_syntax_uid in IMPLICIT_SYNTAXES, transfer_syntax_uid == EXPLICIT_BE
    try:
        elements, frame_items = _scan(beginning, implicit=implicit, big_endian=big_endian)
    except (ScanError, struct.error):
        return None
    return _known(elements, frame_items, big_endian=big_endian) if elements.is_whole else None


def _scan(data: memoryview, *, implicit: bool, big_endian: bool) -> tuple[Elements, int | None]:
    elements = scan(data, _WANTED, implicit=implicit, big_endian=big_endian)
    where = elements.sequences.get(PER_FRAME)
    return elements, count_items(data, where, implicit=implicit, big_endian=big_endian) if where else None


def _known(
    elements: Elements, frame_items: int | None, *, big_endian: bool
) -> tuple[InstanceUids, HeaderFacts, PatientIdentifiers]:
    reader = ElementReader(elements, _TAGS, big_endian=big_endian)
    uids = _uids(reader)
    return uids, _facts(reader, uids, frame_items), _identifiers(reader)


def _inflated_beginning(data: memoryview) -> memoryview:
    """Inflate at most 256 kB of a deflated data set to at most 1 MB: enough for its headers, nothing for a bomb."""
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        return memoryview(inflater.decompress(data[:MAX_DEFLATED_BYTES], MAX_INFLATED_BYTES))
    except zlib.error as error:
        raise BadDataset("The deflated data set cannot be inflated.", code="bad_deflate") from error


def _parse(data: memoryview, *, implicit: bool, big_endian: bool) -> Elements:
    """Read with pydicom, which forgives more; at most the first 4 MB, never the pixels."""
    elements = Elements()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            parsed = read_dataset(
                BytesIO(data[:MAX_PARSED_BYTES]),
                is_implicit_VR=implicit,
                is_little_endian=not big_endian,
                stop_when=lambda tag, _vr, _length: tag >= 0x7FE00008,
                defer_size=65_536,
            )
            for tag in list(parsed.keys()):
                raw = parsed.get_item(tag)
                value = getattr(raw, "value", None)
                if not isinstance(value, bytes):
                    continue
                if tag in _WANTED:
                    elements.values[int(tag)] = value
                elif tag & 0x10000 and len(value) <= 128:
                    elements.private[int(tag)] = value
    except (Exception, RecursionError) as error:  # pydicom raises anything on malformed bytes
        raise BadDataset("The data set cannot be parsed.", code="unparsable") from error
    return elements
