"""A C-STORE SCU on a bare socket: sends any bytes under any transfer syntax, unchanged, and tells every answer.

It shares nothing with the agent or with pynetdicom, so that a mistake made twice cannot hide (PS3.7 9.3.1, PS3.8 9.3).
"""

from __future__ import annotations

import hashlib
import socket
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pydicom

APPLICATION = b"1.2.840.10008.3.1.1.1"
VERIFICATION = "1.2.840.10008.1.1"
IMPLICIT = "1.2.840.10008.1.2"


@dataclass(frozen=True)
class WireObject:
    """What goes over the wire for one instance."""

    sop_class: str
    sop_uid: str
    syntax: str
    data: bytes

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.data).hexdigest()


def _meta(raw: bytes) -> tuple[dict[int, bytes], int]:
    """Elements of the file meta information (explicit VR little endian) and where the data set begins."""
    position, elements = 132, {}
    while position + 8 <= len(raw):
        group, element, vr, length = struct.unpack_from("<HH2sH", raw, position)
        if group != 2:
            break
        header = 8
        if vr in (b"OB", b"UN", b"OW", b"SQ", b"UT", b"UC", b"UR"):
            length, header = struct.unpack_from("<I", raw, position + 8)[0], 12
        elements[element] = raw[position + header : position + header + length]
        position += header + length
    return elements, position


def read_object(path: Path) -> WireObject | None:
    """The object of a Part 10 file with file meta; None for anything else."""
    raw = path.read_bytes()
    if raw[128:132] != b"DICM":
        return None
    elements, start = _meta(raw)
    values = {e: elements[e].rstrip(b"\0 ").decode("ascii") for e in (2, 3, 16) if e in elements}
    if len(values) < 3 or values[2] == "1.2.840.10008.1.3.10":
        return None
    return WireObject(values[2], values[3], values[16], raw[start:])


def storage_objects(folder: Path) -> list[tuple[Path, WireObject]]:
    """Every storable object below a folder, by path, under the UIDs of its data set as a sender must (PS3.4 B.2.3)."""
    found = ((p, read_object(p)) for p in sorted(folder.rglob("*")) if p.is_file())
    own = [(p, _with_own_uids(p, o)) for p, o in found if o is not None]
    return [(p, o) for p, o in own if o.sop_class]


def _with_own_uids(path: Path, item: WireObject) -> WireObject:
    try:
        ds = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=["SOPClassUID", "SOPInstanceUID"])
        return replace(item, sop_class=str(ds.SOPClassUID).strip(), sop_uid=str(ds.SOPInstanceUID).strip())
    except Exception:  # a malformed file goes as it is
        return item


def _item(kind: int, body: bytes) -> bytes:
    return struct.pack(">BBH", kind, 0, len(body)) + body


def _element(number: int, value: bytes) -> bytes:
    value += b"\0" * (len(value) % 2)
    return struct.pack("<HHI", 0, number, len(value)) + value


class RawAssociation:
    """One association; a context for each (SOP class, transfer syntax) handed in."""

    def __init__(
        self,
        address: tuple[str, int],
        pairs: Iterable[tuple[str, str]],
        *,
        calling: str = "RAWSENDER",
        called: str = "NEUROPACS_AGENT",
        timeout_s: float = 60,
    ) -> None:
        self.contexts = {pair: 2 * n + 1 for n, pair in enumerate(dict.fromkeys(pairs))}
        self.accepted: set[int] = set()
        self.max_pdu = 16384
        self.message_id = 0
        self.socket = socket.create_connection(address, timeout=timeout_s)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            self._associate(calling, called)
        except BaseException:
            self.socket.close()
            raise

    def _associate(self, calling: str, called: str) -> None:
        body = struct.pack(">HH16s16s32x", 1, 0, called.ljust(16).encode(), calling.ljust(16).encode())
        body += _item(0x10, APPLICATION)
        for (sop_class, syntax), number in self.contexts.items():
            parts = _item(0x30, sop_class.encode()) + _item(0x40, syntax.encode())
            body += _item(0x20, struct.pack(">BBBB", number, 0, 0, 0) + parts)
        user = _item(0x51, struct.pack(">I", 1 << 20)) + _item(0x52, b"1.2.826.0.1.3680043.2.1143.99")
        body += _item(0x50, user)
        self.socket.sendall(struct.pack(">BBI", 1, 0, len(body)) + body)
        kind, answer = self._pdu()
        if kind != 2:
            raise ConnectionRefusedError(f"PDU type {kind}: {answer.hex()}")
        self._read_accept(answer)

    def _read_accept(self, answer: bytes) -> None:
        position = 68
        while position + 4 <= len(answer):
            kind, _, length = struct.unpack_from(">BBH", answer, position)
            body = answer[position + 4 : position + 4 + length]
            if kind == 0x21 and body[2] == 0:
                self.accepted.add(body[0])
            if kind == 0x50 and body[0] == 0x51:
                self.max_pdu = struct.unpack_from(">I", body, 4)[0] or 1 << 20
            position += 4 + length

    def _exactly(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            more = self.socket.recv(count - len(data))
            if not more:
                raise ConnectionResetError("the peer closed the connection")
            data += more
        return data

    def _pdu(self) -> tuple[int, bytes]:
        kind, _, length = struct.unpack(">BBI", self._exactly(6))
        return kind, self._exactly(length)

    def _fragments(self, context: int, data: bytes, last: int, more: int) -> bytes:
        step = min(self.max_pdu, 1 << 20) - 6
        out = []
        for start in range(0, max(len(data), 1), step):
            part = data[start : start + step]
            flag = last if start + step >= len(data) else more
            out.append(struct.pack(">BBIIBB", 4, 0, len(part) + 6, len(part) + 2, context, flag) + part)
        return b"".join(out)

    def _command(self, *, field: int, sop_class: str, sop_uid: str | None) -> bytes:
        self.message_id = self.message_id % 65535 + 1
        body = _element(2, sop_class.encode()) + _element(0x100, struct.pack("<H", field))
        body += _element(0x110, struct.pack("<H", self.message_id))
        if sop_uid is None:
            body += _element(0x800, struct.pack("<H", 0x101))
        else:
            body += _element(0x700, b"\0\0") + _element(0x800, b"\1\0") + _element(0x1000, sop_uid.encode())
        return _element(0, struct.pack("<I", len(body))) + body

    def encode(self, item: WireObject) -> bytes:
        """All bytes of the C-STORE-RQ and its data set."""
        context = self.contexts[item.sop_class, item.syntax]
        command = self._command(field=1, sop_class=item.sop_class, sop_uid=item.sop_uid)
        return self._fragments(context, command, 3, 1) + self._fragments(context, item.data, 2, 0)

    def _status(self) -> int:
        kind, body = self._pdu()
        if kind != 4:
            raise ConnectionAbortedError(f"PDU type {kind} instead of a response")
        position = 6
        while position + 8 <= len(body):
            _, element, length = struct.unpack_from("<HHI", body, position)
            if element == 0x900:
                return int(struct.unpack_from("<H", body, position + 8)[0])
            position += 8 + length
        raise ConnectionAbortedError("a response without a status")

    def accepts(self, item: WireObject) -> bool:
        """Whether the peer accepted the context this object needs."""
        return self.contexts.get((item.sop_class, item.syntax)) in self.accepted

    def store(self, item: WireObject) -> int:
        """Send one object and return the DIMSE status."""
        self.socket.sendall(self.encode(item))
        return self._status()

    def echo(self) -> int:
        """C-ECHO; needs the verification context."""
        context = self.contexts[VERIFICATION, IMPLICIT]
        command = self._command(field=0x30, sop_class=VERIFICATION, sop_uid=None)
        self.socket.sendall(self._fragments(context, command, 3, 1))
        return self._status()

    def release(self) -> None:
        """Release in order."""
        try:
            self.socket.sendall(b"\5\0\0\0\0\4\0\0\0\0")
            self._pdu()
        finally:
            self.socket.close()

    def drop(self) -> None:
        """Close without a word."""
        self.socket.close()


def send_all(address: tuple[str, int], items: Sequence[WireObject], **options: object) -> list[int]:
    """Send objects over as few associations as contexts allow; statuses in the same order, 0xFFFF for a refused context."""
    statuses: list[int] = []
    start = 0
    while start < len(items):
        pairs: dict[tuple[str, str], None] = {}
        end = start
        while end < len(items) and (len(pairs) < 128 or (items[end].sop_class, items[end].syntax) in pairs):
            pairs[items[end].sop_class, items[end].syntax] = None
            end += 1
        association = RawAssociation(address, pairs, **options)  # type: ignore[arg-type]
        try:
            statuses += [association.store(i) if association.accepts(i) else 0xFFFF for i in items[start:end]]
            association.release()
        finally:
            association.drop()
        start = end
    return statuses
