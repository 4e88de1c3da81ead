"""From measured headers to the class of a series.

Job: boil the headers of all slices down to the traits that the classification weighs; name the slices inside a raw
series that the scanner computed. Place: called by ``series``. It must never look at pixels.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from agent.completeness.sequence_class import DERIVED_TOKENS, Classification, SeriesTraits, classify
from agent.qc.image_headers import FrameHeaders, ImageHeaders
from agent.qc.measurement import ImageMeasurement


def classify_slices(images: Sequence[ImageMeasurement], frames: Sequence[FrameHeaders]) -> Classification:
    """Classify one series.

    Parameters
    ----------
    images : sequence of ImageMeasurement
        Its objects; at least one.
    frames : sequence of FrameHeaders
        The slices of all of them.
    """
    graded = [i for i in images if i.headers.is_image] or list(images)
    originals = [f for f in frames if not _frame_reason(f)] or list(frames)
    return classify(_traits(graded[0].headers, originals))


def is_derived_slice(headers: ImageHeaders, frame: FrameHeaders) -> str:
    """Return why a slice of a graded series is set aside; empty when it is graded."""
    kind = frame.image_type or headers.image_type
    if kind[:1] == ("DERIVED",):
        return "images computed by the scanner"
    return _frame_reason(frame)


def _frame_reason(frame: FrameHeaders) -> str:
    if frame.directionality == "ISOTROPIC":
        return "mean diffusion images computed by the scanner"
    if {token.upper() for token in frame.image_type} & DERIVED_TOKENS:
        return "maps computed by the scanner"
    return ""


def _traits(headers: ImageHeaders, frames: Sequence[FrameHeaders]) -> SeriesTraits:
    first = frames[0] if frames else None
    sequence = headers.sequence
    orientations = {tuple(round(x, 1) for x in f.normal) for f in frames if f.normal is not None}
    places = Counter(round(f.slice_location_mm, 1) for f in frames if f.slice_location_mm is not None)
    kind = (first.image_type if first is not None else ()) or headers.image_type
    return SeriesTraits(
        sop_class_uid=headers.sop_class_uid,
        modality=headers.modality,
        vendor=headers.vendor,
        image_type=kind,
        scanning_sequence=sequence.scanning_sequence,
        sequence_variant=sequence.sequence_variant,
        acquisition_type=sequence.acquisition_type,
        sequence_name=sequence.sequence_name,
        is_echo_planar=sequence.is_echo_planar,
        is_inversion_recovery=sequence.is_inversion_recovery,
        is_arterial_spin_labelling=sequence.is_arterial_spin_labelling,
        contrast_agent=sequence.contrast_agent,
        echo_time=first.echo_time if first is not None else None,
        repetition_time=first.repetition_time if first is not None else None,
        inversion_time=first.inversion_time if first is not None else None,
        flip_angle=first.flip_angle if first is not None else None,
        slice_thickness=first.slice_thickness if first is not None else None,
        component=first.component if first is not None else "",
        directionalities=tuple(sorted({f.directionality for f in frames if f.directionality})),
        b_values=tuple(sorted({round(f.b_value) for f in frames if f.b_value is not None})),
        positions=len(places),
        volumes=max(places.values(), default=0),
        orientations=max(1, len(orientations)),
        echoes=max(1, len({f.echo_time for f in frames})),
        samples_per_pixel=headers.pixels.samples_per_pixel or 1,
        description=headers.series_description,
        protocol=headers.protocol_name,
    )
