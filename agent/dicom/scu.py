"""Our requests to peers: echo and send.

Job: a C-ECHO with a diagnosis in words; sending files and folders over several associations, each data set as it is,
and a summary. Place: called by ``cli`` and the demo; stands on ``raw_association``. It must never decode, re-encode
or change a data set.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from agent.clock import SystemClock
from agent.dicom.contexts import ACCEPTED, EXPLICIT_LE, IMPLICIT_LE, VERIFICATION, ProposedContext, is_storage
from agent.dicom.raw_association import AssociationFailed, Part10File, Peer, RawAssociation, Rejected, read_part10
from agent.dicom.upper_layer import MAX_CONTEXTS
from agent.errors import BadDataset

LOST_IN_A_ROW = 3
_clock = SystemClock()


@dataclass(frozen=True, slots=True)
class EchoRequest:
    """Whom to ask."""

    host: str
    port: int
    called_aet: str
    calling_aet: str = "NEUROPACS_AGENT"
    timeout_s: float = 10.0


@dataclass(frozen=True, slots=True)
class EchoResult:
    """What came of it."""

    ok: bool
    diagnosis: str
    code: str
    """``ok``, or a stable word for what is wrong."""
    milliseconds: float | None = None
    contexts: tuple[str, ...] = ()


def echo(request: EchoRequest) -> EchoResult:
    """Send a C-ECHO and say in words what happened; never raises for what a peer does."""
    peer = Peer(request.host, request.port, request.called_aet, request.calling_aet, request.timeout_s)
    began = _clock.monotonic()
    try:
        association = RawAssociation(peer, [ProposedContext(1, VERIFICATION, (EXPLICIT_LE, IMPLICIT_LE))])
    except Rejected as error:
        return EchoResult(False, error.message, error.code)
    except AssociationFailed as error:
        hints = {
            "tls": "It wants DICOM TLS; use its plain port.",
            "closed": "It may not know our address; ask its administrator.",
        }
        return EchoResult(False, f"{error.message} {error.hint or hints.get(error.code, '')}".strip(), error.code)
    try:
        if association.contexts.get(1) is None or association.contexts[1].result != ACCEPTED:
            return EchoResult(
                False, "The peer accepted the association but does not offer Verification.", "no_verification"
            )
        status = association.echo(1)
    except AssociationFailed as error:
        return EchoResult(False, f"The association was accepted, then: {error.message}", error.code)
    finally:
        association.release()
    took = (_clock.monotonic() - began) * 1000
    if status != 0:
        return EchoResult(False, f"The peer answered the C-ECHO with status {status:04X}.", "status", took)
    return EchoResult(True, f"{request.called_aet} at {request.host} port {request.port} answers.", "ok", took)


@dataclass(frozen=True, slots=True)
class SendRequest:
    """Where to send, and how."""

    host: str
    port: int
    called_aet: str
    calling_aet: str = "NEUROPACS_AGENT"
    associations: int = 1
    timeout_s: float = 60.0


@dataclass(frozen=True, slots=True)
class SentFile:
    """What became of one file."""

    path: Path
    outcome: str
    """``stored``, ``warning``, ``refused``, ``failed`` or ``skipped``."""
    status: int | None = None
    reason: str = ""


@dataclass(slots=True)
class SendSummary:
    """What became of all of them."""

    files: list[SentFile] = field(default_factory=list)
    bytes: int = 0
    seconds: float = 0.0

    def counts(self) -> dict[str, int]:
        """Return how many files had each outcome."""
        return dict(Counter(f.outcome for f in self.files))

    def statuses(self) -> dict[str, int]:
        """Return how many responses carried each status, spelt in hexadecimal."""
        return dict(Counter(f"{f.status:04X}" for f in self.files if f.status is not None))

    @property
    def ok(self) -> bool:
        """Whether something was sent and everything sent was stored."""
        counts = self.counts()
        return (
            not counts.get("refused")
            and not counts.get("failed")
            and bool(counts.get("stored") or counts.get("warning"))
        )


_STATUS_WORDS = {
    0x0000: "Success",
    0x0122: "SOP Class not supported",
    0x0124: "not authorised",
    0x0117: "invalid SOP Instance UID",
    0xB000: "coercion of data elements",
    0xB006: "elements discarded",
    0xB007: "data set does not match SOP Class",
}


def status_in_words(status: int) -> str:
    """Say what a C-STORE status means (PS3.4 table B.2-1)."""
    if status in _STATUS_WORDS:
        return _STATUS_WORDS[status]
    if status & 0xFF00 == 0xA700:
        return "out of resources"
    if status & 0xFF00 == 0xA900:
        return "data set does not match SOP Class"
    if status & 0xF000 == 0xC000:
        return "cannot understand"
    return "unknown status"


def find_files(paths: Iterable[Path]) -> Iterator[Path]:
    """Yield files, folders expanded, in a fixed order."""
    for path in paths:
        if path.is_dir():
            yield from sorted(p for p in path.rglob("*") if p.is_file() and not p.is_symlink())
        else:
            yield path


def send(
    paths: Sequence[Path],
    request: SendRequest,
    progress: Callable[[SentFile, int], None] | None = None,
    planned: Callable[[int], None] | None = None,
) -> SendSummary:
    """Send files and folders, each data set as it is.

    Parameters
    ----------
    paths : sequence of Path
        Files and folders.
    request : SendRequest
        Where to.
    progress : callable, optional
        Told of every file and the bytes of its data set, from several threads, one at a time.
    planned : callable, optional
        Told once how many files there are.

    Raises
    ------
    AssociationFailed
        If not even the first association came about.
    """
    sender = _Sender(request, progress)
    found = list(find_files(paths))
    if planned is not None:
        planned(len(found))
    sendable = [file for path in found if (file := sender.examine(path)) is not None]
    began = _clock.monotonic()
    if sendable:
        lots = max(1, min(request.associations, len(sendable)))
        sender.run([sendable[n::lots] for n in range(lots)])
    sender.summary.seconds = _clock.monotonic() - began
    return sender.summary


def split_by_contexts(files: Sequence[Part10File]) -> Iterator[list[Part10File]]:
    """Yield runs of files that need no more presentation contexts than one association may propose."""
    run: list[Part10File] = []
    kinds: set[tuple[str, str]] = set()
    for file in files:
        kind = (file.sop_class_uid, file.transfer_syntax_uid)
        if kind not in kinds and len(kinds) == MAX_CONTEXTS:
            yield run
            run, kinds = [], set()
        run.append(file)
        kinds.add(kind)
    if run:
        yield run


class _Sender:
    def __init__(self, request: SendRequest, progress: Callable[[SentFile, int], None] | None) -> None:
        self._peer = Peer(request.host, request.port, request.called_aet, request.calling_aet, request.timeout_s)
        self._progress = progress
        self._lock = threading.Lock()
        self._first_failure: AssociationFailed | None = None
        self._had_association = False
        self.summary = SendSummary()

    def examine(self, path: Path) -> Part10File | None:
        """Return the file when it can be sent; else book why not."""
        try:
            file = read_part10(path)
        except BadDataset as error:
            self._book(SentFile(path, "skipped", reason=error.message), 0)
            return None
        except OSError as error:
            self._book(SentFile(path, "failed", reason=f"cannot be read: {error.strerror}"), 0)
            return None
        if not is_storage(file.sop_class_uid):
            self._book(SentFile(path, "skipped", reason="not an object of a storage class (DICOMDIR or the like)"), 0)
            return None
        return file

    def run(self, lots: list[list[Part10File]]) -> None:
        threads = [threading.Thread(target=self._send_lot, args=(lot,), daemon=True) for lot in lots]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if self._first_failure is not None and not self._had_association:
            raise self._first_failure

    def _send_lot(self, lot: list[Part10File]) -> None:
        """Thread main of one association after the other."""
        lost = 0
        for run in split_by_contexts(lot):
            remaining = run
            while remaining:
                done, failure = self._send_over_one_association(remaining)
                if failure is None:
                    break
                lost = 1 if done else lost + 1
                if lost >= LOST_IN_A_ROW or not self._had_association:
                    self._give_up(remaining[done:], failure)
                    return
                # the file in flight may be the reason: it fails, the others get a new association
                self._give_up(remaining[done : done + 1], failure)
                remaining = remaining[done + 1 :]

    def _send_over_one_association(self, files: list[Part10File]) -> tuple[int, AssociationFailed | None]:
        """Send until the end or a failure; return how many files were answered."""
        kinds = list(dict.fromkeys((f.sop_class_uid, f.transfer_syntax_uid) for f in files))
        contexts = [ProposedContext(2 * n + 1, a, (t,)) for n, (a, t) in enumerate(kinds)]
        done = 0
        try:
            association = RawAssociation(self._peer, contexts)
        except AssociationFailed as error:
            with self._lock:
                self._first_failure = self._first_failure or error
            return 0, error
        with self._lock:
            self._had_association = True
        try:
            accepted = association.accepted()
            for file in files:
                context_id = accepted.get((file.sop_class_uid, file.transfer_syntax_uid))
                if context_id is None:
                    reason = "the peer does not take this SOP Class with this transfer syntax"
                    self._book(SentFile(file.path, "refused", reason=reason), 0)
                else:
                    self._book_status(file, *association.store_file(context_id, file))
                done += 1
        except AssociationFailed as error:
            association.close()
            return done, error
        association.release()
        return done, None

    def _book_status(self, file: Part10File, status: int, comment: str) -> None:
        outcome = "stored" if status == 0 else "warning" if status & 0xF000 == 0xB000 else "refused"
        reason = "" if status == 0 else " - ".join(filter(None, (status_in_words(status), comment)))
        self._book(SentFile(file.path, outcome, status, reason), file.size_bytes)

    def _give_up(self, files: list[Part10File], failure: AssociationFailed) -> None:
        for file in files:
            self._book(SentFile(file.path, "failed", reason=failure.message), 0)

    def _book(self, sent: SentFile, size_bytes: int) -> None:
        with self._lock:
            self.summary.files.append(sent)
            self.summary.bytes += size_bytes
            if self._progress is not None:
                self._progress(sent, size_bytes)
