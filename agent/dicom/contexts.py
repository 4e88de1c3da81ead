"""Presentation contexts: which are accepted, and with which transfer syntax.

Job: say of an abstract syntax whether it is a storage class (standard, retired, private or not yet known), and choose
for every proposed context the first transfer syntax of *our* order among those proposed (PS3.8 9.3.2, 9.3.3). Place:
pure; called by the negotiation of ``guard`` and by ``scu``. It must never prefer what would make a sender transcode:
explicit VR little endian comes first because DCMTK decodes to implicit VR when that is chosen.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pydicom.uid import UID

VERIFICATION = "1.2.840.10008.1.1"
EXPLICIT_LE = "1.2.840.10008.1.2.1"
IMPLICIT_LE = "1.2.840.10008.1.2"
EXPLICIT_BE = "1.2.840.10008.1.2.2"
DEFLATED_LE = "1.2.840.10008.1.2.1.99"
PAPYRUS_IMPLICIT_LE = "1.2.840.10008.1.20"

_JPEG = "1.2.840.10008.1.2.4."

TRANSFER_SYNTAXES: tuple[str, ...] = (
    EXPLICIT_LE,
    IMPLICIT_LE,
    EXPLICIT_BE,
    DEFLATED_LE,
    "1.2.840.10008.1.2.1.98",  # encapsulated uncompressed
    # lossless before lossy, so that a context which offers both keeps the pixels
    _JPEG + "70",
    _JPEG + "57",
    _JPEG + "80",
    _JPEG + "90",
    _JPEG + "201",
    _JPEG + "202",
    _JPEG + "92",
    _JPEG + "110",
    _JPEG + "111",
    "1.2.840.10008.1.2.8.1",  # deflated frames; the data set around them is not deflated
    "1.2.840.10008.1.2.5",
    _JPEG + "50",
    _JPEG + "51",
    _JPEG + "81",
    _JPEG + "91",
    _JPEG + "203",
    _JPEG + "93",
    _JPEG + "112",
    *(_JPEG + n for n in ("94", "95", "204", "205")),  # JPIP references
    *(
        _JPEG + n
        for n in ("100", "100.1", "101", "101.1", "102", "102.1", "103", "103.1", "104", "104.1", "105", "105.1")
    ),
    *(_JPEG + n for n in ("106", "106.1", "107", "108")),
    *(_JPEG + str(n) for n in (52, 53, 54, 55, 56, 58, 59, 60, 61, 62, 63, 64, 65, 66)),  # retired JPEG processes
    PAPYRUS_IMPLICIT_LE,
)
"""Every transfer syntax that can be stored in a file, in our order of preference.

Not among them: SMPTE ST 2110 (real-time streams, PS3.22) and the retired MIME and XML encodings, which are no data
sets.
"""

IMPLICIT_SYNTAXES = frozenset({IMPLICIT_LE, PAPYRUS_IMPLICIT_LE})
DEFLATED_SYNTAXES = frozenset({DEFLATED_LE, _JPEG + "95", _JPEG + "205"})

_RANK = {uid: rank for rank, uid in enumerate(TRANSFER_SYNTAXES)}
_STANDARD_ROOT = "1.2.840.10008."
_STORAGE_ROOT = "1.2.840.10008.5.1.4.1.1."
_NOT_COMPOSITE = frozenset(
    {
        "1.2.840.10008.1.3.10",  # Media Storage Directory: for media, never on the network
        # the Non-Patient Object Storage Service Class (PS3.4 GG): these objects belong to no study
        "1.2.840.10008.5.1.4.38.1",
        "1.2.840.10008.5.1.4.39.1",
        "1.2.840.10008.5.1.4.43.1",
        "1.2.840.10008.5.1.4.44.1",
        "1.2.840.10008.5.1.4.45.1",
        "1.2.840.10008.5.1.4.1.1.200.1",
        "1.2.840.10008.5.1.4.1.1.200.3",
        "1.2.840.10008.5.1.4.1.1.200.7",
        "1.2.840.10008.5.1.4.1.1.201.1",
    }
)

ACCEPTED, ABSTRACT_SYNTAX_REFUSED, TRANSFER_SYNTAXES_REFUSED = 0, 3, 4
"""Results of PS3.8 table 9-18."""


@dataclass(frozen=True, slots=True)
class ProposedContext:
    """One presentation context of an A-ASSOCIATE-RQ."""

    context_id: int
    abstract_syntax: str
    transfer_syntaxes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class NegotiatedContext:
    """The answer to one proposed context; `transfer_syntax` is the chosen one, or the first proposed when refused."""

    context_id: int
    abstract_syntax: str
    transfer_syntax: str
    result: int


def is_storage(abstract_syntax: str) -> bool:
    """Say whether objects of this class can be stored: standard, retired or private storage classes, and unknown ones.

    A UID of the Standard's own root that pydicom's dictionary knows as something else (query, print, commitment, …)
    is not; one that the dictionary does not know is a storage class when it lies under the storage root. All other
    roots are private.
    """
    if abstract_syntax in _NOT_COMPOSITE:
        return False
    if not abstract_syntax.startswith(_STANDARD_ROOT):
        return bool(abstract_syntax)
    uid = UID(abstract_syntax)
    if uid.name == abstract_syntax:
        return abstract_syntax.startswith(_STORAGE_ROOT)
    name = uid.name
    return (
        uid.type == "SOP Class" and "Storage" in name and "Commitment" not in name and "Storage Management" not in name
    )


def preferred_syntax(proposed: Iterable[str]) -> str | None:
    """Return the first transfer syntax of our order among those proposed, or None."""
    known = [uid for uid in proposed if uid in _RANK]
    return min(known, key=_RANK.__getitem__, default=None)


def negotiate(proposed: Sequence[ProposedContext]) -> list[NegotiatedContext]:
    """Answer every proposed context.

    Verification and storage classes are accepted; another service is refused with result 3 (abstract syntax not
    supported), a context without any transfer syntax that we can store with result 4.
    """
    answers = []
    for context in proposed:
        first = context.transfer_syntaxes[0] if context.transfer_syntaxes else IMPLICIT_LE
        if context.abstract_syntax != VERIFICATION and not is_storage(context.abstract_syntax):
            answers.append(
                NegotiatedContext(context.context_id, context.abstract_syntax, first, ABSTRACT_SYNTAX_REFUSED)
            )
            continue
        chosen = preferred_syntax(context.transfer_syntaxes)
        result = TRANSFER_SYNTAXES_REFUSED if chosen is None else ACCEPTED
        answers.append(NegotiatedContext(context.context_id, context.abstract_syntax, chosen or first, result))
    return answers
