"""Disk facts and the retention rule."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.config import RetentionSettings, StoreSettings
from agent.ops.disk import DiskUsage, Margin, UsagePoint, days_to_full, growth_bytes_per_day, margin_of, read_usage
from agent.ops.retention import RetentionCandidate, may_delete
from agent.study import StudyFlags, StudyStatus

DAY = 86_400.0
NOW = 1_800_000_000.0


def candidate(status: StudyStatus = StudyStatus.DELIVERED, days: float = 40, **flags: bool) -> RetentionCandidate:
    return RetentionCandidate(f"id-{days}", status, NOW - days * DAY, StudyFlags(**flags))


def test_a_delivered_study_past_its_time_may_go() -> None:
    assert may_delete(candidate(days=31), RetentionSettings(delivered_days=30), NOW)
    assert not may_delete(candidate(days=29), RetentionSettings(delivered_days=30), NOW)


def test_without_a_setting_nothing_goes() -> None:
    assert not may_delete(candidate(days=9999), RetentionSettings(), NOW)


@given(
    status=st.sampled_from(list(StudyStatus)),
    days=st.floats(-1000, 10_000),
    flags=st.fixed_dictionaries({name: st.booleans() for name in StudyFlags.__slots__}),
)
def test_only_delivered_studies_without_an_open_question_ever_go(
    status: StudyStatus, days: float, flags: dict[str, bool]
) -> None:
    if may_delete(candidate(status, days, **flags), RetentionSettings(delivered_days=1), NOW):
        assert status is StudyStatus.DELIVERED
        assert days > 1
        assert not (set(StudyFlags(**flags).names()) - {"incomplete"})


def test_images_that_came_after_delivery_keep_a_study() -> None:
    late = replace(candidate(days=31), has_late_images=True)
    assert not may_delete(late, RetentionSettings(delivered_days=30), NOW)


def test_the_disk_is_read(tmp_path: Path) -> None:
    usage = read_usage(tmp_path)
    assert usage.total_bytes > 0
    assert 0 <= usage.free_percent <= 100


@pytest.mark.parametrize(("free", "margin"), [(50, Margin.NONE), (9, Margin.SOFT), (1, Margin.HARD), (0, Margin.HARD)])
def test_margins_follow_the_settings(free: int, margin: Margin) -> None:
    assert margin_of(DiskUsage(100, 100 - free, free), StoreSettings()) is margin


def test_time_to_full_follows_the_growth() -> None:
    history = [UsagePoint(NOW + n * DAY, 100 + 10 * n) for n in range(5)]
    assert growth_bytes_per_day(history) == pytest.approx(10)
    assert days_to_full(DiskUsage(300, 100, 200), history) == pytest.approx(20)


@pytest.mark.parametrize(
    "history", [[], [UsagePoint(NOW, 1)], [UsagePoint(NOW, 1)] * 3, [UsagePoint(NOW, 9), UsagePoint(NOW + DAY, 5)]]
)
def test_without_growth_there_is_no_time_to_full(history: list[UsagePoint]) -> None:
    assert days_to_full(DiskUsage(300, 100, 200), history) is None
