"""The words that may leave as text.

Job: rebuild a free-text value from words on the list, check coded strings against the Standard's terms, and give
standard codes their standard meaning. Place: called by ``engine``; reads ``vocabulary.toml`` and the code
dictionaries of pydicom. It must never pass a word on because it looks harmless: what is not listed is left out.
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

_SPLIT = re.compile(r"[^A-Za-z0-9.+#]+")


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """Lists of what is allowed, ready for look-up."""

    terms: frozenset[bytes]
    words: dict[str, str]
    equipment: frozenset[str]
    shapes: re.Pattern[str]
    patterns: dict[str, re.Pattern[str]]

    def clean_text(self, value: str, withheld: frozenset[str] = frozenset()) -> str:
        """Return the listed words of `value`, in order, separated by blanks.

        Words in `withheld` (capitals) are left out although they are listed: a person may be called Sharp.
        """
        kept = [self._word(part) for part in _SPLIT.split(value)]
        return " ".join(word for word in kept if word and word.upper() not in withheld)

    def _word(self, part: str) -> str:
        if self.shapes.fullmatch(part):
            return part
        return self.words.get(part.upper().strip(".+#"), "")

    def clean_equipment(self, value: str) -> str:
        """Return the words of `value` that belong to manufacturers and models, spelt as they came."""
        kept = [part for part in re.split(r"[\s,;()]+", value) if part.upper().strip(".") in self.equipment]
        return " ".join(kept)

    def clean_terms(self, value: bytes) -> bytes | None:
        """Return a coded string with its components checked, or None when nothing may stay.

        A multi-valued string keeps its positions: an unknown component becomes ``OTHER`` (a defined term of Image
        Type), or the whole is dropped when no component is known.
        """
        parts = [part.strip(b" \x00") for part in value.split(b"\\")]
        known = [not part or part.upper() in self.terms for part in parts]
        if all(known):
            return value
        if len(parts) == 1 or not any(ok and part for ok, part in zip(known, parts, strict=True)):
            return None
        return b"\\".join(part if ok else b"OTHER" for ok, part in zip(known, parts, strict=True))

    def matches(self, keyword: str, value: str) -> bool:
        """Whether the whole value has the shape that its attribute allows; each component when it has several."""
        pattern = self.patterns[keyword]
        return bool(pattern.fullmatch(value)) or all(pattern.fullmatch(part.strip()) for part in value.split("\\"))


@cache
def load_vocabulary(extra_words: tuple[str, ...] = ()) -> Vocabulary:
    """Return the shipped vocabulary with a site's own words added."""
    text = resources.files("agent.deid.rules").joinpath("vocabulary.toml").read_text(encoding="utf-8")
    lists = tomllib.loads(text)
    terms = {term.encode() for term in lists["terms"].split()} | {phrase.encode() for phrase in lists["phrases"]}
    words = {word.upper(): word for word in (*lists["words"].split(), *extra_words)}
    return Vocabulary(
        frozenset(terms),
        words,
        frozenset(word.upper() for word in lists["equipment"].split()),
        re.compile("|".join(f"(?:{shape})" for shape in lists["shapes"])),
        {keyword: re.compile(pattern) for keyword, pattern in lists["patterns"].items()},
    )


@cache
def standard_codes() -> dict[tuple[str, str], str]:
    """Return the meaning of every code of the dictionaries that pydicom carries, by (scheme, value)."""
    from pydicom.sr._concepts_dict import concepts
    from pydicom.sr._snomed_dict import mapping

    dictionary: Any = concepts
    meanings = {
        (scheme, value): entry[0]
        for scheme, keywords in dictionary.items()
        for values in keywords.values()
        for value, entry in values.items()
    }
    srt: dict[str, str] = mapping["SRT"]
    for retired, current in srt.items():
        meaning = meanings.get(("SCT", current))
        if meaning:
            meanings.setdefault(("SRT", retired), meaning)
            meanings.setdefault(("SNM3", retired), meaning)
            meanings.setdefault(("99SDM", retired), meaning)
    return meanings
