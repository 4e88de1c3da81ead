"""pynetdicom's upper layer behind limits.

Job: run one accepted association on pynetdicom's AE, ACSE and state machine, with what they lack: lengths checked
before a byte is read, a deadline for every PDU and message, contexts negotiated by ``contexts``, waiting on events
instead of 1 ms sleeps, and every exception of a reactor thread turned into an abort. Place: used by ``stock_path``;
the only package that touches private names of pynetdicom (3.0.4, pinned). It must never let a peer hold a thread,
memory or a descriptor longer than the limits say.
"""

from agent.dicom.guard.association import Callbacks, GuardedAssociation
from agent.dicom.guard.deframing import StoreRequest
from agent.dicom.guard.limits import Limits, MemoryBudget, PeerViolation

__all__ = ["Callbacks", "GuardedAssociation", "Limits", "MemoryBudget", "PeerViolation", "StoreRequest"]
