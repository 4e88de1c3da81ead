"""An association as requestor, without decoding a data set.

Job: what is needed of the upper layer and of DIMSE to echo and to send files whose data sets go out byte for byte;
reading the head of a Part 10 file. Place: used by ``scu`` and the benchmarks. It must never hold a whole object in
memory: files are mapped.
"""

from __future__ import annotations

import mmap
import socket
import ssl
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from agent.dicom.contexts import ACCEPTED, NegotiatedContext, ProposedContext
from agent.dicom.facts import read_facts
from agent.dicom.upper_layer import (
    ABORT,
    ASSOCIATE_AC,
    ASSOCIATE_RJ,
    DATA_TF,
    RELEASE,
    association_request,
    read_acceptance,
)
from agent.errors import BadDataset, DicomError

OUR_MAX_PDU = 65_536
LARGEST_SENT_PDU = 262_144
LARGEST_ANSWER = 1_048_576
C_STORE_RQ, C_ECHO_RQ = 0x0001, 0x0030
_NO_DATA_SET = 0x0101
_META_LIMIT = 65_536
_FACTS_BYTES = 1_048_576
_LONG_FORM = (b"OB", b"OW", b"OF", b"SQ", b"UT", b"UN", b"UC", b"UR", b"OD", b"OL", b"OV", b"SV", b"UV")


class AssociationFailed(DicomError):
    """No association, or it ended early; the message says why in words."""

    default_code = "association_failed"


class Rejected(AssociationFailed):
    """The peer answered with an A-ASSOCIATE-RJ."""

    default_code = "association_rejected"

    def __init__(self, result: int, source: int, reason: int) -> None:
        self.result, self.source, self.reason = result, source, reason
        super().__init__(rejection_in_words(result, source, reason))

    def __reduce__(self) -> tuple[object, ...]:
        """Survive the trip from a worker process."""
        return (Rejected, (self.result, self.source, self.reason))


_REASONS = {
    (1, 1): "it gives no reason",
    (1, 2): "it does not support DICOM's application context",
    (1, 3): "it does not know our AE title: add it there as a known sender, or call with one it knows (--calling)",
    (1, 7): "its AE title is another one: correct --called",
    (2, 1): "it gives no reason",
    (2, 2): "it does not support this version of the protocol",
    (3, 1): "it is overloaded just now",
    (3, 2): "it has no room for another association just now",
}


def rejection_in_words(result: int, source: int, reason: int) -> str:
    """Say what an A-ASSOCIATE-RJ means (PS3.8 table 9-21)."""
    lasting = "for good" if result == 1 else "for now"
    return (
        f"The peer rejected the association {lasting}: {_REASONS.get((source, reason), f'reason {source}/{reason}')}."
    )


@dataclass(frozen=True, slots=True)
class Part10File:
    """A file that can be sent as it is."""

    path: Path
    sop_class_uid: str
    sop_uid: str
    transfer_syntax_uid: str
    offset: int
    size_bytes: int
    """Of the data set."""


def read_part10(path: Path) -> Part10File:
    """Read the head of a Part 10 file (PS3.10 7.1).

    The UIDs are those of the data set (PS3.7 9.1.1.1), because that is what receivers compare; those of the file meta
    information only when the data set cannot be read.

    Raises
    ------
    BadDataset
        Saying why the file cannot be sent.
    """
    with path.open("rb") as file:
        head = file.read(132 + _META_LIMIT)
        size = path.stat().st_size
        if head[128:132] != b"DICM":
            raise BadDataset("no DICOM file meta information", code="not_part10")
        meta, offset = _read_meta(head)
        syntax, sop_class, sop = (meta.get(n, b"").decode("ascii", "replace").strip("\0 ") for n in (0x10, 0x02, 0x03))
        if not syntax:
            raise BadDataset("no transfer syntax in its file meta information", code="no_transfer_syntax")
        file.seek(offset)
        beginning = file.read(_FACTS_BYTES)
    try:
        uids, _, _ = read_facts(beginning, syntax)
    except BadDataset:
        if not sop_class or not sop:
            raise BadDataset("no SOP Class or SOP Instance UID", code="missing_uid") from None
    else:
        sop_class, sop = uids.sop_class, uids.sop
    return Part10File(path, sop_class, sop, syntax, offset, size - offset)


def _read_meta(head: bytes) -> tuple[dict[int, bytes], int]:
    """Return the values of group 0002 by element, and where the data set begins; group length is not relied on."""
    at, values = 132, {}
    while at + 8 <= len(head):
        group, element, vr, length = struct.unpack_from("<HH2sH", head, at)
        if group != 2:
            break
        start = at + 8
        if vr in _LONG_FORM:
            start = at + 12
            if start > len(head):
                raise BadDataset("its file meta information is cut short", code="not_part10")
            length = struct.unpack_from("<I", head, at + 8)[0]
        at = start + length
        if at > len(head):
            raise BadDataset("its file meta information is cut short", code="not_part10")
        values[element] = head[start:at]
    return values, at


@dataclass(frozen=True, slots=True)
class Peer:
    """Whom to call, and as whom."""

    host: str
    port: int
    called_aet: str
    calling_aet: str
    timeout_s: float = 30.0


class RawAssociation:
    """An association as requestor.

    Parameters
    ----------
    peer : Peer
        Whom to call.
    contexts : sequence of ProposedContext
        At most 128.

    Raises
    ------
    AssociationFailed
        Saying why in words.
    """

    def __init__(self, peer: Peer, contexts: Sequence[ProposedContext]) -> None:
        self._peer = peer
        self._message_id = 0
        self._socket = _connect(peer)
        try:
            self._associate(tuple(contexts))
        except BaseException:
            self._socket.close()
            raise

    def _associate(self, contexts: tuple[ProposedContext, ...]) -> None:
        self._send([association_request(self._peer.called_aet, self._peer.calling_aet, contexts, OUR_MAX_PDU)])
        kind, body = self._receive_first()
        if kind == ASSOCIATE_RJ and len(body) == 4:
            raise Rejected(body[1], body[2], body[3])
        if kind == ABORT:
            raise AssociationFailed("The peer aborted the association instead of answering.", code="aborted")
        if kind != ASSOCIATE_AC:
            raise AssociationFailed(f"The peer answered with PDU type {kind}.", code="not_dicom")
        self.contexts: dict[int, NegotiatedContext]
        self.contexts, peer_max = read_acceptance(body, contexts)
        self.max_pdu = min(LARGEST_SENT_PDU, max(peer_max, 256) if peer_max else LARGEST_SENT_PDU)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def accepted(self) -> dict[tuple[str, str], int]:
        """Return the accepted contexts: (abstract syntax, transfer syntax) → context ID."""
        return {(c.abstract_syntax, c.transfer_syntax): i for i, c in self.contexts.items() if c.result == ACCEPTED}

    def echo(self, context_id: int) -> int:
        """Send a C-ECHO and return its status."""
        command = self._command(C_ECHO_RQ, "1.2.840.10008.1.1", None)
        self._send([_pdu(context_id, 3, command), command])
        return self._response()[0]

    def store(self, context_id: int, sop_class_uid: str, sop_uid: str, dataset: memoryview) -> tuple[int, str]:
        """Send an object as it is; return status and error comment."""
        command = self._command(C_STORE_RQ, sop_class_uid, sop_uid)
        parts: list[bytes | memoryview] = [_pdu(context_id, 3, command), command]
        step = self.max_pdu - 6
        waiting = 0
        for at in range(0, len(dataset), step):
            piece = dataset[at : at + step]
            parts += [_pdu(context_id, 2 if at + step >= len(dataset) else 0, piece), piece]
            waiting += len(piece)
            if waiting > LARGEST_SENT_PDU:
                self._send(parts)
                parts, waiting = [], 0
        if not dataset:
            parts.append(_pdu(context_id, 2, b""))
        if parts:
            self._send(parts)
        return self._response()

    def store_file(self, context_id: int, file: Part10File) -> tuple[int, str]:
        """Send the data set of a file as it is; the file is mapped, not read."""
        with file.path.open("rb") as opened:
            # unmapped when the last view of it goes; an exception's traceback may hold one for a while
            mapped = mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ)
        return self.store(context_id, file.sop_class_uid, file.sop_uid, memoryview(mapped)[file.offset :])

    def release(self) -> None:
        """End in order; a peer that does not answer is left."""
        try:
            self._send([RELEASE])
            self._receive()
        except (AssociationFailed, OSError):
            pass
        finally:
            self._socket.close()

    def close(self) -> None:
        """Drop the connection."""
        self._socket.close()

    def _command(self, field: int, sop_class_uid: str, sop_uid: str | None) -> bytes:
        self._message_id = self._message_id % 65_535 + 1
        body = _element(0x0002, _even(sop_class_uid)) + _element(0x0100, struct.pack("<H", field))
        body += _element(0x0110, struct.pack("<H", self._message_id))
        if sop_uid is None:
            body += _element(0x0800, struct.pack("<H", _NO_DATA_SET))
        else:
            body += _element(0x0700, b"\0\0") + _element(0x0800, b"\1\0") + _element(0x1000, _even(sop_uid))
        return _element(0, struct.pack("<I", len(body))) + body

    def _response(self) -> tuple[int, str]:
        kind, body = self._receive()
        if kind == ABORT:
            raise AssociationFailed("The peer aborted the association.", code="aborted")
        if kind != DATA_TF:
            raise AssociationFailed(f"The peer sent PDU type {kind} instead of a response.", code="protocol")
        command = bytearray()
        while True:
            at, is_last = 0, False
            while at + 6 <= len(body):
                length, _, control = struct.unpack_from(">IBB", body, at)
                command += body[at + 6 : at + 4 + length]
                is_last = is_last or bool(control & 2)
                at += 4 + max(2, length)
            if is_last:
                return _read_response(bytes(command))
            _, body = self._receive()

    def _send(self, parts: list[bytes | memoryview]) -> None:
        try:
            self._socket.sendall(b"".join(parts))
        except TimeoutError as error:
            raise AssociationFailed("The peer does not read what is sent.", code="timeout") from error
        except OSError as error:
            raise AssociationFailed("The peer closed the connection.", code="closed") from error

    def _receive_first(self) -> tuple[int, bytes]:
        """Receive the answer to the association request; here it shows whether the other side is DICOM at all."""
        try:
            return self._receive()
        except AssociationFailed as error:
            if error.code == "closed" and _speaks_tls(self._peer):
                raise AssociationFailed("The peer speaks TLS on this port.", code="tls") from error
            raise

    def _receive(self) -> tuple[int, bytes]:
        header = self._exactly(6)
        kind, _, length = struct.unpack(">BBI", header)
        if header[:2] in (b"\x15\x03", b"\x16\x03"):
            raise AssociationFailed("The peer speaks TLS on this port.", code="tls")
        if kind > ABORT or kind == 0 or length > LARGEST_ANSWER:
            raise AssociationFailed("What answers there does not speak DICOM.", code="not_dicom")
        return kind, self._exactly(length)

    def _exactly(self, count: int) -> bytes:
        out = bytearray()
        while len(out) < count:
            try:
                got = self._socket.recv(count - len(out))
            except TimeoutError as error:
                raise AssociationFailed(
                    f"The peer did not answer within {self._peer.timeout_s:g} s.", code="timeout"
                ) from error
            except OSError as error:
                raise AssociationFailed("The peer closed the connection.", code="closed") from error
            if not got:
                raise AssociationFailed("The peer closed the connection without an answer.", code="closed")
            out += got
        return bytes(out)


def _connect(peer: Peer) -> socket.socket:
    where = f"{peer.host} port {peer.port}"
    try:
        client = socket.create_connection((peer.host, peer.port), timeout=peer.timeout_s)
    except socket.gaierror as error:
        raise AssociationFailed(
            f"There is no host {peer.host}.", code="no_host", hint="Check the name or use an address."
        ) from error
    except ConnectionRefusedError as error:
        raise AssociationFailed(
            f"Nothing listens at {where}.",
            code="no_listener",
            hint="Check the port, and whether the program runs there.",
        ) from error
    except TimeoutError as error:
        raise AssociationFailed(
            f"{where} does not answer.", code="timeout", hint="Check address, cable and firewall."
        ) from error
    except OSError as error:
        raise AssociationFailed(
            f"{where} cannot be reached: {error.strerror}.", code="unreachable", hint="Check address and network."
        ) from error
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return client


def _speaks_tls(peer: Peer) -> bool:
    """Try a TLS handshake that trusts anybody: it sends nothing and only asks what is spoken there."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        with socket.create_connection((peer.host, peer.port), timeout=min(3.0, peer.timeout_s)) as plain:
            context.wrap_socket(plain).close()
    except ssl.SSLError as error:
        # an alert (no shared cipher, certificate required) is TLS as well
        return error.reason is not None and "ALERT" in error.reason
    except OSError:
        return False
    return True


def _element(number: int, value: bytes) -> bytes:
    return struct.pack("<HHI", 0, number, len(value)) + value


def _even(text: str) -> bytes:
    raw = text.encode("ascii", "replace")
    return raw + b"\0" * (len(raw) % 2)


def _pdu(context_id: int, control: int, data: bytes | memoryview) -> bytes:
    return struct.pack(">BBIIBB", DATA_TF, 0, len(data) + 6, len(data) + 2, context_id, control)


def _read_response(command: bytes) -> tuple[int, str]:
    at, status, comment = 0, -1, ""
    while at + 8 <= len(command):
        group, element, length = struct.unpack_from("<HHI", command, at)
        value = command[at + 8 : at + 8 + length]
        if group == 0 and element == 0x0900 and length == 2:
            status = struct.unpack("<H", value)[0]
        elif group == 0 and element == 0x0902:
            comment = value.decode("ascii", "replace").strip()
        at += 8 + length
    if status < 0:
        raise AssociationFailed("The peer's response has no status.", code="protocol")
    return status, comment
