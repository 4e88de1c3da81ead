"""How an identifier may be spelt.

Job: make search terms of names, numbers, addresses and birth dates: components in both orders, letter case,
encodings, ways to write a date; and say for each term where a hit is no accident. Place: called by ``outbound`` only.
Terms are long enough that a chance hit in a megabyte of pixels or header bytes is practically impossible; words that
every header may hold are no terms.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from itertools import pairwise, permutations

# Four letters in 1 MB of random bytes would turn up once in 270 objects, six once in four million, eight never.
TEXT_MIN, HEADER_MIN, PIXELS_MIN = 4, 6, 8
_NUMBER_MIN = 6
_BETWEEN = ("^", " ", ", ", ",", "_", "-", ".", "/")
_ENCODINGS = (
    "utf-8", "latin-1", "iso8859-2", "iso8859-5", "iso8859-6", "iso8859-7", "iso8859-8", "iso8859-9", "shift_jis",
    "euc_jp", "euc_kr", "gb18030", "tis-620", "utf-16-le", "utf-16-be",
)  # fmt: skip
# Words that stand in names of phantoms and departments as well as in any header.
_COMMON = frozenset(resources.files("agent.deid").joinpath("common_words.txt").read_text(encoding="utf-8").split())
# Bytes as printable (1), zero (0) or neither (2).
_CLASSES = bytes(0 if b == 0 else 1 if 0x20 <= b < 0x7F else 2 for b in range(256))
_PLACEHOLDER_DATES = ("19000101", "00000000", "19700101", "11111111", "99999999")


class PixelBytes:
    """Pixel data, looked over once for whether they can hold text at all.

    Parameters
    ----------
    pixels : bytes
        Native or encapsulated pixel data.
    """

    def __init__(self, pixels: bytes) -> None:
        self.folded = pixels.lower()
        classes = pixels.translate(_CLASSES)
        self._has_ascii = b"\x01" * PIXELS_MIN in classes
        self._has_wide = b"\x01\x00" * (PIXELS_MIN - 1) in classes

    def may_hold(self, form: bytes) -> bool:
        """Whether a search for the form can succeed."""
        if _is_wide(form):
            return self._has_wide
        return self._has_ascii or not form.isascii()


@dataclass(frozen=True, slots=True)
class Needle:
    """One search term.

    Parameters
    ----------
    text : str
        As it was found, for comparison only.
    forms : tuple of bytes
        Encoded spellings, ASCII letters in lower case.
    number : bool
        Digits only: a hit must not be part of a longer number.
    text_only : bool
        Too short to be looked for in binary values and pixels.
    """

    text: str
    forms: tuple[bytes, ...]
    number: bool = False
    text_only: bool = False

    def is_in_text(self, folded: bytes) -> bool:
        """Whether a spelling stands in values that are text."""
        return any(len(form) >= TEXT_MIN and self._stands_in(form, folded) for form in self.forms)

    def is_in_header(self, folded: bytes) -> bool:
        """Whether a spelling stands anywhere outside the pixels."""
        return not self.text_only and any(
            len(form) >= HEADER_MIN and self._stands_in(form, folded) for form in self.forms
        )

    def is_in_pixels(self, pixels: PixelBytes) -> bool:
        """Whether a spelling that pixels cannot form by chance stands in the pixel data."""
        return not self.text_only and any(
            form in pixels.folded for form in self.forms if not _could_be_pixels(form) and pixels.may_hold(form)
        )

    def _stands_in(self, form: bytes, folded: bytes) -> bool:
        if form not in folded:
            return False
        pattern = _bounded(form, self.number)
        return True if pattern is None else bool(pattern.search(folded))


@lru_cache(maxsize=4096)
def _bounded(form: bytes, number: bool) -> re.Pattern[bytes] | None:
    if number:
        return re.compile(rb"(?<![0-9])(?<![0-9]\.)" + re.escape(form) + rb"(?!\.?[0-9])")
    if len(form) < PIXELS_MIN and form.isascii():
        return re.compile(rb"(?<![a-z0-9])" + re.escape(form) + rb"(?![a-z0-9])")
    return None


def _is_wide(form: bytes) -> bool:
    return form[1::2].count(0) == len(form) // 2 or form[::2].count(0) == len(form) // 2


def _could_be_pixels(form: bytes) -> bool:
    """Whether smooth or constant pixels can form these bytes: too short, few values, or an even ramp.

    Dark 16-bit pixels look like two-byte letters, so these count by letter.
    """
    letters = form.replace(b"\x00", b"") if _is_wide(form) else form
    steps = {b - a for a, b in pairwise(letters)}
    return len(letters) < PIXELS_MIN or len(set(letters)) < 5 or len(steps) == 1


def _needle(text: str, extra: tuple[bytes, ...] = ()) -> Needle:
    spelt = text.lower()
    forms = {extra_form.lower() for extra_form in extra}
    for encoding in _ENCODINGS:
        if text.isascii() and encoding not in ("utf-8", "utf-16-le", "utf-16-be"):
            continue
        for spelling in {spelt, text} if not text.isascii() else {spelt}:
            try:
                form = spelling.encode(encoding)
            except UnicodeEncodeError:
                continue
            if not form.isascii() or text.isascii():
                forms.add(form.lower() if encoding in ("utf-8", "latin-1") else form)
    return Needle(text, tuple(sorted(forms)), number=text.isascii() and text.isdigit())


def name_needles(value: str, raw: bytes = b"") -> set[Needle]:
    """Return the terms of a person's name (PS3.5 6.2, VR PN): each part, and the parts in both orders.

    Parameters
    ----------
    value : str
        Decoded value.
    raw : bytes
        Encoded value; its non-ASCII parts are searched as they were sent.
    """
    needles: set[Needle] = set()
    for group in value.split("="):
        parts = [part for part in re.split(r"[\^\s,.]+", group.strip(" \x00")) if part]
        needles |= {_needle(part) for part in parts if _is_telling(part)}
        telling = [part for part in parts if len(part) > 1 and part.upper() not in _COMMON]
        needles |= _short_pairs(telling[:3])
        if len(telling) >= 2:
            first, second = telling[:2]
            joined = (
                f"{first}^{second}",
                f"{second} {first}",
                f"{first}, {second}",
                f"{first} {second}",
                f"{second}^{first}",
            )
            needles |= {_needle(form) for form in joined if len(form) >= HEADER_MIN}
    for part in re.split(rb"[\^=\s\\]+", raw):
        bare = re.sub(rb"\x1b[\x24-\x2f]+[\x40-\x7e]", b"", part)
        if len(bare) >= HEADER_MIN and not part.isascii():
            needles.add(Needle("", (bare,)))
    return needles


def _short_pairs(parts: list[str]) -> set[Needle]:
    """Return pairs of name parts of which one is too short to be looked for alone, in any order, as whole words."""
    pairs = [
        (a, b) for a, b in permutations(parts, 2) if min(len(a), len(b)) < TEXT_MIN and a.isascii() and b.isascii()
    ]
    forms = {f"{a}{between}{b}".lower() for a, b in pairs if a.isalpha() and b.isalpha() for between in _BETWEEN}
    return {
        Needle(form, tuple(form.encode(encoding) for encoding in ("ascii", "utf-16-le", "utf-16-be")), text_only=True)
        for form in forms
    }


def _is_telling(part: str) -> bool:
    if part.upper() in _COMMON:
        return False
    if not part.isascii():
        return len(part) >= 2
    return len(part) >= TEXT_MIN and len(set(part)) > 1


def identifier_needles(value: str) -> set[Needle]:
    """Return the terms of an ID, address, telephone number or institution."""
    value = value.strip(" \x00")
    if not value or value.upper() in _COMMON or len(set(value)) < 3:
        return set()
    if value.isascii() and value.isdigit():
        return {_needle(value)} if len(value) >= _NUMBER_MIN else set()
    words = re.split(r"[\s^]+", value.upper())
    if len(value) < 5 or all(word in _COMMON or len(word) < 3 for word in words):
        return set()
    needles = {_needle(value)}
    digits = re.sub(r"\D", "", value)
    if len(digits) >= 7 and len(digits) >= len(value) / 2:
        needles.add(_needle(digits))
    if "^" in value:
        needles |= name_needles(value)
    return needles


def birth_date_needles(value: str) -> set[Needle]:
    """Return a birth date as DICOM, ISO 8601, American and European text."""
    match = re.fullmatch(r"(\d{4})\.?(\d{2})\.?(\d{2})", value.strip(" \x00"))
    if match is None or "".join(match.groups()) in _PLACEHOLDER_DATES:
        return set()
    year, month, day = match.groups()
    forms = (
        f"{year}{month}{day}", f"{year}-{month}-{day}", f"{year}.{month}.{day}", f"{month}/{day}/{year}",
        f"{day}/{month}/{year}", f"{day}.{month}.{year}", f"{month}-{day}-{year}", f"{day}-{month}-{year}",
    )  # fmt: skip
    return {_needle(form) for form in forms}
