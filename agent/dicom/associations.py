"""What the engine is told about associations.

Job: the values that travel from receiver and listener to whoever keeps the books: opened, closed, refused. Place:
made in ``receiver`` and ``listener``, handed to ``ReceiverEvents``. Sentences are for staff: they may name AE titles
and addresses of peers, and never anything of a patient.
"""

from __future__ import annotations

from dataclasses import dataclass

from agent.dicom.contexts import NegotiatedContext

TRANSIENT, PERMANENT = 2, 1


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why an association is rejected: the sentence for staff and the reason of the A-ASSOCIATE-RJ (PS3.8 table 9-21).

    The default is what back-pressure answers: rejected-transient, presentation related, local-limit-exceeded.
    """

    sentence: str
    result: int = TRANSIENT
    source: int = 3
    diagnostic: int = 2


@dataclass(frozen=True, slots=True)
class AssociationOpened:
    """An association was accepted."""

    id: str
    receiver: str
    calling_aet: str
    called_aet: str
    address: str
    opened_at: float
    contexts: tuple[NegotiatedContext, ...]


@dataclass(frozen=True, slots=True)
class AssociationClosed:
    """An association ended; reported after all arrivals of it."""

    id: str
    receiver: str
    closed_at: float
    outcome: str
    """``released``, ``aborted`` or ``lost``."""
    reason: str
    """In words; empty when it was released."""
    objects: int
    refused_objects: int
    bytes: int
    last_traffic_at: float


@dataclass(frozen=True, slots=True)
class AssociationRefused:
    """A connection or association that was not let in."""

    id: str
    calling_aet: str
    called_aet: str
    address: str
    at: float
    reason: str
    result: int
    source: int
    diagnostic: int


@dataclass(frozen=True, slots=True)
class OpenAssociation:
    """An association that is open, with the age of its last traffic."""

    id: str
    calling_aet: str
    address: str
    last_traffic_age_s: float
