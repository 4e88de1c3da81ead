"""The shape of a quality profile: what a site may ask of a study, as data.

Job: every table and key a profile may hold, with its meaning; an unknown key is an error, because a typo must never
switch a check off. Place: filled by ``profile`` from TOML, read by the checks. It must never hold code or
expressions.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator
from pydicom.datadict import keyword_dict, tag_for_keyword

from agent.completeness.sequence_class import SequenceClass
from agent.qc.checks.bands import Band
from agent.qc.reading.parameters import PARAMETERS, WATCHED

Severity = Literal["critical", "major", "minor"]
Missing = Literal["fail", "undetermined", "ignore"]
Percent = Annotated[str, Field(pattern=r"^\d+(\.\d+)?%$")]

DERIVED_PARAMETERS: dict[str, tuple[str, str]] = {
    "in_plane_mm": ("Pixel size in the plane", "mm"),
    "voxel_max_mm": ("Largest edge of a voxel", "mm"),
    "slice_spacing_mm": ("Distance of neighbouring slices along the normal", "mm"),
    "slice_gap_mm": ("Gap between neighbouring slices", "mm"),
    "n_slices": ("Slices of a volume", ""),
    "n_volumes": ("Volumes", ""),
    "slice_order": ("Order of acquisition", ""),
    "fov_mm": ("Field of view, the shorter side", "mm"),
    "echo_planar": ("Echo-planar read-out", ""),
}
METRICS: dict[str, tuple[str, str]] = {
    "coverage_si_mm": ("Extent of the stack along the normal", "mm"),
    "end_slices_share": ("Foreground of the outermost slices, share of the largest slice", ""),
    "dropout_fraction": ("Slices with signal dropout, share of all slices", ""),
    "ndc": ("Correlation of neighbouring diffusion volumes", ""),
    "b0_snr": ("Signal to noise across the volumes without diffusion weighting", ""),
    "apparent_md": ("Apparent diffusivity from b = 0 and weighted volumes", "× 10⁻³ mm²/s"),
    "volume_drift_mm": ("Movement of the centre of mass across volumes", "mm"),
    "ghost_pe_pct": ("Ghost along phase encoding, share of the signal", "%"),
    "ghost_half_fov": ("Half-field (N/2) ghost", ""),
    "edge_energy": ("Signal at the phase-encoding borders (wrap)", ""),
    "noise_pct": ("Noise inside the head, share of the signal", "%"),
    "snr_air": ("Signal to noise from the air", ""),
    "snr_tissue": ("Signal to noise of tissue", ""),
    "cjv": ("Joint variation of two tissue classes", ""),
    "cnr": ("Contrast to noise of two tissue classes", ""),
    "sharpness": ("Average edge strength", "1/pixel"),
    "gradient_entropy": ("Entropy of the phase-encoding gradient", ""),
    "slice_outliers": ("Slices whose signal leaves the line of their neighbours, share", ""),
    "saturated_share": ("Saturated pixels, share", "%"),
    "blank_slices": ("Slices without any signal", ""),
    "noise_hu": ("Noise of soft tissue", "HU"),
    "air_hu": ("Air around the patient", "HU"),
    "metal_share": ("Metal inside the body, share", "%"),
    "truncation_share": ("Body cut by the field of view, share of its outline", "%"),
    "efc": ("Entropy focus criterion", ""),
    "fber": ("Foreground to background energy", ""),
}


class Table(BaseModel):
    """A table of a profile; an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Limit(Table):
    """What one parameter must be: a value with tolerance, a range, or one of several."""

    value: float | str | None = None
    tol: float = 0.0
    fail_tol: float | None = None
    min: float | None = None
    max: float | None = None
    warn_margin: Percent | None = None
    one_of: tuple[float | str, ...] = ()
    by_vendor: dict[str, tuple[float, float]] = Field(default_factory=dict)
    unit: str = ""
    severity: Severity = "major"
    weight: float | None = Field(None, gt=0)
    missing: Missing | None = None

    @model_validator(mode="after")
    def _says_something(self) -> Limit:
        if self.value is None and self.min is None and self.max is None and not self.one_of and not self.by_vendor:
            raise ValueError("says no limit: give value, min, max, one_of or by_vendor")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError("has min above max")
        return self

    def band(self, vendor: str = "") -> Band | None:
        """Return the limits of a number; None when the limit is of words or not for this vendor."""
        if isinstance(self.value, float | int):
            fail = self.fail_tol
            edges = (None, None) if fail is None else (self.value - fail, self.value + fail)
            return Band(self.value - self.tol, self.value + self.tol, *edges)
        if self.by_vendor:
            pair = next((v for k, v in self.by_vendor.items() if vendor.upper().startswith(k.upper())), None)
            return None if pair is None else Band(*pair)
        if self.min is None and self.max is None:
            return None
        margin = float(self.warn_margin.rstrip("%")) / 100 if self.warn_margin else 0.0
        low = None if self.min is None or not margin else self.min - margin * abs(self.min)
        high = None if self.max is None or not margin else self.max + margin * abs(self.max)
        return Band(self.min, self.max, low, high)


class MetricLimit(Table):
    """When a measured number warns and when it fails; the larger of both decides which side is bad."""

    warn: float | None = None
    fail: float | None = None
    min: float | None = None
    max: float | None = None
    weight: float = Field(1.0, gt=0)
    severity: Severity = "minor"
    calibrated: bool = False

    @model_validator(mode="after")
    def _says_something(self) -> MetricLimit:
        if self.warn is None and self.fail is None and self.min is None and self.max is None:
            raise ValueError("says no limit: give warn, fail, min or max")
        return self

    def band(self) -> Band:
        """Return the limits."""
        if self.min is not None or self.max is not None:
            return Band(
                self.min, self.max, self.fail if self.max is None else None, self.fail if self.min is None else None
            )
        if self.warn is None or self.fail is None:
            edge = self.warn if self.warn is not None else self.fail
            return Band(high=edge)
        if self.fail >= self.warn:
            return Band(high=self.warn, fail_high=self.fail)
        return Band(low=self.warn, fail_low=self.fail)


class Match(Table):
    """One way in which a series may match a rule."""

    tag: Literal["SeriesDescription", "ProtocolName"] | None = None
    regex: str = ""
    min_confidence: float = Field(0.0, ge=0, le=1)


class Count(Table):
    """How often a sequence may be there."""

    min: int = Field(1, ge=0)
    max: int = Field(99, ge=1)
    pick: Literal["best_score", "last"] = "best_score"


class Diffusion(Table):
    """What the diffusion table of a series must hold."""

    shells: tuple[float, ...] = (0.0,)
    shell_tol: Percent = "5%"
    b0_min: int = Field(1, ge=0)
    directions_min: int = Field(6, ge=1)
    direction_condition_max: float = Field(2.0, gt=1)
    severity: Severity = "major"


class Metadata(Table):
    """Which elements must be present and not empty."""

    critical: tuple[str, ...] = ()
    required: tuple[str, ...] = ()
    warn_below: float = Field(1.0, ge=0, le=1)
    fail_below: float = Field(0.9, ge=0, le=1)

    @field_validator("critical", "required")
    @classmethod
    def _are_keywords(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for keyword in value:
            known_keyword(keyword)
        return value


class SequenceRule(Table):
    """One kind of series and what is asked of it."""

    name: str
    sequence_class: SequenceClass | Literal["any"] = Field(alias="class")
    required: bool = False
    count: Count = Count()
    match: tuple[Match, ...] = ()
    metadata: Metadata = Metadata()
    parameters: dict[str, Limit] = Field(default_factory=dict)
    diffusion: Diffusion | None = None
    metrics: dict[str, MetricLimit] = Field(default_factory=dict)

    @field_validator("parameters")
    @classmethod
    def _are_parameters(cls, value: dict[str, Limit]) -> dict[str, Limit]:
        for name in value:
            if name not in DERIVED_PARAMETERS:
                known_keyword(name, DERIVED_PARAMETERS)
        return value

    @field_validator("metrics")
    @classmethod
    def _are_metrics(cls, value: dict[str, MetricLimit]) -> dict[str, MetricLimit]:
        for name in value:
            if name not in METRICS:
                raise ValueError(f"{name} is no metric.{nearest(name, METRICS)}")
        return value


class Identity(Table):
    """What is asked of the elements about the patient; their values never enter a report."""

    require: tuple[str, ...] = ()
    age_format: Literal["strict", "any"] = "any"
    sex: tuple[Literal["M", "F", "O"], ...] = ()

    @field_validator("require")
    @classmethod
    def _are_keywords(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for keyword in value:
            known_keyword(keyword)
        return value


class Integrity(Table):
    """What is asked of files and pixels."""

    transfer_syntaxes: tuple[str, ...] = ()
    allow_lossy: bool = False
    complete_series: Literal["required", "warn"] = "required"


class Vertical(Table):
    """Series of one study that must agree with each other."""

    series: tuple[str, ...]
    same: tuple[str, ...]
    severity: Severity = "minor"


class Selection(Table):
    """Which studies the profile is for; the highest priority that fits is chosen."""

    classes: tuple[SequenceClass, ...] = ()
    body_parts: tuple[str, ...] = ()
    or_unknown_body_part: bool = True
    directions_min: int = 0
    largest_fov_mm: float | None = None
    priority: int = 0


class Header(Table):
    """Name, version and policies of a profile."""

    id: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$")
    version: str
    title: str = ""
    modality: tuple[str, ...] = ()
    pass_score: float = Field(80, ge=0, le=100)
    on_undetermined: Literal["pass", "review", "fail"] = "review"
    on_major_fail: Literal["fail", "review"] = "fail"
    extends: str = ""


class Profile(Table):
    """A whole profile."""

    profile: Header
    chosen_for: Selection | None = None
    identity: Identity = Identity()
    integrity: Integrity = Integrity()
    sequence: tuple[SequenceRule, ...] = ()
    vertical: tuple[Vertical, ...] = ()
    severity_weights: dict[Severity, float | Literal["veto"]] = {"critical": "veto", "major": 3.0, "minor": 1.0}
    remediation: dict[str, str] = Field(default_factory=dict)


def known_keyword(keyword: str, others: Mapping[str, object] | None = None) -> None:
    """Check that a name is a keyword of the DICOM dictionary, and one that is read from the images.

    Raises
    ------
    ValueError
        With the keyword that was probably meant.
    """
    read = {*PARAMETERS, *WATCHED}
    if tag_for_keyword(keyword) is None:
        raise ValueError(f"{keyword} is no DICOM keyword.{nearest(keyword, [*keyword_dict, *(others or {})])}")
    if keyword not in read:
        raise ValueError(
            f"{keyword} is not among the elements that are read.{nearest(keyword, [*read, *(others or {})])}"
        )


def nearest(word: str, known: Iterable[str]) -> str:
    """Return a suggestion for a misspelt word, or nothing."""
    close = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f" Did you mean {close[0]}?" if close else ""
