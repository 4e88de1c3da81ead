"""The long poll in front of the framework: the same answer, the same headers, nobody let through who must not be."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from agent.clock import SystemClock
from agent.store import users
from agent.study import Role, StudyStatus
from agent.web.feed import Feed
from tests.web.hospital import NAMES, Hospital, hash_of, log_in


@pytest.fixture
def feed() -> Iterator[Feed]:
    found = Feed(SystemClock(), waiters=8)
    yield found
    found.stop()


def _ready(hospital: Hospital, feed: Feed, *roles: Role) -> str:
    """Start the feed and let one study change after a cursor."""
    hospital.add_users(*roles)
    study_id = hospital.study(StudyStatus.FAILED, description="Smith knee", identifies=True)
    feed.start()
    cursor, end, number = feed.cursor(), time.monotonic() + 20, 0
    # the feed sees changes that come after its first look
    while not feed.since(cursor, 0.3).study_ids:
        number += 1
        hospital.progress(study_id, qc_done=number)
        assert time.monotonic() < end
    return f"/api/v1/changes?since={cursor}&rows=1&wait=0"


def test_a_page_gets_what_a_program_gets_with_the_headers_of_every_answer(hospital: Hospital, feed: Feed) -> None:
    url = _ready(hospital, feed, Role.REVIEWER)
    app = hospital.app(feed=feed)
    client = log_in(app.test_client(), Role.REVIEWER)
    by_page = client.get(url)
    secret = users.create_token("program", Role.REVIEWER, time.time())
    by_program = app.test_client().get(url, headers={"Authorization": f"Bearer {secret}"})
    assert by_page.json == by_program.json
    assert len(by_page.json["items"]) == 1
    for name in by_program.headers:
        if name[0] not in ("Vary", "Set-Cookie"):
            assert by_page.headers[name[0]] == name[1]
    assert "default-src 'self'" in by_page.headers["Content-Security-Policy"]
    assert by_page.headers["Cache-Control"] == "no-store"


def test_each_role_gets_its_own_row(hospital: Hospital, feed: Feed) -> None:
    url = _ready(hospital, feed, Role.REVIEWER, Role.VIEWER)
    app = hospital.app(feed=feed)
    (reviewers,) = log_in(app.test_client(), Role.REVIEWER).get(url).json["items"]
    (viewers,) = log_in(app.test_client(), Role.VIEWER).get(url).json["items"]
    assert reviewers["description"] == "Smith knee" and "override" in reviewers["row"]
    assert viewers["description"] is None and "Smith" not in viewers["row"] and "override" not in viewers["row"]


def test_a_login_that_is_over_or_new_is_refused_by_the_app(hospital: Hospital, feed: Feed) -> None:
    url = _ready(hospital, feed, Role.REVIEWER)
    app = hospital.app(feed=feed)
    client = log_in(app.test_client(), Role.REVIEWER)
    assert client.get(url).status_code == 200
    users.set_password(NAMES[Role.REVIEWER], hash_of("another long phrase"), one_time=True)
    assert client.get(url).status_code == 401
    client = log_in(app.test_client(), Role.REVIEWER, "another long phrase")
    assert client.get(url).status_code == 403
    stranger = app.test_client()
    stranger.set_cookie("agent_session", "guessed")
    assert stranger.get(url).status_code == 401


def test_an_answer_is_written_once_for_all_who_wait(feed: Feed) -> None:
    begun, go, made = threading.Event(), threading.Event(), []

    def write() -> str:
        begun.set()
        go.wait(10)
        made.append(1)
        return "answer"

    texts: list[str] = []
    threads = [threading.Thread(target=lambda: texts.append(feed.rendered(("key",), write))) for _ in range(6)]
    for thread in threads:
        thread.start()
    assert begun.wait(10)
    go.set()
    for thread in threads:
        thread.join(10)
    assert texts == ["answer"] * 6 and made == [1]
