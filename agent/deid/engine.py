"""The de-identification engine.

Job: apply compiled rules to every element of a data set at every depth and write the result, with a count of what was
done. Place: called by ``worker`` and ``folder``; calls ``elements``, ``values``, ``pixels``. Anything not allowed by
a rule is left out. It must never put a value into an error or a count, and the same input and keys must always give
the same bytes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from agent.deid.elements import (
    IMPLICIT_LITTLE,
    Element,
    ElementReader,
    Encoding,
    encode_header,
    encode_sequence,
    encode_text,
)
from agent.deid.marking import marking_elements
from agent.deid.numbers import allowed_vrs, numbers_are_plausible
from agent.deid.pixels import clean_fragments, clear_unused_bits
from agent.deid.planes import are_offsets, bytes_needed, number_of_frames
from agent.deid.pseudonyms import PseudonymKeys
from agent.deid.rules.compile import Action, Rule, Rules
from agent.deid.rules.vocabulary import standard_codes
from agent.deid.values import PatientContext, decode_text, new_value

Chunk = bytes | memoryview
_DROPPED = Rule(Action.DROP, "", "UN")
_IDENTIFIER_BYTES_MAX = 1024
_CODE_VALUE, _SCHEME, _SCHEME_VERSION, _MEANING = 0x00080100, 0x00080102, 0x00080103, 0x00080104
# Text that is kept in its own form: equal to an identifier it is emptied; numbers sent as another VR are dropped.
_NUMERIC = frozenset({Action.NUMBER, Action.TIME, Action.PATTERN, Action.DATE})
_OWN_VR = frozenset({Action.NUMBER, Action.TIME, Action.DATE, Action.AGE})
_DESCRIPTORS = {0x00283006: 0x00283002, 0x00281201: 0x00281101, 0x00281202: 0x00281102, 0x00281203: 0x00281103}
_PIXEL_VRS = frozenset({"OB", "OW", "OB or OW", "OF", "OD", "UN"})
_OFFSETS = frozenset({0x7FE00001, 0x7FE00002})


@dataclass(slots=True)
class CleanDataset:
    """A de-identified data set, still in pieces, and what was done to get it."""

    chunks: list[Chunk]
    encoding: Encoding
    sop_class_uid: str
    sop_uid: str
    counts: Counter[tuple[str, str, str]]


@dataclass(slots=True)
class Source:
    """A parsed data set with the few values the decisions need."""

    data: memoryview
    elements: list[Element]
    encoding: Encoding
    transfer_syntax_uid: str
    by_tag: dict[int, Element] = field(default_factory=dict)

    def text(self, tag: int) -> str:
        """Return a top-level value as text; empty when it is not there."""
        return decode_text(self.raw(tag), self.raw(0x00080005))

    def raw(self, tag: int) -> bytes:
        """Return a top-level value as it is; empty when it is not there."""
        element = self.by_tag.get(tag)
        if element is None or element.items is not None or element.encapsulated:
            return b""
        return bytes(self.data[element.start : element.stop])

    def number(self, tag: int, default: int = 0) -> int:
        """Return a top-level US value."""
        element = self.by_tag.get(tag)
        if element is None or element.stop - element.start < 2:
            return default
        order = "little" if self.encoding.little else "big"
        return int.from_bytes(self.data[element.start : element.start + 2], order)  # type: ignore[arg-type]


def read_source(data: bytes | memoryview, encoding: Encoding, transfer_syntax_uid: str) -> Source:
    """Parse a data set.

    Raises
    ------
    DeidError
        ``deid_unreadable`` when it cannot be read to its end.
    """
    elements = ElementReader(data).read(encoding)
    return Source(memoryview(data), elements, encoding, transfer_syntax_uid, {e.tag: e for e in elements})


class Engine:
    """Applies one profile with one site's keys.

    Parameters
    ----------
    rules : Rules
        Compiled profile.
    keys : PseudonymKeys
        The site's keys.
    """

    def __init__(self, rules: Rules, keys: PseudonymKeys) -> None:
        self.rules = rules
        self._keys = keys

    def clean(self, source: Source, known: Iterable[str] = ()) -> CleanDataset:
        """Return the de-identified data set.

        Parameters
        ----------
        source : Source
            The parsed object.
        known : iterable of str
            Identifiers of the study from elsewhere; no number that is kept may repeat them.

        Raises
        ------
        DeidError
            When something in it cannot be read or cleaned.
        """
        identifiers = [*_identifying_texts(source.elements, self.rules, source), *known]
        patient = _patient(source, self._keys).knowing(source.raw(0x00080005), identifiers)
        walk = _Walk(self.rules, patient, source)
        pieces = walk.dataset(source.elements, 0, {})
        pieces += marking_elements(self.rules, walk.counts, source.encoding)
        pieces.sort(key=lambda piece: piece[0])
        return CleanDataset(
            [chunk for _, chunks in pieces for chunk in chunks],
            source.encoding,
            source.text(0x00080016),
            walk.patient.uid(source.text(0x00080018)),
            walk.counts,
        )


def _patient(source: Source, keys: PseudonymKeys) -> PatientContext:
    names = [source.text(element.tag) for element in source.elements if element.vr == "PN"]
    patient_id, issuer, study_uid = (source.text(tag) for tag in (0x00100020, 0x00100021, 0x0020000D))
    return PatientContext.of(keys, patient_id, issuer, study_uid, names)


def _identifying_texts(elements: list[Element], rules: Rules, source: Source) -> Iterator[str]:
    """Yield the values, at any depth, whose digits no number that is kept may repeat."""
    for element in elements:
        if element.items is not None:
            for item in element.items:
                yield from _identifying_texts(item, rules, source)
        elif element.stop - element.start <= _IDENTIFIER_BYTES_MAX:
            rule = rules.public.get(element.tag)
            if rule is not None and rule.identifies:
                yield bytes(source.data[element.start : element.stop]).decode("latin-1")


Piece = tuple[int, list[Chunk]]
Creators = dict[tuple[int, int], str]


class _Walk:
    """One pass over one data set."""

    def __init__(self, rules: Rules, patient: PatientContext, source: Source) -> None:
        self.counts: Counter[tuple[str, str, str]] = Counter()
        self.patient = patient
        self._rules = rules
        self._source = source
        self._data = source.data
        self._reader = ElementReader(source.data)
        self._keep_offsets = True

    def dataset(self, elements: list[Element], depth: int, inherited: Creators) -> list[Piece]:
        """Return the kept elements of one (nested) data set."""
        creators = self._creators(elements)
        pieces: list[Piece] = []
        used: set[tuple[int, int]] = set()
        codes: dict[int, Element] = {}
        for element in elements:
            if not element.tag & 0xFFFF:
                continue  # group lengths would no longer be right
            rule, block = self._rule(element.tag, creators, inherited)
            if rule.action is Action.CODE:
                codes[element.tag] = element
                continue
            action = rule.action
            if action is Action.LUT:
                chunks = self._lookup_table(element, rule, elements)
            elif action in _NUMERIC and self._repeats_identifier(element):
                action, chunks = Action.BLANK, [encode_header(element.tag, element.vr, 0, element.encoding)]
            else:
                chunks = self._apply(element, rule, depth, block)
            if chunks is None:
                self._count(element.tag, rule, Action.DROP)
                continue
            self._count(element.tag, rule, action)
            pieces.append((element.tag, chunks))
            if block is not None and block[0] in creators:
                used.add(block[0])
        pieces += self._codes(codes)
        pieces += [self._creator(key, creators[key], elements) for key in used]
        pieces.sort(key=lambda piece: piece[0])
        return pieces

    def _creators(self, elements: list[Element]) -> Creators:
        """Return the private creators of this data set by (group, block) (PS3.5 7.8.1)."""
        return {
            (element.tag >> 16, element.tag & 0xFF): self._value(element).decode("latin-1").strip(" \x00")
            for element in elements
            if element.tag >> 16 & 1 and 0x10 <= element.tag & 0xFFFF <= 0xFF and element.items is None
        }

    def _rule(
        self, tag: int, creators: Creators, inherited: Creators
    ) -> tuple[Rule, tuple[tuple[int, int], str] | None]:
        if not tag >> 16 & 1:
            return self._rules.public.get(tag, _DROPPED), None
        key = (tag >> 16, tag >> 8 & 0xFF)
        creator = creators.get(key) or inherited.get(key)
        rule = self._rules.private.get((creator, key[0], tag & 0xFF)) if creator else None
        return (rule, (key, str(creator))) if rule else (_DROPPED, None)

    def _apply(
        self, element: Element, rule: Rule, depth: int, block: tuple[tuple[int, int], str] | None
    ) -> list[Chunk] | None:
        """Return the bytes of an element, or None when it is dropped."""
        action = rule.action
        if action is Action.DROP:
            return None
        if action is Action.SEQUENCE:
            return self._sequence(element, depth, dict([block]) if block else {})
        if element.encapsulated or action is Action.PIXELS:
            return self._pixels(element, rule) if depth == 0 and action is Action.PIXELS else None
        if action is Action.EMPTY:
            return [encode_header(element.tag, element.vr, 0, element.encoding)]
        if element.items is not None or element.vr == "SQ":
            return None
        return self._single(element, rule)

    def _single(self, element: Element, rule: Rule) -> list[Chunk] | None:
        value = self._value(element)
        if rule.action is Action.KEEP:
            return [self._whole(element)] if numbers_are_plausible(value, element, rule) else None
        if rule.action in _OWN_VR and element.vr not in allowed_vrs(rule):
            return None
        new = new_value(value, rule, self._rules, self.patient)
        if new is None:
            return None
        if new == value:
            return [self._whole(element)]
        return [encode_text(element.tag, element.vr, new.decode("ascii"), element.encoding)]

    def _repeats_identifier(self, element: Element) -> bool:
        return element.items is None and self.patient.repeats(self._value(element))

    def _lookup_table(self, element: Element, rule: Rule, siblings: list[Element]) -> list[Chunk] | None:
        """Return a look-up table that its descriptor in the same data set describes, else None."""
        descriptor = next((e for e in siblings if e.tag == _DESCRIPTORS.get(element.tag)), None)
        if element.items is not None or descriptor is None or descriptor.stop - descriptor.start != 6:
            return None
        order = "little" if element.encoding.little else "big"
        entries = int.from_bytes(self._data[descriptor.start : descriptor.start + 2], order) or 1 << 16  # type: ignore[arg-type]
        plausible = numbers_are_plausible(self._value(element), element, rule, entries)
        return [self._whole(element)] if plausible else None

    def _sequence(self, element: Element, depth: int, inherited: Creators) -> list[Chunk] | None:
        inner = IMPLICIT_LITTLE if element.vr == "UN" else element.encoding
        items = element.items
        if items is None:
            if element.vr not in ("UN", "SQ"):
                return None
            items = self._reader.read_items(element, inner, depth)
        bodies = [b"".join(c for _, cs in self.dataset(item, depth + 1, inherited) for c in cs) for item in items]
        return [encode_sequence(element.tag, element.vr, bodies, element.encoding, inner)]

    def _codes(self, codes: dict[int, Element]) -> list[Piece]:
        """Keep a code only when the Standard's dictionaries know it; its meaning is theirs, not the sender's."""
        texts = {tag: self._value(e).decode("latin-1").strip(" \x00") for tag, e in codes.items() if e.items is None}
        meaning = standard_codes().get((texts.get(_SCHEME, ""), texts.get(_CODE_VALUE, ""))) if codes else None
        pieces: list[Piece] = []
        for tag, element in codes.items():
            rule = self._rules.public[tag]
            new = self._code_value(tag, texts.get(tag, ""), meaning)
            if new is None:
                self._count(tag, rule, Action.DROP)
                continue
            self._count(tag, rule, Action.CODE)
            pieces.append((tag, [encode_text(tag, element.vr, new, element.encoding)]))
        return pieces

    def _code_value(self, tag: int, value: str, meaning: str | None) -> str | None:
        if not value:
            return ""
        if meaning is None:
            return None
        if tag == _MEANING:
            return meaning.encode("ascii", "replace").decode("ascii")[:64]
        if tag == _SCHEME_VERSION:
            return value if self._rules.vocabulary.matches("CodingSchemeVersion", value) else None
        return value if tag in (_CODE_VALUE, _SCHEME) else None

    def _creator(self, key: tuple[int, int], creator: str, elements: list[Element]) -> Piece:
        tag = key[0] << 16 | key[1]
        element = next(e for e in elements if e.tag == tag)
        return tag, [encode_text(tag, element.vr, creator, element.encoding)]

    def _pixels(self, element: Element, rule: Rule) -> list[Chunk] | None:
        value = self._data[element.start : element.stop]
        if element.tag in _OFFSETS:
            pixels = self._source.by_tag.get(0x7FE00010)
            if pixels is None or not pixels.encapsulated or self._fragments(pixels) is not None:
                return None
            table, frames = self._value(element), number_of_frames(self._source)
            end = pixels.stop - pixels.start
            return [self._whole(element)] if are_offsets(table, "Q", frames, end, element.encoding.order) else None
        if element.vr not in _PIXEL_VRS or element.items is not None:
            return None
        if element.encapsulated:
            new = self._fragments(element)
            return [self._data[element.header : element.start], value if new is None else new]
        needed = bytes_needed(self._source, element.tag)
        native: Chunk = value[:needed]
        if rule.keyword == "PixelData" and self._has_embedded_overlay():
            native = clear_unused_bits(native, self._source.number(0x00280101, 16), element.encoding.little)
        if needed & 1:
            native = bytes(native) + b"\x00"
        if len(native) == len(value):
            return [self._data[element.header : element.start], native]
        return [encode_header(element.tag, element.vr, len(native), element.encoding), native]

    def _fragments(self, element: Element) -> Chunk | None:
        """Return cleaned fragments, None when they stay as they are."""
        value = self._data[element.start : element.stop]
        new = clean_fragments(value, self._source.transfer_syntax_uid)
        return None if new is value else new

    def _has_embedded_overlay(self) -> bool:
        return has_embedded_overlay(self._source)

    def _value(self, element: Element) -> bytes:
        return bytes(self._data[element.start : element.stop])

    def _whole(self, element: Element) -> Chunk:
        return self._data[element.header : element.stop]

    def _count(self, tag: int, rule: Rule, action: Action) -> None:
        private = bool(tag >> 16 & 1)
        shown = f"({tag >> 16:04X},xx{tag & 0xFF:02X})" if private else f"({tag >> 16:04X},{tag & 0xFFFF:04X})"
        self.counts[shown, rule.keyword, action.value] += 1


def has_embedded_overlay(source: Source) -> bool:
    """Whether an overlay plane lies in unused bits of the pixels (PS3.5 8.1.2): Overlay Bit Position is not 0."""
    return any(source.number(tag) for tag in source.by_tag if tag >> 24 == 0x60 and tag & 0xFFFF == 0x0102)
