"""What kind of series is this: evidence from headers, never from a name alone.

Job: weigh what the headers say and name a class with its confidence and the reasons. Place: pure; fed by
``qc.classify`` with full headers and by ``completeness`` with the few facts known on arrival. It must never return
a class without its reasons, and a description typed by a person counts least: it is what sites rename.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, get_args

MR_CLASSES = ("1.2.840.10008.5.1.4.1.1.4", "1.2.840.10008.5.1.4.1.1.4.1", "1.2.840.10008.5.1.4.1.1.4.4")
CT_CLASSES = ("1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.2.1", "1.2.840.10008.5.1.4.1.1.2.2")
IMAGE_CLASSES = frozenset(MR_CLASSES + CT_CLASSES)

SequenceClass = Literal["dwi", "bold", "asl", "fieldmap", "swi", "flair", "t1", "t2", "pd", "mr", "ct"]
SEQUENCE_CLASSES: tuple[str, ...] = get_args(SequenceClass)
UNGRADED = ("non_image", "derived", "localizer", "other")

B0_MAX = 50.0
DERIVED_TOKENS = frozenset(
    {"ADC", "FA", "COLFA", "TRACE", "TRACEW", "EADC", "MPR", "MIP", "MNIP", "PROJECTION", "SUB", "MOCO", "REFORMATTED"}
)

_TEXT: tuple[tuple[str, str, float], ...] = (
    ("dwi", r"dwi|dti|diff|\badc\b", 0.4),
    ("flair", r"flair|dark[ _-]?fluid|tirm", 0.4),
    ("swi", r"\bswi\b|swan|suscept|hemo|t2[ _-]?(\*|star|gre)", 0.4),
    ("bold", r"bold|fmri|rest(ing)?[ _-]?state", 0.4),
    ("asl", r"\basl\b|pcasl|perfusion", 0.4),
    ("t1", r"(?<![a-z0-9])t1|mprage|bravo|spgr|\btfe\b|mp2rage", 0.4),
    ("t2", r"(?<![a-z0-9])t2(?!\*)(?![ _-]?(star|gre|flair))", 0.3),
    ("pd", r"(?<![a-z])pd(?![a-z])|proton", 0.3),
    ("localizer", r"locali[sz]er|scout|survey|surview|topogram|scanogram|3[ -]?plane|rep[eé]rage|localizador", 0.6),
)
TEXT_RULES = tuple((name, re.compile(pattern, re.IGNORECASE), weight) for name, pattern, weight in _TEXT)


@dataclass(frozen=True, slots=True)
class SeriesTraits:
    """What the headers of one group of images agree on; None or empty where they are silent."""

    sop_class_uid: str = ""
    modality: str = ""
    vendor: str = ""
    image_type: tuple[str, ...] = ()
    scanning_sequence: tuple[str, ...] = ()
    sequence_variant: tuple[str, ...] = ()
    acquisition_type: str = ""
    sequence_name: str = ""
    is_echo_planar: bool = False
    is_inversion_recovery: bool = False
    is_arterial_spin_labelling: bool = False
    contrast_agent: bool = False
    echo_time: float | None = None
    repetition_time: float | None = None
    inversion_time: float | None = None
    flip_angle: float | None = None
    slice_thickness: float | None = None
    component: str = ""
    directionalities: tuple[str, ...] = ()
    b_values: tuple[float, ...] = ()
    positions: int = 0
    volumes: int = 0
    orientations: int = 1
    echoes: int = 1
    samples_per_pixel: int = 1
    description: str = ""
    protocol: str = ""


@dataclass(frozen=True, slots=True)
class Evidence:
    """One reason for a class."""

    points_to: str
    weight: float
    why: str


@dataclass(frozen=True, slots=True)
class Classification:
    """A class, how sure, and why."""

    sequence_class: str
    confidence: float
    evidence: tuple[Evidence, ...]

    @property
    def is_graded(self) -> bool:
        """Whether quality control grades a series of this class."""
        return self.sequence_class not in UNGRADED


def classify(traits: SeriesTraits) -> Classification:
    """Weigh the evidence.

    Parameters
    ----------
    traits : SeriesTraits
        What the headers agree on.
    """
    excluded = _excluded(traits)
    if excluded is not None:
        return Classification(excluded.points_to, 1.0, (excluded,))
    if traits.sop_class_uid in CT_CLASSES or traits.modality == "CT":
        localizer = [e for e in _localizer(traits) if e.weight >= 1]
        if localizer:
            return Classification("localizer", 1.0, tuple(localizer))
        return Classification("ct", 1.0, (Evidence("ct", 2.0, "SOP Class of CT images"),))
    evidence = tuple(_gather(traits))
    totals: dict[str, float] = defaultdict(float)
    for item in evidence:
        totals[item.points_to] += item.weight
    ranked = sorted(totals.items(), key=lambda pair: -pair[1])
    if not ranked or ranked[0][1] < 0.3:
        return Classification("mr", 0.5, evidence or (Evidence("mr", 0.5, "an MR image that nothing else describes"),))
    second = ranked[1][1] if len(ranked) > 1 else 0.0
    confidence = ranked[0][1] / (ranked[0][1] + second + 0.2)
    return Classification(ranked[0][0], round(confidence, 2), evidence)


def _excluded(traits: SeriesTraits) -> Evidence | None:
    """Find what takes a series out of grading whatever else it says."""
    if traits.sop_class_uid and traits.sop_class_uid not in IMAGE_CLASSES:
        return Evidence("non_image", 2.0, "the SOP Class is not one of MR or CT images")
    if not traits.sop_class_uid and traits.modality not in ("MR", "CT"):
        return Evidence("non_image", 2.0, "neither MR nor CT")
    tokens = {token.upper() for token in traits.image_type}
    head = [token.upper() for token in traits.image_type[:2]]
    if head[:1] == ["DERIVED"] or head[1:2] == ["SECONDARY"]:
        return Evidence("derived", 2.0, f"Image Type says {'/'.join(head)}")
    named = sorted(tokens & DERIVED_TOKENS)
    if named:
        return Evidence("derived", 2.0, f"Image Type holds {named[0]}")
    if traits.samples_per_pixel > 1:
        return Evidence("derived", 2.0, "colour images are maps")
    if traits.directionalities and set(traits.directionalities) <= {"ISOTROPIC"}:
        return Evidence("derived", 2.0, "diffusion directionality ISOTROPIC: a mean computed by the scanner")
    if traits.component in ("PHASE", "REAL", "IMAGINARY") and traits.echoes < 2:
        return Evidence("derived", 2.0, f"{traits.component.lower()} images have no magnitude to grade")
    return None


def _gather(traits: SeriesTraits) -> Iterator[Evidence]:
    yield from _localizer(traits)
    yield from _diffusion(traits)
    yield from _dynamic(traits)
    yield from _weighting(traits)
    text = f"{traits.description} {traits.protocol}"
    for name, pattern, weight in TEXT_RULES:
        if pattern.search(text):
            yield Evidence(name, weight, "its description or protocol name says so")


def _localizer(traits: SeriesTraits) -> Iterator[Evidence]:
    tokens = {token.upper() for token in traits.image_type}
    if tokens & {"LOCALIZER", "SCOUT", "SURVEY"}:
        yield Evidence("localizer", 3.0, "Image Type says LOCALIZER")
    if traits.orientations >= 3 or (traits.orientations == 2 and traits.positions <= 30):
        thick = (traits.slice_thickness or 0) >= 5
        yield Evidence("localizer", 2.0 if thick else 1.0, f"{traits.orientations} slice orientations in one series")


def _diffusion(traits: SeriesTraits) -> Iterator[Evidence]:
    tokens = {token.upper() for token in traits.image_type}
    weighted = [b for b in traits.b_values if b > B0_MAX]
    if weighted:
        yield Evidence("dwi", 2.0, f"diffusion weighting up to b = {max(weighted):.0f} s/mm²")
    if "DIFFUSION" in tokens:
        yield Evidence("dwi", 1.5, "Image Type says DIFFUSION")
    if re.search(r"ep_b|diff|dwi|dti", traits.sequence_name, re.IGNORECASE):
        yield Evidence("dwi", 1.0, "the sequence name is one of diffusion")
    if traits.is_echo_planar and "SE" in traits.scanning_sequence:
        yield Evidence("dwi", 0.6, "spin echo with echo-planar read-out")


def _dynamic(traits: SeriesTraits) -> Iterator[Evidence]:
    gradient_echo = "GR" in traits.scanning_sequence or "SE" not in traits.scanning_sequence
    weighted = any(b > B0_MAX for b in traits.b_values)
    if traits.is_arterial_spin_labelling:
        yield Evidence("asl", 3.0, "arterial spin labelling")
    if traits.is_echo_planar and gradient_echo and not weighted:
        yield Evidence("bold", 0.8 if traits.volumes < 10 else 1.5, "gradient echo with echo-planar read-out")
    if traits.echoes >= 2 and traits.component in ("PHASE", "REAL", "IMAGINARY"):
        yield Evidence("fieldmap", 1.5, "phase images of several echoes")
    if {"SWI", "MNIP", "SWI_IMAGES"} & {token.upper() for token in traits.image_type}:
        yield Evidence("swi", 2.0, "Image Type says SWI")


def _weighting(traits: SeriesTraits) -> Iterator[Evidence]:
    """Read the weighting from the timing (qc rules 6 to 8)."""
    te, tr, ti, flip = traits.echo_time, traits.repetition_time, traits.inversion_time, traits.flip_angle
    gradient_echo = "GR" in traits.scanning_sequence
    inversion = traits.is_inversion_recovery or "IR" in traits.scanning_sequence or bool(ti)
    if traits.is_echo_planar or te is None:
        return
    if inversion and ti and 1600 <= ti <= 2900 and te >= 70:
        yield Evidence("flair", 2.0, f"inversion at {ti:.0f} ms nulls fluid, echo at {te:.0f} ms")
    elif gradient_echo and traits.acquisition_type == "3D" and 15 <= te <= 45 and not inversion:
        yield Evidence("swi", 0.9, f"3D gradient echo with a late echo ({te:.0f} ms)")
    elif te < 8 and (inversion and ti and 600 <= ti <= 1300):
        yield Evidence("t1", 1.8, f"inversion at {ti:.0f} ms and an early echo ({te:.1f} ms)")
    elif (
        gradient_echo
        and te < 8
        and flip is not None
        and (5 <= flip <= 30 or (flip >= 50 and tr is not None and tr <= 600))
    ):
        yield Evidence("t1", 1.2, f"gradient echo, echo at {te:.1f} ms, flip angle {flip:.0f}°")
    elif not gradient_echo and tr is not None and not inversion:
        if te <= 30 and tr <= 1100:
            yield Evidence("t1", 1.2, f"spin echo, TE {te:.0f} ms and TR {tr:.0f} ms are short")
        elif te >= 70 and tr >= 2000:
            yield Evidence("t2", 1.5, f"spin echo, TE {te:.0f} ms and TR {tr:.0f} ms are long")
        elif te <= 40 and tr >= 2000:
            yield Evidence("pd", 1.0, f"spin echo, TE {te:.0f} ms short, TR {tr:.0f} ms long")
