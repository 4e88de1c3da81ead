"""Peers that attack: each is cut off with a reason, and a good sender beside it never notices."""

from __future__ import annotations

import struct
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from agent.dicom.contexts import EXPLICIT_LE, ProposedContext
from agent.dicom.scu import SendRequest, SendSummary, send
from tests.dicom_files import make_series, write_series
from tests.receiving.books import Stand, receiving
from tests.receiving.wire import MR, associate, connect, p_data, read_all, request

IMAGES = 30
MEMORY_ALLOWED = 150 * 1024 * 1024


@pytest.fixture(scope="module")
def stand(tmp_path_factory: pytest.TempPathFactory, receive_path: str) -> Iterator[Stand]:
    limits = {
        "association_timeout_s": 0.8, "pdu_timeout_s": 0.8, "dimse_timeout_s": 1.0, "idle_timeout_s": 2.0,
        "max_pdu_bytes": 65_536, "max_object_bytes": 4_194_304, "max_associations": 40, "max_associations_per_address": 40,
    }  # fmt: skip
    with receiving(tmp_path_factory.mktemp("hostile"), **limits) as running:
        yield running


def _threads(stand: Stand) -> int:
    return psutil.Process(stand.pool.pids()[0]).num_threads()


def _memory(stand: Stand) -> int:
    return psutil.Process(stand.pool.pids()[0]).memory_info().rss


def _while_a_good_sender_works(stand: Stand, folder: Path, attack: Callable[[], None]) -> None:
    """Run `attack` while a series is sent; all of it must be stored, and memory and pid must hold."""
    write_series(folder, make_series(IMAGES))
    pid, before = stand.pool.pids()[0], _memory(stand)
    outcome: list[SendSummary] = []
    sender = threading.Thread(
        target=lambda: outcome.append(send([folder], SendRequest("127.0.0.1", stand.port, "NEUROPACS_AGENT")))
    )
    sender.start()
    attack()
    sender.join(60)
    assert outcome and outcome[0].counts() == {"stored": IMAGES}
    assert stand.pool.pids() == [pid]
    assert _memory(stand) - before < MEMORY_ALLOWED


def test_silent_connections_cost_no_thread_and_are_cut(stand: Stand, tmp_path: Path) -> None:
    def attack() -> None:
        before = _threads(stand)
        silent = [connect(stand.port) for _ in range(25)]
        assert _threads(stand) - before < 10
        for client in silent:
            assert read_all(client) == b""
            client.close()

    _while_a_good_sender_works(stand, tmp_path, attack)
    stand.books.wait(lambda: any("said nothing" in r.reason for r in stand.books.refused))


def test_a_length_bomb_is_refused_before_a_byte_of_it_is_read(stand: Stand, tmp_path: Path) -> None:
    def attack() -> None:
        with connect(stand.port) as client:
            client.sendall(struct.pack(">BBI", 1, 0, 0xFFFFFFFF) + bytes(4096))
            assert read_all(client)[:1] in (b"\x07", b"")

    _while_a_good_sender_works(stand, tmp_path, attack)
    stand.books.wait(lambda: any("4294967295 bytes" in r.reason for r in stand.books.refused))


def test_one_byte_at_a_time_does_not_hold_the_door(stand: Stand, tmp_path: Path) -> None:
    def attack() -> None:
        with connect(stand.port) as client:
            stop = threading.Event()
            for byte in request()[:200]:
                try:
                    client.sendall(bytes([byte]))
                except OSError:
                    break
                if stop.wait(0.02):
                    break
            assert read_all(client) == b""

    _while_a_good_sender_works(stand, tmp_path, attack)
    stand.books.wait(lambda: any("did not finish" in r.reason for r in stand.books.refused))


def test_endless_data_is_aborted_at_the_largest_object_allowed(stand: Stand, tmp_path: Path) -> None:
    def attack() -> None:
        with associate(stand.port, "ENDLESS") as association:
            command = association._command(1, MR, "1.2.3.4")
            client = association._socket
            client.sendall(p_data(3, 3, command))
            sent = 0
            with pytest.raises(OSError):
                while sent < 64 * 1024 * 1024:
                    client.sendall(p_data(3, 0, bytes(60_000)))
                    sent += 60_000
            assert sent < 32 * 1024 * 1024

    _while_a_good_sender_works(stand, tmp_path, attack)
    stand.books.wait(lambda: any("max_object_bytes" in c.reason for c in stand.books.closed))


def test_a_pdu_longer_than_negotiated_is_aborted(stand: Stand, tmp_path: Path) -> None:
    def attack() -> None:
        with associate(stand.port, "LONGPDU") as association:
            association._socket.sendall(struct.pack(">BBI", 4, 0, 1 << 20) + bytes(1000))
            assert read_all(association._socket)[:1] == b"\x07"

    _while_a_good_sender_works(stand, tmp_path, attack)
    stand.books.wait(lambda: any("1048576 bytes is longer" in c.reason for c in stand.books.closed))


def test_a_pdu_that_never_ends_is_aborted(stand: Stand, tmp_path: Path) -> None:
    def attack() -> None:
        with associate(stand.port, "HALFPDU") as association:
            association._socket.sendall(struct.pack(">BBIIBB", 4, 0, 1000, 996, 3, 3) + bytes(10))
            assert read_all(association._socket)[:1] == b"\x07"

    _while_a_good_sender_works(stand, tmp_path, attack)
    stand.books.wait(lambda: any("not complete within" in c.reason for c in stand.books.closed))


def test_a_message_that_stops_in_the_middle_is_aborted(stand: Stand, tmp_path: Path) -> None:
    def attack() -> None:
        with associate(stand.port, "HALFMESSAGE") as association:
            association._socket.sendall(p_data(3, 3, association._command(1, MR, "1.2.3.4")) + p_data(3, 0, bytes(100)))
            assert read_all(association._socket)[:1] == b"\x07"

    _while_a_good_sender_works(stand, tmp_path, attack)
    stand.books.wait(lambda: any("nothing more of it" in c.reason for c in stand.books.closed))


def test_an_idle_association_is_aborted(stand: Stand) -> None:
    with associate(stand.port, "IDLE") as association:
        assert read_all(association._socket)[:1] == b"\x07"
        stand.books.wait(lambda: any("No traffic" in c.reason for c in stand.books.closed))


@pytest.mark.parametrize(("contexts", "syntaxes"), [(600, 1), (1, 2000), (127, 60)])
def test_a_context_flood_is_refused_without_being_decoded(
    stand: Stand, tmp_path: Path, contexts: int, syntaxes: int
) -> None:
    flood = tuple(
        ProposedContext((2 * n + 1) % 256, MR, tuple(f"1.2.840.113619.{n}.{s}" for s in range(syntaxes)))
        for n in range(contexts)
    )

    def attack() -> None:
        with connect(stand.port) as client:
            client.sendall(request(flood))
            assert read_all(client)[:1] in (b"\x07", b"\x02")

    _while_a_good_sender_works(stand, tmp_path, attack)


def test_requests_without_waiting_for_answers_are_aborted(stand: Stand, tmp_path: Path) -> None:
    def attack() -> None:
        with associate(stand.port, "PIPELINE") as association:
            echo = p_data(1, 3, association._command(0x30, "1.2.840.10008.1.1", None))
            try:
                association._socket.sendall(echo * 20_000)
            except OSError:
                pass
            read_all(association._socket, 1 << 24)

    _while_a_good_sender_works(stand, tmp_path, attack)
    stand.books.wait(lambda: any("without waiting" in c.reason for c in stand.books.closed))


@pytest.mark.parametrize(
    ("sent", "told"),
    [
        (bytes.fromhex("1603010200010001fc0303"), "TLS was spoken"),
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP was spoken"),
        (b"\x04\x00\x00\x00\x00\x10" + bytes(16), "not DICOM"),
    ],
)
def test_other_protocols_are_named(stand: Stand, sent: bytes, told: str) -> None:
    with connect(stand.port) as client:
        client.sendall(sent)
        read_all(client)
    stand.books.wait(lambda: any(told in r.reason for r in stand.books.refused))


def test_threads_and_descriptors_are_given_back(stand: Stand, tmp_path: Path) -> None:
    process = psutil.Process(stand.pool.pids()[0])

    def settled() -> tuple[int, int]:
        stand.books.wait(lambda: not stand.pool.open_associations())
        return process.num_threads(), process.num_fds()

    first = settled()
    for _ in range(20):
        associate(stand.port).release()
        associate(stand.port).close()
        connect(stand.port).close()
    stand.books.wait(lambda: len(stand.books.opened) == len(stand.books.closed))
    done = threading.Event()
    for _ in range(200):
        last = settled()
        if last[0] <= first[0] + 1 and last[1] <= first[1] + 2:
            return
        done.wait(0.05)
    pytest.fail(f"threads, descriptors: {first} before, {last} after")


def test_a_request_that_is_decoded_too_late_is_aborted(tmp_path: Path) -> None:
    flood = tuple(
        ProposedContext(2 * n + 1, MR, tuple(f"1.2.840.113619.{n}.{s}" for s in range(60))) for n in range(120)
    )
    with receiving(tmp_path, association_timeout_s=0.05, idle_timeout_s=60) as stand, connect(stand.port) as client:
        client.sendall(request(flood))
        assert read_all(client)[:1] in (b"\x07", b"")
        stand.books.wait(lambda: len(stand.books.opened) == len(stand.books.closed))
