"""Whether a value that is kept as numbers, tags, dates or times can be just that.

Job: tell binary numbers from text in disguise, hold the grammar and range of number and time text, and find numbers
that equal an identifier. Place: called by ``values`` and ``engine``; looks at one value at a time. It must never pass
a value because it is hard to judge.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable
from itertools import pairwise

from pydicom.datadict import DicomDictionary  # type: ignore[attr-defined]

from agent.deid.elements import Element
from agent.deid.rules.compile import Rule

_CODES = {
    "US": "H", "SS": "h", "UL": "L", "SL": "l", "UV": "Q", "SV": "q", "FL": "f", "FD": "d", "AT": "HH", "OW": "H",
    "OB": "B",
}  # fmt: skip
# Four letters read as one number are beyond 5.4e8, eight beyond 2.3e18; no count or place in an image is.
_INTEGER_MAX = {"UL": 1 << 29, "SL": 1 << 29, "UV": 1 << 61, "SV": 1 << 61}
_PLAUSIBLE, _PLAUSIBLE_VENDOR = (1e-30, 1e18), (1e-12, 1e5)
# Where letters and digits in the highest byte of a float lie; below and above, a number of few digits is no text.
_NO_TEXT = {"FL": (5e-4, 8.0, 6), "FD": (1e-5, 1 << 17, 12)}
_OPEN_BYTES_MAX, _LUT_BYTES_MAX = 8192, 1 << 17
_RUN = re.compile(rb"[\x20-\x7e]{6,}")
_WIDE_RUNS = (re.compile(rb"(?:[\x20-\x7e]\x00){6,}"), re.compile(rb"(?:\x00[\x20-\x7e]){6,}"))
# How far neighbours in a look-up table may lie apart where they go up and down.
_SMOOTH_STEP = {"H": 512, "B": 2}
_MONOTONE_STEP = {"H": 4096, "B": 32}
_TURN_WORDS_MIN = 8  # one word in 160 of so many letters turns once or never

_TM = r"(?:[01]\d|2[0-3])(?:[0-5]\d(?:(?:[0-5]\d|60)(?:\.\d{1,6})?)?)?"
_TIME = re.compile(rf"(?:{_TM}|(?:[01]\d|2[0-3]):[0-5]\d(?::[0-5]\d(?:\.\d{{1,6}})?)?)?")
_TIME_OF_DATE = re.compile(rf"(?:{_TM})?(?:[+-](?:0\d|1[0-4])[0-5]\d)?")
_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d{1,2})?")
_TEXT_BYTES_MAX = 16
_NUMBER_MAX = {"IS": 1e6, "DS": 1e7}
_LARGE_MAX, _LARGE_DIGITS = 1e12, 5
# GE adds the first to b-values in (0043,xx39) and packs bit flags that are multiples of the second.
_GE_B_VALUE, _GE_FLAG = 1_000_000_000, 1 << 24
# Numbers of fewer digits stand in every header; they tell nobody from anybody.
IDENTIFIER_DIGITS_MIN = 4


def allowed_vrs(rule: Rule) -> frozenset[str]:
    """Return the VRs an attribute may be sent as; UN stands for the one of the rule."""
    return frozenset({rule.vr, "UN", *rule.vr.split(" or ")})


def numbers_are_plausible(value: bytes, element: Element, rule: Rule, lut_entries: int | None = None) -> bool:
    """Whether a value that is kept as binary numbers can be such numbers and not text in disguise.

    Parameters
    ----------
    value : bytes
        The value as received.
    element : Element
        How it was sent.
    rule : Rule
        Its rule: VR and bound.
    lut_entries : int or None
        For a look-up table, what its descriptor says; None for anything else.
    """
    if element.vr not in allowed_vrs(rule):
        return False
    if lut_entries is not None:
        return _is_lookup_table(value, lut_entries, element.encoding.order)
    if len(value) > (rule.most_bytes or _OPEN_BYTES_MAX):
        return False
    vr = rule.vr.split(" or ")[0] if element.vr in ("UN", rule.vr) else element.vr
    order = element.encoding.order
    code = _CODES.get(vr)
    if code is None or len(value) % struct.calcsize(f"={code}"):
        return False
    if vr == "AT":
        return _are_tags(value, order)
    if vr in _NO_TEXT:
        vendor = bool(element.tag >> 16 & 1) or element.vr == "UN"
        return _are_floats(value, order, vr, _PLAUSIBLE_VENDOR if vendor else _PLAUSIBLE)
    numbers = struct.unpack(f"{order}{len(value) // struct.calcsize(f'={code}')}{code}", value)
    most = _INTEGER_MAX.get(vr, 1 << 16)
    return all(abs(number) < most for number in numbers) and not _holds_text(value, numbers)


def _are_tags(value: bytes, order: str) -> bool:
    """Whether each AT value is an attribute of the Standard or a private one that cannot be read as four letters."""
    halves = struct.unpack(f"{order}{len(value) // 2}H", value)
    for place, (group, number) in enumerate(zip(halves[::2], halves[1::2], strict=True)):
        private = group & 1 and number >= 0x1000 and not _RUN.match(value[4 * place : 4 * place + 4] + b"  ")
        if not private and group << 16 | number not in DicomDictionary:
            return False
    return True


def _are_floats(value: bytes, order: str, vr: str, bounds: tuple[float, float]) -> bool:
    size = 4 if vr == "FL" else 8
    numbers = struct.unpack(f"{order}{len(value) // size}{_CODES[vr]}", value)
    least, most = bounds
    if not all(number == 0 or least < abs(number) < most for number in numbers):
        return False
    if len(value) > size and any(run.search(value) for run in _WIDE_RUNS):
        return False
    small, large, digits = _NO_TEXT[vr]
    for place, number in enumerate(numbers):
        part = value[place * size : (place + 1) * size]
        if not all(0x20 <= byte < 0x7F for byte in part) or small <= abs(number) < large:
            continue
        if struct.pack(f"{order}{_CODES[vr]}", float(f"{number:.{digits}g}")) != part:
            return False
    return len(value) <= 8 or not _all_printable(value)


def _all_printable(value: bytes) -> bool:
    return bool(_RUN.fullmatch(value.rstrip(b"\x00")))


def _holds_text(value: bytes, numbers: tuple[int, ...]) -> bool:
    """Whether six letters stand in a row in bytes or two-byte letters; frame vectors that count through are none."""
    if not _RUN.search(value) and not any(run.search(value) for run in _WIDE_RUNS):
        return False
    steps = {b - a for a, b in pairwise(numbers)}
    counts_through = steps <= {0, 1} or steps <= {0, -1}
    if not counts_through and min(numbers) in (0, 1) and max(numbers) < 1 << 12:  # starts over
        counts_through = all(b - a in (0, 1) or b == min(numbers) for a, b in pairwise(numbers))
    return not (counts_through and min(numbers) in (0, 1))


def _is_lookup_table(value: bytes, entries: int, order: str) -> bool:
    """Whether a value can be a look-up table: as long as its descriptor says, and smooth where letters could stand."""
    if len(value) > _LUT_BYTES_MAX or not entries:
        return False
    if len(value) == 2 * entries:
        code = "H"
    elif len(value) == entries + (entries & 1):
        code = "B"
    else:
        return False
    numbers = struct.unpack(f"{order}{len(value) // struct.calcsize(code)}{code}", value)
    size = struct.calcsize(code)
    for pattern in (_RUN, *_WIDE_RUNS):
        for run in pattern.finditer(value):
            words = numbers[run.start() // size : -(-run.end() // size)]
            wide = pattern is not _RUN
            if not _is_smooth(words, "B" if wide else code):
                return False
    return True


def _is_smooth(words: tuple[int, ...], code: str) -> bool:
    """Whether neighbours follow each other like the entries of a curve: in one direction, or in small steps."""
    steps = [b - a for a, b in pairwise(words)]
    if max(map(abs, steps)) <= _SMOOTH_STEP[code]:
        return True
    rises = [step > 0 for step in steps if step]
    turns = sum(a != b for a, b in pairwise(rises))
    return turns <= (len(words) >= _TURN_WORDS_MIN) and max(map(abs, steps)) <= _MONOTONE_STEP[code]


def clean_numbers(value: bytes, rule: Rule) -> bytes | None:
    """Return DS or IS text that can be a number of its attribute (PS3.5 6.2), or None.

    Attributes that count radiation or events may be large; what exceeds the bound of the others is rounded.
    """
    text = value.decode("latin-1").strip(" \x00")
    parts = [part.strip() for part in text.split("\\")]
    if rule.most_values and len(parts) > rule.most_values:
        return None
    cleaned = [_clean_number(part, rule) if part else "" for part in parts]
    if any(part is None for part in cleaned):
        return None
    if cleaned == parts:
        return value
    return "\\".join(part or "" for part in cleaned).encode()


def _clean_number(part: str, rule: Rule) -> str | None:
    if not _NUMBER.fullmatch(part):
        return None
    number = float(part)
    most = _NUMBER_MAX.get(rule.vr, _NUMBER_MAX["DS"])
    if abs(number) >= most and not (rule.vr == "IS" and _is_packed(number)):
        if not rule.large or abs(number) >= _LARGE_MAX:
            return None
        rounded = float(f"{number:.{_LARGE_DIGITS}g}")
        return part if rounded == number and len(part) <= _TEXT_BYTES_MAX else f"{rounded:.0f}"
    if number and abs(number) < 1e-30:
        return None
    if len(part) <= _TEXT_BYTES_MAX:
        return part
    return f"{number:.9g}" if len(part) <= 2 * _TEXT_BYTES_MAX else None


def _is_packed(number: float) -> bool:
    return 0 <= number - _GE_B_VALUE < 1e5 or (number % _GE_FLAG == 0 and abs(number) < 1 << 31)


def is_time(text: str) -> bool:
    """Whether each value is a TM (PS3.5 6.2), also in the older form with colons."""
    return all(_TIME.fullmatch(part.strip()) for part in text.strip(" \x00").split("\\"))


def is_time_of_date(text: str) -> bool:
    """Whether the end of a DT behind its day is a time and an offset from UTC."""
    return bool(_TIME_OF_DATE.fullmatch(text))


def identifier_digits(values: Iterable[str]) -> frozenset[str]:
    """Return the identifiers that a number could repeat, as digits without leading zeros."""
    found = set()
    for value in values:
        for part in value.split("\\"):
            digits = re.sub(r"\D", "", part)
            letters = sum(character.isalpha() for character in part)
            if digits and (not letters or (len(digits) > IDENTIFIER_DIGITS_MIN and len(digits) >= letters)):
                found.add(digits.lstrip("0"))
    return frozenset(digits for digits in found if len(digits) >= IDENTIFIER_DIGITS_MIN)


def repeats_identifier(text: str, identifiers: frozenset[str]) -> bool:
    """Whether a number or time equals an identifier: as a whole, one of its values, or what stands around its point."""
    if not identifiers:
        return False
    text = text.strip(" \x00")
    spellings = {re.sub(r"\D", "", text)}
    for part in text.split("\\"):
        spellings.add(re.sub(r"\D", "", part))
        spellings.update(re.sub(r"\D", "", half) for half in part.split("."))
        if len(part) <= 2 * _TEXT_BYTES_MAX and _NUMBER.fullmatch(part.strip()) and float(part).is_integer():
            spellings.add(str(abs(int(float(part)))))
    return not identifiers.isdisjoint(spelling.lstrip("0") for spelling in spellings)
