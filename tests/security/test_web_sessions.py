"""Logins: identifiers that change, end and cannot be guessed; guessing that is hopeless."""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.clock import ManualClock
from agent.store import audit, users
from agent.store.database import query
from agent.study import Role, StudyStatus
from agent.web import passwords
from agent.web.access import COOKIE
from agent.web.pages.account import limiter
from tests.web.hospital import NAMES, PASSWORD, Hospital, log_in, post, token_of


@pytest.fixture
def hospital(tmp_path: Path) -> Iterator[Hospital]:
    found = Hospital(tmp_path)
    yield found
    found.close()
    if limiter._storage is not None:
        limiter.reset()


def _attempt(client, name: str, password: str):  # type: ignore[no-untyped-def]
    return client.post(
        "/login", data={"name": name, "password": password, "csrf_token": token_of(client.get("/login").text)}
    )


def test_a_copied_cookie_is_worthless_after_logout(hospital: Hospital) -> None:
    hospital.add_users(Role.VIEWER)
    app = hospital.app()
    client = log_in(app.test_client(), Role.VIEWER)
    copied = client.get_cookie(COOKIE).value
    post(client, "/logout")
    thief = app.test_client()
    thief.set_cookie(COOKIE, copied)
    assert thief.get("/studies").status_code == 302
    assert query("SELECT count(*) FROM session")[0][0] == 0


def test_the_identifier_changes_at_login_and_is_kept_as_a_hash(hospital: Hospital) -> None:
    hospital.add_users(Role.VIEWER)
    client = hospital.app().test_client()
    client.set_cookie(COOKIE, "planted-by-an-attacker")
    log_in(client, Role.VIEWER)
    secret = client.get_cookie(COOKIE).value
    assert secret != "planted-by-an-attacker" and len(secret) >= 43
    assert [row[0] for row in query("SELECT id_hash FROM session")] == [users.digest(secret)]
    post(client, "/logout")
    log_in(client, Role.VIEWER)
    assert client.get_cookie(COOKIE).value != secret


def test_a_login_ends_after_idle_time_and_after_its_longest_time(hospital: Hospital) -> None:
    hospital.add_users(Role.VIEWER)
    clock = ManualClock(time.time())
    client = log_in(hospital.app(clock=clock).test_client(), Role.VIEWER)
    clock.advance(880)
    assert client.get("/studies").status_code == 200
    clock.advance(880)
    assert client.get("/studies").status_code == 200
    clock.advance(901)
    assert client.get("/studies").status_code == 302
    log_in(client, Role.VIEWER)
    for _ in range(46):
        clock.advance(800)
        client.get("/studies")
    assert client.get("/studies").status_code == 302


def test_an_open_page_does_not_keep_a_login_alive(hospital: Hospital) -> None:
    hospital.add_users(Role.VIEWER)
    clock = ManualClock(time.time())
    client = log_in(hospital.app(clock=clock).test_client(), Role.VIEWER)
    for _ in range(10):
        clock.advance(100)
        client.get("/api/v1/changes?since=0.x.0&wait=0")
        client.get("/studies", headers={"X-Agent-Refresh": "1"})
    assert client.get("/studies").status_code == 302


def test_a_role_that_changes_ends_the_login(hospital: Hospital) -> None:
    hospital.add_users()
    app = hospital.app()
    client = log_in(app.test_client(), Role.REVIEWER)
    admin = log_in(app.test_client(), Role.ADMIN)
    post(admin, f"/users/{NAMES[Role.REVIEWER]}/role", role="viewer")
    assert client.get("/studies").status_code == 302
    post(admin, f"/users/{NAMES[Role.REVIEWER]}/disable", disabled="yes")
    assert _attempt(app.test_client(), NAMES[Role.REVIEWER], PASSWORD).status_code == 401


def test_every_failed_login_says_the_same(hospital: Hospital) -> None:
    hospital.add_users(Role.VIEWER, Role.REVIEWER)
    users.set_disabled(NAMES[Role.REVIEWER], True)
    client = hospital.app().test_client()
    texts = set()
    for name, password in ((NAMES[Role.VIEWER], "wrong"), ("nobody", "wrong"), (NAMES[Role.REVIEWER], PASSWORD)):
        answer = _attempt(client, name, password)
        assert answer.status_code == 401
        texts.add(answer.text.split('id="wrong"')[1].split("</p>")[0])
    assert len(texts) == 1
    assert [row.outcome for row in audit.rows(action="login")] == ["refused"] * 3
    # the name of an account that does not exist may be a password typed into the wrong field
    assert "nobody" not in str(query("SELECT actor, object, detail_json FROM audit"))


def test_an_account_is_locked_for_a_while_after_five_wrong_passwords(hospital: Hospital) -> None:
    hospital.add_users(Role.VIEWER)
    clock = ManualClock(time.time())
    app = hospital.app(clock=clock)
    name = NAMES[Role.VIEWER]
    for _ in range(5):
        users.note_failure(name, clock.timestamp())
    assert _attempt(app.test_client(), name, PASSWORD).status_code == 401
    clock.advance(61)
    assert _attempt(app.test_client(), name, PASSWORD).status_code == 302
    user = users.read_user(name)
    assert user is not None and user.failures == 0
    for _ in range(12):
        users.note_failure(name, clock.timestamp())
    user = users.read_user(name)
    assert user is not None and user.locked_until is not None
    assert user.locked_until - clock.timestamp() == users.LOCK_MAX_S


def test_a_thousand_guesses_are_stopped_after_five(hospital: Hospital, monkeypatch: pytest.MonkeyPatch) -> None:
    hospital.add_users(Role.VIEWER)
    checked = []
    monkeypatch.setattr(passwords, "is_right", lambda password, hash_: checked.append(password) or False)
    client = hospital.app().test_client()
    token = token_of(client.get("/login").text)
    codes = []
    for number in range(1000):
        data = {"name": NAMES[Role.VIEWER], "password": f"guess {number}", "csrf_token": token}
        codes.append(client.post("/login", data=data).status_code)
    assert codes[:5] == [401] * 5 and set(codes[5:]) == {429}
    assert len(checked) == 5
    # another account from the same address: twenty a minute in all
    others = [
        client.post("/login", data={"name": f"user{n}", "password": "x", "csrf_token": token}).status_code
        for n in range(40)
    ]
    assert others.count(401) <= 20 and others[-1] == 429


def test_an_unknown_account_takes_as_long_as_a_known_one(hospital: Hospital) -> None:
    hashed = passwords.hash_password(PASSWORD)
    passwords.is_right("warm up", None)

    def median(hash_: str | None) -> float:
        times = []
        for _ in range(5):
            began = time.perf_counter()
            passwords.is_right("wrong", hash_)
            times.append(time.perf_counter() - began)
        return statistics.median(times)

    known, unknown = median(hashed), median(None)
    # both run the slow hash; a missing one would be a thousand times faster
    assert 0.2 < known / unknown < 5


def test_only_two_passwords_are_hashed_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    running, most = 0, 0
    lock = threading.Lock()
    turn = threading.Event()

    class Slow:
        def hash(self, password: str) -> str:
            nonlocal running, most
            with lock:
                running += 1
                most = max(most, running)
            turn.wait(0.05)
            with lock:
                running -= 1
            return "hash"

    monkeypatch.setattr(passwords, "_hasher", Slow())
    threads = [threading.Thread(target=passwords.hash_password, args=("x",)) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert most == 2


def test_under_tls_cookies_are_bound_to_host_and_channel(tmp_path: Path) -> None:
    certificate, key = tmp_path / "c.pem", tmp_path / "k.pem"
    certificate.write_text("x")
    key.write_text("x")
    hospital = Hospital(tmp_path, tls_certificate=certificate, tls_key=key)
    try:
        hospital.add_users(Role.VIEWER)
        client = hospital.app().test_client()
        secure = {"base_url": "https://agent.hospital"}
        token = token_of(client.get("/login", **secure).text)
        data = {"name": NAMES[Role.VIEWER], "password": PASSWORD, "csrf_token": token}
        answer = client.post("/login", data=data, **secure)
        (cookie,) = [c for c in answer.headers.getlist("Set-Cookie") if c.startswith("__Host-agent_session=")]
        assert (
            all(part in cookie for part in ("Secure", "HttpOnly", "SameSite=Lax", "Path=/")) and "Domain" not in cookie
        )
        assert "max-age=31536000" in answer.headers["Strict-Transport-Security"]
    finally:
        hospital.close()


def test_no_secret_reaches_database_or_audit_in_clear(hospital: Hospital) -> None:
    hospital.add_users(Role.VIEWER)
    secret = users.create_token("poller", Role.VIEWER, time.time())
    client = log_in(hospital.app().test_client(), Role.VIEWER)
    cookie = client.get_cookie(COOKIE).value
    hospital.study(StudyStatus.STABLE)
    for table in ("user", "session", "token", "audit"):
        text = str(query(f'SELECT * FROM "{table}"'))
        assert not any(word in text for word in (secret, cookie, PASSWORD))
