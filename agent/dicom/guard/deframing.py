"""C-STORE requests taken off the wire straight into the buffer they are stored from.

Job: take P-DATA-TF PDUs apart (PS3.8 9.3.5), fill chunks of 1 MB with the data set of a C-STORE-RQ, have it stored
while it comes, answer in the same thread. Any other command goes to pynetdicom's own message assembly. Place: driven
by ``fast_reactor`` in state 6. It must never trust a length, hold more than a chunk, or answer before the store has.
"""

# ruff: noqa: SLF001 - this package is where private names of pynetdicom are touched

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from pynetdicom.pdu_primitives import P_DATA

from agent.clock import SystemClock
from agent.dicom.guard.limits import PeerViolation
from agent.dicom.guard.messages import COMMAND_SET_BYTES, store_response
from agent.dicom.guard.staging import Interrupted, StagedSocket
from agent.dicom.intake import CHUNK_BYTES, Answer, SourceBroken
from agent.dicom.upper_layer import DATA_TF

if TYPE_CHECKING:
    from agent.dicom.guard.association import GuardedAssociation

BUFFERS_KEPT = 16
SPREAD_BYTES = 8 * CHUNK_BYTES
"""What an object of more than one chunk may occupy while it is stored."""
_UID_BYTES = 65
_C_STORE, _NO_DATA_SET = 0x0001, 0x0101
_PDU_HEADER, _PDV_HEADER = 6, 6
_pdu = struct.Struct(">BxI").unpack
_pdv = struct.Struct(">IBB").unpack
_element = struct.Struct("<HHI").unpack_from
_now = SystemClock().monotonic


class OtherPdu(Exception):
    """The next PDU is no P-DATA-TF; it has not been taken."""


@dataclass(frozen=True, slots=True)
class StoreRequest:
    """A C-STORE-RQ whose data set is coming."""

    context_id: int
    message_id: int
    sop_class_uid: str
    sop_uid: str
    beginning: memoryview
    rest: Iterator[memoryview] | None
    """None when `beginning` is all of it; else raises `SourceBroken` when the peer breaks off."""


Store = Callable[["GuardedAssociation", StoreRequest], Answer]


class _Buffers:
    """Chunks that were used before: their pages are there already."""

    def __init__(self) -> None:
        self._free: list[memoryview] = []

    def take(self) -> memoryview:
        try:
            return self._free.pop()
        except IndexError:
            return memoryview(bytearray(CHUNK_BYTES))

    def give_back(self, buffer: memoryview) -> None:
        if len(self._free) < BUFFERS_KEPT:
            self._free.append(buffer)


_buffers = _Buffers()


class Deframer:
    """Reads the P-DATA-TF PDUs of one association.

    Parameters
    ----------
    owner : GuardedAssociation
        The association.
    wire : StagedSocket
        Its socket.
    store : callable
        Stores an object and says what is answered.
    """

    def __init__(self, owner: GuardedAssociation, wire: StagedSocket, store: Store) -> None:
        self._owner, self._wire, self._store = owner, wire, store
        self._limits = owner.limits
        self._pdu_left = 0
        self._pdu_deadline = 0.0
        self._command = bytearray()
        self._command_context = 0
        self._fragment_left = 0
        self._is_last = False
        self._size = 0
        self._broken: BaseException | None = None

    def read_pdu(self) -> None:
        """Read one P-DATA-TF, and all of the objects that begin in it; answers them.

        Raises
        ------
        PeerViolation
            If a length, limit, deadline or the order of fragments is broken.
        OtherPdu
            If another PDU comes next.
        Interrupted
            If our side wants to end.
        OSError
            If the connection ends or the deadline passes.
        """
        self._begin_pdu(_now() + self._limits.pdu_timeout_s)
        while self._pdu_left:
            context_id, control, length = self._next_fragment(self._pdu_deadline)
            if not control & 1:
                self._hand_over(context_id, control, self._take(length))
                continue
            if context_id not in self._owner._accepted_cx:
                raise PeerViolation("Data came under a presentation context that was not accepted.")
            if self._command and context_id != self._command_context:
                raise PeerViolation("The fragments of a command came under two presentation contexts.")
            if len(self._command) + length > COMMAND_SET_BYTES:
                raise PeerViolation("A command set is longer than any that exists.")
            self._command_context = context_id
            self._command += self._take(length)
            self._owner.messages.note_fragment()
            if control & 2:
                command, self._command = bytes(self._command), bytearray()
                self._dispatch(context_id, command)

    def forget(self) -> None:
        """Drop the message that was under way."""
        self._pdu_left = self._fragment_left = 0
        self._command = bytearray()
        self._owner.messages.note_message_end()

    def _begin_pdu(self, wait_until: float) -> None:
        wire = self._wire
        header = wire.peek(_PDU_HEADER, wait_until)
        kind, length = _pdu(header)
        if kind != DATA_TF:
            raise OtherPdu
        self._owner.reactor._check_length(kind, length)
        if length < _PDV_HEADER:
            raise PeerViolation("A P-DATA-TF PDU is too short to hold a fragment.")
        wire.skip(_PDU_HEADER)
        self._pdu_left = length
        now = _now()
        self._pdu_deadline = now + self._limits.pdu_timeout_s
        self._owner.reactor.note_traffic(now)

    def _next_fragment(self, wait_until: float) -> tuple[int, int, int]:
        """Return context, control header and length of the next fragment."""
        if not self._pdu_left:
            self._begin_pdu(wait_until)
        if self._pdu_left < _PDV_HEADER:
            raise PeerViolation("A P-DATA-TF PDU ends in the middle of a fragment's header.")
        length, context_id, control = _pdv(self._wire.peek(_PDV_HEADER, self._pdu_deadline))
        if length < 2 or length + 4 > self._pdu_left:
            raise PeerViolation("A fragment is longer than its PDU, or has no message control header.")
        self._wire.skip(_PDV_HEADER)
        self._pdu_left -= length + 4
        return context_id, control, length - 2

    def _take(self, length: int) -> bytearray:
        out = bytearray(length)
        view, at = memoryview(out), 0
        while at < length:
            at += self._wire.read_some(view[at:], self._pdu_deadline)
        return out

    def _hand_over(self, context_id: int, control: int, body: bytes | bytearray) -> None:
        """Give a fragment to pynetdicom's message assembly, as its state machine would."""
        primitive = P_DATA()
        primitive.presentation_data_value_list = cast("Any", [[context_id, bytes((control,)) + body]])
        self._owner.messages.receive_primitive(primitive)

    def _dispatch(self, context_id: int, command: bytes) -> None:
        elements = _command_elements(command)
        is_store = _unsigned(elements, 0x0100) == _C_STORE and _unsigned(elements, 0x0800) != _NO_DATA_SET
        if not is_store or self._owner.messages.message is not None:
            self._owner.messages.note_message_end()
            self._hand_over(context_id, 3, command)
            return
        message_id, sop_class, sop = _unsigned(elements, 0x0110), elements.get(0x0002), elements.get(0x1000)
        if message_id is None or not sop_class or not sop or len(sop_class) > _UID_BYTES or len(sop) > _UID_BYTES:
            raise PeerViolation("A C-STORE request without message ID, SOP Class UID or SOP Instance UID came.")
        if not self._limits.memory.take(CHUNK_BYTES):
            raise PeerViolation("There is no memory for another large object just now.")
        buffer = _buffers.take()
        try:
            self._owner.reactor.is_busy = True
            self._receive(context_id, message_id, (_uid(sop_class), _uid(sop)), buffer)
        finally:
            _buffers.give_back(buffer)
            self._limits.memory.give_back(CHUNK_BYTES)
            self._owner.messages.note_message_end()
            self._owner.reactor.note_traffic(_now())
            self._owner.reactor.is_busy = False

    def _receive(self, context_id: int, message_id: int, uids: tuple[str, str], buffer: memoryview) -> None:
        self._size, self._fragment_left, self._is_last = 0, 0, False
        filled = self._fill(buffer, context_id)
        if self._is_done:
            request = StoreRequest(context_id, message_id, *uids, buffer[:filled], None)
            answer = self._store(self._owner, request)
        else:
            answer = self._receive_long(context_id, message_id, uids, buffer)
        comment = answer.comment[:64]
        self._wire.send(store_response(context_id, message_id, uids, answer.status, comment))

    def _receive_long(self, context_id: int, message_id: int, uids: tuple[str, str], buffer: memoryview) -> Answer:
        if not self._limits.memory.take(SPREAD_BYTES):
            raise PeerViolation("There is no memory for another large object just now.")
        try:
            rest = self._rest(context_id, buffer)
            answer = self._store(self._owner, StoreRequest(context_id, message_id, *uids, buffer, rest))
            while not self._is_done:  # refused before its end: the sender has to be heard out before it is told
                self._fill(buffer, context_id)
        except SourceBroken:
            if self._broken is None:
                raise
            raise self._broken from None
        finally:
            self._broken = None
            self._limits.memory.give_back(SPREAD_BYTES)
        return answer

    def _rest(self, context_id: int, buffer: memoryview) -> Iterator[memoryview]:
        try:
            while not self._is_done:
                filled = self._fill(buffer, context_id)
                if filled:
                    yield buffer[:filled]
        except (PeerViolation, OtherPdu, Interrupted, OSError) as error:
            # wrapped, because for the store an OSError is a fault of the disk
            self._broken = error
            raise SourceBroken from error

    @property
    def _is_done(self) -> bool:
        return self._is_last and not self._fragment_left

    def _fill(self, view: memoryview, context_id: int) -> int:
        """Fill `view` with what follows of the data set; returns how much came before its end."""
        at, room = 0, len(view)
        while at < room:
            if not self._fragment_left:
                if self._is_last:
                    break
                self._begin_fragment(context_id)
                continue
            wanted = min(room - at, self._fragment_left)
            got = self._wire.read_some(view[at : at + wanted], self._pdu_deadline)
            at += got
            self._fragment_left -= got
        return at

    def _begin_fragment(self, context_id: int) -> None:
        seconds = self._limits.dimse_timeout_s
        is_between = not self._pdu_left
        try:
            found, control, length = self._next_fragment(_now() + seconds)
        except TimeoutError:
            if is_between and not self._pdu_left:
                raise PeerViolation(f"A message was not complete: nothing more of it for {seconds:g} s.") from None
            raise
        if found != context_id or control & 1:
            raise PeerViolation("A fragment of another message came in the middle of a data set.")
        self._size += length
        if self._size > self._limits.max_object_bytes:
            raise PeerViolation(f"An object is larger than max_object_bytes ({self._limits.max_object_bytes}).")
        self._fragment_left, self._is_last = length, bool(control & 2)


def _command_elements(command: bytes) -> dict[int, bytes]:
    """Return the elements of a command set (implicit VR little endian, group 0000) by element number."""
    elements, at, end = {}, 0, len(command)
    while at < end:
        if at + 8 > end:
            raise PeerViolation("A command set ends in the middle of an element.")
        group, element, length = _element(command, at)
        at += 8
        if group or length > end - at:
            raise PeerViolation("A command set holds something else than command elements.")
        elements[element] = command[at : at + length]
        at += length
    return elements


def _unsigned(elements: dict[int, bytes], element: int) -> int | None:
    raw = elements.get(element)
    return int.from_bytes(raw, "little") if raw is not None and len(raw) == 2 else None


def _uid(raw: bytes) -> str:
    return raw.decode("ascii", "replace").strip("\0 ")
