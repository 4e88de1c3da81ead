"""Reads of the pages on a hundred thousand studies: by index, and bounded."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.store.database import change_many, query, transact
from agent.store.reader import operations, studies
from agent.store.reader.studies import StudyQuery
from agent.store.schema import NEEDS_A_PERSON
from agent.study import StudyStatus
from tests.web.hospital import Hospital

COUNT = 100_000


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hospital]:
    hospital = Hospital(Path(tmp_path_factory.mktemp("large")))
    rng = random.Random(7)
    statuses = [status.value for status in StudyStatus]
    rows = [
        (
            f"{number:016x}", f"1.2.{number}", "delivered" if rng.random() < 0.97 else rng.choice(statuses),
            f"ANON-{rng.randrange(40_000):05d}", f"20{rng.randrange(10, 27)}{rng.randrange(1, 13):02d}{rng.randrange(1, 29):02d}",
            rng.choice(["MR", "CT", "MR\\SR"]), rng.choice(["Brain", "Thorax", "Knee left"]), "PACS1", number, number, number,
            number, int(rng.random() < 0.01),
        )
        for number in range(COUNT)
    ]  # fmt: skip
    statement = (
        "INSERT INTO study (id, study_uid, status, revision, held, needs_review, incomplete, conflict, quarantined, deleted, "
        "patient, study_date, study_time, modality, description, description_identifies, source_aet, series_received, "
        "instances_received, first_arrival_at, last_arrival_at, completeness_json, qc_done, qc_total, upload_done_bytes, "
        "upload_total_bytes, upload_done_objects, upload_total_objects, upload_problem, cloud_progress, crashes, status_at, "
        "updated_at) VALUES (?,?,?,1,0,0,0,0,0,?13,?,?,'1015',?,?,0,?,1,1,?,?,'[]',0,0,0,0,0,0,'',0,0,?,?)"
    )
    # numbered parameters and plain ones do not mix: the flag goes where it stands
    statement = statement.replace("?13", "?")
    ordered = [(r[0], r[1], r[2], r[12], *r[3:12]) for r in rows]
    transact(lambda: change_many(statement, ordered))
    query("ANALYZE")
    yield hospital
    hospital.close()


def _plan(select) -> list[str]:  # type: ignore[no-untyped-def]
    sql, parameters = select.sql()
    return [row[3] for row in query("EXPLAIN QUERY PLAN " + sql, parameters)]


@pytest.mark.parametrize("sort", studies.SORTS)
@pytest.mark.parametrize("status", [(), ("delivered",)])
def test_no_order_of_the_list_is_sorted_by_hand(large: Hospital, sort: str, status: tuple[str, ...]) -> None:
    plan = _plan(studies.study_select(StudyQuery(sort=sort, status=status)))
    assert not any("TEMP B-TREE" in step for step in plan), plan


def test_a_rare_status_is_found_by_its_index(large: Hospital) -> None:
    for sort in studies.SORTS:
        assert "status=?" in _plan(studies.study_select(StudyQuery(sort=sort, status=("failed",))))[0]


@pytest.mark.parametrize(
    "given",
    [{}, {"status": ("failed",)}, {"patient": "anon-000"}, {"q": "ANON-00012"}, {"sort": "patient"}, {"page": 1000}],
)
def test_every_answer_is_bounded_and_counted(large: Hospital, given: dict[str, object]) -> None:
    page = studies.read_studies(StudyQuery(**given))  # type: ignore[arg-type]
    assert 0 < len(page.items) <= 50
    assert page.total >= len(page.items)
    assert len(studies.read_studies(StudyQuery(page_size=10_000)).items) == studies.PAGE_SIZE_MAX


def test_reads_of_one_study_and_of_news_use_an_index(large: Hospital) -> None:
    assert len(studies.changed_since(COUNT - 100, 500)) == 100
    assert studies.read_line(f"{5:016x}") is not None
    statements = {
        "SELECT * FROM study WHERE updated_at >= 99990 ORDER BY updated_at LIMIT 500": "study_updated_at",
        "SELECT status, count(1) FROM study GROUP BY status": "USING COVERING INDEX",
        "SELECT * FROM history WHERE study_id = 'x' ORDER BY seq DESC LIMIT 500": "history_study_id",
        "SELECT * FROM job WHERE study_id = 'x'": "job_study_id",
        "SELECT * FROM report WHERE study_id = 'x'": "report_study_id",
        "SELECT * FROM qc_report WHERE study_id = 'x'": "qc_report_study_id",
        "SELECT * FROM deid_action WHERE study_id = 'x' AND revision = 1": "deid_action_study_id",
        "SELECT * FROM command WHERE study_id = 'x' ORDER BY id DESC LIMIT 5": "command_study_id",
        "SELECT * FROM series WHERE study_id = 'x'": "series_study",
    }
    for statement, index in statements.items():
        plan = " ".join(row[3] for row in query("EXPLAIN QUERY PLAN " + statement))
        assert index in plan, (statement, plan)
        if "COVERING" not in index:
            assert "USING INDEX" in plan and "TEMP B-TREE" not in plan, (statement, plan)


def test_what_waits_for_a_person_is_read_from_its_own_index(large: Hospital) -> None:
    plan = _plan(studies.waiting_select(12))
    assert len(plan) == 1 and "USING INDEX study_needs_a_person" in plan[0], plan
    counted = query(f"EXPLAIN QUERY PLAN SELECT count(*) FROM study WHERE {NEEDS_A_PERSON}")
    assert "study_needs_a_person" in counted[0][3], counted
    waiting = query("SELECT count(*) FROM study WHERE status = 'failed' AND NOT deleted")[0][0]
    assert studies.count_waiting() == waiting > 100


def test_counts_and_figures_answer_for_all(large: Hospital) -> None:
    counts = studies.count_by_status()
    assert sum(counts.values()) == query("SELECT count(*) FROM study WHERE NOT deleted")[0][0]
    assert studies.count_waiting() >= counts["failed"]
    assert len(studies.waiting_for_a_person(12)) == 12
    assert operations.figures(COUNT - 50).received == 50
