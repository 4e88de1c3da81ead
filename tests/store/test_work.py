"""Jobs, the ledger, measurements, reports, mappings, commands, associations, alarms."""

from __future__ import annotations

from dataclasses import dataclass

from agent.store import alarms, associations, audit, commands, jobs, measurements, reports
from agent.store.database import query
from agent.store.studies import read_instances, resolve
from tests.store.installation import Installation


def test_a_job_is_claimed_once_and_waits_for_its_next_attempt(store: Installation) -> None:
    run = store.writer.run
    job_id = run(lambda: jobs.create("s", 1, jobs.NewJob("upload", {"k": "v"}, order_id="o"), 10.0))
    assert [job.id for job in jobs.due_jobs(10.0)] == [job_id]
    job = run(lambda: jobs.claim(job_id, 11.0))
    assert job is not None
    assert (job.attempts, job.state, job.body, job.order_id) == (1, "running", {"k": "v"}, "o")
    assert run(lambda: jobs.claim(job_id, 11.0)) is None
    run(lambda: jobs.reschedule(job_id, 60.0, "cloud_unreachable", 12.0))
    assert jobs.due_jobs(59.0) == []
    assert [job.id for job in jobs.due_jobs(60.0, "upload")] == [job_id]
    assert jobs.due_jobs(60.0, "qc") == []
    run(lambda: jobs.claim(job_id, 61.0))
    assert run(lambda: jobs.requeue_running(62.0)) == 1
    assert run(lambda: jobs.cancel("s", 63.0, "upload")) == 1
    assert not run(lambda: jobs.finish(job_id, 64.0))


def test_an_upload_goes_on_from_its_ledger(store: Installation) -> None:
    run = store.writer.run
    job_id = run(lambda: jobs.create("s", 1, jobs.NewJob("upload"), 10.0))
    planned = [jobs.PlannedObject(n, 100 + n, f"k/{n}") for n in range(3)]
    run(lambda: jobs.plan_objects(job_id, planned))
    run(lambda: jobs.mark_sent(job_id, 0, size_bytes=5, sha256="aa", etag="e"))
    run(lambda: jobs.start_multipart(job_id, 1, "mp"))
    for number in (1, 2):
        run(lambda n=number: jobs.record_part(job_id, 1, jobs.LedgerPart(n, 9, "bb", f"e{n}")))
    run(lambda: jobs.mark_excluded(job_id, 2, "class not allowed"))
    run(lambda: jobs.plan_objects(job_id, planned))  # again, after a restart
    first, second, third = jobs.read_ledger(job_id)
    assert (first.state, first.sha256, first.instance_id) == ("sent", "aa", 100)
    assert (second.state, second.multipart_id, [p.etag for p in second.parts]) == ("planned", "mp", ["e1", "e2"])
    assert (third.state, third.excluded_because) == ("excluded", "class not allowed")
    run(lambda: jobs.start_multipart(job_id, 1, "mp2"))
    assert jobs.read_ledger(job_id)[1].parts == ()


def test_what_other_code_measured_is_measured_again(store: Installation) -> None:
    store.receive("1.2.3", 3)
    study_id = resolve("1.2.3")
    ids = [i.id for i in read_instances(study_id)]
    store.writer.run(lambda: measurements.store_measurements(study_id, [(ids[0], "v1", "{}"), (999, "v1", "{}")]))
    assert measurements.read_measurements(study_id, "v1") == {ids[0]: "{}"}
    assert [i.id for i in measurements.missing_measurements(study_id, "v1")] == ids[1:]
    assert [i.id for i in measurements.missing_measurements(study_id, "v2")] == ids


@dataclass(frozen=True)
class APicture:
    name: str = "mid.png"
    caption: str = "Middle slice"
    png: bytes = b"png"


def test_a_report_of_an_earlier_revision_is_superseded(store: Installation) -> None:
    run = store.writer.run
    run(lambda: reports.store_report("s", 1, reports.NewReport("o1", "report.pdf", "application/pdf", b"one"), 1.0))
    run(lambda: reports.store_report("s", 1, reports.NewReport("o1", "report.pdf", "application/pdf", b"one"), 2.0))
    run(lambda: reports.store_report("s", 2, reports.NewReport("o2", "report.pdf", "application/pdf", b"two"), 3.0))
    assert run(lambda: reports.supersede("s", 2)) == 1
    assert [(r.revision, r.superseded) for r in reports.read_reports("s")] == [(2, False), (1, True)]
    assert reports.read_report_body(reports.read_reports("s", 2)[0].id) == b"two"


def test_a_quality_report_replaces_the_one_of_its_revision(store: Installation) -> None:
    for score in (50.0, 60.0):
        record = reports.QcReportRecord(0, "s", 1, "pass", score, "mr-brain", "{}", 1.0)
        store.writer.run(lambda r=record: reports.store_qc_report(r, [APicture()]))
    found = reports.read_qc_report("s")
    assert found is not None
    assert found.score == 60.0
    assert query("SELECT count(*) FROM qc_picture") == [(1,)]


def test_the_way_back_is_sealed_and_complete(store: Installation) -> None:
    run, keyring = store.writer.run, store.keyring
    run(lambda: jobs.store_pseudonym(keyring, "ANON7", "PID-77 ", b'{"patient_name": "MARKED^PATIENT"}'))
    run(lambda: jobs.store_uid_mappings(keyring, "s", [jobs.ReplacedUid("2.25.1", "study", "1.2.3.4.5")]))
    assert jobs.read_pseudonym(keyring, "ANON7") == b'{"patient_name": "MARKED^PATIENT"}'
    assert jobs.pseudonyms_of(keyring, " pid-77") == ["ANON7"]
    assert jobs.read_old_uid(keyring, "2.25.1") == "1.2.3.4.5"
    rows = repr(query("SELECT * FROM pseudonym")) + repr(query("SELECT * FROM uid_mapping"))
    assert not any(secret in rows for secret in ("MARKED", "PID-77", "1.2.3.4.5"))
    for _ in range(2):
        run(lambda: jobs.store_deid_actions("s", 1, [jobs.DeidActionRow("00100010", "PatientName", "replace", 4)]))
    assert jobs.read_deid_actions("s", 1) == [jobs.DeidActionRow("00100010", "PatientName", "replace", 4)]


def test_a_claimed_command_is_not_lost_in_a_restart(store: Installation) -> None:
    first = commands.insert_command(commands.NewCommand("s", "retry", "anna", "technologist"))
    second = commands.insert_command(commands.NewCommand("s", "hold", "anna", "technologist"))
    assert [c.id for c in store.writer.run(commands.claim_requested)] == [first, second]
    assert store.writer.run(commands.claim_requested) == []
    assert store.writer.run(commands.release_claimed) == 2
    assert [c.id for c in store.writer.run(commands.claim_requested)] == [first, second]
    store.writer.run(lambda: commands.finish(first, "Not in this status.", done=False, at=9.0))
    row = commands.read_command(first)
    assert row is not None
    assert (row.state, row.outcome) == ("refused", "Not in this status.")


def test_an_association_leaves_one_audit_row_a_study_without_naming_instances(store: Installation) -> None:
    run = store.writer.run
    run(lambda: associations.opened("a1", associations.Peer("MODALITY", "AGENT", "10.0.0.9"), 1.0))
    run(lambda: associations.refused("a2", associations.Peer("X", "AGENT", "10.0.0.8"), "not listed", 2.0))
    store.receive("1.2.3", 3)
    assert [a.id for a in associations.read_open_of_study(resolve("1.2.3"))] == ["a1"]
    for _ in range(2):
        run(lambda: associations.closed("a1", "released", associations.Traffic(3, 1, 3000), 5.0))
    assert associations.read_open() == []
    entries = list(audit.rows())
    assert [e.action for e in entries] == [
        "association_accepted",
        "association_refused",
        "objects_stored",
        "objects_refused",
    ]
    assert entries[2].detail["objects"] == 3
    assert "1.2.3" not in entries[2].detail_json


def test_open_associations_are_lost_at_a_restart(store: Installation) -> None:
    store.writer.run(lambda: associations.opened("a1", associations.Peer("M", "A", "10.0.0.9"), 1.0))
    assert store.writer.run(lambda: associations.lose_open(9.0)) == ["a1"]
    assert associations.read_open() == []


def test_an_alarm_stays_until_it_is_cleared(store: Installation) -> None:
    assert alarms.raise_alarm("disk", "warning", "Little room.", "Free some.")
    assert not alarms.raise_alarm("disk", "error", "No room.", "Free some.")
    assert [(a.code, a.severity) for a in alarms.read_open()] == [("disk", "error")]
    assert alarms.clear_alarm("disk")
    assert not alarms.clear_alarm("disk")
    assert alarms.read_open() == []
    assert alarms.raise_alarm("disk", "warning", "Again.", "Free some.")
