"""What a de-identified object says about itself.

Job: the elements (0012,0062), (0012,0063), (0012,0064) and (0028,0303) of PS3.15 E.1, with only those codes of CID
7050 that were truly applied to this object. Place: called by ``engine`` after its walk.
"""

from __future__ import annotations

from collections import Counter

from agent.deid.elements import Encoding, encode_sequence, encode_text
from agent.deid.rules.annex_e import EDITION
from agent.deid.rules.compile import Action, Rules

BASIC, DESCRIPTORS, FULL_DATES, MODIFIED_DATES = "113100", "113105", "113106", "113107"
CHARACTERISTICS, SAFE_PRIVATE = "113108", "113111"
CODE_MEANINGS = {
    BASIC: "Basic Application Confidentiality Profile",
    DESCRIPTORS: "Clean Descriptors Option",
    FULL_DATES: "Retain Longitudinal Temporal Information Full Dates Option",
    MODIFIED_DATES: "Retain Longitudinal Temporal Information Modified Dates Option",
    CHARACTERISTICS: "Retain Patient Characteristics Option",
    SAFE_PRIVATE: "Retain Safe Private Option",
}
_TEMPORAL = {"remove": "REMOVED", "shift": "MODIFIED", "keep": "UNMODIFIED"}
_KEPT = frozenset(action.value for action in Action) - {Action.DROP.value, Action.EMPTY.value}


def applied_codes(rules: Rules, counts: Counter[tuple[str, str, str]]) -> list[str]:
    """Return the codes of CID 7050 for what the counts say was done."""
    actions = {action for _, _, action in counts}
    codes = [BASIC]
    if Action.CLEAN.value in actions:
        codes.append(DESCRIPTORS)
    if actions & {Action.DATE.value, Action.TIME.value}:
        codes.append(MODIFIED_DATES if rules.dates == "shift" else FULL_DATES)
    if any(keyword in rules.profile.patient_characteristics and action in _KEPT for _, keyword, action in counts):
        codes.append(CHARACTERISTICS)
    if any("xx" in tag and action in _KEPT for tag, _, action in counts):
        codes.append(SAFE_PRIVATE)
    return codes


def marking_elements(
    rules: Rules, counts: Counter[tuple[str, str, str]], encoding: Encoding
) -> list[tuple[int, list[bytes | memoryview]]]:
    """Return the marking elements, encoded."""
    profile = rules.profile
    method = f"PS3.15 {EDITION} Annex E\\agent profile {profile.name} {profile.version}"
    items = [
        encode_text(0x00080100, "SH", code, encoding)
        + encode_text(0x00080102, "SH", "DCM", encoding)
        + encode_text(0x00080104, "LO", CODE_MEANINGS[code], encoding)
        for code in applied_codes(rules, counts)
    ]
    return [
        (0x00120062, [encode_text(0x00120062, "CS", "YES", encoding)]),
        (0x00120063, [encode_text(0x00120063, "LO", method, encoding)]),
        (0x00120064, [encode_sequence(0x00120064, "SQ", items, encoding, encoding)]),
        (0x00280303, [encode_text(0x00280303, "CS", _TEMPORAL[rules.dates], encoding)]),
    ]
