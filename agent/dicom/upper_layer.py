"""The few PDUs of the upper layer that are read and written without a state machine.

Job: take an A-ASSOCIATE-RQ apart far enough to decide whether its sender may come in (no thread, no pynetdicom),
write the rejection; and the requests of our own raw sender (PS3.8 9.3, PS3.7 E). Place: called by ``pending`` and
``scu``; pure bytes. Every length is checked before it is used; what does not fit raises.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from agent.dicom.contexts import NegotiatedContext, ProposedContext
from agent.errors import DicomError
from agent.store.objects import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME

ASSOCIATE_RQ, ASSOCIATE_AC, ASSOCIATE_RJ, DATA_TF, RELEASE_RQ, RELEASE_RP, ABORT = range(1, 8)
APPLICATION_CONTEXT = "1.2.840.10008.3.1.1.1"
MAX_REQUEST_BYTES = 256 * 1024
MAX_CONTEXTS = 128
MAX_SYNTAXES_OF_CONTEXT = 128
_FIXED = 68
_UID_BYTES = 64


class MalformedPdu(DicomError):
    """Bytes that are no PDU of the upper layer, or break one of its limits."""

    default_code = "malformed_pdu"


@dataclass(frozen=True, slots=True)
class AssociationRequest:
    """What an A-ASSOCIATE-RQ says."""

    protocol_version: int
    application_context: str
    called_aet: str
    calling_aet: str
    contexts: tuple[ProposedContext, ...]


def _items(body: memoryview, start: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Yield (type, start, end) of the items in a range."""
    while start < end:
        if start + 4 > end:
            raise MalformedPdu("An item of the association request is cut short.")
        kind, _, length = struct.unpack_from(">BBH", body, start)
        start += 4
        if start + length > end:
            raise MalformedPdu("An item of the association request is longer than the request.")
        yield kind, start, start + length
        start += length


def _uid(body: memoryview, start: int, end: int) -> str:
    if end - start > _UID_BYTES + 1:
        raise MalformedPdu("A UID in the association request has more than 64 characters.")
    return bytes(body[start:end]).decode("ascii", "replace").rstrip("\0 ")


def _title(raw: memoryview) -> str:
    text = bytes(raw).decode("ascii", "replace").strip(" \0")
    return "".join(c if c.isprintable() else "?" for c in text)


def read_titles(body: bytes | bytearray | memoryview) -> tuple[str, str]:
    """Return (called, calling) AE title of the body of an A-ASSOCIATE-RQ, as far as it came."""
    view = memoryview(body)
    return _title(view[4:20]), _title(view[20:36])


def read_association_request(body: bytes | bytearray | memoryview) -> AssociationRequest:
    """Take apart the body (after the six bytes of type and length) of an A-ASSOCIATE-RQ.

    Raises
    ------
    MalformedPdu
        If lengths do not fit, or there are more contexts or transfer syntaxes than PS3.8 or we allow.
    """
    view = memoryview(body)
    if len(view) < _FIXED:
        raise MalformedPdu("The association request is cut short.")
    called, calling = read_titles(view)
    application_context = ""
    contexts: list[ProposedContext] = []
    for kind, start, end in _items(view, _FIXED, len(view)):
        if kind == 0x10:
            application_context = _uid(view, start, end)
        elif kind == 0x20:
            if len(contexts) == MAX_CONTEXTS:
                raise MalformedPdu(f"The association request proposes more than {MAX_CONTEXTS} presentation contexts.")
            contexts.append(_read_context(view, start, end))
    ids = [context.context_id for context in contexts]
    if len(set(ids)) != len(ids) or any(number % 2 == 0 for number in ids):
        raise MalformedPdu("The association request repeats a presentation context ID or uses an even one.")
    if not contexts:
        raise MalformedPdu("The association request proposes no presentation context.")
    version = struct.unpack_from(">H", view)[0]
    return AssociationRequest(version, application_context, called, calling, tuple(contexts))


def _read_context(view: memoryview, start: int, end: int) -> ProposedContext:
    if end - start < 4:
        raise MalformedPdu("A presentation context is cut short.")
    abstract_syntax = ""
    syntaxes: list[str] = []
    for kind, first, last in _items(view, start + 4, end):
        if kind == 0x30:
            abstract_syntax = _uid(view, first, last)
        elif kind == 0x40:
            if len(syntaxes) == MAX_SYNTAXES_OF_CONTEXT:
                raise MalformedPdu(
                    f"A presentation context proposes more than {MAX_SYNTAXES_OF_CONTEXT} transfer syntaxes."
                )
            syntaxes.append(_uid(view, first, last))
    return ProposedContext(view[start], abstract_syntax, tuple(syntaxes))


def rejection(result: int, source: int, diagnostic: int) -> bytes:
    """Return an A-ASSOCIATE-RJ."""
    return struct.pack(">BBIBBBB", ASSOCIATE_RJ, 0, 4, 0, result, source, diagnostic)


def abort(source: int = 2, reason: int = 0) -> bytes:
    """Return an A-ABORT."""
    return struct.pack(">BBIBBBB", ABORT, 0, 4, 0, 0, source, reason)


RELEASE = struct.pack(">BBII", RELEASE_RQ, 0, 4, 0)


def _item(kind: int, body: bytes) -> bytes:
    return struct.pack(">BBH", kind, 0, len(body)) + body


def association_request(
    called_aet: str, calling_aet: str, contexts: tuple[ProposedContext, ...], max_pdu: int
) -> bytes:
    """Return an A-ASSOCIATE-RQ."""
    proposed = b"".join(
        _item(
            0x20,
            struct.pack(">BBBB", c.context_id, 0, 0, 0)
            + _item(0x30, c.abstract_syntax.encode("ascii"))
            + b"".join(_item(0x40, s.encode("ascii")) for s in c.transfer_syntaxes),
        )
        for c in contexts
    )
    user = _item(
        0x50,
        _item(0x51, struct.pack(">I", max_pdu))
        + _item(0x52, IMPLEMENTATION_CLASS_UID.encode("ascii"))
        + _item(0x55, IMPLEMENTATION_VERSION_NAME.encode("ascii")),
    )
    body = (
        struct.pack(">HH", 1, 0)
        + called_aet.encode("ascii").ljust(16)
        + calling_aet.encode("ascii").ljust(16)
        + bytes(32)
        + _item(0x10, APPLICATION_CONTEXT.encode("ascii"))
        + proposed
        + user
    )
    return struct.pack(">BBI", ASSOCIATE_RQ, 0, len(body)) + body


def read_acceptance(body: bytes, proposed: tuple[ProposedContext, ...]) -> tuple[dict[int, NegotiatedContext], int]:
    """Return the answers to the proposed contexts and the peer's maximum PDU length (0: none) of an A-ASSOCIATE-AC."""
    view = memoryview(body)
    by_id = {context.context_id: context for context in proposed}
    answers: dict[int, NegotiatedContext] = {}
    max_pdu = 0
    for kind, start, end in _items(view, _FIXED, len(view)):
        if kind == 0x21 and end - start >= 4 and view[start] in by_id:
            context = by_id[view[start]]
            syntax = next((_uid(view, a, b) for k, a, b in _items(view, start + 4, end) if k == 0x40), "")
            answers[context.context_id] = NegotiatedContext(
                context.context_id, context.abstract_syntax, syntax, view[start + 2]
            )
        elif kind == 0x50:
            for sub, first, last in _items(view, start, end):
                if sub == 0x51 and last - first == 4:
                    max_pdu = struct.unpack_from(">I", view, first)[0]
    return answers, max_pdu
