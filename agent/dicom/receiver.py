"""A receiver process.

Job: set the process up (dies with the engine, ignores SIGINT and SIGTERM), open its segments, run the waiting room in
the main thread, end in order. Place: started by ``receiver_pool`` from the forkserver; calls ``pending``,
``stock_path``, ``intake``. It holds no master key and no database. It must never live longer than the engine by more
than a second.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import socket
import threading
from multiprocessing.connection import Connection

from agent.clock import SystemClock
from agent.dicom.associations import Refusal
from agent.dicom.guard import Limits, MemoryBudget
from agent.dicom.intake import Intake
from agent.dicom.pending import PendingRoom, RoomEvents
from agent.dicom.receiver_link import (
    ConnectionGone,
    Forget,
    Forgotten,
    KeyAnswer,
    Line,
    Ready,
    ReceiverConfig,
    Stop,
    Stopped,
    StudyKeyLoans,
    Traffic,
)
from agent.dicom.stock_path import FastPath, PathEvents, StockPath
from agent.errors import StorageError
from agent.logs import configure_logs, get_logger
from agent.store.segments import SegmentWriter

PR_SET_PDEATHSIG = 1
TURN_S = 0.25
TRAFFIC_S = 1.0
MEMORY_SHARE = 0.25

_clock = SystemClock()
log = get_logger("receiver")


def run_receiver(config: ReceiverConfig, connection: Connection, handover: socket.socket) -> None:
    """Process main.

    Parameters
    ----------
    config : ReceiverConfig
        What to serve and where to store.
    connection : Connection
        The line to the engine.
    handover : socket.socket
        Where accepted connections come from.
    """
    _die_with_parent()
    configure_logs(config.log_level, config.log_format)
    _Receiver(config, connection, handover).run()


def _die_with_parent() -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def _memory_limit() -> int:
    """Bytes of objects that one receiver may hold in memory at once: a quarter of the machine's."""
    return int(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") * MEMORY_SHARE)


class _Receiver:
    def __init__(self, config: ReceiverConfig, connection: Connection, handover: socket.socket) -> None:
        dicom = config.dicom
        self._line = Line(connection)
        self._loans = StudyKeyLoans(self._line)
        self._writer = SegmentWriter(
            config.segments,
            config.name,
            segment_bytes=config.segment_bytes,
            sync=config.sync,
            hard_margin_percent=config.hard_margin_percent,
        )
        self._intake = Intake(self._writer, self._loans.lend, self._line.queue)
        limits = Limits(
            max_pdu_bytes=dicom.max_pdu_bytes,
            max_object_bytes=dicom.max_object_bytes,
            pdu_timeout_s=dicom.pdu_timeout_s,
            idle_timeout_s=dicom.idle_timeout_s,
            dimse_timeout_s=dicom.dimse_timeout_s,
            association_timeout_s=dicom.association_timeout_s,
            memory=MemoryBudget(_memory_limit()),
        )
        told = PathEvents(self._line.queue, self._line.queue, self._gone)
        self._path = (FastPath if dicom.fast_path else StockPath)(config.name, dicom, limits, self._intake, told)
        self._room = PendingRoom(dicom, handover, RoomEvents(self._path.serve, self._line.queue, self._gone))
        self._stop: Stop | None = None

    def run(self) -> None:
        threading.Thread(target=self._listen_to_engine, name="line-reader", daemon=True).start()
        self._line.send(Ready())
        told_at = _clock.monotonic()
        while self._stop is None and self._room.turn(TURN_S):
            if _clock.monotonic() - told_at > TRAFFIC_S:
                told_at = _clock.monotonic()
                self._tell_traffic()
        if self._stop is not None:
            self._end(self._stop.grace_s)

    def _tell_traffic(self) -> None:
        ages = self._path.traffic()
        if ages:
            self._line.queue(Traffic(ages))

    def _end(self, grace_s: float) -> None:
        """Refuse newcomers, let associations end, store and tell everything."""
        self._room.stopping = Refusal("The agent is shutting down.")
        stopper = threading.Thread(target=self._path.stop, args=(grace_s,), name="stopper", daemon=True)
        stopper.start()
        while stopper.is_alive() and self._room.turn(TURN_S / 5):
            pass
        self._intake.is_stopping = True
        self._room.close()
        self._writer.close()
        self._line.queue(Stopped())
        self._line.finish(5.0)

    def _gone(self, connection_id: str) -> None:
        self._line.queue(ConnectionGone(connection_id))

    def _listen_to_engine(self) -> None:
        """Thread main: the engine's messages; when the engine is gone, so are we."""
        with contextlib.suppress(EOFError, OSError, StorageError):
            while True:
                message = self._line.receive()
                if isinstance(message, KeyAnswer):
                    self._loans.answer(message)
                elif isinstance(message, Forget):
                    threading.Thread(target=self._forget, args=(message,), name="forget", daemon=True).start()
                else:
                    self._stop = message
        if self._stop is None:
            os._exit(0)

    def _forget(self, message: Forget) -> None:
        self._loans.forget(message.study_uid)
        self._line.queue(Forgotten(message.number))
