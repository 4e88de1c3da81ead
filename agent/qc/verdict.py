"""From checks to a verdict.

Job: match series to the rules of a profile, run the checks, pick the best of repeated runs, weigh, and say pass, fail
or review with the three reasons that weigh most. Place: called by ``judge_worker``. The verdict never follows from
the score alone: a veto, a missing required series or a failed major check decides first.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from agent.qc.checks import diffusion, geometry, integrity, metadata, pairs, parameters, pixel_metrics
from agent.qc.checks.advice import advise
from agent.qc.checks.scope import Scope
from agent.qc.findings import Check, QcReport, Verdict
from agent.qc.matching import Assignment, assign
from agent.qc.measurement import ImageMeasurement
from agent.qc.profile import LoadedProfile
from agent.qc.profiles.model import Profile
from agent.qc.series import Series
from agent.qc.summaries import metadata_of, summarize

SERIES_CHECKS = (
    integrity.check, metadata.check, geometry.check, parameters.check, diffusion.check, pixel_metrics.check,
)  # fmt: skip
DEFAULT_WEIGHTS = {"major": 3.0, "minor": 1.0, "critical": 3.0}


@dataclass(frozen=True, slots=True)
class Judged:
    """One series with its checks."""

    assignment: Assignment
    checks: tuple[Check, ...]
    score: float | None
    picked: bool


def judge_study(
    measurements: Sequence[ImageMeasurement],
    series: Sequence[Series],
    loaded: LoadedProfile,
    incomplete: Sequence[str] = (),
) -> QcReport:
    """Judge a study.

    Parameters
    ----------
    measurements, series : sequence
        All objects of the study, and the same arranged.
    loaded, incomplete : LoadedProfile, sequence of str
        What is asked, and the sentences of the judges of completeness that said *not met*.
    """
    profile = loaded.profile
    judged = _pick(profile, [_judge_series(profile, a) for a in assign(profile, series)])
    checks = _run_all(profile, measurements, judged, incomplete)
    score, evidence = _score(profile, checks) if judged else (None, 0.0)
    verdict, because = _decide(profile, checks, score)
    worst = _lowest(profile, checks)
    scores = {j.assignment.series.uid: (j.score, j.picked) for j in judged}
    return QcReport(
        verdict=verdict,
        score=score,
        profile=loaded.id,
        profile_version=loaded.version,
        profile_hash=loaded.sha256,
        profile_title=profile.profile.title,
        pass_score=profile.profile.pass_score,
        evidence_percent=evidence,
        because=because,
        reasons=tuple(_reason(c) for c in worst[:3]),
        recommendations=_recommendations(worst),
        series=tuple(summarize(s, judged_rule(judged, s), *scores.get(s.uid, (None, True))) for s in series),
        checks=tuple(checks),
        incomplete=tuple(incomplete),
        measure_code=measurements[0].code if measurements else "",
        metadata=metadata_of(series),
    )


def _run_all(
    profile: Profile, measurements: Sequence[ImageMeasurement], judged: Sequence[Judged], incomplete: Sequence[str]
) -> list[Check]:
    """Return the checks of the study and of the series that were picked."""
    return [
        *integrity.check_objects(profile, measurements),
        *metadata.check_identity(profile, measurements),
        *integrity.check_incomplete(profile, incomplete),
        *_required(profile, judged),
        *pairs.check(profile, [j.assignment for j in judged]),
        *(check for j in judged if j.picked for check in j.checks),
    ]


def judged_rule(judged: Sequence[Judged], series: Series) -> str:
    """Return the name of the rule a series matched; empty when none."""
    return next((j.assignment.rule.name for j in judged if j.assignment.series.uid == series.uid), "")


def _judge_series(profile: Profile, assignment: Assignment) -> Judged:
    scope = Scope(profile, assignment.rule, assignment.series)
    checks = tuple(check for run in SERIES_CHECKS for check in run(scope))
    return Judged(assignment, checks, _score(profile, checks)[0], picked=True)


def _pick(profile: Profile, judged: Sequence[Judged]) -> list[Judged]:
    """Of repeated runs under one rule with a limit, keep the best; rules for any series keep all."""
    kept: list[Judged] = []
    for rule in profile.sequence:
        runs = [j for j in judged if j.assignment.rule is rule]
        if rule.sequence_class == "any" or len(runs) < 2:
            kept += runs
            continue
        best = max(runs, key=lambda j: (not _has_fail(j.checks), j.score or 0.0))
        if rule.count.pick == "last":
            best = runs[-1]
        kept += [replace(j, picked=j is best) for j in runs]
    return kept


def _has_fail(checks: Sequence[Check]) -> bool:
    return any(c.result == "fail" and c.severity != "minor" for c in checks)


def _required(profile: Profile, judged: Sequence[Judged]) -> Iterator[Check]:
    """Judge how often each sequence is there (Q1)."""
    for rule in profile.sequence:
        runs = [j for j in judged if j.assignment.rule is rule]
        check_id = f"{rule.name.lower()}.required"
        title = f"Required sequence: {rule.name}"
        limit = f"{rule.count.min} to {rule.count.max}" if rule.count.max < 99 else f"at least {rule.count.min}"
        count = float(len(runs))
        if rule.required and len(runs) < rule.count.min:
            advice = advise("required", check_id, profile.remediation)
            detail = "No series of the study is of this kind."
            yield Check(
                check_id, "required", title, "fail", count, limit, severity="critical", share=0.0, advice=advice,
                detail=detail, required_missing=True,
            )  # fmt: skip
        elif len(runs) > rule.count.max:
            advice = advise("repeats", check_id, profile.remediation)
            yield Check(check_id, "required", title, "warn", count, limit, severity="minor", share=0.5, advice=advice)
        elif rule.required:
            picked = next((j for j in runs if j.picked), None)
            detail = ""
            if len(runs) > 1 and picked is not None and rule.sequence_class != "any":
                detail = f"{len(runs)} runs; {picked.assignment.series.label} is judged as the best of them."
            yield Check(check_id, "required", title, "pass", count, limit, severity="critical", detail=detail)


def _weight(profile: Profile, check: Check) -> float:
    if check.weight is not None:
        return check.weight
    stated = profile.severity_weights.get(check.severity)
    return float(stated) if isinstance(stated, int | float) else DEFAULT_WEIGHTS[check.severity]


def _score(profile: Profile, checks: Sequence[Check]) -> tuple[float | None, float]:
    """Return the score (4.3) and the share of checks that could be evaluated, percent."""
    graded = [(c.share, _weight(profile, c)) for c in checks if c.is_graded]
    silent = sum(_weight(profile, c) for c in checks if c.result == "undetermined")
    total = sum(weight for _, weight in graded)
    if total == 0:
        return None, 0.0
    score = 100 * sum(share * weight for share, weight in graded) / total
    return round(score, 1), round(100 * total / (total + silent), 1)


def _decide(profile: Profile, checks: Sequence[Check], score: float | None) -> tuple[Verdict, str]:
    failed = [c for c in checks if c.result == "fail"]
    missing = [c for c in failed if c.required_missing]
    if missing:
        return "fail", f"{missing[0].title}: none found."
    vetoes = [c for c in failed if c.severity == "critical" and profile.severity_weights.get("critical") == "veto"]
    if vetoes:
        return "fail", f"{vetoes[0].title} failed, which is critical."
    major = [c for c in failed if c.severity in ("major", "critical")]
    if major:
        count = f"{len(major)} major checks" if len(major) > 1 else "1 major check"
        return profile.profile.on_major_fail, f"{count} failed."
    unsure = [c for c in checks if c.result == "undetermined" and c.severity != "minor"]
    if unsure and profile.profile.on_undetermined != "pass":
        return profile.profile.on_undetermined, f"{unsure[0].title} could not be determined."
    if score is None:
        return "review", "The study holds no image that could be graded."
    if score < profile.profile.pass_score:
        return "review", f"The score {score:g} is below {profile.profile.pass_score:g}."
    warned = sum(1 for c in checks if c.result != "pass" and c.is_graded)
    return "pass", f"All checks that decide passed{f'; {warned} warned' if warned else ''}."


def _lowest(profile: Profile, checks: Sequence[Check]) -> list[Check]:
    """Return the checks that cost most, the gravest first."""
    gravity = {"critical": 0, "major": 1, "minor": 2}
    below = [c for c in checks if c.is_graded and c.share < 1]
    return sorted(below, key=lambda c: (c.result != "fail", gravity[c.severity], -(1 - c.share) * _weight(profile, c)))


def _reason(check: Check) -> str:
    where = f"{check.series}: " if check.series else ""
    limit = f", should be {check.limit}" if check.limit else ""
    text = f"{where}{check.title} – {check.measured_words()}{limit}."
    return f"{text} {check.detail}".strip()


def _recommendations(worst: Sequence[Check]) -> tuple[str, ...]:
    seen: list[str] = []
    for check in worst:
        if check.advice and check.advice not in seen:
            seen.append(check.advice)
    return tuple(seen)
