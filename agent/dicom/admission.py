"""Who may come in.

Job: decide on an association request from its AE titles, the peer's address and the settings; give the reason of the
A-ASSOCIATE-RJ and a sentence that tells staff what to change. Place: called by ``pending`` before any thread or
pynetdicom object exists; ``listener`` asks it about bare addresses. AE titles are claims, not proof: only the address
is checked against the connection. It must never let in what the settings do not name.
"""

from __future__ import annotations

import ipaddress

from agent.config import DicomSettings
from agent.dicom.associations import PERMANENT, Refusal
from agent.dicom.upper_layer import APPLICATION_CONTEXT, AssociationRequest

_USER, _ACSE = 1, 2
_NO_REASON, _CONTEXT_NAME, _CALLING, _CALLED = 1, 2, 3, 7
_PROTOCOL_VERSION = 2


def plain_address(address: str) -> str:
    """Return an address in its shortest form: IPv4 in IPv6 unwrapped, zone and zeros removed."""
    try:
        parsed = ipaddress.ip_address(address.split("%", 1)[0])
    except ValueError:
        return address
    mapped = getattr(parsed, "ipv4_mapped", None)
    return str(mapped or parsed)


def refuse_address(settings: DicomSettings, address: str) -> Refusal | None:
    """Say why a connection from `address` is closed at once, or None.

    With ``accept = "listed"`` and an address given for every peer, an unknown address need not be listened to at all.
    """
    if settings.accept == "any" or any(not peer.address for peer in settings.peer):
        return None
    if any(plain_address(peer.address) == plain_address(address) for peer in settings.peer):
        return None
    return Refusal(
        f"{address} is not the address of any known peer; add it under [[dicom.peer]] if it should send.",
        PERMANENT,
        _USER,
        _NO_REASON,
    )


def refuse_request(settings: DicomSettings, request: AssociationRequest, address: str) -> Refusal | None:
    """Say why an association is rejected, or None.

    The order is that of the Standard's sources: protocol first, then application context, called title, calling title.
    """
    calling, called = request.calling_aet, request.called_aet
    if not request.protocol_version & 1:
        return Refusal(
            f"{calling} at {address} speaks an unknown version of the upper layer protocol.",
            PERMANENT,
            _ACSE,
            _PROTOCOL_VERSION,
        )
    if request.application_context != APPLICATION_CONTEXT:
        return Refusal(
            f"{calling} at {address} asked for another application context than DICOM's.",
            PERMANENT,
            _USER,
            _CONTEXT_NAME,
        )
    if settings.require_called_aet and called != settings.ae_title.strip():
        return Refusal(
            f"{calling} called us {called}; we are {settings.ae_title}. Correct the called AE title at {calling}.",
            PERMANENT,
            _USER,
            _CALLED,
        )
    if settings.accept == "listed":
        return _refuse_caller(settings, calling, address)
    return None


def _refuse_caller(settings: DicomSettings, calling: str, address: str) -> Refusal | None:
    named = [peer for peer in settings.peer if peer.calling_aet.strip() == calling]
    if not named:
        return Refusal(
            f"{calling} at {address} is not a known peer; add it under [[dicom.peer]] if it should send.",
            PERMANENT,
            _USER,
            _CALLING,
        )
    if any(not peer.address or plain_address(peer.address) == plain_address(address) for peer in named):
        return None
    known = ", ".join(sorted({peer.address for peer in named}))
    return Refusal(
        f"{calling} is known at {known} but called from {address}; correct its address or stop the impostor.",
        PERMANENT,
        _USER,
        _CALLING,
    )
