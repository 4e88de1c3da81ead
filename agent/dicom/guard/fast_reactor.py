"""The reactor of the fast path.

Job: in state 6 let ``deframing`` read, in a loop of its own that waits on the connection and on what our side wants;
everything else is ``reactor`` and with it pynetdicom. Place: made by ``association`` when objects are stored by the
fast path. It must never leave a PDU that is not P-DATA-TF to anyone but pynetdicom's decoder and state machine.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from pynetdicom import evt
from pynetdicom.pdu_primitives import A_ABORT, A_P_ABORT

from agent.dicom.guard.deframing import Deframer, OtherPdu, Store
from agent.dicom.guard.limits import PeerViolation
from agent.dicom.guard.reactor import GuardedDul
from agent.dicom.guard.staging import Interrupted, StagedSocket

if TYPE_CHECKING:
    from agent.dicom.guard.association import GuardedAssociation

WATCHED = (evt.EVT_DATA_RECV, evt.EVT_PDU_RECV, evt.EVT_DIMSE_RECV, evt.EVT_DIMSE_SENT, evt.EVT_PDU_SENT)
"""Who handles one of these gets pynetdicom's own path, on which all of them fire."""


class FastDul(GuardedDul):
    """The upper layer's reactor that takes objects off the wire itself."""

    def __init__(self, assoc: GuardedAssociation, store: Store) -> None:
        super().__init__(assoc)
        self._store = store
        self._deframer: Deframer | None = None
        self._is_watched: bool | None = None

    @property
    def is_ending(self) -> bool:
        """Whether our side wants to end; called when the eventfd says that something is wanted."""
        self.quiet()
        wanted = tuple(self.to_provider_queue.queue)
        return self._kill_thread or any(isinstance(primitive, (A_ABORT, A_P_ABORT)) for primitive in wanted)

    def _note_turn(self) -> None:
        if self._deframer is None or self.state_machine.current_state != "Sta6":
            super()._note_turn()

    def _read_pdu_data(self) -> None:
        if self.state_machine.current_state != "Sta6" or self._has_watchers():
            super()._read_pdu_data()
            return
        wire = cast("StagedSocket", self.wire)
        if self._deframer is None:
            self._deframer = Deframer(self.owner, wire, self._store)
        try:
            while True:
                self._deframer.read_pdu()
                if not self.event_queue.empty() or self.to_provider_queue.queue or self._kill_thread:
                    return
                if not wire.wait_for_message():
                    return
        except Interrupted:
            self._deframer.forget()
        except OtherPdu:
            self._deframer.forget()
            super()._read_pdu_data()
        except PeerViolation as violation:
            self._deframer.forget()
            self.reject_pdu(violation.message)
        except TimeoutError:
            self._deframer.forget()
            self.reject_pdu(f"A PDU was not complete within {self.owner.limits.pdu_timeout_s:g} s.")
        except OSError:
            self._deframer.forget()
            self.owner.note_end("The peer closed the connection without release.")
            self.event_queue.put("Evt17")

    def _has_watchers(self) -> bool:
        if self._is_watched is None:
            self._is_watched = any(self.owner.get_handlers(event) for event in WATCHED)
        return self._is_watched
