"""Facts that vendors keep in private elements.

Job: diffusion and counts of Philips, Siemens, GE and UIH, found by private creator. Place: called by ``facts``; pure.
The Standard's own element always comes first. It must never return a value whose length or form does not fit.
"""

from __future__ import annotations

from agent.dicom.scanner import ElementReader, decimals_of

_PHILIPS, _PHILIPS_MR, _PHILIPS_MR5 = "Philips Imaging DD 001", "Philips MR Imaging DD 001", "Philips MR Imaging DD 005"
_SIEMENS, _UIH, _GE_ACQUISITION = "SIEMENS MR HEADER", "Image Private Header", "GEMS_ACQU_01"
_GE_PARAMETERS, _GE_RELATIONS = "GEMS_PARM_01", "GEMS_RELA_01"


def _first(values: tuple[float, ...] | None) -> float | None:
    return values[0] if values else None


def _whole(values: tuple[float, ...] | None) -> int | None:
    return int(values[0]) if values else None


def b_value(reader: ElementReader) -> float | None:
    """Return the b value in s/mm²; the Standard's element, else the vendor's (Siemens, Philips, UIH, GE)."""
    standard = _first(reader.binary(reader.raw("b_value"), "d"))
    if standard is not None:
        return standard
    siemens = _first(decimals_of(reader.private(0x0019, _SIEMENS, 0x0C), 1))
    if siemens is not None:
        return siemens
    philips = _first(reader.binary(reader.private(0x2001, _PHILIPS, 0x03), "f"))
    if philips is not None:
        return philips
    uih = _first(reader.binary(reader.private(0x0065, _UIH, 0x09), "d"))
    if uih is not None:
        return uih
    ge = _first(decimals_of(reader.private(0x0043, _GE_PARAMETERS, 0x39), 1))
    # GE adds 1e9 to mark that the value counts; values without the mark stand in images without diffusion, too
    return ge % 100_000 if ge is not None and ge >= 1e6 else ge or None


def directionality(reader: ElementReader) -> str | None:
    """Return the diffusion directionality; the Standard's element, else the vendor's."""
    private = (
        reader.private(0x0019, _SIEMENS, 0x0D) if reader.raw("directionality") is None else None
    ) or reader.private(0x2001, _PHILIPS, 0x04)
    text = reader.text("directionality") or (private or b"").decode("ascii", "replace").strip("\0 ")
    return text or None


def gradient(reader: ElementReader) -> tuple[float, ...] | None:
    """Return the direction of the diffusion gradient; the Standard's element, else the vendor's."""
    for candidate in (
        reader.binary(reader.raw("gradient"), "d", 3),
        reader.binary(reader.private(0x0019, _SIEMENS, 0x0E), "d", 3),
        reader.binary(reader.private(0x0065, _UIH, 0x37), "d", 3),
    ):
        if candidate is not None and len(candidate) == 3:
            return candidate
    parts = [_first(reader.binary(reader.private(0x2005, _PHILIPS_MR, e), "f")) for e in (0xB0, 0xB1, 0xB2)]
    if None in parts:
        parts = [_first(decimals_of(reader.private(0x0019, _GE_ACQUISITION, e), 1)) for e in (0xBB, 0xBC, 0xBD)]
    known = tuple(p for p in parts if p is not None)
    return known if len(known) == 3 else None


def vendor_counts(reader: ElementReader) -> dict[str, int | None]:
    """Return how many images of what kind the vendors' private elements announce."""
    return {
        "philips_slices": _whole(reader.binary(reader.private(0x2001, _PHILIPS, 0x18), "i")),
        "philips_b_values": _whole(reader.binary(reader.private(0x2005, _PHILIPS_MR5, 0x14), "i")),
        "philips_gradient_orientations": _whole(reader.binary(reader.private(0x2005, _PHILIPS_MR5, 0x15), "i")),
        "philips_dynamic_scans": _whole(decimals_of(reader.private(0x2001, _PHILIPS, 0x81), 1)),
        "siemens_mosaic": _whole(reader.binary(reader.private(0x0019, _SIEMENS, 0x0A), "H")),
        "uih_tiles": _whole(decimals_of(reader.private(0x0065, _UIH, 0x50), 1)),
        "ge_locations": _whole(reader.binary(reader.private(0x0021, _GE_RELATIONS, 0x4F), "h")),
    }
