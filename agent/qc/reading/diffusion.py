"""Diffusion weighting of a frame, wherever its vendor writes it.

Job: b value, direction and directionality from the standard's elements, else from the vendor's, found by private
creator. Place: called by `frames`. It must never use an absolute private tag, and never invent a b value of 0 for an
image that has nothing to do with diffusion.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from pydicom.dataset import Dataset

from agent.qc.reading.csa import csa_floats, read_csa
from agent.qc.reading.values import (
    codes_of,
    first_item,
    float_of,
    floats_of,
    private_float,
    private_floats,
    private_int,
    private_text,
    text_of,
)

GE_BIAS = 1_000_000_000.0
B_MAX = 100_000.0
B_ZERO = 50.0
Vector3 = tuple[float, float, float]
_DIRECTIONALITY = {"DIRECTIONAL", "ISOTROPIC", "NONE", "BMATRIX"}
_PHILIPS_AXES = {"P", "M", "S", "O"}


@dataclass(frozen=True, slots=True)
class Diffusion:
    """Diffusion weighting of one frame; see `FrameHeaders` for the fields."""

    b_value: float | None = None
    source: str = ""
    gradient: Vector3 | None = None
    gradient_frame: str = "patient"
    directionality: str = ""
    index: int | None = None


def read_diffusion(ds: Dataset, group: Dataset | None = None) -> Diffusion:
    """Diffusion weighting of a classic image or of one functional group.

    Parameters
    ----------
    ds : Dataset
        Top level of the object (private elements of classic images).
    group : Dataset or None
        Item of MRDiffusionSequence (0018,9117) of the frame.
    """
    if group is not None:
        return _read_standard(group)
    for reader in (_read_standard, _read_siemens, _read_ge, _read_philips, _read_uih):
        found = reader(ds)
        if found.b_value is not None:
            return found
    return Diffusion()


def _read_standard(ds: Dataset) -> Diffusion:
    b_value = _plausible(float_of(ds, "DiffusionBValue"))
    directionality = text_of(ds, "DiffusionDirectionality").upper()
    if b_value is None and directionality == "NONE":
        b_value = 0.0
    if b_value is None:
        return Diffusion()
    gradient = floats_of(ds, "DiffusionGradientOrientation")
    if not gradient:
        item = first_item(ds, "DiffusionGradientDirectionSequence")
        gradient = floats_of(item, "DiffusionGradientOrientation") if item is not None else ()
    philips = _philips_directionality(ds, b_value)
    return Diffusion(
        b_value,
        "standard",
        _unit(gradient),
        directionality=directionality if directionality in _DIRECTIONALITY else philips,
        index=_philips_index(ds),
    )


def _read_siemens(ds: Dataset) -> Diffusion:
    header = "SIEMENS MR HEADER"
    b_value = _plausible(private_float(ds, 0x0019, header, 0x0C, "IS"))
    gradient = private_floats(ds, 0x0019, header, 0x0E, "FD")
    directionality = private_text(ds, 0x0019, header, 0x0D).upper()
    if b_value is None:
        csa = read_csa(ds)
        b_values = csa_floats(csa, "B_value")
        b_value = _plausible(b_values[0]) if b_values else None
        gradient = csa_floats(csa, "DiffusionGradientDirection")
        directionality = next(iter(csa.get("DiffusionDirectionality", ())), "").upper()
    if b_value is None:
        return Diffusion()
    return Diffusion(
        b_value,
        "siemens",
        _unit(gradient),
        directionality=directionality if directionality in _DIRECTIONALITY else "",
    )


def _read_ge(ds: Dataset) -> Diffusion:
    raw = private_floats(ds, 0x0043, "GEMS_PARM_01", 0x39, "IS")
    if not raw:
        return Diffusion()
    value = raw[0]
    biased = value >= GE_BIAS
    if biased:
        bias = private_float(ds, 0x0043, "GEMS_PARM_01", 0x7F, "DS")
        value -= bias if bias is not None and GE_BIAS <= bias <= value else GE_BIAS
    b_value = _plausible(value)
    acquisition = "GEMS_ACQU_01"
    directions = private_float(ds, 0x0019, acquisition, 0xE0, "DS") or 0
    if b_value is None or (b_value == 0 and not (biased or directions > 0 or _is_spin_echo_epi(ds))):
        return Diffusion()
    parts = [private_float(ds, 0x0019, acquisition, offset, "DS") for offset in (0xBB, 0xBC, 0xBD)]
    gradient = tuple(part for part in parts if part is not None) if b_value > B_ZERO else ()
    return Diffusion(b_value, "ge", _unit(gradient), gradient_frame="image")


def _read_philips(ds: Dataset) -> Diffusion:
    b_value = _plausible(private_float(ds, 0x2001, "Philips Imaging DD 001", 0x03, "FL"))
    if b_value is None:
        return Diffusion()
    b_values = private_int(ds, 0x2005, "Philips MR Imaging DD 005", 0x14, "SL") or 0
    technique = private_text(ds, 0x2001, "Philips Imaging DD 001", 0x20).upper()
    if b_value == 0 and not (b_values > 1 or "DWI" in technique or _is_spin_echo_epi(ds)):
        return Diffusion()
    parts = [private_float(ds, 0x2005, "Philips MR Imaging DD 001", offset, "FL") for offset in (0xB0, 0xB1, 0xB2)]
    return Diffusion(
        b_value,
        "philips",
        _unit(tuple(part for part in parts if part is not None)),
        directionality=_philips_directionality(ds, b_value),
        index=_philips_index(ds),
    )


def _read_uih(ds: Dataset) -> Diffusion:
    b_value = _plausible(private_float(ds, 0x0065, "Image Private Header", 0x09, "FD"))
    if b_value is None or (b_value == 0 and "EP" not in codes_of(ds, "ScanningSequence")):
        return Diffusion()
    return Diffusion(b_value, "uih", _unit(private_floats(ds, 0x0065, "Image Private Header", 0x37, "FD")))


def _philips_directionality(ds: Dataset, b_value: float) -> str:
    letter = private_text(ds, 0x2001, "Philips Imaging DD 001", 0x04).upper()
    if not letter or b_value <= B_ZERO:
        return "NONE" if letter else ""
    if letter.startswith("I"):
        return "ISOTROPIC"
    return "DIRECTIONAL" if letter in _PHILIPS_AXES or letter == "DIRECTIONAL" else ""


def _philips_index(ds: Dataset) -> int | None:
    return private_int(ds, 0x2005, "Philips MR Imaging DD 005", 0x13, "IS")


def _is_spin_echo_epi(ds: Dataset) -> bool:
    sequence = codes_of(ds, "ScanningSequence")
    return "EP" in sequence and ("SE" in sequence or "RM" in sequence)


def _plausible(b_value: float | None) -> float | None:
    return b_value if b_value is not None and 0 <= b_value <= B_MAX else None


def _unit(vector: tuple[float, ...]) -> Vector3 | None:
    if len(vector) != 3:
        return None
    length = math.sqrt(sum(part * part for part in vector))
    if not 0.01 < length < 100:
        return None
    x, y, z = (part / length for part in vector)
    return (x, y, z)
