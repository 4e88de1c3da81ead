"""De-identification of one stored object, in a worker process.

Job: read the object, decide whether it may leave, clean it, look at the result once more, hand back the bytes. Place:
run by the pool for the uploader, and by ``folder`` for ``agent deid``; calls ``suitability``, ``engine``,
``outbound``. The same object, keys and profile always give the same bytes. It must never hand back bytes that the
outbound check did not see.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from agent.deid.engine import Engine, read_source
from agent.deid.outbound import OutboundCheck, collect_identifiers
from agent.deid.part10 import decode_container, part10_start
from agent.deid.pseudonyms import PseudonymKeys
from agent.deid.rules.compile import compile_rules
from agent.deid.suitability import why_excluded
from agent.errors import DeidError
from agent.store.objects import ObjectReader, ObjectRef

NOT_READABLE = "deid_unreadable"


@dataclass(frozen=True, slots=True)
class DeidTask:
    """One object to de-identify; picklable.

    Parameters
    ----------
    segments : Path
        Folder of the store's segments.
    secrets : mapping
        Data keys by key id.
    object : ObjectRef
        Which object.
    keys : PseudonymKeys
        The site's pseudonym keys.
    profile : str
        Name of a profile or path of a site's.
    known : tuple of str
        Identifiers of the study that the engine knows; the outbound check looks for them too.
    """

    segments: Path
    secrets: Mapping[str, bytes] = field(repr=False)
    object: ObjectRef
    keys: PseudonymKeys
    profile: str
    known: tuple[str, ...] = field(default=(), repr=False)


@dataclass(frozen=True, slots=True)
class DeidActionCount:
    """How often an action was taken on an attribute; no values."""

    tag: str
    keyword: str
    action: str
    count: int


@dataclass(frozen=True, slots=True)
class DeidentifiedObject:
    """What may leave, or why nothing does.

    Parameters
    ----------
    instance_id : int
        The instance's row.
    data : bytes
        A Part 10 file; empty when the object is excluded.
    sha256, size_bytes : str, int
        Of `data`.
    sop_class_uid, new_sop_uid : str
        What `data` says it is.
    actions : tuple of DeidActionCount
        What was done.
    excluded_because : str or None
        A sentence for staff when the object must not leave.
    """

    instance_id: int
    data: bytes = field(repr=False)
    sha256: str
    size_bytes: int
    sop_class_uid: str
    new_sop_uid: str
    actions: tuple[DeidActionCount, ...]
    excluded_because: str | None


@lru_cache(maxsize=8)
def _engine(profile: str, keys: PseudonymKeys) -> Engine:
    return Engine(compile_rules(profile, keys.dates), keys)


def deidentify_object(task: DeidTask) -> DeidentifiedObject:
    """De-identify one stored object.

    Parameters
    ----------
    task : DeidTask
        What to do and with which keys.

    Returns
    -------
    DeidentifiedObject
        The bytes that may leave, or the reason why none do.

    Raises
    ------
    DeidError
        ``outbound_hit`` when the result still held an identifier (no value is named).
    IntegrityError
        When the stored object cannot be authenticated.
    """
    with ObjectReader(task.segments, task.secrets) as reader:
        data = reader.read(task.object)
    done = deidentify_bytes(data, task.object.transfer_syntax_uid, task.keys, task.profile, task.known)
    return done if done.instance_id == task.object.instance_id else _numbered(done, task.object.instance_id)


def deidentify_bytes(
    data: bytes | memoryview, transfer_syntax_uid: str, keys: PseudonymKeys, profile: str, known: tuple[str, ...] = ()
) -> DeidentifiedObject:
    """De-identify an encoded data set.

    Parameters
    ----------
    data : bytes
        The data set as received, without file meta information.
    transfer_syntax_uid : str
        How it is encoded.
    keys : PseudonymKeys
        The site's keys.
    profile : str
        Name of a profile or path of a site's.
    known : tuple of str
        Further identifiers to look for.

    Raises
    ------
    DeidError
        ``outbound_hit`` when the result still held an identifier.
    ConfigError
        When the profile cannot be used.
    """
    engine = _engine(profile, keys)
    try:
        encoded = decode_container(data, transfer_syntax_uid)
        source = read_source(encoded.data, encoded.encoding, encoded.transfer_syntax_uid)
        because = why_excluded(source, engine.rules.profile)
        if because:
            return _excluded(because, source.text(0x00080016))
        clean = engine.clean(source, known)
    except DeidError as error:
        if error.code != NOT_READABLE:
            raise
        return _excluded(error.message, "")
    start = part10_start(clean.sop_class_uid, clean.sop_uid, encoded.transfer_syntax_uid)
    outgoing = b"".join((start, *clean.chunks))
    OutboundCheck(collect_identifiers(data, transfer_syntax_uid, known)).check(outgoing)
    digest = hashlib.sha256(outgoing).hexdigest()
    actions = action_counts(clean.counts)
    return DeidentifiedObject(0, outgoing, digest, len(outgoing), clean.sop_class_uid, clean.sop_uid, actions, None)


def action_counts(counts: Counter[tuple[str, str, str]]) -> tuple[DeidActionCount, ...]:
    """Return counts in the order of tags."""
    return tuple(DeidActionCount(*key, count) for key, count in sorted(counts.items()))


def _excluded(because: str, sop_class_uid: str) -> DeidentifiedObject:
    return DeidentifiedObject(0, b"", "", 0, sop_class_uid, "", (), because)


def _numbered(done: DeidentifiedObject, instance_id: int) -> DeidentifiedObject:
    return DeidentifiedObject(
        instance_id, done.data, done.sha256, done.size_bytes, done.sop_class_uid, done.new_sop_uid, done.actions,
        done.excluded_because,
    )  # fmt: skip
