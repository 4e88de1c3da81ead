"""A sender that is never the limit: all PDUs are encoded before the clock starts.

``python -m benchmarks.peers.raw_client HOST PORT AET MODE FILE…``: connects, prints ``ready``, waits for a line,
sends one object after the other and prints JSON: start and end on the system's monotonic clock, statuses, seconds of
each object.
"""

# ruff: noqa: SLF001 - it sends what was encoded before, which the association does not offer

from __future__ import annotations

import json
import struct
import sys
import time
from pathlib import Path

from agent.dicom.contexts import EXPLICIT_LE, VERIFICATION, ProposedContext
from agent.dicom.raw_association import Part10File, Peer, RawAssociation, read_part10

PDU_BYTES = 131_072


def encode(association: RawAssociation, context_id: int, file: Part10File) -> bytes:
    """Return everything that a C-STORE-RQ is on the wire."""
    data = file.path.read_bytes()[file.offset :]
    command = association._command(1, file.sop_class_uid, file.sop_uid)
    step = min(association.max_pdu, PDU_BYTES) - 6
    out = [struct.pack(">BBIIBB", 4, 0, len(command) + 6, len(command) + 2, context_id, 3), command]
    for at in range(0, len(data), step):
        piece = data[at : at + step]
        last = 2 if at + step >= len(data) else 0
        out += [struct.pack(">BBIIBB", 4, 0, len(piece) + 6, len(piece) + 2, context_id, last), piece]
    return b"".join(out)


def store(peer: Peer, paths: list[Path], gap_s: float) -> None:
    """Send; one object at a time with `gap_s` between them."""
    files = [read_part10(path) for path in paths]
    association = RawAssociation(peer, [ProposedContext(1, files[0].sop_class_uid, (EXPLICIT_LE,))])
    encoded = [encode(association, 1, file) for file in files]
    print("ready", flush=True)
    sys.stdin.readline()
    bad, each = 0, []
    began = time.monotonic()
    for message in encoded:
        if gap_s:
            time.sleep(gap_s)
        at = time.monotonic()
        association._socket.sendall(message)
        bad += association._response()[0] != 0
        each.append(time.monotonic() - at)
    ended = time.monotonic()
    association.release()
    print(json.dumps({"began": began, "ended": ended, "bad": bad, "each": each}), flush=True)


def cycle(peer: Peer, count: int) -> None:
    """Associate, echo, release, `count` times."""
    print("ready", flush=True)
    sys.stdin.readline()
    each, bad = [], 0
    began = time.monotonic()
    for _ in range(count):
        at = time.monotonic()
        association = RawAssociation(peer, [ProposedContext(1, VERIFICATION, (EXPLICIT_LE,))])
        bad += association.echo(1) != 0
        association.release()
        each.append(time.monotonic() - at)
    print(json.dumps({"began": began, "ended": time.monotonic(), "bad": bad, "each": each}), flush=True)


def main(host: str, port: str, aet: str, mode: str, *paths: str) -> None:
    """Run one client."""
    peer = Peer(host, int(port), aet, "RAW", 60.0)
    if mode.startswith("cycle"):
        cycle(peer, int(mode.partition(":")[2]))
    else:
        store(peer, [Path(p) for p in paths], float(mode.partition(":")[2] or 0))


if __name__ == "__main__":
    main(*sys.argv[1:])
