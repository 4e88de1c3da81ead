"""``echo`` says in words what is wrong, for each thing that can be wrong."""

from __future__ import annotations

import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from agent.dicom.raw_association import rejection_in_words
from agent.dicom.scu import EchoRequest, echo
from agent.dicom.upper_layer import abort, rejection
from tests.receiving.books import receiving


@contextmanager
def _answering(answer: Callable[[socket.socket], None]) -> Iterator[int]:
    """A peer that does one thing with each connection."""
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    listening.listen()

    def serve() -> None:
        while True:
            try:
                client, _ = listening.accept()
            except OSError:
                return
            with client:
                try:
                    answer(client)
                except OSError:
                    pass

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield listening.getsockname()[1]
    finally:
        listening.shutdown(socket.SHUT_RDWR)
        listening.close()
        thread.join(5)


def _say(answer: bytes) -> Callable[[socket.socket], None]:
    def serve(client: socket.socket) -> None:
        client.recv(65_536)
        client.sendall(answer)
        client.recv(1)

    return serve


def _ask(port: int, timeout_s: float = 5.0):
    return echo(EchoRequest("127.0.0.1", port, "PEER", timeout_s=timeout_s))


def test_a_peer_that_answers(tmp_path: Path) -> None:
    with receiving(tmp_path) as stand:
        result = _ask(stand.port)
    assert result.ok
    assert result.milliseconds is not None


@pytest.mark.parametrize(
    ("answer", "code", "words"),
    [
        (rejection(1, 1, 3), "association_rejected", "does not know our AE title"),
        (rejection(1, 1, 7), "association_rejected", "correct --called"),
        (rejection(2, 3, 2), "association_rejected", "no room"),
        (abort(), "aborted", "aborted"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "not_dicom", "does not speak DICOM"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "not_dicom", "does not speak DICOM"),
        (bytes.fromhex("15030300020246"), "tls", "TLS"),
        (b"", "closed", "closed"),
    ],
)
def test_answers_are_put_into_words(answer: bytes, code: str, words: str) -> None:
    serve = _say(answer) if answer else lambda client: None
    with _answering(serve) as port:
        result = _ask(port)
    assert (result.ok, result.code) == (False, code)
    assert words in result.diagnosis


def test_a_silent_peer() -> None:
    done = threading.Event()
    with _answering(lambda client: done.wait(10)) as port:
        result = _ask(port, 0.3)
        done.set()
    assert result.code == "timeout"
    assert "0.3 s" in result.diagnosis


def test_nobody_there() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    result = _ask(port)
    assert result.code == "no_listener"
    assert "Nothing listens" in result.diagnosis


def test_no_such_host() -> None:
    assert echo(EchoRequest("no-such-host.invalid", 104, "PEER")).code == "no_host"


def test_a_peer_that_wants_tls(tmp_path: Path) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=peer",
         "-keyout", str(key), "-out", str(certificate)],
        check=True, capture_output=True,
    )  # fmt: skip
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)

    def serve(client: socket.socket) -> None:
        try:
            with context.wrap_socket(client, server_side=True) as wrapped:
                wrapped.recv(1)
        except ssl.SSLError:
            pass

    with _answering(serve) as port:
        result = _ask(port)
    assert result.code == "tls"
    assert "plain port" in result.diagnosis


def test_every_reason_has_words() -> None:
    for source, reasons in ((1, (1, 2, 3, 7)), (2, (1, 2)), (3, (1, 2))):
        for reason in reasons:
            assert f"{source}/{reason}" not in rejection_in_words(1, source, reason)
    assert "3/9" in rejection_in_words(1, 3, 9)
