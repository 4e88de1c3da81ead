"""Weigh what the judges say: wait, or Stable, and because of what.

Job: ask the gate, then the judges of each series, then the study; decide with proof at once and without proof after
quiet time. Place: called by the study's actor after each batch of arrivals, after an association closed and when it
asked to be woken; pure. Quiet time is no judge: it is what is waited for where proof is missing. It must never hide
a finding.
"""

from __future__ import annotations

from collections.abc import Sequence

from agent.completeness import diffusion, header_counts, instance_numbers, open_association, required_series, slice_grid
from agent.completeness.evidence import Action, Decision, Finding, StudyEvidence
from agent.completeness.ledger import SeriesLedger, StudyLedger

STRETCH = 3.0
STRETCH_MOST = 5.0
SHORTEST_LOOK_S = 0.05


def decide(evidence: StudyEvidence) -> Decision:
    """Decide whether a study is complete.

    Parameters
    ----------
    evidence : StudyEvidence
        What is known at this moment.
    """
    ledger = evidence.folded()
    gate = open_association.judge(evidence)
    by_series = _judge_series(evidence, ledger)
    proven = [f.series_uid for f in by_series if f.scope == "series" and f.answer == "met" and f.series_uid]
    required = required_series.judge(evidence, ledger, proven)
    findings = (gate, required, *by_series)
    doubts = _holding(findings)
    if gate.answer == "not_met" and evidence.age_of_last_arrival_s < evidence.settings.max_wait_s:
        longest = evidence.settings.max_wait_s - evidence.age_of_last_arrival_s
        wake = min(longest, gate.numbers.get("released_in_s", longest))
        return _decision("wait", gate.sentence, wake, findings, ledger)
    if doubts:
        return _with_doubt(evidence, doubts, findings, ledger)
    if required.answer == "met" and not required.numbers.get("unproven"):
        return _decision("stable", required.sentence, None, findings, ledger)
    return _by_quiet_time(evidence, proven, findings, ledger)


def _judge_series(evidence: StudyEvidence, ledger: StudyLedger) -> list[Finding]:
    findings: list[Finding] = []
    for series in sorted(ledger.series.values(), key=lambda s: (s.number is None, s.number or 0, s.uid)):
        if not series.images:
            continue
        grid = slice_grid.judge(series)
        findings += [
            header_counts.judge(series),
            grid,
            diffusion.judge(series, evidence.diffusion),
            instance_numbers.judge(series, grid_is_whole=grid.answer == "met"),
        ]
    return findings


def _holding(findings: Sequence[Finding]) -> list[Finding]:
    """Return the findings that hold a study, the plainest first."""
    order = (slice_grid.JUDGE, header_counts.JUDGE, diffusion.JUDGE, required_series.JUDGE, instance_numbers.JUDGE)
    holding = [f for f in findings if f.answer == "not_met" and f.scope != "gate"]
    return sorted(holding, key=lambda f: order.index(f.judge))


def _with_doubt(
    evidence: StudyEvidence, doubts: Sequence[Finding], findings: tuple[Finding, ...], ledger: StudyLedger
) -> Decision:
    remaining = evidence.settings.max_wait_s - evidence.age_of_last_arrival_s
    because = doubts[0].sentence
    if remaining > 0:
        return _decision("wait", because, remaining, findings, ledger)
    action: Action = "hold" if evidence.settings.incomplete == "hold" else "stable_incomplete"
    waited = f"Nothing more came within {evidence.settings.max_wait_s:g} s. {because}"
    return _decision(action, waited, None, findings, ledger)


def _by_quiet_time(
    evidence: StudyEvidence, proven: Sequence[str], findings: tuple[Finding, ...], ledger: StudyLedger
) -> Decision:
    """Without proof: wait until the study, and each series without proof, has been quiet."""
    remaining = evidence.settings.quiet_s - evidence.age_of_last_arrival_s
    for series in ledger.series.values():
        if series.images and series.uid not in proven:
            age = evidence.series_ages_s.get(series.uid, evidence.age_of_last_arrival_s)
            remaining = max(remaining, series_quiet_s(evidence.settings.series_quiet_s, series) - age)
    if remaining > 0:
        because = f"Nothing proves that all images came; waiting for {remaining:.0f} s more without a new one."
        return _decision("wait", because, remaining, findings, ledger)
    because = f"No image for {evidence.age_of_last_arrival_s:.0f} s, and nothing seems to be missing."
    return _decision("stable", because, None, findings, ledger)


def series_quiet_s(setting_s: float, series: SeriesLedger) -> float:
    """Return the quiet time of a series, stretched by the largest gap seen between its images."""
    return min(max(setting_s, STRETCH * series.largest_gap_s), STRETCH_MOST * setting_s)


def _decision(
    action: Action, because: str, wake: float | None, findings: tuple[Finding, ...], ledger: StudyLedger
) -> Decision:
    series, instances = _expected(findings, ledger)
    look = None if wake is None else max(SHORTEST_LOOK_S, wake)
    return Decision(action, because, look, findings, series, instances)


def _expected(findings: Sequence[Finding], ledger: StudyLedger) -> tuple[int | None, int | None]:
    """Return how many series and instances the study should have, where anything tells."""
    wanted: dict[str, float] = {}
    for finding in findings:
        count = finding.numbers.get("expected")
        if finding.series_uid and count is not None and not ledger.series[finding.series_uid].multiframe:
            wanted[finding.series_uid] = max(wanted.get(finding.series_uid, 0), count)
    instances = None
    if wanted:
        total = 0.0
        for series in ledger.series.values():
            total += max(wanted.get(series.uid, 0), series.images) + series.others + series.derived
        instances = int(total)
    missing = next((f.numbers.get("missing") for f in findings if f.judge == required_series.JUDGE and f.numbers), None)
    return (None if missing is None else len(ledger.series) + int(missing)), instances
