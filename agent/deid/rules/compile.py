"""From profile and table to one dictionary of actions.

Job: decide once, for each attribute of the Standard, what becomes of it at every depth; the engine only looks up.
Place: called by ``engine`` users once a process and profile; calls ``annex_e``, ``profile`` and pydicom's dictionary.
It must never keep an attribute because nothing speaks against it: what is not compiled here is dropped.
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from enum import Enum
from functools import cache
from importlib import resources

from pydicom.datadict import DicomDictionary, tag_for_keyword  # type: ignore[attr-defined]

from agent.deid.rules.annex_e import AnnexAction, annex_e_actions
from agent.deid.rules.profile import DeidProfile, load_profile
from agent.deid.rules.vocabulary import Vocabulary, load_vocabulary
from agent.errors import ConfigError


class Action(Enum):
    """What happens to an element; the value is the word of the report."""

    KEEP = "kept"
    LUT = "kept (look-up table)"
    NUMBER = "kept (numbers)"
    TERMS = "kept (coded string)"
    PATTERN = "kept (known form)"
    SEQUENCE = "sequence cleaned"
    CODE = "kept (standard code)"
    UID = "UID replaced"
    CLASS_UID = "kept (UID of the Standard)"
    FRAME_UID = "UID replaced unless well known"
    DATE = "date shifted"
    TIME = "time kept"
    AGE = "age kept, above 89 capped"
    CLEAN = "text rebuilt from known words"
    EQUIPMENT = "kept (manufacturer or model)"
    PATIENT = "pseudonym"
    ACCESSION = "pseudonym of the accession number"
    STUDY_ID = "pseudonym of the study ID"
    DUMMY = "replaced by a dummy"
    EMPTY = "emptied"
    DROP = "removed"
    PIXELS = "pixel data kept"
    BLANK = "emptied (equals an identifier)"


@dataclass(frozen=True, slots=True)
class Rule:
    """Action for one attribute, its VR and its bounds.

    Parameters
    ----------
    action, keyword, vr : Action, str, str
        What becomes of it, its keyword (or private creator), its VR.
    most_bytes, most_values : int
        The most bytes of binary numbers, the most values of number text; 0 where the multiplicity is open.
    large : bool
        Counts of radiation or events and frequencies, which may be large.
    identifies : bool
        A text attribute whose digits no number that is kept may repeat.
    """

    action: Action
    keyword: str
    vr: str
    most_bytes: int = 0
    most_values: int = 0
    large: bool = False
    identifies: bool = False


@dataclass(frozen=True, slots=True)
class Rules:
    """A compiled profile."""

    profile: DeidProfile
    dates: str
    public: dict[int, Rule]
    private: dict[tuple[str, int, int], Rule]
    vocabulary: Vocabulary


NUMBER_BYTES = {"US": 2, "SS": 2, "US or SS": 2, "UL": 4, "SL": 4, "FL": 4, "AT": 4, "UV": 8, "SV": 8, "FD": 8}
# UIDs that name one thing, listed in Table E.1-1 or not.
_INSTANCE = re.compile(
    r"InstanceUID|Study|Series|Frame|SOPInstance|FiducialUID|Synchronization|ConcatenationUID|DeviceUID"
)
# Text that may say who, beyond Table E.1-1; its digits may not come back as a number.
_IDENTIFYING = re.compile(r"IDs?$|Identifier|Number|Name|Telephone|Phone|Address|Insurance|Issuer|Location")
_REPLACED = frozenset({Action.DROP, Action.EMPTY, Action.DUMMY, Action.PATIENT, Action.ACCESSION, Action.STUDY_ID})
_IDENTIFYING_VRS = frozenset({"LO", "SH", "ST", "LT", "UT", "UC", "UR", "PN"})
DATE_VRS = frozenset({"DA", "DT"})
# PS3.15 Table E.1-1 lets the date options keep all attributes of these VRs but the ones below.
_NEVER_DATES = frozenset({"PatientBirthDate", "PatientBirthTime", "GPSDateStamp", "GPSTimeStamp"})
_PIXEL_ATTRIBUTES = frozenset({"PixelData", "FloatPixelData", "DoubleFloatPixelData"})
_OFFSET_TABLES = frozenset({"ExtendedOffsetTable", "ExtendedOffsetTableLengths"})
_CODES = frozenset({"CodeValue", "CodingSchemeDesignator", "CodeMeaning", "CodingSchemeVersion", "LongCodeValue"})
_IDENTITY = {
    "PatientID": Action.PATIENT, "PatientName": Action.PATIENT, "AccessionNumber": Action.ACCESSION,
    "StudyID": Action.STUDY_ID,
}  # fmt: skip
# Sequences that Table E.1-1 treats as "X/Z/U*", and the two it removes although image geometry needs their items' UIDs.
_CLEAN_SEQUENCES = frozenset({"SourceImageSequence", "ReferencedImageSequence"})
# Values for attributes that must not be empty.
DUMMY_VALUES = {
    **dict.fromkeys(("LO", "SH", "PN", "ST", "LT", "UT", "UC", "AE"), "ANONYMIZED"),
    "DA": "19000101", "DT": "19000101000000", "TM": "000000",
}  # fmt: skip


@cache
def compile_rules(profile_name: str, dates: str) -> Rules:
    """Return the compiled rules of a profile.

    Parameters
    ----------
    profile_name : str
        Name of a shipped profile or path of a site's.
    dates : str
        ``remove``, ``shift`` or ``keep``.

    Raises
    ------
    ConfigError
        When the profile does not fit.
    DeidError
        When the Annex E table is missing or too short.
    """
    if dates not in ("remove", "shift", "keep"):
        raise ConfigError(f"deid.dates = {dates!r}: possible are remove, shift and keep.", code="deid_profile")
    profile = load_profile(profile_name)
    vocabulary = load_vocabulary(profile.extra_words)
    table = annex_e_actions()
    kept = _keep_list()
    public: dict[int, Rule] = {}
    for tag, (vr, vm, _name, _retired, keyword) in DicomDictionary.items():
        attribute = _Attribute(tag, vr, keyword, table.get(tag))
        action = _choose(attribute, profile, dates, kept)
        public[tag] = _rule(attribute, action, vm, kept)
    for tag in table.keys() - public.keys():
        public[tag] = Rule(Action.DROP, "", "UN")
    for keyword in profile.remove:
        tag = int(tag_for_keyword(keyword) or 0)
        public[tag] = Rule(Action.DROP, keyword, public[tag].vr)
    return Rules(profile, dates, public, _private_rules(profile), vocabulary)


def _rule(attribute: _Attribute, action: Action, vm: str, kept: _KeepList) -> Rule:
    """Return the rule of an attribute, with the bounds of its multiplicity (PS3.5 6.4)."""
    vr, keyword = attribute.vr, attribute.keyword
    most = vm.rpartition("-")[2]
    values = int(most) if most.isdigit() else 0
    identifies = vr in _IDENTIFYING_VRS and (attribute.listed is not None or bool(_IDENTIFYING.search(keyword)))
    return Rule(
        action, keyword, vr, values * NUMBER_BYTES.get(vr, 0), values, keyword in kept.large,
        identifies and action in _REPLACED,
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Attribute:
    tag: int
    vr: str
    keyword: str
    listed: AnnexAction | None


@dataclass(frozen=True, slots=True)
class _KeepList:
    """Attributes outside the table that may stay, and those whose whole value must have a known form."""

    groups: frozenset[int]
    attributes: frozenset[str]
    tables: frozenset[str]
    large: frozenset[str]
    patterns: frozenset[str]


def _keep_list() -> _KeepList:
    text = resources.files("agent.deid.rules").joinpath("attributes.toml").read_text(encoding="utf-8")
    lists = tomllib.loads(text)
    attributes = {*lists["image_attributes"].split(), *_CODES, *_PIXEL_ATTRIBUTES, *_OFFSET_TABLES}
    return _KeepList(
        frozenset(lists["image_groups"]),
        frozenset(attributes),
        frozenset(lists["lookup_tables"].split()),
        frozenset(lists["large_numbers"].split()),
        frozenset(load_vocabulary().patterns),
    )


def _choose(attribute: _Attribute, profile: DeidProfile, dates: str, kept: _KeepList) -> Action:
    """Return the action of one attribute: own identity first, then options, then the table, then the keep list."""
    tag, vr, keyword, listed = attribute.tag, attribute.vr, attribute.keyword, attribute.listed
    if keyword in _IDENTITY:
        return _IDENTITY[keyword]
    if vr == "UI":
        return _choose_uid(keyword, listed)
    if keyword in profile.descriptors:
        return Action.CLEAN
    if keyword in profile.patient_characteristics:
        return {"PatientSex": Action.TERMS, "PatientAge": Action.AGE}.get(keyword, Action.NUMBER)
    if listed is not None:
        return _choose_listed(vr, keyword, listed, dates)
    if tag >> 16 in kept.groups or keyword in kept.attributes:
        return _choose_kept(vr, keyword, kept)
    return Action.DROP


def _choose_uid(keyword: str, listed: AnnexAction | None) -> Action:
    """Return what becomes of a UID: only those that name classes, syntaxes and codes may be the Standard's own."""
    if "FrameOfReferenceUID" in keyword:
        return Action.FRAME_UID
    return Action.UID if listed is not None or _INSTANCE.search(keyword) else Action.CLASS_UID


def _choose_listed(vr: str, keyword: str, listed: AnnexAction, dates: str) -> Action:
    if dates != "remove" and keyword not in _NEVER_DATES:
        if vr in DATE_VRS:
            return Action.DATE
        if vr == "TM":
            return Action.TIME
        if keyword == "TimezoneOffsetFromUTC":
            return Action.PATTERN
    if keyword in _CLEAN_SEQUENCES:
        return Action.SEQUENCE
    if listed == "X" or ("X" in listed and vr in ("DA", "DT", "TM")):
        return Action.DROP
    if "Z" in listed and listed != "X/Z/D":
        return Action.EMPTY
    return Action.DUMMY if vr in DUMMY_VALUES else Action.EMPTY


def _choose_kept(vr: str, keyword: str, kept: _KeepList) -> Action:
    """Return the action of an attribute of the image IODs that Table E.1-1 does not list."""
    special = _choose_special(keyword, kept)
    if special is not None:
        return special
    if vr == "SQ":
        return Action.SEQUENCE
    if vr in NUMBER_BYTES:
        return Action.KEEP
    if vr in ("DS", "IS"):
        return Action.NUMBER
    return Action.TERMS if vr == "CS" else Action.DROP


def _choose_special(keyword: str, kept: _KeepList) -> Action | None:
    if keyword in ("Manufacturer", "ManufacturerModelName"):
        return Action.EQUIPMENT
    if keyword in _CODES:
        return Action.CODE
    if keyword in _PIXEL_ATTRIBUTES or keyword in _OFFSET_TABLES:
        return Action.PIXELS
    if keyword in kept.tables:
        return Action.LUT
    return Action.PATTERN if keyword in kept.patterns else None


def _private_rules(profile: DeidProfile) -> dict[tuple[str, int, int], Rule]:
    actions = {"SQ": Action.SEQUENCE, "CS": Action.TERMS, "DS": Action.NUMBER, "IS": Action.NUMBER, "AS": Action.DROP}
    rules = {}
    for block in profile.private:
        for low, meaning in block.elements.items():
            vr, _, count = meaning.partition(" ")
            values = int(count or 1)
            action = actions.get(vr, Action.KEEP)
            most_bytes = values * NUMBER_BYTES.get(vr, 0)
            rules[block.creator, block.group, int(low, 16)] = Rule(action, block.creator, vr, most_bytes, values)
    return rules
