"""The last look at what leaves.

Job: collect what identifies the patient from the object as received, search the outgoing bytes for it in many
spellings and encodings, and block the object on a hit. Place: called by ``worker`` after the engine, and for
manifests and other JSON. It shares no code, table or tag list with the engine: identifiers are found by value
representation and by words of the keyword, through pydicom. It must never say in an error what it found.
"""

from __future__ import annotations

import re
import struct
import warnings
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from io import BytesIO

from pydicom import Dataset
from pydicom.charset import decode_bytes
from pydicom.datadict import dictionary_keyword, dictionary_VR
from pydicom.dataelem import RawDataElement
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.filereader import dcmread, read_dataset
from pydicom.uid import UID_dictionary  # type: ignore[attr-defined]

from agent.deid.spellings import Needle, PixelBytes, birth_date_needles, identifier_needles, name_needles
from agent.errors import DeidError

_TEXT_VRS = frozenset({"LO", "SH", "ST", "LT", "UT", "UC", "UR"})
_SEARCHED_VRS = _TEXT_VRS | {"PN", "UI", "AE", "AS", "CS", "DA", "DT", "TM", "DS", "IS", "OB", "UN"}
# Words in the keywords of attributes that say who, whose and where.
_WHO = re.compile(
    r"ID$|IDs$|Identifier|AccessionNumber|OrderNumber|SerialNumber|Insurance|Issuer|Institution|Address|Telephone|Phone"
    r"|Physician|Operator|Person|PatientName|NamesOf|Observer|Author|Verifying|Residence|Locator|Location|StationName|Contact"
    r"|Department|Sponsor|SiteName|Email|Responsible|Requester|ServiceRequestNumber"
)
_NOT_WHO = re.compile(
    r"Stack|Template|Coil|Manufacturer|Scheme|Context|Coding|Algorithm|Dimension|Temporal|Plate|Detector"
)
_UID = re.compile(rb"[0-9]+(?:\.[0-9]+){3,}")
_NUMBER_VRS = frozenset({"DS", "IS", "TM"})
# Shorter numbers stand in every header.
_DIGITS_MIN = 4
_DEFLATED, _IMPLICIT, _BIG = "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2", "1.2.840.10008.1.2.2"
_PIXEL_TAGS = (0x7FE00010, 0x7FE00008, 0x7FE00009)
_PARSE_ERRORS = (
    AttributeError,
    ValueError,
    KeyError,
    TypeError,
    NotImplementedError,
    EOFError,
    OSError,
    struct.error,
    RecursionError,
    zlib.error,
    InvalidDicomError,
    BytesLengthException,
)
_DELIMITERS = {ord(c) for c in "\\^=\n\r\t\f"}


@dataclass(slots=True)
class Identifiers:
    """What one object (or study) can be recognised by."""

    uids: set[str] = field(default_factory=set)
    needles: set[Needle] = field(default_factory=set)
    numbers: set[str] = field(default_factory=set)


def _blocked() -> DeidError:
    return DeidError(
        "The outbound check found an identifier of the patient in an object that was about to leave; nothing was sent.",
        code="outbound_hit",
        hint="Keep the study, have its de-identification report read, and tell the agent's maintainers.",
    )


def _not_checkable() -> DeidError:
    return DeidError(
        "The outbound check could not read an object that was about to leave; nothing was sent.",
        code="outbound_unreadable",
        hint="Keep the study and have its de-identification report read.",
    )


def collect_identifiers(data: bytes | memoryview, transfer_syntax_uid: str, known: Iterable[str] = ()) -> Identifiers:
    """Return what identifies the patient in a data set as received, at any depth.

    Parameters
    ----------
    data : bytes
        The data set as received, deflated or not.
    transfer_syntax_uid : str
        How it is encoded.
    known : iterable of str
        Identifiers of the study that are known from elsewhere (its other objects, the worklist).

    Raises
    ------
    DeidError
        ``outbound_unreadable`` when the object cannot be read.
    """
    plain = zlib.decompressobj(-15).decompress(data, 1 << 26) if transfer_syntax_uid == _DEFLATED else bytes(data)
    found = Identifiers()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            source = read_dataset(BytesIO(plain), transfer_syntax_uid == _IMPLICIT, transfer_syntax_uid != _BIG)
            equipment = {_plain(source, tag) for tag in (0x00080070, 0x00081090)}
            for dataset, raw, vr in _walk(source):
                _collect(found, dataset, raw, vr)
        except _PARSE_ERRORS as error:
            raise _not_checkable() from error
    for value in known:
        found.needles |= name_needles(value) if "^" in value else identifier_needles(value)
        found.numbers |= _bare_number(value)
    found.needles = {needle for needle in found.needles if needle.text.upper() not in equipment}
    return found


def _plain(dataset: Dataset, tag: int) -> str:
    return str(dataset.get(tag).value).strip().upper() if tag in dataset else ""


def _walk(dataset: Dataset) -> Iterator[tuple[Dataset, RawDataElement, str]]:
    """Yield every element that holds bytes, with its data set and VR, at any depth."""
    for tag in sorted(dataset.keys()):
        item = dataset.get_item(tag)
        if item is None:
            continue
        vr = item.VR or _dictionary_vr(int(tag))
        if vr == "UN" and not tag.is_private:
            vr = _dictionary_vr(int(tag))
        if vr == "SQ":
            for nested in dataset[tag].value:
                yield from _walk(nested)
        elif isinstance(item, RawDataElement):
            yield dataset, item, vr


def _dictionary_vr(tag: int) -> str:
    try:
        return dictionary_VR(tag)
    except KeyError:
        return "UN"


def _collect(found: Identifiers, dataset: Dataset, raw: RawDataElement, vr: str) -> None:
    if not raw.value or vr not in _SEARCHED_VRS or int(raw.tag) in _PIXEL_TAGS:
        return
    if vr == "UI":
        uids = raw.value.decode("latin-1").split("\\")
        found.uids |= {uid.strip(" \x00") for uid in uids} - UID_dictionary.keys()
        return
    keyword = "" if raw.tag.is_private else _keyword(int(raw.tag))
    if vr == "PN":
        for value in _decode(dataset, raw.value).split("\\"):
            found.needles |= name_needles(value, raw.value)
    elif vr == "DA" and "Birth" in keyword:
        found.needles |= birth_date_needles(raw.value.decode("latin-1"))
    elif vr in _TEXT_VRS and _WHO.search(keyword) and not _NOT_WHO.search(keyword):
        for value in _decode(dataset, raw.value).split("\\"):
            found.needles |= identifier_needles(value)
            found.numbers |= _bare_number(value)


def _bare_number(value: str) -> set[str]:
    """Return an identifier of digits and separators as the number it is; none when it is too short to tell."""
    digits = re.sub(r"[\s\-./+]", "", value.strip(" \x00")).lstrip("0")
    return {digits} if digits.isascii() and digits.isdigit() and len(digits) >= _DIGITS_MIN else set()


def _number_spellings(value: bytes) -> set[str]:
    """Return how a DS, IS or TM value reads as plain digits: whole, and each of its values."""
    text = value.decode("latin-1").strip(" \x00")
    spellings = set(_bare_number(text.replace("\\", "")))
    for part in text.split("\\"):
        whole, _, fraction = part.strip().partition(".")
        spellings |= _bare_number(whole) | _bare_number(fraction) | _bare_number(part)
        spellings |= _bare_number(whole) if not fraction.strip("0") else set()
    return spellings


def _keyword(tag: int) -> str:
    try:
        return dictionary_keyword(tag)
    except KeyError:
        return ""


def _decode(dataset: Dataset, value: bytes) -> str:
    if value.isascii() and b"\x1b" not in value:
        return value.decode("ascii").strip(" \x00")
    encodings = dataset._character_set  # noqa: SLF001 - pydicom keeps the inherited character set of items here only
    try:
        return str(decode_bytes(value, [encodings] if isinstance(encodings, str) else encodings, _DELIMITERS)).strip(
            " \x00"
        )
    except (LookupError, ValueError):
        return value.decode("latin-1").strip(" \x00")


class OutboundCheck:
    """Searches outgoing objects for one set of identifiers.

    Parameters
    ----------
    identifiers : Identifiers
        What must not be found.
    """

    def __init__(self, identifiers: Identifiers) -> None:
        self._uids = {uid for uid in identifiers.uids if len(uid) >= 12 and uid.count(".") >= 3}
        self._needles = identifiers.needles
        self._numbers = identifiers.numbers

    def check(self, outgoing: bytes) -> None:
        """Block an object that holds an identifier.

        Parameters
        ----------
        outgoing : bytes
            A Part 10 file, as it would be sent.

        Raises
        ------
        DeidError
            ``outbound_hit``, or ``outbound_unreadable`` when it cannot be parsed; never with a value.
        """
        header, pixels, text, numbers = _regions(outgoing)
        if not self._numbers.isdisjoint(spelling for value in numbers for spelling in _number_spellings(value)):
            raise _blocked()
        if any(run.decode() in self._uids for run in set(_UID.findall(header))):
            raise _blocked()
        folded = header.lower()
        folded_text = text.lower()
        pixel_bytes = PixelBytes(pixels)
        for needle in self._needles:
            if needle.is_in_text(folded_text) or needle.is_in_header(folded) or needle.is_in_pixels(pixel_bytes):
                raise _blocked()


def _regions(outgoing: bytes) -> tuple[bytes, bytes, bytes, list[bytes]]:
    """Return everything but the pixels, the pixels, the values that are not binary numbers, and numbers as text."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            dataset = dcmread(BytesIO(outgoing))
            values = [
                (vr, raw.value)
                for _, raw, vr in _walk(dataset)
                if raw.value and vr in _SEARCHED_VRS and int(raw.tag) not in _PIXEL_TAGS
            ]
            if dataset.file_meta.TransferSyntaxUID == _DEFLATED:
                raise _not_checkable()
            start, stop = _pixel_extent(dataset)
        except _PARSE_ERRORS as error:
            raise _not_checkable() from error
    texts = b"\x00".join(value for _, value in values)
    numbers = [value for vr, value in values if vr in _NUMBER_VRS]
    return outgoing[:start] + b"\x00" + outgoing[stop:], outgoing[start:stop], texts, numbers


def _pixel_extent(dataset: Dataset) -> tuple[int, int]:
    for tag in _PIXEL_TAGS:
        item = dataset.get_item(tag) if tag in dataset else None
        if isinstance(item, RawDataElement) and item.value is not None:
            return item.value_tell, item.value_tell + len(item.value)
    return 0, 0


def check_text(text: str, tokens: Iterable[str]) -> None:
    """Block JSON or other text that holds one of the tokens.

    Parameters
    ----------
    text : str
        What would be sent: a manifest, metadata, an object key.
    tokens : iterable of str
        Identifiers of the study: names, IDs, UIDs.

    Raises
    ------
    DeidError
        ``outbound_hit``, without the value.
    """
    folded = text.lower().encode("utf-8")
    for token in tokens:
        token = token.strip()  # noqa: PLW2901
        if _UID.fullmatch(token.encode("utf-8", "ignore")):
            if token.encode() in folded and token not in UID_dictionary:
                raise _blocked()
            continue
        for needle in name_needles(token) if "^" in token else identifier_needles(token):
            if needle.is_in_text(folded) or needle.is_in_header(folded):
                raise _blocked()
