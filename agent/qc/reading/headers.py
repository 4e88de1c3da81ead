"""Headers of an object as a whole.

Job: fill `ImageHeaders` from a data set. Place: called by `agent.qc.measure`; calls `frames`. It must never let a
patient's name, identifier or birth date through, and it reads technical attributes from a closed list only.
"""

from __future__ import annotations

import re

from pydicom.dataset import Dataset

from agent.qc.image_headers import CtFacts, ExpectedCounts, ImageHeaders, PatientFacts, PixelFacts, SequenceFacts
from agent.qc.reading.frames import read_frames
from agent.qc.reading.parameters import read_elements, read_parameters
from agent.qc.reading.values import (
    as_list,
    codes_of,
    digest,
    first_item,
    float_of,
    floats_of,
    int_of,
    private_int,
    private_items,
    read_value,
    text_of,
)

GRADED_CLASSES = frozenset(
    {
        "1.2.840.10008.5.1.4.1.1.2",
        "1.2.840.10008.5.1.4.1.1.2.1",
        "1.2.840.10008.5.1.4.1.1.2.2",
        "1.2.840.10008.5.1.4.1.1.4",
        "1.2.840.10008.5.1.4.1.1.4.1",
        "1.2.840.10008.5.1.4.1.1.4.4",
    }
)
_VENDORS = (
    ("SIEMENS", "siemens"),
    ("GE MEDICAL", "ge"),
    ("GE HEALTHCARE", "ge"),
    ("PHILIPS", "philips"),
    ("CANON", "canon"),
    ("TOSHIBA", "canon"),
    ("UIH", "uih"),
    ("UNITED IMAGING", "uih"),
    ("HITACHI", "hitachi"),
    ("FUJI", "fujifilm"),
)
_PIXEL_TAGS = ((0x7FE0, 0x0010), (0x7FE0, 0x0008), (0x7FE0, 0x0009))
_AGE = re.compile(r"\d{3}[DWMY]")
_AGE_UNITS = {"D": 1 / 365.25, "W": 7 / 365.25, "M": 1 / 12, "Y": 1.0}
_LOOSE_AGE = re.compile(r"(\d{1,3})\s*([DWMY]?|\+)")


def read_headers(ds: Dataset) -> ImageHeaders:
    """Read all headers of an object.

    Parameters
    ----------
    ds : Dataset
        With file meta information if there is any; pixel data is not touched.
    """
    layout, frames = read_frames(ds)
    sop_class = text_of(ds, "SOPClassUID")
    return ImageHeaders(
        sop_class_uid=sop_class,
        sop_uid=text_of(ds, "SOPInstanceUID"),
        series_uid=text_of(ds, "SeriesInstanceUID"),
        study_uid=text_of(ds, "StudyInstanceUID"),
        frame_of_reference_uid=text_of(ds, "FrameOfReferenceUID"),
        layout=layout,
        is_image=sop_class in GRADED_CLASSES and bool(frames),
        modality=text_of(ds, "Modality").upper(),
        manufacturer=text_of(ds, "Manufacturer"),
        vendor=_vendor(text_of(ds, "Manufacturer").upper()),
        model=text_of(ds, "ManufacturerModelName"),
        station_digest=digest(text_of(ds, "StationName")),
        serial_digest=digest(text_of(ds, "DeviceSerialNumber")),
        software=tuple(str(item)[:64] for item in as_list(read_value(ds, "SoftwareVersions"))),
        series_number=int_of(ds, "SeriesNumber"),
        instance_number=int_of(ds, "InstanceNumber"),
        series_description=text_of(ds, "SeriesDescription"),
        protocol_name=text_of(ds, "ProtocolName"),
        study_description=text_of(ds, "StudyDescription"),
        body_part=text_of(ds, "BodyPartExamined").upper(),
        patient_position=text_of(ds, "PatientPosition").upper(),
        image_type=codes_of(ds, "ImageType"),
        series_time=text_of(ds, "SeriesTime"),
        sequence=_sequence(ds),
        ct=_ct(ds),
        pixels=_pixels(ds),
        expected=_expected(ds),
        patient=_patient(ds),
        frames=frames,
        elements=read_elements(ds),
        parameters=read_parameters(ds),
    )


def _vendor(manufacturer: str) -> str:
    return next((name for mark, name in _VENDORS if mark in manufacturer), "")


def _sequence(ds: Dataset) -> SequenceFacts:
    shared = first_item(ds, "SharedFunctionalGroupsSequence") or Dataset()
    timing = first_item(shared, "MRTimingAndRelatedParametersSequence") or ds
    modifier = first_item(shared, "MRModifierSequence") or ds
    field_of_view = first_item(shared, "MRFOVGeometrySequence") or ds
    receive_coil = first_item(shared, "MRReceiveCoilSequence") or ds
    bandwidth = first_item(shared, "MRImagingModifierSequence") or ds
    averages = first_item(shared, "MRAveragesSequence") or ds
    scanning = codes_of(ds, "ScanningSequence")
    return SequenceFacts(
        field_strength=_tesla(float_of(ds, "MagneticFieldStrength")),
        scanning_sequence=scanning,
        sequence_variant=codes_of(ds, "SequenceVariant"),
        scan_options=codes_of(ds, "ScanOptions"),
        acquisition_type=text_of(ds, "MRAcquisitionType").upper(),
        sequence_name=text_of(ds, "SequenceName") or text_of(ds, "PulseSequenceName"),
        echo_train_length=int_of(timing, "EchoTrainLength"),
        pixel_bandwidth=float_of(bandwidth, "PixelBandwidth"),
        phase_encoding_direction=text_of(field_of_view, "InPlanePhaseEncodingDirection").upper(),
        phase_encoding_steps=int_of(field_of_view, "NumberOfPhaseEncodingSteps")
        or int_of(field_of_view, "MRAcquisitionPhaseEncodingStepsInPlane"),
        acquisition_matrix=tuple(int(number) for number in floats_of(ds, "AcquisitionMatrix")),
        percent_sampling=float_of(field_of_view, "PercentSampling"),
        percent_phase_fov=float_of(field_of_view, "PercentPhaseFieldOfView"),
        parallel_factor=float_of(modifier, "ParallelReductionFactorInPlane"),
        number_of_averages=float_of(averages, "NumberOfAverages"),
        receive_coil=text_of(receive_coil, "ReceiveCoilName"),
        contrast_agent=bool(text_of(ds, "ContrastBolusAgent")) or "ContrastBolusAgentSequence" in ds,
        is_echo_planar="EP" in scanning or text_of(ds, "EchoPlanarPulseSequence").upper() == "YES",
        is_inversion_recovery="IR" in scanning or text_of(modifier, "InversionRecovery").upper() == "YES",
        is_arterial_spin_labelling=bool(text_of(ds, "ArterialSpinLabelingContrast"))
        or first_item(shared, "MRArterialSpinLabelingSequence") is not None,
    )


def _tesla(strength: float | None) -> float | None:
    """Gauss was written by some scanners; anything above 100 is no tesla."""
    return strength / 10_000 if strength is not None and strength > 100 else strength


def _ct(ds: Dataset) -> CtFacts:
    shared = first_item(ds, "SharedFunctionalGroupsSequence") or Dataset()
    exposure = first_item(shared, "CTExposureSequence") or ds
    reconstruction = first_item(shared, "CTReconstructionSequence") or ds
    xray = first_item(shared, "CTXRayDetailsSequence") or ds
    exposure_mas, micro = float_of(exposure, "ExposureInmAs"), float_of(ds, "ExposureInuAs")
    return CtFacts(
        kvp=float_of(xray, "KVP"),
        convolution_kernel=codes_of(reconstruction, "ConvolutionKernel"),
        gantry_tilt=float_of(ds, "GantryDetectorTilt"),
        exposure_mas=exposure_mas or float_of(ds, "Exposure") or (micro / 1000 if micro is not None else None),
        tube_current_ma=float_of(exposure, "XRayTubeCurrentInmA") or float_of(ds, "XRayTubeCurrent"),
        exposure_time_ms=float_of(exposure, "ExposureTimeInms") or float_of(ds, "ExposureTime"),
        ctdi_vol=float_of(exposure, "CTDIvol"),
        spiral_pitch=float_of(ds, "SpiralPitchFactor"),
        reconstruction_diameter=float_of(reconstruction, "ReconstructionDiameter"),
        scan_options=codes_of(ds, "ScanOptions"),
    )


def _pixels(ds: Dataset) -> PixelFacts:
    meta = getattr(ds, "file_meta", None)
    present = [tag for tag in _PIXEL_TAGS if tag in ds]
    return PixelFacts(
        transfer_syntax_uid=text_of(meta, "TransferSyntaxUID") if meta is not None else "",
        samples_per_pixel=int_of(ds, "SamplesPerPixel"),
        photometric=text_of(ds, "PhotometricInterpretation").upper(),
        rows=int_of(ds, "Rows"),
        columns=int_of(ds, "Columns"),
        number_of_frames=int_of(ds, "NumberOfFrames") or 1,
        bits_allocated=int_of(ds, "BitsAllocated"),
        bits_stored=int_of(ds, "BitsStored"),
        high_bit=int_of(ds, "HighBit"),
        is_signed=int_of(ds, "PixelRepresentation") == 1,
        is_float=(0x7FE0, 0x0008) in ds or (0x7FE0, 0x0009) in ds,
        has_pixels=bool(present),
        padding_value=int_of(ds, "PixelPaddingValue"),
        padding_limit=int_of(ds, "PixelPaddingRangeLimit"),
        lossy=text_of(ds, "LossyImageCompression"),
        lossy_ratio=max(floats_of(ds, "LossyImageCompressionRatio"), default=None),
        lossy_method=codes_of(ds, "LossyImageCompressionMethod"),
        burned_in_annotation=text_of(ds, "BurnedInAnnotation").upper(),
    )


def _expected(ds: Dataset) -> ExpectedCounts:
    ge_acquisition, ge_relation, ge_series, ge_parameters = (
        "GEMS_ACQU_01",
        "GEMS_RELA_01",
        "GEMS_SERS_01",
        "GEMS_PARM_01",
    )
    philips = "Philips Imaging DD 001"
    diffusion = "Philips MR Imaging DD 005"
    return ExpectedCounts(
        number_of_frames=int_of(ds, "NumberOfFrames"),
        philips_slices=private_int(ds, 0x2001, philips, 0x18, "SL"),
        philips_dynamics=private_int(ds, 0x2001, philips, 0x81, "IS"),
        philips_b_values=private_int(ds, 0x2005, diffusion, 0x14, "SL"),
        philips_gradient_orientations=private_int(ds, 0x2005, diffusion, 0x15, "SL"),
        siemens_mosaic_slices=private_int(ds, 0x0019, "SIEMENS MR HEADER", 0x0A, "US"),
        uih_slices=len(private_items(ds, 0x0065, "Image Private Header", 0x51)) or None,
        temporal_positions=int_of(ds, "NumberOfTemporalPositions"),
        ge_images_in_acquisition=int_of(ds, "ImagesInAcquisition"),
        ge_locations_in_acquisition=private_int(ds, 0x0021, ge_relation, 0x4F, "SS"),
        ge_images_in_series=private_int(ds, 0x0025, ge_series, 0x07, "SL"),
        ge_slices_per_volume=private_int(ds, 0x0043, ge_parameters, 0x79, "US"),
        ge_time_points=private_int(ds, 0x0043, ge_parameters, 0x7A, "US"),
        ge_diffusion_directions=private_int(ds, 0x0019, ge_acquisition, 0xE0, "DS"),
    )


def _patient(ds: Dataset) -> PatientFacts:
    age, sex = text_of(ds, "PatientAge").upper(), text_of(ds, "PatientSex").upper()
    loose = _LOOSE_AGE.fullmatch(age)
    years = None
    if loose is not None:
        years = int(loose[1]) * _AGE_UNITS.get(loose[2], 1.0)
    birth_date = text_of(ds, "PatientBirthDate")
    return PatientFacts(
        id_digest=digest(text_of(ds, "PatientID")),
        name_digest=digest(text_of(ds, "PatientName").upper().rstrip("^ ")),
        birth_date_digest=digest(birth_date),
        has_birth_date=bool(birth_date),
        age=age if loose is not None else "",
        age_is_valid=_AGE.fullmatch(age) is not None,
        age_years=years,
        sex=sex if sex in {"M", "F", "O", "U", ""} else "?",
    )
