"""News reach a webhook and a mail server, each once, and without the channel's secrets."""

from __future__ import annotations

import json
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from agent.config import NotifySettings
from agent.errors import ConfigError
from agent.ops.notifications import Notice, NoticeOutcome, Notifications


@contextmanager
def serving(server: socketserver.BaseServer) -> Iterator[int]:
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def webhook() -> Iterator[tuple[int, list[dict], list[int]]]:
    received: list[dict] = []
    answers = [200]

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            received.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(answers[-1])
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Quiet."""

    with serving(ThreadingHTTPServer(("127.0.0.1", 0), Handler)) as port:
        yield port, received, answers


def channel(url: str, *events: str) -> NotifySettings:
    return NotifySettings.model_validate({"url": url, "on": events or ("failed", "delivered", "alarm")})


NOTICE = Notice("failed", "abc:1:failed", "Study failed", "Study abc failed quality control.\nSee the dashboard.")


def test_a_webhook_gets_the_message(webhook) -> None:
    port, received, _ = webhook
    outcome = Notifications([channel(f"json://127.0.0.1:{port}/hook")]).notify(NOTICE)
    assert outcome is NoticeOutcome.SENT
    assert received[0]["title"] == "Study failed"
    assert "quality control" in received[0]["message"]


def test_the_same_message_is_sent_once(webhook) -> None:
    port, received, _ = webhook
    news = Notifications([channel(f"json://127.0.0.1:{port}/")])
    assert [news.notify(NOTICE), news.notify(NOTICE)] == [NoticeOutcome.SENT, NoticeOutcome.DUPLICATE]
    assert len(received) == 1


def test_a_channel_hears_only_what_it_asked_for(webhook) -> None:
    port, received, _ = webhook
    news = Notifications([channel(f"json://127.0.0.1:{port}/", "delivered")])
    assert news.notify(NOTICE) is NoticeOutcome.UNWANTED
    assert not news.wants("failed")
    assert news.wants("delivered")
    assert received == []


def test_a_message_no_channel_took_may_be_sent_again(webhook) -> None:
    port, received, answers = webhook
    news = Notifications([channel(f"json://127.0.0.1:{port}/")])
    answers.append(500)
    assert news.notify(NOTICE) is NoticeOutcome.FAILED
    answers.append(200)
    assert news.notify(NOTICE) is NoticeOutcome.SENT


def test_one_dead_channel_does_not_silence_the_others(webhook) -> None:
    port, received, _ = webhook
    channels = [channel("json://127.0.0.1:9/"), channel(f"json://127.0.0.1:{port}/")]
    assert Notifications(channels).notify(NOTICE) is NoticeOutcome.PARTLY
    assert len(received) == 1


def test_an_address_that_is_not_understood_is_named_without_its_secret() -> None:
    with pytest.raises(ConfigError, match="channel 1") as refused:
        Notifications([channel("nonsense://user:hunter2@host")]).check()
    assert "hunter2" not in str(refused.value)


class Mail(socketserver.StreamRequestHandler):
    """The least an SMTP client needs."""

    def handle(self) -> None:
        def say(line: bytes) -> None:
            self.wfile.write(line + b"\r\n")

        say(b"220 test")
        while line := self.rfile.readline():
            verb = line.split()[0].upper() if line.split() else b""
            if verb == b"DATA":
                say(b"354 go on")
                body = []
                while (text := self.rfile.readline()) != b".\r\n":
                    body.append(text)
                self.server.mails.append(b"".join(body))
            if verb == b"QUIT":
                say(b"221 bye")
                return
            if verb != b"DATA" or body:
                say(b"250 ok")


def test_a_mail_server_gets_the_message() -> None:
    server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Mail)
    server.mails = []
    with serving(server) as port:
        url = f"mailto://127.0.0.1:{port}?from=agent@hospital.example&to=team@hospital.example&mode=insecure"
        assert Notifications([channel(url)]).notify(NOTICE) is NoticeOutcome.SENT
    assert b"Subject: Study failed" in server.mails[0]
    assert b"quality control" in server.mails[0]
