"""Headers of each slice of an object.

Job: one `FrameHeaders` a slice for classic images, mosaics, grids, plain multi-frame and enhanced multi-frame objects.
Place: called by `headers`. It must never look at pixels.
"""

from __future__ import annotations

from dataclasses import replace

from pydicom.dataset import Dataset

from agent.qc.image_headers import FrameHeaders
from agent.qc.reading.diffusion import Diffusion, read_diffusion
from agent.qc.reading.geometry import (
    Tiling,
    find_tiling,
    normal_of,
    orientation_of,
    position_of,
    project,
    tile_positions,
)
from agent.qc.reading.values import (
    as_float,
    clean,
    codes_of,
    find_private,
    first_item,
    float_of,
    floats_of,
    int_of,
    items_of,
    private_float,
    private_int,
    private_items,
    text_of,
)

MAX_FRAMES = 20_000
_COMPONENTS = {"MAGNITUDE", "PHASE", "REAL", "IMAGINARY", "MIXED"}
_TYPE_COMPONENTS = {"M": "MAGNITUDE", "P": "PHASE", "R": "REAL", "I": "IMAGINARY", "PHASE MAP": "PHASE"}
_GE_COMPONENTS = {0: "MAGNITUDE", 1: "PHASE", 2: "REAL", 3: "IMAGINARY"}


def read_frames(ds: Dataset) -> tuple[str, tuple[FrameHeaders, ...]]:
    """Layout of an object (see `ImageHeaders`) and the headers of its slices.

    Parameters
    ----------
    ds : Dataset
        The object; its pixel data is not touched.
    """
    if not (int_of(ds, "Rows") and int_of(ds, "Columns")):
        return "none", ()
    groups = list(items_of(ds, "PerFrameFunctionalGroupsSequence"))[:MAX_FRAMES]
    if groups:
        shared = first_item(ds, "SharedFunctionalGroupsSequence") or Dataset()
        return "enhanced", tuple(_read_group(ds, shared, group, index) for index, group in enumerate(groups))
    count = min(max(int_of(ds, "NumberOfFrames") or 1, 1), MAX_FRAMES)
    frame = _read_classic(ds)
    if count > 1:
        return "multiframe", tuple(replace(frame, index=index) for index in range(count))
    tiling = find_tiling(ds)
    if tiling.layout == "single":
        return "single", (frame,)
    return tiling.layout, _spread(ds, tiling, frame)


def _spread(ds: Dataset, tiling: Tiling, frame: FrameHeaders) -> tuple[FrameHeaders, ...]:
    positions = tile_positions(ds, tiling, frame.orientation)
    return tuple(
        replace(
            frame,
            index=index,
            rows=tiling.rows,
            columns=tiling.columns,
            position=position,
            slice_location_mm=project(position, frame.normal),
        )
        for index, position in enumerate(positions)
    )


def _read_classic(ds: Dataset) -> FrameHeaders:
    orientation, position = orientation_of(ds), position_of(ds)
    normal = normal_of(orientation)
    kind = codes_of(ds, "ImageType")
    slope, intercept = float_of(ds, "RescaleSlope"), float_of(ds, "RescaleIntercept")
    return _with_diffusion(
        FrameHeaders(
            index=0,
            rows=int_of(ds, "Rows") or 0,
            columns=int_of(ds, "Columns") or 0,
            position=position,
            orientation=orientation,
            normal=normal,
            slice_location_mm=project(position, normal),
            pixel_spacing=_pair(floats_of(ds, "PixelSpacing")),
            slice_thickness=float_of(ds, "SliceThickness"),
            spacing_between_slices=float_of(ds, "SpacingBetweenSlices"),
            echo_number=int_of(ds, "EchoNumbers"),
            echo_time=float_of(ds, "EchoTime"),
            repetition_time=float_of(ds, "RepetitionTime"),
            inversion_time=float_of(ds, "InversionTime"),
            flip_angle=float_of(ds, "FlipAngle"),
            temporal_position=int_of(ds, "TemporalPositionIdentifier"),
            trigger_time=float_of(ds, "TriggerTime"),
            acquisition_number=int_of(ds, "AcquisitionNumber"),
            acquisition_time=text_of(ds, "AcquisitionTime"),
            image_type=kind,
            component=_component(ds, kind),
            stack_id=text_of(ds, "StackID"),
            in_stack_position=int_of(ds, "InStackPositionNumber"),
            phase_axis=phase_axis_of(ds),
            slope=1.0 if slope is None else slope,
            intercept=0.0 if intercept is None else intercept,
            philips_scale_slope=private_float(ds, 0x2005, "Philips MR Imaging DD 001", 0x0E, "FL"),
        ),
        read_diffusion(ds),
    )


class _Groups:
    """Functional groups of one frame: per-frame first, then shared (PS3.3 C.7.6.16)."""

    def __init__(self, shared: Dataset, group: Dataset) -> None:
        self.places = (group, shared)

    def find(self, keyword: str) -> Dataset:
        """First item of a group macro; an empty data set when neither place has it."""
        for place in self.places:
            item = first_item(place, keyword)
            if item is not None:
                return item
        return Dataset()

    def private(self) -> Dataset:
        """Philips' private sequence (2005,xx0F) that holds a classic header, or an empty data set."""
        for place in self.places:
            items = private_items(place, 0x2005, "Philips MR Imaging DD 005", 0x0F)
            if items:
                return items[0]
        return Dataset()


def _read_group(ds: Dataset, shared: Dataset, group: Dataset, index: int) -> FrameHeaders:
    groups = _Groups(shared, group)
    content, measures = groups.find("FrameContentSequence"), groups.find("PixelMeasuresSequence")
    kind_item = groups.find("MRImageFrameTypeSequence") or groups.find("CTImageFrameTypeSequence")
    timing, lut = groups.find("MRTimingAndRelatedParametersSequence"), groups.find("PixelValueTransformationSequence")
    orientation = orientation_of(groups.find("PlaneOrientationSequence"))
    position, normal = position_of(groups.find("PlanePositionSequence")), normal_of(orientation)
    modifier, private = groups.find("MRModifierSequence"), groups.private()
    kind = codes_of(kind_item, "FrameType") or codes_of(ds, "ImageType")
    slope, intercept = float_of(lut, "RescaleSlope"), float_of(lut, "RescaleIntercept")
    inversion = floats_of(modifier, "InversionTimes")
    return _with_diffusion(
        FrameHeaders(
            index=index,
            rows=int_of(ds, "Rows") or 0,
            columns=int_of(ds, "Columns") or 0,
            position=position,
            orientation=orientation,
            normal=normal,
            slice_location_mm=project(position, normal),
            pixel_spacing=_pair(floats_of(measures, "PixelSpacing")),
            slice_thickness=float_of(measures, "SliceThickness"),
            spacing_between_slices=_either(float_of(measures, "SpacingBetweenSlices"), ds, "SpacingBetweenSlices"),
            echo_number=int_of(private, "EchoNumbers"),
            echo_time=_either(float_of(groups.find("MREchoSequence"), "EffectiveEchoTime"), ds, "EffectiveEchoTime"),
            repetition_time=float_of(timing, "RepetitionTime"),
            inversion_time=inversion[0] if inversion else None,
            flip_angle=float_of(timing, "FlipAngle"),
            temporal_position=int_of(content, "TemporalPositionIndex") or _temporal(groups, private),
            trigger_time=float_of(groups.find("CardiacSynchronizationSequence"), "NominalCardiacTriggerDelayTime"),
            acquisition_number=int_of(content, "FrameAcquisitionNumber"),
            acquisition_time=text_of(content, "FrameAcquisitionDateTime") or text_of(ds, "AcquisitionDateTime"),
            image_type=kind,
            component=_component(kind_item, kind) or _component(ds, ()),
            stack_id=text_of(content, "StackID"),
            in_stack_position=int_of(content, "InStackPositionNumber"),
            phase_axis=phase_axis_of(groups.find("MRFOVGeometrySequence")),
            slope=1.0 if slope is None else slope,
            intercept=0.0 if intercept is None else intercept,
            philips_scale_slope=private_float(private, 0x2005, "Philips MR Imaging DD 001", 0x0E, "FL"),
        ),
        _group_diffusion(groups, private),
    )


def _group_diffusion(groups: _Groups, private: Dataset) -> Diffusion:
    found = read_diffusion(Dataset(), groups.find("MRDiffusionSequence"))
    return found if found.b_value is not None or not private else read_diffusion(private)


def _temporal(groups: _Groups, private: Dataset) -> int | None:
    position = int_of(groups.find("TemporalPositionSequence"), "TemporalPositionIdentifier")
    return position or private_int(private, 0x2001, "Philips Imaging DD 001", 0x08, "IS")


def _with_diffusion(frame: FrameHeaders, diffusion: Diffusion) -> FrameHeaders:
    if diffusion.b_value is None:
        return frame
    return replace(
        frame,
        b_value=diffusion.b_value,
        b_value_source=diffusion.source,
        gradient=diffusion.gradient,
        gradient_frame=diffusion.gradient_frame,
        directionality=diffusion.directionality,
        diffusion_index=diffusion.index,
    )


def _component(ds: Dataset, kind: tuple[str, ...]) -> str:
    written = text_of(ds, "ComplexImageComponent").upper()
    if written in _COMPONENTS:
        return written
    ge = as_float(find_private(ds, 0x0043, "GEMS_PARM_01", 0x2F))
    if ge is not None and int(ge) in _GE_COMPONENTS:
        return _GE_COMPONENTS[int(ge)]
    for token in kind[2:]:
        short = token.split("_")[0]
        if token in _TYPE_COMPONENTS or (short in {"M", "P", "R", "I"} and "_" in token):
            return _TYPE_COMPONENTS.get(token) or _TYPE_COMPONENTS[short]
        if token in _COMPONENTS:
            return token
    return ""


def phase_axis_of(ds: Dataset) -> int | None:
    """Axis of the pixel array along which phase was encoded, from (0018,1312); None when unknown."""
    written = clean(text_of(ds, "InPlanePhaseEncodingDirection")).upper()
    return {"COL": 0, "COLUMN": 0, "ROW": 1}.get(written)


def _pair(numbers: tuple[float, ...]) -> tuple[float, float] | None:
    return (numbers[0], numbers[1]) if len(numbers) == 2 and min(numbers) > 0 else None


def _either(number: float | None, ds: Dataset, keyword: str) -> float | None:
    return number if number is not None else float_of(ds, keyword)
