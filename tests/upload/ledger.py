"""An order ledger in memory and the pieces an upload needs, for tests."""

from __future__ import annotations

import hashlib
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from agent.cloud.contract import MemoryParts
from agent.cloud.package import new_order
from agent.cloud.upload import Order, PlannedObject, SentObject, UploadHooks, UploadProgress
from agent.errors import CloudError


class Ledger:
    """Keeps everything; counts how often each object was recorded."""

    def __init__(self) -> None:
        self.kept: dict[int, SentObject] = {}
        self.left_out: dict[int, str] = {}
        self.part_ledgers: dict[int, MemoryParts] = {}
        self.recorded: Counter[int] = Counter()

    def sent(self) -> Mapping[int, SentObject]:
        return dict(self.kept)

    def excluded(self) -> Mapping[int, str]:
        return dict(self.left_out)

    def record_sent(self, sent: SentObject) -> None:
        self.kept[sent.number] = sent
        self.recorded[sent.number] += 1

    def record_excluded(self, planned: PlannedObject, reason: str) -> None:
        self.left_out[planned.number] = reason

    def forget(self, number: int) -> None:
        del self.kept[number]

    def parts_of(self, planned: PlannedObject) -> MemoryParts:
        return self.part_ledgers.setdefault(planned.number, MemoryParts())


@dataclass
class Prepared:
    data: bytes
    sha256: str
    excluded_because: str | None = None


def prepared(data: bytes) -> Prepared:
    return Prepared(data, hashlib.sha256(data).hexdigest())


def body_of(planned: PlannedObject, size: int = 3000) -> bytes:
    """Bytes that differ from object to object and never change."""
    return (hashlib.sha256(str(planned.number).encode()).digest() * (size // 32 + 1))[:size]


def make_order(count: int) -> Order:
    objects = tuple(PlannedObject(n + 1, 100 + n) for n in range(count))
    return Order(new_order(), 1, "2.25.1234567890", "mr-brain", objects)


@dataclass
class Watch:
    """What the caller of an upload sees."""

    progress: list[UploadProgress] = field(default_factory=list)
    problems: list[CloudError | None] = field(default_factory=list)
    trouble: threading.Event = field(default_factory=threading.Event)
    texts: list[str] = field(default_factory=list)

    def note(self, problem: CloudError | None) -> None:
        self.problems.append(problem)
        if problem is not None:
            self.trouble.set()

    def hooks(self, prepare: Callable[[PlannedObject], Prepared] | None = None) -> UploadHooks:
        return UploadHooks(
            prepare or (lambda planned: prepared(body_of(planned))), self.progress.append, self.note, self.texts.append
        )
