"""Technical attributes by DICOM keyword, and which watched elements are there.

Job: what profiles compare with their limits, and what metadata completeness counts. Place: called by `headers`. It must
never read a keyword that is not on its closed lists: no attribute of a person, no date, no free text.
"""

from __future__ import annotations

from pydicom.dataset import Dataset

from agent.qc.reading.values import as_float, as_list, clean, items_of, read_value
from agent.qc.reading.watched import WATCHED

__all__ = ["NUMERIC", "PARAMETERS", "WATCHED", "read_elements", "read_parameters"]

NUMERIC = frozenset({"DS", "IS", "FD", "FL", "US", "SS", "UL", "SL"})

PARAMETERS = (
    "AcquisitionContrast",
    "AcquisitionDuration",
    "AcquisitionMatrix",
    "ApplicableSafetyStandardAgency",
    "BitsAllocated",
    "BitsStored",
    "BurnedInAnnotation",
    "ComplexImageComponent",
    "ConvolutionKernel",
    "CTDIvol",
    "DataCollectionDiameter",
    "DiffusionAnisotropyType",
    "DiffusionBValue",
    "DiffusionDirectionality",
    "EchoNumbers",
    "EchoPlanarPulseSequence",
    "EchoPulseSequence",
    "EchoTime",
    "EchoTrainLength",
    "EffectiveEchoTime",
    "Exposure",
    "ExposureModulationType",
    "ExposureTime",
    "FilterType",
    "FlipAngle",
    "FocalSpots",
    "GantryDetectorTilt",
    "GeneratorPower",
    "GeometryOfKSpaceTraversal",
    "GradientEchoTrainLength",
    "HighBit",
    "ImageOrientationPatient",
    "ImageType",
    "ImagedNucleus",
    "ImagingFrequency",
    "InPlanePhaseEncodingDirection",
    "InversionRecovery",
    "InversionTime",
    "InversionTimes",
    "KVP",
    "LossyImageCompression",
    "LossyImageCompressionRatio",
    "MRAcquisitionFrequencyEncodingSteps",
    "MRAcquisitionPhaseEncodingStepsInPlane",
    "MRAcquisitionType",
    "MagneticFieldStrength",
    "MagnetizationTransfer",
    "Modality",
    "NumberOfAverages",
    "NumberOfFrames",
    "NumberOfPhaseEncodingSteps",
    "NumberOfTemporalPositions",
    "ParallelAcquisition",
    "ParallelAcquisitionTechnique",
    "ParallelReductionFactorInPlane",
    "PartialFourier",
    "PartialFourierDirection",
    "PatientPosition",
    "PercentPhaseFieldOfView",
    "PercentSampling",
    "PhaseContrast",
    "PhotometricInterpretation",
    "PixelBandwidth",
    "PixelRepresentation",
    "PixelSpacing",
    "PulseSequenceName",
    "ReceiveCoilName",
    "ReceiveCoilType",
    "ReconstructionDiameter",
    "RepetitionTime",
    "RescaleType",
    "ResonantNucleus",
    "RevolutionTime",
    "RFEchoTrainLength",
    "RotationDirection",
    "Rows",
    "Columns",
    "SAR",
    "SamplesPerPixel",
    "ScanOptions",
    "ScanningSequence",
    "SequenceName",
    "SequenceVariant",
    "SingleCollimationWidth",
    "SliceThickness",
    "SpacingBetweenSlices",
    "SpectrallySelectedSuppression",
    "SpiralPitchFactor",
    "Spoiling",
    "SteadyStatePulseSequence",
    "T2Preparation",
    "TableFeedPerRotation",
    "TableHeight",
    "TableSpeed",
    "TimeOfFlightContrast",
    "TotalCollimationWidth",
    "TransmitCoilName",
    "VolumetricProperties",
    "XRayTubeCurrent",
)

_MACROS = (
    "PixelMeasuresSequence",
    "PlaneOrientationSequence",
    "PlanePositionSequence",
    "MRTimingAndRelatedParametersSequence",
    "MRModifierSequence",
    "MRFOVGeometrySequence",
    "MRReceiveCoilSequence",
    "MRTransmitCoilSequence",
    "MRImagingModifierSequence",
    "MRAveragesSequence",
    "MREchoSequence",
    "MRDiffusionSequence",
    "PixelValueTransformationSequence",
    "CTExposureSequence",
    "CTReconstructionSequence",
    "CTXRayDetailsSequence",
    "CTAcquisitionDetailsSequence",
    "CTTableDynamicsSequence",
)
_RENAMED = {"EchoTime": "EffectiveEchoTime", "InversionTime": "InversionTimes"}


def _places(ds: Dataset) -> list[Dataset]:
    """Data sets in which an attribute of the object may stand: top level, shared and first frame's groups."""
    places = [ds]
    for keyword in ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"):
        for group in items_of(ds, keyword):
            for macro in _MACROS:
                places.extend(items_of(group, macro))
            break
    return places


def read_parameters(ds: Dataset) -> dict[str, tuple[float | str, ...]]:
    """Values of the technical attributes that the object holds; of the first frame for enhanced objects."""
    places = _places(ds)
    found: dict[str, tuple[float | str, ...]] = {}
    for keyword in PARAMETERS:
        for place in places:
            values = _values(place, keyword)
            if values:
                found[keyword] = values
                break
    return found


def _values(ds: Dataset, keyword: str) -> tuple[float | str, ...]:
    if keyword not in ds:
        return ()
    try:
        is_number = ds[keyword].VR in NUMERIC
    except (ValueError, KeyError, NotImplementedError):
        return ()
    items = as_list(read_value(ds, keyword))
    if not is_number:
        return tuple(text for text in (clean(item) for item in items) if text)
    numbers = [as_float(item) for item in items]
    return tuple(number for number in numbers if number is not None) if None not in numbers else ()


def read_elements(ds: Dataset) -> dict[str, str]:
    """State of each watched element: ``ok``, ``empty``, ``absent`` or ``invalid`` (a value that cannot be read)."""
    places = _places(ds)
    return {keyword: _state(places, keyword) for keyword in WATCHED}


def _state(places: list[Dataset], keyword: str) -> str:
    best = "absent"
    for name in (keyword, _RENAMED.get(keyword, keyword)):
        for place in places:
            if name not in place:
                continue
            try:
                element = place[name]
                items = as_list(element.value)
                is_number = element.VR in NUMERIC
            except (ValueError, TypeError, KeyError, NotImplementedError, OverflowError):
                best = "invalid"
                continue
            if not any(clean(item) for item in items):
                best = "empty" if best == "absent" else best
            elif is_number and any(as_float(item) is None for item in items):
                best = "invalid"
            else:
                return "ok"
    return best
