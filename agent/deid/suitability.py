"""Which objects may leave at all.

Job: say in plain words why an object is left out of an upload: its SOP class cannot be cleaned, or its pixels may
carry text. Place: called by ``worker`` before the engine runs. An object of an unknown SOP class is always left out.
It must never name a value that came with the object.
"""

from __future__ import annotations

from pydicom.uid import UID_dictionary  # type: ignore[attr-defined]

from agent.deid.engine import Source, has_embedded_overlay
from agent.deid.planes import why_wrong_length
from agent.deid.rules.profile import DeidProfile

_ROOT = "1.2.840.10008.5.1.4.1.1."
# Cross-sectional and nuclear images: scanners do not draw into their originals.
CLEANABLE = frozenset(
    _ROOT + tail
    for tail in ("2", "2.1", "2.2", "4", "4.1", "4.4", "128", "130", "128.1", "20")  # CT, MR, PET and enhanced; NM
)
# Projection radiographs often carry burned-in names: only with the sender's word that they do not.
PROJECTION = frozenset(_ROOT + tail for tail in ("1", "1.1", "1.1.1", "1.2", "1.2.1"))
_DOCUMENTS = (_ROOT + "104.", _ROOT + "88.", _ROOT + "11.")
_DRAWN = frozenset(_ROOT + tail for tail in ("7", "6.1", "6.2", "3.1", "6", "3", "12.1", "12.1.1", "12.2", "12.2.1"))
_CAPTURES = _ROOT + "7."
_CAPTURE_WORDS = frozenset(
    {"SCREEN SAVE", "SCREENSAVE", "SCREENSHOT", "SCREEN", "CAPTURE", "PATIENT_INFO", "DOSE_INFO", "SECONDARY CAPTURE"}
)
_DRAWN_TEXT = "text drawn into the pixels cannot be ruled out."
_GREY = frozenset({"MONOCHROME1", "MONOCHROME2"})


def why_excluded(source: Source, profile: DeidProfile) -> str | None:
    """Return why an object must not leave, None when it may.

    Parameters
    ----------
    source : Source
        The parsed object.
    profile : DeidProfile
        The profile in force.
    """
    sop_class = source.text(0x00080016)
    because = _class_excluded(sop_class)
    if because:
        return because
    burned_in = source.text(0x00280301).upper()
    if burned_in == "YES":
        return "Its header says that text is burned into the pixels."
    if sop_class in PROJECTION and burned_in != "NO":
        return "A projection radiograph whose header does not say that its pixels are free of text."
    return _pixels_excluded(source, profile) or why_wrong_length(source)


def _class_excluded(sop_class: str) -> str | None:
    if not sop_class:
        return "It names no SOP class."
    if sop_class in CLEANABLE or sop_class in PROJECTION:
        return None
    entry = UID_dictionary.get(sop_class)
    name = entry[0] if entry else ""
    if not name:
        return "Its SOP class is not one of the Standard's; what it holds cannot be known."
    if sop_class.startswith(_DOCUMENTS):
        return f"{name}: documents and reports hold free text that cannot be cleaned."
    if sop_class in _DRAWN or sop_class.startswith(_CAPTURES):
        return f"{name}: {_DRAWN_TEXT}"
    return f"{name}: no rule says how to clean this SOP class."


def _pixels_excluded(source: Source, profile: DeidProfile) -> str | None:
    image_type = [part.strip().upper() for part in source.text(0x00080008).split("\\")]
    if _CAPTURE_WORDS.intersection(image_type):
        return f"A screen capture: {_DRAWN_TEXT}"
    if len(image_type) > 1 and image_type[1] == "SECONDARY" and profile.secondary_images == "exclude":
        return f"An image that a workstation made (Image Type SECONDARY): {_DRAWN_TEXT}"
    photometric = source.text(0x00280004)
    if source.number(0x00280002, 1) != 1 or (photometric and photometric not in _GREY):
        return f"A colour image: captures of screens come in this form, {_DRAWN_TEXT}"
    if has_embedded_overlay(source):
        pixels = source.by_tag.get(0x7FE00010)
        plain = pixels is not None and not pixels.encapsulated and source.number(0x00280100) == 16
        if not plain or source.number(0x00280103):
            return "An overlay lies in unused bits of its pixels and cannot be taken out without decoding them."
    return None
