"""What is measured on one image object: typed headers, numbers per frame, findings.

Job: the record that passes from the measuring worker through the database to the judge. Place: filled by
`agent.qc.measure`, stored as JSON by the engine, read by every check. It must never hold pixels, NaN or infinity: a
number whose precondition fails is a `NotComputable` with its reason.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from agent.qc.image_headers import ImageHeaders, decode, encode

MEASURE_CODE = "1"

REASONS = {
    "no_pixels": "The object holds no pixel data.",
    "not_graded": "Objects of this class are counted and not graded.",
    "colour": "Colour images are not measured.",
    "float_pixels": "Floating point pixels are not measured.",
    "bits_allocated": "Only pixels of 8, 16 or 32 bits are measured.",
    "too_large": "The object is larger than the decoding limit.",
    "size_mismatch": "The pixel data does not have the length that the header promises.",
    "unknown_syntax": "The transfer syntax has no decoder here.",
    "decode_failed": "The pixel data could not be decoded.",
    "frame_missing": "The decoded pixels end before this frame.",
    "modality_lut": "The values come from a Modality LUT sequence, which is not linear.",
    "bad_rescale": "Rescale slope or intercept is not a usable number.",
    "all_padding": "Every pixel of the slice is padding.",
    "blank": "All pixels have the same value.",
    "no_head": "No foreground of sufficient size was found.",
    "no_core": "The foreground is too small for its inside to be measured.",
    "no_air": "There is not enough air around the foreground.",
    "air_is_zeroed": "More than 30 % of the air is exactly zero, so its noise cannot be read.",
    "air_below_one": "The noise of the air is below one stored unit.",
    "one_class": "The histogram of the tissue does not split into two classes.",
    "no_signal": "The tissue has no positive signal.",
    "no_gradient": "There is no intensity change inside the foreground.",
    "phase_direction_unknown": "The phase-encoding direction is not in the header.",
    "no_side_air": "There is not enough air both beside the head and along the phase-encoding direction.",
    "head_fills_fov": "The head leaves no room for a ghost that is shifted by half the field of view.",
    "mr_only": "This number is defined for MR magnitude images.",
    "ct_only": "This number is defined for CT images.",
    "not_magnitude": "Phase, real and imaginary images have no magnitude statistics.",
    "no_soft_tissue": "There is not enough soft tissue (0-100 HU) to measure noise.",
    "no_spacing": "The header has no pixel spacing.",
    "localizer": "Localizers and projections have no Hounsfield statistics.",
}


@dataclass(frozen=True, slots=True)
class NotComputable:
    """A number that does not exist here, and why (a key of `REASONS`)."""

    reason: str

    @property
    def sentence(self) -> str:
        """The reason for staff."""
        return REASONS[self.reason]


Number = float | NotComputable
_ABSENT = NotComputable("no_pixels")


@dataclass(frozen=True, slots=True)
class Problem:
    """A finding about the object itself: it could not be read, decoded or trusted.

    Attributes
    ----------
    code : str
        A key of `REASONS`, or ``unreadable``, ``unmeasurable``, ``integrity``, ``lossy``, ``inverted``, ``junk_bits``.
    sentence : str
        For staff; free of patient data.
    """

    code: str
    sentence: str


@dataclass(frozen=True, slots=True)
class ClassSums:
    """Additive statistics of one set of pixels in stored units (exact integers), so that slices may be merged.

    ``mean = slope × total / count + intercept``; sums of slices with different slopes must not be added.
    """

    count: int = 0
    total: int = 0
    squares: int = 0


@dataclass(frozen=True, slots=True)
class FrameNumbers:
    """Numbers of one slice. Real units (slope and intercept applied) unless said otherwise.

    Attributes
    ----------
    pixels, padding_pixels : int
        Pixels that count, and pixels that are padding.
    saturated_share : Number
        Share of pixels at the largest code of BitsStored (qc I5); `plateau_share` at the largest value present.
    threshold : Number
        Otsu threshold of the slice; `foreground_*` describe the orthogonal hull of what lies above half of it.
    foreground_share, foreground_area_mm2, foreground_mean, foreground_sd, foreground_log_mean : Number
        Size and signal of the foreground; the logarithm of the mean feeds slice dropout (D4, P18).
    head, air : ClassSums
        Additive statistics of the foreground and of the air outside a guard band (zeros and padding excluded).
    core_p02, core_median, core_p98 : Number
        Quantiles of the eroded foreground.
    edges : tuple of 4 float
        Share of the first row, last row, first column, last column that is foreground.
    centre : tuple of 2 float or None
        Centre of mass (row, column) in pixels of the foreground signal; `moments`: central second moments rr, rc, cc.
    noise_air, snr_air : Number
        P1: Rayleigh noise of the air, and SNRd = 0.6551 × median(core) / noise.
    noise_laplacian, noise_laplacian_pct : Number
        P2: Immerkaer noise, absolute and in percent of median(core).
    snr_tissue, cnr, cjv, class_low, class_high : Number
        P3, P4 from the two upper classes of a three-class Otsu split of the foreground (`cjv_hist`, not MRIQC's).
    sharpness : Number
        P10 average edge strength, 1/pixel; `gradient_entropy`: P11, 0-1.
    ghost_pe_pct, ghost_half_fov, edge_energy, air_structure : Number
        P12 in %, P13, P7, P14.
    efc, fber : Number
        P5, P6: informational only.
    smoothness : tuple of 2 Number
        P16: full width at half maximum along rows and columns, pixels.
    air_hu, noise_hu, metal_share, truncation_share, soft_tissue_hu : Number
        CT: C1, C2, C5, C4, median of 0-100 HU.
    blocks_shape, blocks : tuple, str
        Means of square blocks of `block_edge` pixels, row by row, float32 little endian in base64 (D5, D6, D7).
    digest : str
        First 16 hexadecimal digits of the SHA-256 of the decoded pixels: equal slices are equal here.
    """

    index: int
    pixels: int = 0
    padding_pixels: int = 0
    is_blank: bool = False
    digest: str = ""
    minimum: Number = _ABSENT
    maximum: Number = _ABSENT
    mean: Number = _ABSENT
    saturated_share: Number = _ABSENT
    plateau_share: Number = _ABSENT
    zero_share: Number = _ABSENT
    threshold: Number = _ABSENT
    foreground_share: Number = _ABSENT
    foreground_area_mm2: Number = _ABSENT
    foreground_mean: Number = _ABSENT
    foreground_sd: Number = _ABSENT
    foreground_log_mean: Number = _ABSENT
    head: ClassSums = ClassSums()
    air: ClassSums = ClassSums()
    air_zero_share: Number = _ABSENT
    air_median: Number = _ABSENT
    core_p02: Number = _ABSENT
    core_median: Number = _ABSENT
    core_p98: Number = _ABSENT
    edges: tuple[float, ...] = ()
    centre: tuple[float, ...] | None = None
    moments: tuple[float, ...] | None = None
    noise_air: Number = _ABSENT
    snr_air: Number = _ABSENT
    noise_laplacian: Number = _ABSENT
    noise_laplacian_pct: Number = _ABSENT
    snr_tissue: Number = _ABSENT
    cnr: Number = _ABSENT
    cjv: Number = _ABSENT
    class_low: Number = _ABSENT
    class_high: Number = _ABSENT
    sharpness: Number = _ABSENT
    gradient_entropy: Number = _ABSENT
    ghost_pe_pct: Number = _ABSENT
    ghost_half_fov: Number = _ABSENT
    edge_energy: Number = _ABSENT
    air_structure: Number = _ABSENT
    efc: Number = _ABSENT
    fber: Number = _ABSENT
    smoothness_rows: Number = _ABSENT
    smoothness_columns: Number = _ABSENT
    air_hu: Number = _ABSENT
    noise_hu: Number = _ABSENT
    soft_tissue_hu: Number = _ABSENT
    metal_share: Number = _ABSENT
    truncation_share: Number = _ABSENT
    block_edge: int = 8
    blocks_shape: tuple[int, ...] = ()
    blocks: str = ""

    def to_record(self) -> dict[str, object]:
        """Plain JSON types: a number, or the reason as a text."""
        record = encode(self)
        for name in _NUMBER_FIELDS & record.keys():
            content = getattr(self, name)
            record[name] = content.reason if isinstance(content, NotComputable) else content
        return record

    def with_reason(self, reason: str) -> FrameNumbers:
        """Give this reason to every number that nobody computed."""
        missing = NotComputable(reason)
        record: dict[str, Any] = {name: getattr(self, name) for name in self.__slots__}
        record.update({name: missing for name in _NUMBER_FIELDS if record[name] is _ABSENT})
        return FrameNumbers(**record)

    @classmethod
    def from_record(cls, record: Mapping[str, object]) -> FrameNumbers:
        """Undo `to_record`."""
        values: dict[str, object] = dict(record)
        for name in _NUMBER_FIELDS & values.keys():
            content = values[name]
            if isinstance(content, str):
                values[name] = NotComputable(content)
        for name in ("head", "air"):
            if name in values:
                values[name] = decode(ClassSums, values[name])
        return decode(cls, values)


_NUMBER_FIELDS = {field.name for field in dataclasses.fields(FrameNumbers) if field.default == _ABSENT}


@dataclass(frozen=True, slots=True)
class ImageMeasurement:
    """Everything measured on one SOP Instance.

    Attributes
    ----------
    instance_id : int
        The row of the instance.
    code : str
        `MEASURE_CODE` of the code that measured; numbers of different codes must not be compared.
    frames : tuple of FrameNumbers or NotComputable
        One entry for each of ``headers.frames``.
    """

    instance_id: int
    code: str
    headers: ImageHeaders
    frames: tuple[FrameNumbers | NotComputable, ...] = ()
    problems: tuple[Problem, ...] = ()

    def to_json(self) -> str:
        """Compact JSON text without NaN or infinity."""
        record = {
            "instance_id": self.instance_id,
            "code": self.code,
            "headers": self.headers.to_record(),
            "frames": [f.reason if isinstance(f, NotComputable) else f.to_record() for f in self.frames],
            "problems": [[p.code, p.sentence] for p in self.problems],
        }
        return json.dumps(record, separators=(",", ":"), allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> ImageMeasurement:
        """Undo `to_json`."""
        record = json.loads(text)
        frames = tuple(
            NotComputable(f) if isinstance(f, str) else FrameNumbers.from_record(f) for f in record["frames"]
        )
        return cls(
            instance_id=record["instance_id"],
            code=record["code"],
            headers=ImageHeaders.from_record(record["headers"]),
            frames=frames,
            problems=tuple(Problem(code, sentence) for code, sentence in record["problems"]),
        )
