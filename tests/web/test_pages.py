"""Pages as a browser without JavaScript sees them."""

from __future__ import annotations

import time
from datetime import UTC, datetime

import pytest

from agent.clock import ManualClock
from agent.store import audit, users
from agent.store.database import change, transact
from agent.store.jobs.mapping import DeidActionRow, store_deid_actions
from agent.store.reader import study as reads
from agent.study import LOOKS, Role, StudyStatus, Trigger
from agent.web import words
from tests.web.hospital import PASSWORD, SECRET_NAME, Hospital, hash_of, log_in, post, token_of


def test_every_page_answers_every_study_in_every_status(hospital: Hospital) -> None:
    hospital.add_users()
    made = hospital.furnish()
    client = log_in(hospital.app().test_client(), Role.REVIEWER)
    for path in ("/", "/studies", "/connections", "/account/password"):
        assert client.get(path).status_code == 200, path
    for status, study_id in made.items():
        for tab in ("reception", "quality", "deid", "upload", "report"):
            page = client.get(f"/studies/{study_id}?tab={tab}")
            assert page.status_code == 200, (status, tab)
            assert LOOKS[status].word in page.text
        assert client.get(f"/studies/{study_id}/quality").status_code == 200
    admin = log_in(hospital.app().test_client(), Role.ADMIN)
    for path in ("/audit", "/users", "/health", f"/studies/{made[StudyStatus.FAILED]}?tab=audit"):
        assert admin.get(path).status_code == 200, path


def test_no_page_holds_an_inline_script_style_or_handler(hospital: Hospital) -> None:
    import re

    hospital.add_users()
    made = hospital.furnish()
    client = log_in(hospital.app().test_client(), Role.REVIEWER)
    pages = [
        "/",
        "/studies",
        "/connections",
        *(f"/studies/{i}?tab={t}" for i in made.values() for t in ("reception", "quality")),
    ]
    for path in pages:
        text = client.get(path).text
        assert not re.search(
            r"<script(?![^>]*\bsrc=)|<style|\sstyle=|\son[a-z]+=|javascript:|https?://(?!www\.w3\.org)", text
        ), path


def test_an_empty_list_says_what_to_do_next(hospital: Hospital) -> None:
    hospital.add_users(Role.VIEWER)
    client = log_in(hospital.app().test_client(), Role.VIEWER)
    page = client.get("/studies")
    assert "No study yet" in page.text
    assert "NEUROPACS_AGENT" in page.text


def test_a_viewer_gets_no_command_and_no_description_that_identifies(hospital: Hospital) -> None:
    hospital.add_users()
    hospital.furnish()
    viewer = log_in(hospital.app().test_client(), Role.VIEWER)
    page = viewer.get("/studies")
    assert 'data-command="' not in page.text
    assert "data-dialog" not in page.text
    assert "Smith John" not in page.text
    assert viewer.get("/studies?q=Smith").text.count("<tr data-id") == 0
    assert viewer.get("/api/v1/studies?q=Smith").json["total"] == 0
    technologist = log_in(hospital.app().test_client(), Role.TECHNOLOGIST)
    assert "Smith John" in technologist.get("/studies").text
    assert technologist.get("/api/v1/studies?q=Smith").json["total"] == 1


def test_filters_search_order_and_paging_live_in_the_address(hospital: Hospital) -> None:
    hospital.add_users(Role.REVIEWER)
    hospital.furnish()
    client = log_in(hospital.app().test_client(), Role.REVIEWER)
    assert client.get("/studies?status=failed").text.count("<tr data-id") == 1
    assert client.get("/studies?status=stable").text.count("<tr data-id") == 2
    assert client.get("/studies?modality=ct").text.count("<tr data-id") == 2
    assert client.get("/studies?flag=needs_review").text.count("<tr data-id") == 1
    assert client.get("/studies?patient=anon-rev").text.count("<tr data-id") == 1
    assert client.get("/studies?from=2026-01-03").text.count("<tr data-id") == 0
    first, second = client.get("/studies?page_size=4"), client.get("/studies?page_size=4&page=2")
    ids = [set(part.split('"')[1] for part in page.text.split("<tr data-id=")[1:]) for page in (first, second)]
    assert len(ids[0]) == len(ids[1]) == 4 and not ids[0] & ids[1]
    assert "page=2" in first.text
    # a page beyond the end shows the last one instead of nothing
    assert client.get("/studies?page_size=4&page=99").text.count("<tr data-id") == 3


def test_a_percent_sign_is_searched_for_and_matches_nothing_else(hospital: Hospital) -> None:
    hospital.add_users(Role.REVIEWER)
    hospital.study(StudyStatus.STABLE, description="dose 50% plan")
    hospital.study(StudyStatus.STABLE, description="other")
    client = log_in(hospital.app().test_client(), Role.REVIEWER)
    assert client.get("/api/v1/studies?q=%25").json["total"] == 1


def test_an_override_needs_a_reason_and_becomes_a_command_row(hospital: Hospital) -> None:
    hospital.add_users(Role.REVIEWER)
    failed = hospital.study(StudyStatus.FAILED)
    client = log_in(hospital.app().test_client(), Role.REVIEWER)
    unconfirmed = post(client, f"/studies/{failed}/commands", verb="override")
    assert unconfirmed.location.endswith(f"/studies/{failed}/commands/override")
    post(client, f"/studies/{failed}/commands", verb="override", confirmed="yes", reason="   ")
    assert reads.read_commands(failed) == []
    done = post(client, f"/studies/{failed}/commands", verb="override", confirmed="yes", reason="Seen by the physicist")
    assert done.status_code == 302
    (command,) = reads.read_commands(failed)
    assert (command.verb, command.by, command.state, command.reason) == (
        "override", "rita", "requested", "Seen by the physicist",
    )  # fmt: skip
    assert "Override QC by rita: requested" in client.get(f"/studies/{failed}").text
    # the study itself is untouched: only its actor moves it
    assert "Failed" in client.get(f"/studies/{failed}").text


def test_a_command_that_makes_no_sense_is_refused_in_words(hospital: Hospital) -> None:
    hospital.add_users(Role.REVIEWER)
    stable = hospital.study(StudyStatus.STABLE)
    client = log_in(hospital.app().test_client(), Role.REVIEWER)
    post(client, f"/studies/{stable}/commands", verb="retry")
    assert "Retry is not possible while the study is stable." in client.get(f"/studies/{stable}").text
    assert reads.read_commands(stable) == []


def test_many_studies_are_asked_about_then_commanded(hospital: Hospital) -> None:
    hospital.add_users(Role.REVIEWER)
    failed = [hospital.study(StudyStatus.FAILED) for _ in range(3)]
    stable = hospital.study(StudyStatus.STABLE)
    client = log_in(hospital.app().test_client(), Role.REVIEWER)
    asked = post(client, "/studies/commands/confirm", verb="override", study=[*failed, stable], back="status=failed")
    assert "Override QC: 3 studies" in asked.text
    assert "does not apply to 1" in asked.text
    done = post(client, "/studies/commands", verb="override", study=failed, reason="Phantom", back="status=failed")
    assert done.location.endswith("/studies?status=failed")
    assert all(reads.read_commands(study_id)[0].verb == "override" for study_id in failed)
    assert "requested for 3 studies" in client.get("/studies").text


def test_identifiers_are_shown_once_to_a_reviewer_and_that_is_audited(hospital: Hospital) -> None:
    hospital.add_users()
    study_id = hospital.study(StudyStatus.STABLE)
    client = log_in(hospital.app().test_client(), Role.REVIEWER)
    assert SECRET_NAME not in client.get(f"/studies/{study_id}").text
    without = post(client, f"/studies/{study_id}/reveal", reason="")
    assert without.status_code == 302
    shown = post(client, f"/studies/{study_id}/reveal", reason="Called by the ward")
    assert SECRET_NAME in shown.text and "MRN-4711" in shown.text
    assert SECRET_NAME not in client.get(f"/studies/{study_id}").text
    rows = list(audit.rows(action="identifiers_revealed", object=study_id))
    assert [(row.actor, row.detail["reason"]) for row in rows] == [("rita", "Called by the ward")]
    for role in (Role.VIEWER, Role.TECHNOLOGIST, Role.ADMIN):
        other = log_in(hospital.app().test_client(), role)
        assert post(other, f"/studies/{study_id}/reveal", reason="curious").status_code == 403


def test_the_quality_report_is_a_page_a_file_and_a_pdf(hospital: Hospital) -> None:
    hospital.add_users(Role.VIEWER)
    failed = hospital.study(StudyStatus.FAILED)
    client = log_in(hospital.app().test_client(), Role.VIEWER)
    page = client.get(f"/studies/{failed}/quality")
    for text in ("Slices 21 to 24", "Slice dropout", "6.7", "at most 2 %", "tell the patient to lie still", "<svg"):
        assert text in page.text, text
    html = client.get(f"/studies/{failed}/quality.html")
    assert html.headers["Content-Security-Policy"].startswith("sandbox")
    assert html.headers["Content-Disposition"].startswith("attachment")
    assert b"<script" not in html.data and b"Slices 21 to 24" in html.data
    pdf = client.get(f"/studies/{failed}/quality.pdf")
    assert pdf.data.startswith(b"%PDF-")
    picture = reads.read_qc(failed)
    assert picture is not None
    png = client.get(f"/studies/{failed}/quality/{picture.id}/pictures/worst")
    assert png.data.startswith(b"\x89PNG")
    other = hospital.study(StudyStatus.STABLE)
    assert client.get(f"/studies/{other}/quality/{picture.id}/pictures/worst").status_code == 404


def test_a_report_may_be_framed_by_the_dashboard_only(hospital: Hospital) -> None:
    hospital.add_users(Role.VIEWER)
    delivered = hospital.study(StudyStatus.DELIVERED)
    client = log_in(hospital.app().test_client(), Role.VIEWER)
    pdf, other = sorted(reads.read_reports(delivered), key=lambda row: row.name)
    answer = client.get(f"/studies/{delivered}/reports/{pdf.id}/{pdf.name}")
    assert answer.data.startswith(b"%PDF-")
    assert "frame-ancestors 'self'" in answer.headers["Content-Security-Policy"]
    json_file = client.get(f"/studies/{delivered}/reports/{other.id}/{other.name}")
    assert "frame-ancestors 'none'" in json_file.headers["Content-Security-Policy"]
    assert client.get(f"/studies/{delivered}/reports/{pdf.id}/other.pdf").status_code == 404
    assert "frame-ancestors 'none'" in client.get("/").headers["Content-Security-Policy"]


def test_a_deleted_study_keeps_its_page_and_leaves_the_list(hospital: Hospital) -> None:
    hospital.add_users(Role.REVIEWER)
    failed = hospital.study(StudyStatus.FAILED)
    hospital.step(failed, StudyStatus.FAILED, Trigger.DELETED, flags={"deleted": True})
    client = log_in(hospital.app().test_client(), Role.REVIEWER)
    assert client.get("/studies").text.count("<tr data-id") == 0
    assert client.get("/studies?flag=deleted").text.count("<tr data-id") == 1
    page = client.get(f"/studies/{failed}")
    assert page.status_code == 200 and 'data-command="' not in page.text


def test_csv_holds_every_page_and_no_formula(hospital: Hospital) -> None:
    hospital.add_users()
    hospital.study(StudyStatus.STABLE, description="=cmd|' /C calc'!A0")
    hospital.study(StudyStatus.FAILED)
    client = log_in(hospital.app().test_client(), Role.REVIEWER)
    lines = client.get("/studies.csv").text.strip().split("\r\n")
    assert len(lines) == 3
    assert "'=cmd" in lines[2] and ",=cmd" not in lines[2]
    assert [row.actor for row in audit.rows(action="studies_exported")] == ["rita"]


def test_an_administrator_makes_an_account_that_must_choose_its_password(hospital: Hospital) -> None:
    import re

    hospital.add_users(Role.ADMIN)
    admin = log_in(hospital.app().test_client(), Role.ADMIN)
    made = post(admin, "/users", name="nora", role="technologist")
    password = re.search(r'secret-value">([^<]+)<', made.text)[1]  # type: ignore[index]
    new = hospital.app().test_client()
    answer = post(new, "/login", page="/login", name="nora", password=password)
    assert answer.status_code == 302
    assert new.get("/studies").location.endswith("/account/password")
    assert new.get("/api/v1/studies").status_code == 403
    weak = post(new, "/account/password", old=password, new="short", again="short")
    assert weak.status_code == 400
    changed = post(new, "/account/password", old=password, new="blue horses eat grass", again="blue horses eat grass")
    assert changed.status_code == 302
    assert new.get("/studies").status_code == 200
    user = users.read_user("nora")
    assert user is not None and not user.one_time and user.expires_at is None


def test_a_one_time_login_expires(hospital: Hospital) -> None:
    from agent.web import passwords

    hospital.app()
    password = passwords.create_one_time_login("first", Role.ADMIN, time.time() - 3601)
    client = hospital.app().test_client()
    assert post(client, "/login", page="/login", name="first", password=password).status_code == 401


def test_the_last_administrator_cannot_lock_everybody_out(hospital: Hospital) -> None:
    hospital.add_users(Role.ADMIN)
    admin = log_in(hospital.app().test_client(), Role.ADMIN)
    post(admin, "/users/ada/disable", disabled="yes")
    post(admin, "/users/ada/role", role="viewer")
    user = users.read_user("ada")
    assert user is not None and user.role is Role.ADMIN and not user.disabled


def test_audit_can_be_searched_verified_and_exported(hospital: Hospital) -> None:
    hospital.add_users(Role.ADMIN)
    hospital.furnish()
    admin = log_in(hospital.app().test_client(), Role.ADMIN)
    assert "Login" in admin.get("/audit?action=login").text
    post(admin, "/audit/verify")
    assert "The chain is intact" in admin.get("/audit").text
    csv = admin.get("/audit.csv").text
    assert csv.splitlines()[0].startswith("seq,at,actor") and len(csv.splitlines()) > 40


@pytest.mark.parametrize(
    ("said", "code"), [({}, 200), ({"ready": False}, 503), ({"receivers": 0}, 503), ({"at": 0}, 503)]
)
def test_readiness_follows_the_engine(hospital: Hospital, said: dict[str, object], code: int) -> None:
    client = hospital.app().test_client()
    assert client.get("/healthz").status_code == 200
    assert client.get("/readyz").status_code == 503
    hospital.ready(**said)
    assert client.get("/readyz").status_code == code


def test_an_error_carries_an_id_that_the_log_has_and_no_trace(hospital: Hospital) -> None:
    import re

    from structlog.testing import capture_logs

    hospital.add_users(Role.VIEWER)
    app = hospital.app()

    def broken() -> str:
        raise RuntimeError("PLANTED detail of the failure")

    broken.access_rule = frozenset(Role)  # type: ignore[attr-defined]
    app.add_url_rule("/broken", view_func=broken)
    client = log_in(app.test_client(), Role.VIEWER)
    with capture_logs() as lines:
        answer = client.get("/broken")
    assert answer.status_code == 500
    assert "PLANTED" not in answer.text and "Traceback" not in answer.text
    error_id = re.search(r"<code>([0-9a-f]{8})</code>", answer.text)[1]  # type: ignore[index]
    assert [line["event"] for line in lines if line.get("id") == error_id] == ["web_failed"]


def test_an_upload_that_waits_says_why_and_when_it_is_tried_again(hospital: Hospital) -> None:
    hospital.add_users(Role.TECHNOLOGIST)
    study_id = hospital.study(StudyStatus.UPLOADING)
    hospital.progress(study_id, upload_problem="The cloud cannot be reached.")
    client = log_in(hospital.app().test_client(), Role.TECHNOLOGIST)
    listed = client.get("/studies").text
    assert "next try within 1\u202fmin" in listed and 'title="The cloud cannot be reached."' in listed
    for tab in ("reception", "upload"):
        page = client.get(f"/studies/{study_id}?tab={tab}").text
        assert "The cloud cannot be reached." in page and "Next try within 1\u202fmin" in page


def test_home_names_unstable_studies_for_which_nothing_comes_any_more(hospital: Hospital) -> None:
    hospital.add_users(Role.TECHNOLOGIST)
    hospital.study(StudyStatus.UNSTABLE, patient="ANON-LATE", at=time.time() - 3600)
    hospital.study(StudyStatus.UNSTABLE, patient="ANON-FRESH", at=time.time())
    page = log_in(hospital.app().test_client(), Role.TECHNOLOGIST).get("/").text
    assert "1 study needs you" in page
    assert "ANON-LATE" in page and "ANON-FRESH" not in page
    assert "12 of 64 slices of series 5 are missing." in page and "Force stable" in page


def test_a_study_says_what_is_missing_and_a_delivered_one_leads_to_its_report(hospital: Hospital) -> None:
    hospital.add_users(Role.VIEWER)
    unstable, delivered = hospital.study(StudyStatus.UNSTABLE), hospital.study(StudyStatus.DELIVERED)
    client = log_in(hospital.app().test_client(), Role.VIEWER)
    head = client.get(f"/studies/{unstable}?tab=upload").text
    assert "12 of 64 slices of series 5 are missing." in head
    assert f"/studies/{delivered}?tab=report" in client.get(f"/studies/{delivered}").text.split('class="tabs"')[0]


def test_the_age_of_a_row_is_of_now_although_the_row_is_kept(hospital: Hospital) -> None:
    hospital.add_users(Role.VIEWER)
    clock = ManualClock(time.time())
    hospital.study(StudyStatus.STABLE, at=clock.timestamp() - 40)
    client = log_in(hospital.app(clock=clock).test_client(), Role.VIEWER)
    assert ">10\u202fs</time>" in client.get("/studies").text
    clock.advance(300)
    assert ">5\u202fmin</time>" in client.get("/studies").text


def test_a_failure_of_several_reasons_is_a_list(hospital: Hospital) -> None:
    assert words.sentences("Echo Time is 118 ms. 44 of 660 slices lost signal. Series 2: No b0.") == [
        "Echo Time is 118 ms. 44 of 660 slices lost signal.", "Series 2: No b0.",
    ]  # fmt: skip
    hospital.add_users(Role.VIEWER)
    failed = hospital.study(StudyStatus.FAILED)
    transact(lambda: change("UPDATE study SET failure_text = 'First thing. Second thing.' WHERE id = ?", (failed,)))
    client = log_in(hospital.app().test_client(), Role.VIEWER)
    assert "<li>Second thing.</li>" in client.get(f"/studies/{failed}").text
    assert "and 1 more reason" in client.get("/").text


def test_home_gives_the_reason_of_a_review_and_leads_to_all_that_wait(hospital: Hospital) -> None:
    hospital.add_users(Role.VIEWER)
    for number in range(14):
        study = hospital.study(StudyStatus.STABLE, patient=f"ANON-REV{number}")
        hospital.step(study, StudyStatus.STABLE, Trigger.QC_REVIEW, flags={"needs_review": True})
        hospital.judge(study, Trigger.QC_FAIL, time.time())
    hospital.study(StudyStatus.UNSTABLE, patient="ANON-LATE", at=time.time() - 3600)
    hospital.study(StudyStatus.DELIVERED, patient="ANON-WELL")
    client = log_in(hospital.app().test_client(), Role.VIEWER)
    page = client.get("/").text
    assert "Slices 21 to 24 of series 5 lost their signal." in page and "wants a person to look" not in page
    assert 'href="/studies?flag=needs_you">All 15 studies that need you' in page
    listed = client.get("/studies?flag=needs_you").text
    assert 'data-number="15"' in listed and "ANON-LATE" in listed and "ANON-WELL" not in listed


def test_an_unstable_study_says_until_when_it_waits_and_what_then(hospital: Hospital) -> None:
    hospital.add_users(Role.VIEWER)
    unstable = hospital.study(StudyStatus.UNSTABLE)
    hospital.progress(unstable, deadline_at=datetime(2100, 1, 2, 18, 20, tzinfo=UTC).timestamp())
    page = log_in(hospital.app().test_client(), Role.VIEWER).get(f"/studies/{unstable}").text
    assert "12 of 64 slices of series 5 are missing." in page
    assert "Waits until 2100-01-02 18:20, then goes on as incomplete." in page
    assert "Nothing to check by: diffusion volumes</summary>" in page and "Looked at again" not in page


def _finding(answer: str, sentence: str) -> dict[str, object]:
    return {"judge": "slice_grid", "scope": "series", "answer": answer, "sentence": sentence}


@pytest.mark.parametrize(
    ("trigger", "detail", "said"),
    [
        (
            Trigger.WAITED_OUT, {"because": "No image for 12 s, and nothing seems to be missing.", "findings": []},
            "No more images came for 12\u202fs; nothing is missing by what could be checked",
        ),
        (
            Trigger.WAITED_OUT,
            {"because": "Nothing more came within 60 s.", "findings": [_finding("not_met", "7 of 56 slices missing.")]},
            "Went on incomplete: 7 of 56 slices missing.",
        ),
        (
            Trigger.FOUND_COMPLETE, {"because": "All of t1_3d, dwi came."}, "Complete: All of t1_3d, diffusion came.",
        ),
    ],
)  # fmt: skip
def test_a_step_is_told_by_its_evidence(
    hospital: Hospital, trigger: Trigger, detail: dict[str, object], said: str
) -> None:
    hospital.add_users(Role.VIEWER)
    study = hospital.study(StudyStatus.UNSTABLE)
    hospital.step(study, StudyStatus.UNSTABLE, trigger, detail=detail)
    assert said in log_in(hospital.app().test_client(), Role.VIEWER).get(f"/studies/{study}").text


def test_a_study_that_passed_without_a_cloud_says_that_it_rests(hospital: Hospital) -> None:
    hospital.add_users(Role.VIEWER)
    passed, delivered = hospital.study(StudyStatus.QC_PASSED), hospital.study(StudyStatus.DELIVERED)
    hospital.progress(delivered, cloud_progress=28)
    client = log_in(hospital.app().test_client(), Role.VIEWER)
    assert "No cloud is configured: the study rests here." in client.get(f"/studies/{passed}").text
    assert "No cloud is configured" in client.get("/").text
    upload = client.get(f"/studies/{delivered}?tab=upload").text
    assert "<dd>finished</dd>" in upload and "28" not in upload.split("<dt>Analysis</dt>")[1][:60]
    assert client.get(f"/api/v1/studies/{delivered}").json["upload"]["cloud_progress"] == 100


def test_uids_of_the_standard_are_not_called_replaced(hospital: Hospital) -> None:
    hospital.add_users(Role.VIEWER)
    study = hospital.study(StudyStatus.UPLOADING)
    rows = (
        DeidActionRow("(0008,0016)", "SOPClassUID", "UID replaced", 60),
        DeidActionRow("(0008,0018)", "SOPInstanceUID", "UID replaced", 60),
    )
    transact(lambda: store_deid_actions(study, 1, rows))
    page = log_in(hospital.app().test_client(), Role.VIEWER).get(f"/studies/{study}?tab=deid").text
    kept = page.split("was kept")[1]
    assert "UIDs of the Standard kept" in kept and "SOPInstanceUID" not in kept


def test_a_one_time_login_gets_no_pages_it_cannot_open_and_no_feed(hospital: Hospital) -> None:
    users.create_user("new", Role.VIEWER, hash_of(PASSWORD), at=time.time(), one_time=True)
    client = hospital.app().test_client()
    page = client.get("/login").text
    client.post("/login", data={"name": "new", "password": PASSWORD, "csrf_token": token_of(page)})
    page = client.get("/account/password").text
    assert "Choose a password" in page and "Log out" in page
    assert "<script" not in page and "data-cursor" not in page and 'class="nav"' not in page


def test_an_address_that_is_none_keeps_the_menu_of_whoever_is_logged_in(hospital: Hospital) -> None:
    hospital.add_users(Role.VIEWER)
    client = hospital.app().test_client()
    assert client.get("/favicon.ico").mimetype == "image/svg+xml"
    log_in(client, Role.VIEWER)
    answer = client.get("/nothing-here")
    assert answer.status_code == 404 and 'class="nav"' in answer.text and "Log in<" not in answer.text
    assert "There is no such page or call." in answer.text
    assert "There is no study with this id." in client.get("/studies/abcdefghijklmnop").text


def test_a_score_beside_a_failure_says_how_many_checks_failed(hospital: Hospital) -> None:
    hospital.add_users(Role.VIEWER)
    failed = hospital.study(StudyStatus.FAILED)
    client = log_in(hospital.app().test_client(), Role.VIEWER)
    report = client.get(f"/studies/{failed}/quality").text
    assert "failed on 1 check<" in report and "The score alone never decides" in report
    assert 'failed <span class="of">48</span>' in client.get("/studies").text
