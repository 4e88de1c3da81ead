"""Typed headers of one image object, frame by frame, whatever way its vendor wrote them.

Job: give classic images, Siemens mosaics, UIH grids and enhanced multi-frame objects one shape, so that the rules of
quality control never look into a data set. Place: filled by `agent.qc.reading`, carried by `ImageMeasurement`, read by
the series, classification and check modules. It must never hold a name, an identifier or a birth date in clear: what
identifies a patient is here only as a digest, and descriptions stay inside the encrypted database.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

from agent.qc.reading.watched import WATCHED

Vector3 = tuple[float, float, float]
_STATES = {"ok": "o", "empty": "e", "absent": "a", "invalid": "i"}


@dataclass(frozen=True, slots=True)
class FrameHeaders:
    """What the header says about one two-dimensional slice.

    Units are the Standard's: mm, ms, degrees, s/mm². None means that the object does not say.

    Attributes
    ----------
    index : int
        Position of the slice in the object: 0 for a classic image, tile or frame number less one otherwise.
    rows, columns : int
        Size of this slice; of one tile when the object is a mosaic.
    position : tuple of 3 float or None
        Centre of the first pixel of this slice (patient coordinates, mm); mosaic origins are already shifted.
    orientation : tuple of 6 float or None
        Direction of a row, then of a column (PS3.3 C.7.6.2.1.1).
    normal : tuple of 3 float or None
        Unit vector ``row × column``.
    slice_location_mm : float or None
        Projection of `position` on `normal`; the only thing slices may be sorted by.
    b_value : float or None
        Diffusion weighting, s/mm², from the standard's or the vendor's element (found by private creator).
    b_value_source : str
        ``standard``, ``siemens``, ``ge``, ``philips``, ``uih`` or empty.
    gradient : tuple of 3 float or None
        Unit direction of diffusion weighting. Patient axes, but for GE's private elements, see `gradient_frame`.
    gradient_frame : str
        ``patient``, or ``image`` (frequency, phase, slice) for GE's private elements.
    directionality : str
        NONE, DIRECTIONAL, ISOTROPIC, BMATRIX or empty.
    component : str
        MAGNITUDE, PHASE, REAL, IMAGINARY, MIXED or empty when nothing says so.
    phase_axis : int or None
        Axis of the pixel array along which phase was encoded: 0 for COL/COLUMN, 1 for ROW.
    slope, intercept : float
        Modality LUT: displayed value = slope × stored value + intercept.
    philips_scale_slope : float or None
        Philips' SS: precise value = displayed / (slope × SS).
    """

    index: int
    rows: int
    columns: int
    position: Vector3 | None = None
    orientation: tuple[float, float, float, float, float, float] | None = None
    normal: Vector3 | None = None
    slice_location_mm: float | None = None
    pixel_spacing: tuple[float, float] | None = None
    slice_thickness: float | None = None
    spacing_between_slices: float | None = None
    b_value: float | None = None
    b_value_source: str = ""
    gradient: Vector3 | None = None
    gradient_frame: str = "patient"
    directionality: str = ""
    diffusion_index: int | None = None
    echo_number: int | None = None
    echo_time: float | None = None
    repetition_time: float | None = None
    inversion_time: float | None = None
    flip_angle: float | None = None
    temporal_position: int | None = None
    trigger_time: float | None = None
    acquisition_number: int | None = None
    acquisition_time: str = ""
    image_type: tuple[str, ...] = ()
    component: str = ""
    stack_id: str = ""
    in_stack_position: int | None = None
    phase_axis: int | None = None
    slope: float = 1.0
    intercept: float = 0.0
    philips_scale_slope: float | None = None


@dataclass(frozen=True, slots=True)
class SequenceFacts:
    """How an MR image was made, the same for all frames of an object."""

    field_strength: float | None = None
    scanning_sequence: tuple[str, ...] = ()
    sequence_variant: tuple[str, ...] = ()
    scan_options: tuple[str, ...] = ()
    acquisition_type: str = ""
    sequence_name: str = ""
    echo_train_length: int | None = None
    pixel_bandwidth: float | None = None
    phase_encoding_direction: str = ""
    phase_encoding_steps: int | None = None
    acquisition_matrix: tuple[int, ...] = ()
    percent_sampling: float | None = None
    percent_phase_fov: float | None = None
    parallel_factor: float | None = None
    number_of_averages: float | None = None
    receive_coil: str = ""
    contrast_agent: bool = False
    is_echo_planar: bool = False
    is_inversion_recovery: bool = False
    is_arterial_spin_labelling: bool = False


@dataclass(frozen=True, slots=True)
class CtFacts:
    """How a CT image was made."""

    kvp: float | None = None
    convolution_kernel: tuple[str, ...] = ()
    gantry_tilt: float | None = None
    exposure_mas: float | None = None
    tube_current_ma: float | None = None
    exposure_time_ms: float | None = None
    ctdi_vol: float | None = None
    spiral_pitch: float | None = None
    reconstruction_diameter: float | None = None
    scan_options: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PixelFacts:
    """How the pixels are stored (PS3.3 C.7.6.3)."""

    transfer_syntax_uid: str = ""
    samples_per_pixel: int | None = None
    photometric: str = ""
    rows: int | None = None
    columns: int | None = None
    number_of_frames: int = 1
    bits_allocated: int | None = None
    bits_stored: int | None = None
    high_bit: int | None = None
    is_signed: bool = False
    is_float: bool = False
    has_pixels: bool = False
    stored_bytes: int | None = None
    padding_value: int | None = None
    padding_limit: int | None = None
    lossy: str = ""
    lossy_ratio: float | None = None
    lossy_method: tuple[str, ...] = ()
    burned_in_annotation: str = ""


@dataclass(frozen=True, slots=True)
class ExpectedCounts:
    """How many images the object itself says there should be, by who says it. None: does not say."""

    number_of_frames: int | None = None
    philips_slices: int | None = None
    philips_dynamics: int | None = None
    philips_b_values: int | None = None
    philips_gradient_orientations: int | None = None
    siemens_mosaic_slices: int | None = None
    uih_slices: int | None = None
    temporal_positions: int | None = None
    ge_images_in_acquisition: int | None = None
    ge_locations_in_acquisition: int | None = None
    ge_images_in_series: int | None = None
    ge_slices_per_volume: int | None = None
    ge_time_points: int | None = None
    ge_diffusion_directions: int | None = None


@dataclass(frozen=True, slots=True)
class PatientFacts:
    """What identity checks need, and nothing that identifies.

    Attributes
    ----------
    id_digest, name_digest, birth_date_digest : str
        First 16 hexadecimal digits of a SHA-256; empty when the element is absent or empty. Equal text, equal digest.
    age : str
        PatientAge as written, if it has the form of an age or a number; empty otherwise.
    age_is_valid : bool
        The text is an AS of the Standard (nnnD, nnnW, nnnM, nnnY).
    sex : str
        PatientSex as written, if it is one of M, F, O, U; ``?`` for anything else; empty when absent.
    """

    id_digest: str = ""
    name_digest: str = ""
    birth_date_digest: str = ""
    has_birth_date: bool = False
    age: str = ""
    age_is_valid: bool = False
    age_years: float | None = None
    sex: str = ""


@dataclass(frozen=True, slots=True)
class ImageHeaders:
    """All that quality control knows about one SOP Instance without its pixels.

    Attributes
    ----------
    layout : str
        ``single``, ``mosaic`` (Siemens), ``grid`` (UIH), ``multiframe`` (one frame a slice), ``enhanced`` (functional
        groups), or ``none`` when the object holds no image.
    is_image : bool
        The SOP class is one that is graded: MR, CT, their enhanced forms. Others are counted and never graded.
    elements : dict of str to str
        For each keyword of `WATCHED`: ``ok``, ``empty``, ``absent`` or ``invalid``.
    parameters : dict of str to tuple
        Technical attributes by DICOM keyword, numbers as float, codes as str; never free text about a person.
    """

    sop_class_uid: str = ""
    sop_uid: str = ""
    series_uid: str = ""
    study_uid: str = ""
    frame_of_reference_uid: str = ""
    layout: str = "none"
    is_image: bool = False
    modality: str = ""
    manufacturer: str = ""
    vendor: str = ""
    model: str = ""
    station_digest: str = ""
    serial_digest: str = ""
    software: tuple[str, ...] = ()
    series_number: int | None = None
    instance_number: int | None = None
    series_description: str = ""
    protocol_name: str = ""
    study_description: str = ""
    body_part: str = ""
    patient_position: str = ""
    image_type: tuple[str, ...] = ()
    series_time: str = ""
    sequence: SequenceFacts = SequenceFacts()
    ct: CtFacts = CtFacts()
    pixels: PixelFacts = PixelFacts()
    expected: ExpectedCounts = ExpectedCounts()
    patient: PatientFacts = PatientFacts()
    frames: tuple[FrameHeaders, ...] = ()
    elements: Mapping[str, str] = dataclasses.field(default_factory=dict)
    parameters: Mapping[str, tuple[float | str, ...]] = dataclasses.field(default_factory=dict)

    def to_record(self) -> dict[str, object]:
        """Plain JSON types; frames after the first hold only what differs from the first."""
        record = encode(self, skip=("frames", "elements"))
        if self.elements:
            record["elements"] = "".join(_STATES[self.elements.get(keyword, "absent")] for keyword in WATCHED)
        if self.frames:
            first = encode(self.frames[0])
            rest = [_difference(first, encode(frame)) for frame in self.frames[1:]]
            record["frames"] = [first, *rest]
        return record

    @classmethod
    def from_record(cls, record: Mapping[str, object]) -> ImageHeaders:
        """Undo `to_record`."""
        values = dict(record)
        frames = values.pop("frames", [])
        assert isinstance(frames, list)
        nested: dict[str, object] = {
            name: decode(kind, values.pop(name)) for name, kind in _NESTED.items() if name in values
        }
        states = {letter: state for state, letter in _STATES.items()}
        letters = values.pop("elements", "")
        assert isinstance(letters, str)
        nested["elements"] = {k: states[letter] for k, letter in zip(WATCHED, letters, strict=False)}
        parameters = values.pop("parameters", {})
        assert isinstance(parameters, dict)
        nested["parameters"] = {key: tuple(value) for key, value in parameters.items()}
        nested["frames"] = tuple(decode(FrameHeaders, {**frames[0], **frame}) for frame in frames)
        return decode(cls, {**values, **nested})

    def to_json(self) -> str:
        """Compact JSON text."""
        return json.dumps(self.to_record(), separators=(",", ":"), allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> ImageHeaders:
        """Undo `to_json`."""
        return cls.from_record(json.loads(text))


_NESTED = {
    "sequence": SequenceFacts,
    "ct": CtFacts,
    "pixels": PixelFacts,
    "expected": ExpectedCounts,
    "patient": PatientFacts,
}
_Record = TypeVar("_Record")


def encode(value: object, skip: tuple[str, ...] = ()) -> dict[str, object]:
    """Fields of a frozen dataclass that differ from their defaults, as JSON types; nested ones likewise."""
    record: dict[str, object] = {}
    for field in dataclasses.fields(value):  # type: ignore[arg-type]
        content = getattr(value, field.name)
        if field.name in skip or (field.default is not dataclasses.MISSING and content == field.default):
            continue
        if dataclasses.is_dataclass(content):
            record[field.name] = encode(content)
        elif content != {}:
            record[field.name] = content
    return record


def decode(kind: type[_Record], record: object) -> _Record:
    """Rebuild a frozen dataclass from what `encode` and JSON made of it (lists become tuples)."""
    assert isinstance(record, Mapping)
    return kind(**{key: tuple(value) if isinstance(value, list) else value for key, value in record.items()})


def _difference(first: Mapping[str, object], other: Mapping[str, object]) -> dict[str, object]:
    """Find what must be laid over `first` to get `other`; a field back at its default is written out."""
    change = {key: value for key, value in other.items() if first.get(key) != value}
    for key in first.keys() - other.keys():
        change[key] = _FRAME_DEFAULTS[key]
    return change


_FRAME_DEFAULTS: dict[str, object] = {field.name: field.default for field in dataclasses.fields(FrameHeaders)}
