"""What an upload is: order, keys, manifest, cancel mark.

Job: make order ids, name objects and write the two small JSON files of the published contract
(``docs/cloud-contract.md``). Place: used by ``upload`` and ``s3``; pure. No key and no field may come from a DICOM UID
of the hospital or anything else that identifies a patient: keys are made of order and number alone.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import re
import uuid
from collections.abc import Callable
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from agent.errors import Permanent

CONTRACT: Literal["imaging-agent/1"] = "imaging-agent/1"
DISTRIBUTION = "imaging-ingestion-agent"
_ORDER = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


def new_order() -> str:
    """Return a new order id: a random UUID, never derived from anything."""
    return str(uuid.uuid4())


def _checked(order: str) -> str:
    if not _ORDER.fullmatch(order):
        raise Permanent("An order id that is not a random UUID cannot be used.", code="order_id")
    return order


def order_prefix(order: str) -> str:
    """Return the prefix of everything the agent writes for `order`."""
    return f"studies/{_checked(order)}/"


def results_prefix(order: str) -> str:
    """Return the prefix of everything the analysis writes for `order`."""
    return f"results/{_checked(order)}/"


def instance_key(order: str, number: int) -> str:
    """Return the key of object `number` (from 1) of `order`."""
    return f"{order_prefix(order)}instances/{number}.dcm"


def manifest_key(order: str) -> str:
    """Return the key of the commit mark."""
    return f"{order_prefix(order)}manifest.json"


def cancel_key(order: str) -> str:
    """Return the key of the mark that makes an order void."""
    return f"{order_prefix(order)}cancel.json"


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ManifestObject(_Record):
    """One object of an order."""

    number: int = Field(ge=1)
    key: str
    size_bytes: int = Field(ge=1)
    sha256: Sha256


class Manifest(_Record):
    """The commit mark of an order: written last, when everything it names is verified."""

    contract: Literal["imaging-agent/1"] = CONTRACT
    order: str
    revision: int = Field(ge=1)
    study_uid: str = Field(pattern=r"^[0-9.]{1,64}$", description="Pseudonymous Study Instance UID.")
    profile: str = Field(max_length=100, description="Quality-control profile the study passed.")
    agent_version: str = Field(default_factory=lambda: importlib.metadata.version(DISTRIBUTION))
    objects: tuple[ManifestObject, ...] = Field(min_length=1)
    excluded: int = Field(0, ge=0, description="Objects of the study that were not sent.")

    def to_bytes(self) -> bytes:
        """Return the JSON that is sent: the same manifest gives the same bytes."""
        return json.dumps(self.model_dump(mode="json"), indent=1, sort_keys=True).encode()


class Cancel(_Record):
    """The mark that makes an order void."""

    contract: Literal["imaging-agent/1"] = CONTRACT
    order: str
    reason: Literal["cancelled", "superseded"]

    def to_bytes(self) -> bytes:
        """Return the JSON that is sent."""
        return json.dumps(self.model_dump(mode="json"), indent=1, sort_keys=True).encode()


def sealed_manifest(manifest: Manifest, outbound: Callable[[str], None]) -> bytes:
    """Return the manifest's bytes after the outbound check has read them.

    Parameters
    ----------
    manifest : Manifest
        What is to be sent.
    outbound : callable
        The last look at outgoing text; raises when it holds an identifier.

    Raises
    ------
    DeidError
        From `outbound`.
    """
    data = manifest.to_bytes()
    outbound(data.decode())
    return data


def sha256_of(data: bytes) -> str:
    """Return the SHA-256 in hexadecimal."""
    return hashlib.sha256(data).hexdigest()
