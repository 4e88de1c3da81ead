"""Bytes on the wire for tests that do what no decent sender does."""

from __future__ import annotations

import socket
import struct

from agent.dicom.contexts import EXPLICIT_LE, VERIFICATION, ProposedContext
from agent.dicom.raw_association import Peer, RawAssociation
from agent.dicom.upper_layer import association_request

MR = "1.2.840.10008.5.1.4.1.1.4"
CONTEXTS = (ProposedContext(1, VERIFICATION, (EXPLICIT_LE,)), ProposedContext(3, MR, (EXPLICIT_LE,)))


def connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=30)


def request(
    contexts: tuple[ProposedContext, ...] = CONTEXTS, called: str = "NEUROPACS_AGENT", calling: str = "TEST"
) -> bytes:
    return association_request(called, calling, contexts, 16_384)


def associate(port: int, calling: str = "TEST", called: str = "NEUROPACS_AGENT") -> RawAssociation:
    return RawAssociation(Peer("127.0.0.1", port, called, calling), CONTEXTS)


def read_all(client: socket.socket, limit: int = 1 << 20) -> bytes:
    """Everything until the other side closes."""
    out = bytearray()
    try:
        while len(out) < limit and (got := client.recv(65_536)):
            out += got
    except ConnectionResetError:
        pass
    return bytes(out)


def p_data(context_id: int, control: int, body: bytes) -> bytes:
    return struct.pack(">BBIIBB", 4, 0, len(body) + 6, len(body) + 2, context_id, control) + body
