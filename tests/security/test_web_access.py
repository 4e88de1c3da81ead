"""Who may call what: every route by every identity, made from the URL map."""

from __future__ import annotations

from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskClient

from agent.store import audit
from agent.store.reader import study as reads
from agent.study import Role, StudyStatus
from agent.web.access import OPEN, rule_of
from tests.web.hospital import NAMES, PASSWORD, Hospital, log_in, post, token_of

ALL = frozenset(Role)
STAFF = frozenset({Role.TECHNOLOGIST, Role.REVIEWER})
REVIEWER, ADMIN = frozenset({Role.REVIEWER}), frozenset({Role.ADMIN})
NOBODY_NEEDED = None

EXPECTED: dict[str, frozenset[Role] | None] = {
    "account.login": NOBODY_NEEDED, "account.log_in": NOBODY_NEEDED, "account.look": NOBODY_NEEDED,
    "account.logout": ALL, "account.choose": ALL, "account.choose_password": ALL,
    "home.index": ALL, "home.icon": NOBODY_NEEDED, "studies.index": ALL, "studies.export": REVIEWER, "studies.confirm": STAFF, "studies.command_many": STAFF,
    "study.index": ALL, "study.confirm": STAFF, "study.command": STAFF, "study.reveal": REVIEWER, "study.report_file": ALL,
    "quality.index": ALL, "quality.picture": ALL, "quality.download_html": ALL, "quality.download_pdf": ALL,
    "connections.index": ALL, "audit.index": ADMIN, "audit.export": ADMIN, "audit.verify": ADMIN,
    "users.index": ADMIN, "users.add": ADMIN, "users.change_role": ADMIN, "users.disable": ADMIN,
    "users.reset_password": ADMIN, "users.add_token": ADMIN, "users.disable_token": ADMIN, "health.index": ADMIN,
    "api.list_studies": ALL, "api.one_study": ALL, "api.quality": ALL, "api.report_file": ALL, "api.give_command": STAFF,
    "api.one_command": ALL, "api.changes": ALL, "api.metrics_summary": ALL, "openapi.document": NOBODY_NEEDED,
    "probes.alive": NOBODY_NEEDED, "probes.ready": NOBODY_NEEDED, "probes.prometheus": NOBODY_NEEDED,
}  # fmt: skip


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory):  # type: ignore[no-untyped-def]
    hospital = Hospital(Path(tmp_path_factory.mktemp("matrix")))
    hospital.add_users()
    study_id = hospital.study(StudyStatus.DELIVERED)
    app = hospital.app()
    # each request of the matrix is one visitor's first: what is limited is tested elsewhere
    app.config["RATELIMIT_ENABLED"] = False
    from agent.web.pages.account import limiter

    limiter.enabled = False
    clients = {role: log_in(app.test_client(), role) for role in Role} | {None: app.test_client()}
    yield hospital, app, clients, study_id
    limiter.enabled = True
    hospital.close()


def _routes(app: Flask) -> list[tuple[str, str, str]]:
    found = []
    for rule in app.url_map.iter_rules():
        if rule.endpoint != "static":
            found += [(rule.endpoint, m, rule.rule) for m in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"})]
    return found


def _path(rule: str, study_id: str) -> str:
    report = reads.read_reports(study_id)[0]
    picture = reads.read_qc(study_id)
    assert picture is not None
    return (
        rule.replace("<study_id>", study_id)
        .replace("<path:name>", report.name)
        .replace("pictures/<name>", "pictures/worst")
        .replace("<name>", "nobody-of-this-name")
        .replace("<verb>", "reprocess")
        .replace("<int:command_id>", "1")
        .replace("<int:report_id>", str(picture.id if "pictures" in rule else report.id))
    )


def test_a_route_without_a_rule_or_without_an_expectation_does_not_pass(house) -> None:  # type: ignore[no-untyped-def]
    _, app, _, _ = house
    endpoints = {endpoint for endpoint, _, _ in _routes(app)}
    assert endpoints == set(EXPECTED)
    for endpoint in endpoints:
        rule = rule_of(app.view_functions[endpoint])
        expected = EXPECTED[endpoint]
        assert rule == (OPEN if expected is NOBODY_NEEDED else expected), endpoint


def test_every_route_lets_exactly_the_named_roles_through(house) -> None:  # type: ignore[no-untyped-def]
    hospital, app, clients, study_id = house
    wrong = []
    for endpoint, method, rule in _routes(app):
        if endpoint in ("account.logout", "account.log_in"):
            continue  # they end or replace the identity; they have tests of their own
        for role, client in clients.items():
            path = _path(rule, study_id) + ("?wait=0&since=0.x.0" if endpoint == "api.changes" else "")
            status = _call(client, method, path)
            expected = EXPECTED[endpoint]
            if expected is NOBODY_NEEDED or (role is not None and role in expected):
                passed = status not in (401, 403) and status < 500 or (endpoint == "probes.ready" and status == 503)
            elif role is None:
                passed = status == (401 if path.startswith("/api/") or method == "POST" else 302)
            else:
                passed = status == 403
            if not passed:
                wrong.append((endpoint, method, role, status))
    assert wrong == []


def _call(client: FlaskClient, method: str, path: str) -> int:
    if method == "GET":
        return client.get(path).status_code
    page = client.get("/account/password")
    token = token_of(page.text if page.status_code == 200 else client.get("/login").text)
    if path.startswith("/api/"):
        return client.post(path, json={"verb": "reprocess"}, headers={"X-CSRFToken": token}).status_code
    return client.post(path, data={"csrf_token": token, "verb": "reprocess"}).status_code


def test_every_unsafe_request_without_a_csrf_token_is_400(house) -> None:  # type: ignore[no-untyped-def]
    _, app, clients, study_id = house
    for endpoint, method, rule in _routes(app):
        if method == "GET":
            continue
        for role, client in clients.items():
            assert client.open(_path(rule, study_id), method=method).status_code == 400, (endpoint, role)
            stolen = client.open(_path(rule, study_id), method=method, data={"csrf_token": "forged"})
            assert stolen.status_code == 400, (endpoint, role)


def test_every_answer_carries_the_security_headers(house) -> None:  # type: ignore[no-untyped-def]
    _, app, clients, study_id = house
    for endpoint, method, rule in _routes(app):
        if method != "GET":
            continue
        path = _path(rule, study_id) + ("?wait=0&since=0.x.0" if endpoint == "api.changes" else "")
        for role in (None, Role.REVIEWER, Role.ADMIN):
            headers = clients[role].get(path).headers
            csp = headers["Content-Security-Policy"]
            assert "unsafe-eval" not in csp and "script-src" not in csp and "*" not in csp, endpoint
            assert "default-src 'self'" in csp or "default-src 'none'" in csp, endpoint
            assert "frame-ancestors 'none'" in csp or endpoint == "study.report_file", endpoint
            if "unsafe-inline" in csp:
                assert csp.startswith("sandbox;") and endpoint == "quality.download_html"
            assert headers["X-Content-Type-Options"] == "nosniff"
            assert headers["Referrer-Policy"] == "no-referrer"
            assert headers["Cache-Control"] == "no-store", endpoint


def test_a_refused_call_is_written_to_the_audit(house) -> None:  # type: ignore[no-untyped-def]
    _, _, clients, _ = house
    before = len(list(audit.rows(action="access_refused", actor="vera")))
    clients[Role.VIEWER].get("/audit")
    assert len(list(audit.rows(action="access_refused", actor="vera"))) == before + 1


def test_a_route_that_forgot_its_rule_answers_nobody(house) -> None:  # type: ignore[no-untyped-def]
    hospital, _, _, _ = house
    app = hospital.app()
    app.add_url_rule("/forgotten", view_func=lambda: "open door")
    for role in Role:
        assert log_in(app.test_client(), role).get("/forgotten").status_code == 403


def test_the_login_never_sends_anybody_elsewhere(house) -> None:  # type: ignore[no-untyped-def]
    hospital, app, _, _ = house
    for target in ("https://evil.example/", "//evil.example", "/\\evil.example", "javascript:alert(1)", "http:evil"):
        client = app.test_client()
        token = token_of(client.get("/login").text)
        answer = client.post(
            "/login", data={"name": NAMES[Role.VIEWER], "password": PASSWORD, "next": target, "csrf_token": token}
        )
        assert answer.location == "/", target
    client = app.test_client()
    assert post(client, "/account/look", page="/login", theme="dark", back="//evil.example").location == "/"
