"""The JSON API: shapes, tokens, commands, changes."""

from __future__ import annotations

import threading
import time

import pytest

from agent.clock import SystemClock
from agent.store import commands, users
from agent.store.database import transact
from agent.study import Role, StudyStatus, Trigger
from agent.web.feed import Feed
from tests.web.hospital import Hospital, log_in, token_of


def _token(role: Role) -> dict[str, str]:
    return {"Authorization": f"Bearer {users.create_token(f'for-{role.value}', role, time.time())}"}


def test_a_study_has_the_published_shape(hospital: Hospital) -> None:
    study_id = hospital.study(StudyStatus.DELIVERED, images=6, series=2)
    client, auth = hospital.app().test_client(), _token(Role.VIEWER)
    listed = client.get("/api/v1/studies", headers=auth).json
    assert listed["total"] == 1
    (item,) = listed["items"]
    assert item["id"] == study_id and item["status"] == "delivered" and item["revision"] == 1
    assert item["patient"] == "ANON-7H2K" and item["study_datetime"] == "2026-01-02T10:15:00"
    assert item["modality"] == "MR" and item["description"] == "Brain" and item["source_aet"] == "PACS1"
    assert item["series"] == {"received": 2, "expected": None}
    assert item["instances"] == {"received": 6, "expected": None}
    assert item["qc"]["verdict"] == "pass" and item["qc"]["score"] == 94.0
    assert item["flags"] == [] and item["updated_at"].endswith("Z")
    one = client.get(f"/api/v1/studies/{study_id}", headers=auth).json
    assert set(item) < set(one)
    assert [step["to"] for step in one["history"]][-1] == "delivered"
    assert set(one["history"][0]) >= {"from", "to", "trigger", "by", "at"}
    assert set(one["completeness"][0]) == {"evidence", "met", "detail"}
    assert {row["name"] for row in one["report"]} == {"report.pdf", "result.json"}
    assert one["commands"] == []
    file = client.get(next(row["url"] for row in one["report"] if row["name"] == "report.pdf"), headers=auth)
    assert file.data.startswith(b"%PDF")
    quality = client.get(f"/api/v1/studies/{study_id}/qc", headers=auth).json
    assert quality["verdict"] == "pass" and quality["profile"] == "mr-brain"
    assert {"id", "group", "result", "measured", "limit", "unit", "severity", "advice"} <= set(quality["checks"][0])


def test_a_list_is_filtered_as_published(hospital: Hospital) -> None:
    hospital.study(StudyStatus.FAILED, patient="ANON-AAAA", modality="CT")
    hospital.study(StudyStatus.STABLE, patient="ANON-BBBB", description="Knee")
    hospital.study(StudyStatus.STABLE, patient="ANON-CCCC")
    client, auth = hospital.app().test_client(), _token(Role.VIEWER)

    def found(question: str) -> set[str]:
        answer = client.get(f"/api/v1/studies?{question}", headers=auth).json
        assert answer["total"] >= len(answer["items"])
        return {item["patient"][-4:] for item in answer["items"]}

    assert found("status=failed,stable") == {"AAAA", "BBBB", "CCCC"}
    assert found("status=stable") == {"BBBB", "CCCC"}
    assert found("modality=CT") == {"AAAA"}
    assert found("q=knee") == {"BBBB"} and found("q=ANON-C") == {"CCCC"}
    assert found("from=2026-01-02&to=20260102") == {"AAAA", "BBBB", "CCCC"} and found("from=2026-01-03") == set()
    assert found("sort=patient&page=2&page_size=1") == {"BBBB"}


@pytest.mark.parametrize(
    "question", ["status=fail", "from=yesterday", "to=2026", "sort=colour", "page=-1", "page_size=x"]
)
def test_a_filter_that_makes_no_sense_is_an_error_and_not_everything(hospital: Hospital, question: str) -> None:
    answer = hospital.app().test_client().get(f"/api/v1/studies?{question}", headers=_token(Role.VIEWER))
    assert answer.status_code == 422
    error = answer.json["error"]
    assert question.split("=")[0] in error["message"] and len(error["id"]) == 8


def test_a_command_is_accepted_with_202_and_later_has_its_outcome(hospital: Hospital) -> None:
    failed = hospital.study(StudyStatus.FAILED)
    client, auth = hospital.app().test_client(), _token(Role.REVIEWER)
    url = f"/api/v1/studies/{failed}/commands"
    answer = client.post(url, json={"verb": "override", "reason": "Phantom"}, headers=auth)
    assert answer.status_code == 202 and answer.json["state"] == "requested"
    assert client.get(answer.headers["Location"], headers=auth).json["state"] == "requested"
    transact(lambda: commands.finish(answer.json["id"], "quality control overridden", done=True, at=time.time()))
    done = client.get(answer.headers["Location"], headers=auth).json
    assert (done["state"], done["outcome"], done["by"]) == ("done", "quality control overridden", "token:for-reviewer")


@pytest.mark.parametrize(
    ("role", "body", "code"),
    [
        (Role.VIEWER, {"verb": "retry"}, 403),
        (Role.ADMIN, {"verb": "retry"}, 403),
        (Role.TECHNOLOGIST, {"verb": "override", "reason": "x"}, 403),
        (Role.TECHNOLOGIST, {"verb": "retry"}, 202),
        (Role.REVIEWER, {"verb": "override"}, 422),
        (Role.REVIEWER, {"verb": "force-stable", "reason": "x"}, 409),
        (Role.REVIEWER, {"verb": "explode"}, 422),
        (Role.REVIEWER, {"verb": "retry", "extra": 1}, 422),
        (Role.REVIEWER, {"verb": "override", "reason": "x" * 501}, 422),
    ],
)
def test_commands_are_checked_before_they_become_rows(
    hospital: Hospital, role: Role, body: dict[str, object], code: int
) -> None:
    failed = hospital.study(StudyStatus.FAILED)
    client, auth = hospital.app().test_client(), _token(role)
    answer = client.post(f"/api/v1/studies/{failed}/commands", json=body, headers=auth)
    assert answer.status_code == code
    if code != 202:
        assert set(answer.json["error"]) == {"code", "message", "hint", "id"}
        assert transact(commands.claim_requested) == []


def test_a_token_that_is_wrong_or_disabled_is_401_and_needs_no_csrf(hospital: Hospital) -> None:
    client, auth = hospital.app().test_client(), _token(Role.VIEWER)
    assert client.get("/api/v1/studies", headers=auth).status_code == 200
    assert client.get("/api/v1/studies", headers={"Authorization": "Bearer wrong"}).status_code == 401
    assert client.get("/api/v1/studies", headers={"Authorization": "Basic eDp5"}).status_code == 401
    assert client.get("/api/v1/studies").status_code == 401
    users.disable_token("for-viewer")
    assert client.get("/api/v1/studies", headers=auth).status_code == 401


def test_a_session_posts_with_the_csrf_header_only(hospital: Hospital) -> None:
    hospital.add_users(Role.REVIEWER)
    failed = hospital.study(StudyStatus.FAILED)
    client = log_in(hospital.app().test_client(), Role.REVIEWER)
    url, body = f"/api/v1/studies/{failed}/commands", {"verb": "retry"}
    assert client.post(url, json=body).status_code == 400
    header = {"X-CSRFToken": token_of(client.get("/").text)}
    assert client.post(url, json=body, headers=header).status_code == 202


def test_changes_wait_and_wake_all_who_wait(hospital: Hospital) -> None:
    study_id = hospital.study(StudyStatus.STABLE)
    feed = Feed(SystemClock(), waiters=8)
    feed.start()
    app = hospital.app(feed=feed)
    auth = _token(Role.VIEWER)
    try:
        app.test_client().get("/api/v1/changes?wait=1", headers=auth)
        cursor = app.test_client().get("/api/v1/changes", headers=auth).json["cursor"]
        answers: list[dict[str, object]] = []

        def wait() -> None:
            found = app.test_client().get(f"/api/v1/changes?since={cursor}&rows=1", headers=auth).json
            answers.append(found)
            hospital.database.close()

        threads = [threading.Thread(target=wait) for _ in range(4)]
        for thread in threads:
            thread.start()
        hospital.progress(study_id, qc_done=7, qc_total=9)
        for thread in threads:
            thread.join(10)
        assert len(answers) == 4
        for answer in answers:
            (item,) = answer["items"]  # type: ignore[misc]
            assert item["id"] == study_id and item["qc"]["done"] == 7 and "7 of 9" in item["row"]
            assert answer["complete"] and answer["counts"]["stable"] == 1  # type: ignore[index]
    finally:
        feed.stop()


def test_a_change_made_late_with_an_early_time_is_not_missed(hospital: Hospital) -> None:
    first = hospital.study(StudyStatus.STABLE)
    second = hospital.study(StudyStatus.STABLE)
    feed = Feed(SystemClock())
    feed.look()
    start = feed.cursor()
    now = time.time()
    # a second connection commits, as the engine does
    other = _other_connection(hospital)
    other.execute("UPDATE study SET qc_done = 1, updated_at = ? WHERE id = ?", (now + 2, first))
    assert feed.look()
    other.execute("UPDATE study SET qc_done = 1, updated_at = ? WHERE id = ?", (now + 1, second))
    assert feed.look()
    assert set(feed.since(start, 0).study_ids) == {first, second}
    other.close()


def test_a_cursor_of_an_earlier_run_still_finds_the_steps_since(hospital: Hospital) -> None:
    study_id = hospital.study(StudyStatus.STABLE)
    before = Feed(SystemClock())
    before.look()
    cursor = before.cursor()
    hospital.step(study_id, StudyStatus.STABLE, Trigger.QC_PASS)
    after = Feed(SystemClock())
    after.look()
    found = after.since(cursor, 0)
    assert found.study_ids == (study_id,) and found.is_complete
    assert after.since(found.cursor, 0).study_ids == ()
    assert after.since("nonsense", 0).study_ids


def test_a_reader_who_fell_far_behind_is_told_to_read_anew(hospital: Hospital, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.web.feed.KEPT", 3)
    study_id = hospital.study(StudyStatus.STABLE)
    feed = Feed(SystemClock())
    feed.look()
    cursor = feed.cursor()
    other = _other_connection(hospital)
    for number in range(5):
        other.execute("UPDATE study SET updated_at = updated_at + 1, qc_done = ? WHERE id = ?", (number, study_id))
        feed.look()
    other.close()
    assert not feed.since(cursor, 0).is_complete


def test_nobody_waits_when_too_many_already_do(hospital: Hospital) -> None:
    feed = Feed(SystemClock(), waiters=1)
    feed.look()
    cursor = feed.cursor()
    entered = threading.Event()

    def wait() -> None:
        entered.set()
        feed.since(cursor, 25)

    thread = threading.Thread(target=wait)
    thread.start()
    entered.wait(5)
    deadline = time.monotonic() + 5
    while feed._seats._value and time.monotonic() < deadline:  # type: ignore[attr-defined]
        threading.Event().wait(0.005)
    began = time.monotonic()
    assert feed.since(cursor, 25).study_ids == ()
    assert time.monotonic() - began < 10
    feed.stop()
    thread.join(5)
    assert not thread.is_alive()


def _other_connection(hospital: Hospital):  # type: ignore[no-untyped-def]
    return hospital.database._connect()


def test_the_openapi_document_covers_every_route_of_the_api(hospital: Hospital) -> None:
    app = hospital.app()
    document = app.test_client().get("/api/v1/openapi.json").json
    assert document["openapi"] == "3.1.0"
    routes = {rule.rule for rule in app.url_map.iter_rules() if rule.rule.startswith("/api/")}
    assert len(document["paths"]) == len(routes) == 9
    assert document["paths"]["/api/v1/studies/{study_id}/commands"]["post"]["x-roles"] == ["reviewer", "technologist"]
    text = str(document)
    import re

    used = set(re.findall(r"#/components/schemas/(\w+)", text))
    assert used <= set(document["components"]["schemas"])
    assert "from" in document["components"]["schemas"]["HistoryItem"]["properties"]


def test_figures_count_a_window(hospital: Hospital) -> None:
    hospital.study(StudyStatus.FAILED, images=3, at=time.time() - 3 * 86_400)
    hospital.study(StudyStatus.DELIVERED, images=5)
    client, auth = hospital.app().test_client(), _token(Role.VIEWER)
    day = client.get("/api/v1/metrics/summary?window=24h", headers=auth).json
    assert (day["qc_passed"], day["qc_failed"], day["studies_delivered"]) == (1, 0, 1)
    week = client.get("/api/v1/metrics/summary?window=7d", headers=auth).json
    assert week["qc_failed"] == 1
    assert client.get("/api/v1/metrics/summary?window=soon", headers=auth).status_code == 422


def test_metrics_answer_loopback_or_a_token(hospital: Hospital) -> None:
    client = hospital.app().test_client()
    assert b"agent_" in client.get("/metrics").data
    far = {"REMOTE_ADDR": "10.1.1.1"}
    assert client.get("/metrics", environ_base=far).status_code == 401
    assert client.get("/metrics", environ_base=far, headers=_token(Role.VIEWER)).status_code == 200


def test_every_refusal_says_what_would_be_let_through(hospital: Hospital) -> None:
    hospital.add_users(Role.VIEWER, Role.TECHNOLOGIST, Role.REVIEWER)
    stable = hospital.study(StudyStatus.STABLE)
    app = hospital.app()
    viewer, technologist, reviewer = (
        {"headers": _token(role)} for role in (Role.VIEWER, Role.TECHNOLOGIST, Role.REVIEWER)
    )
    client, commands = app.test_client(), f"/api/v1/studies/{stable}/commands"

    def error(answer) -> tuple[int, str, str]:  # type: ignore[no-untyped-def]
        return answer.status_code, answer.json["error"]["message"], answer.json["error"]["hint"]

    send = "Send Authorization: Bearer TOKEN; make one with `agent token create NAME --role viewer`."
    assert error(client.get("/api/v1/studies")) == (401, "Log in first.", send)
    assert error(client.post(commands, json={}))[2].startswith(send)
    refused = error(client.post(commands, json={"verb": "hold"}, **viewer))
    assert refused == (403, "Your role does not include this.", "It needs the role technologist or reviewer.")
    refused = error(client.post(commands, json={"verb": "override", "reason": "x"}, **technologist))
    assert refused == (403, "Your role does not include override qc.", "It needs the role reviewer.")
    status, message, hint = error(client.post(commands, json={"verb": "retry"}, **reviewer))
    assert (status, message) == (409, "Retry is not possible while the study is stable.")
    assert hint.startswith("Allowed now: ") and "hold" in hint
    status, message, hint = error(client.get("/api/v1/nothing", **viewer))
    assert (status, message) == (404, "There is no such page or call.") and "openapi.json" in hint
    status, message, hint = error(client.get("/api/v1/studies/abcdefghijklmnop", **viewer))
    assert (status, message) == (404, "There is no study with this id.") and "list of studies" in hint
