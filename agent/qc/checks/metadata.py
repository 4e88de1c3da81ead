"""Metadata: are the elements there that the analysis needs, and are age and sex usable?

Place: called by ``verdict``. What a value is never leaves: only whether it is present, and whether it has a valid
form.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace

from agent.qc.checks.advice import advise
from agent.qc.checks.bands import Band
from agent.qc.checks.scope import Scope
from agent.qc.findings import Check
from agent.qc.measurement import ImageMeasurement
from agent.qc.profiles.model import Profile

FROM_FRAMES = {
    "PixelSpacing": "pixel_spacing", "ImagePositionPatient": "position", "ImageOrientationPatient": "orientation",
    "SliceThickness": "slice_thickness", "EchoTime": "echo_time", "RepetitionTime": "repetition_time",
    "FlipAngle": "flip_angle",
}  # fmt: skip

GEOMETRY = {"pixel_spacing", "position", "orientation"}


def check(scope: Scope) -> Iterator[Check]:
    """Judge the elements of one series."""
    wanted = scope.rule.metadata
    names = (*wanted.critical, *wanted.required)
    if not names:
        return
    lacking = _lacking(scope, names)
    critical = {n: c for n, c in lacking.items() if n in wanted.critical}
    total = len(scope.series.images)
    if wanted.critical:
        title = "Elements that nothing works without"
        if critical:
            yield scope.failed(
                "elements_critical", "metadata", title, _sentence(critical, total), severity="critical",
                measured=f"{len(critical)} missing", limit="all present",
            )  # fmt: skip
        else:
            yield replace(
                scope.passed("elements_critical", "metadata", title, measured="all present", limit="all present"),
                severity="critical",
            )
    share = 1 - sum(lacking.values()) / (total * len(names))
    band = Band(low=100 * wanted.warn_below, fail_low=100 * wanted.fail_below)
    found = scope.judged(
        "elements", "metadata", "Elements present and filled", round(100 * share, 1), band, unit="%",
        severity="major", detail=_sentence(lacking, total) if lacking else "",
    )  # fmt: skip
    yield found


def _lacking(scope: Scope, names: Sequence[str]) -> Counter[str]:
    """Count, for each element, the objects that lack it."""
    lacking: Counter[str] = Counter()
    for image in scope.series.images:
        if not image.headers.is_image:
            continue
        for name in names:
            if not _has(image, name):
                lacking[name] += 1
    return lacking


def _has(image: ImageMeasurement, name: str) -> bool:
    attribute = FROM_FRAMES.get(name)
    frames = image.headers.frames
    if attribute is not None and frames:
        held = all(getattr(f, attribute) is not None for f in frames)
        if held or attribute in GEOMETRY:  # a value of the wrong form is as bad as none
            return held
    if name == "MagneticFieldStrength" and image.headers.sequence.field_strength is not None:
        return True
    state = image.headers.elements.get(name)
    if state is not None:
        return state == "ok"
    return bool(image.headers.parameters.get(name))


def _sentence(lacking: Counter[str] | dict[str, int], total: int) -> str:
    parts = [name if count == total else f"{name} ({count} of {total} images)" for name, count in lacking.items()]
    return f"Missing or empty: {', '.join(parts)}."


def check_identity(profile: Profile, images: Sequence[ImageMeasurement]) -> Iterator[Check]:
    """Judge age and sex, and that all images are of one patient and one study."""
    graded = [i for i in images if i.headers.is_image]
    if not graded:
        return
    yield _one_patient(profile, images)
    for keyword in profile.identity.require:
        if keyword == "PatientAge":
            yield _age(profile, graded)
        elif keyword == "PatientSex":
            yield _sex(profile, graded)
        else:
            yield _present(profile, graded, keyword)


def _result(profile: Profile, key: str, title: str, problem: str, limit: str) -> Check:
    check_id = f"study.{key}"
    if not problem:
        return Check(check_id, "metadata", title, "pass", "valid", limit)
    advice = advise(key, check_id, profile.remediation)
    return Check(check_id, "metadata", title, "fail", problem, limit, share=0.0, advice=advice)


def _age(profile: Profile, images: Sequence[ImageMeasurement]) -> Check:
    strict = profile.identity.age_format == "strict"
    problem = ""
    for image in images:
        patient = image.headers.patient
        if not patient.age and patient.age_years is None:
            problem = "absent or not an age"
        elif patient.age_years is None or not 0 < patient.age_years <= 120:
            problem = "not a plausible age"
        if problem:
            break
    limit = "nnnY, a number, or 90+" if strict else "present"
    return _result(profile, "PatientAge", "Patient's Age", problem, limit)


def _sex(profile: Profile, images: Sequence[ImageMeasurement]) -> Check:
    allowed = profile.identity.sex or ("M", "F", "O")
    found = {image.headers.patient.sex for image in images}
    problem = ""
    if found - set(allowed):
        problem = "absent" if "" in found else "not one of the allowed"
    return _result(profile, "PatientSex", "Patient's Sex", problem, " or ".join(allowed))


def _present(profile: Profile, images: Sequence[ImageMeasurement], keyword: str) -> Check:
    missing = sum(1 for image in images if not _has(image, keyword))
    problem = f"missing in {missing} of {len(images)} images" if missing else ""
    return _result(profile, keyword, keyword, problem, "present")


def _one_patient(profile: Profile, images: Sequence[ImageMeasurement]) -> Check:
    patients = [i.headers.patient for i in images]
    counts = {
        "patient IDs": len({p.id_digest for p in patients if p.id_digest}),
        "dates of birth": len({p.birth_date_digest for p in patients if p.birth_date_digest}),
        "sexes": len({p.sex for p in patients if p.sex}),
        "Study Instance UIDs": len({i.headers.study_uid for i in images if i.headers.study_uid}),
    }
    mixed = [f"{count} {name}" for name, count in counts.items() if count > 1]
    title = "One patient, one study"
    if mixed:
        advice = advise("identity", "study.identity", profile.remediation)
        return Check(
            "study.identity", "integrity", title, "fail", ", ".join(mixed), "one", severity="critical", share=0.0,
            advice=advice,
        )  # fmt: skip
    return Check("study.identity", "integrity", title, "pass", "one", "one", severity="critical")
