"""Format and integrity: can every object be read, is it lossless, is it there once, is the grid whole?

Place: called by ``verdict``. It must never hide how many objects are concerned, and never treat a report or key image
as damaged.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence

from agent.qc.checks.advice import advise
from agent.qc.checks.scope import Scope
from agent.qc.findings import Check
from agent.qc.measurement import ImageMeasurement
from agent.qc.profiles.model import Profile

UNREADABLE = ("unreadable", "integrity", "unmeasurable")
UNDECODED = ("decode_failed", "size_mismatch", "frame_missing", "no_pixels", "bad_rescale")
CANNOT_TELL = ("unknown_syntax", "too_large", "bits_allocated", "float_pixels")


def check_objects(profile: Profile, images: Sequence[ImageMeasurement]) -> Iterator[Check]:
    """Judge all objects of a study, whatever series they are in."""
    broken = [i for i in images if not i.headers.sop_class_uid or any(p.code in UNREADABLE for p in i.problems)]
    if broken:
        detail = f"{len(broken)} of {len(images)} objects cannot be read as DICOM objects."
        advice = advise("readable", "study.readable", profile.remediation)
        yield Check(
            "study.readable", "integrity", "Objects readable", "fail", float(len(broken)), "none unreadable",
            severity="major", share=0.0, advice=advice, detail=detail,
        )  # fmt: skip
    else:
        yield Check("study.readable", "integrity", "Objects readable", "pass", f"{len(images)} of {len(images)}", "all")
    yield _conflicts(profile, images)


def _conflicts(profile: Profile, images: Sequence[ImageMeasurement]) -> Check:
    versions: dict[str, set[tuple[str, ...]]] = defaultdict(set)
    for image in images:
        if image.headers.sop_uid:
            versions[image.headers.sop_uid].add(tuple(getattr(f, "digest", "") for f in image.frames))
    count = sum(1 for different in versions.values() if len(different) > 1)
    title = "One content for each SOP Instance UID"
    if not count:
        return Check("study.sop_conflict", "integrity", title, "pass", 0.0, "none with two contents")
    advice = advise("sop_conflict", "study.sop_conflict", profile.remediation)
    return Check(
        "study.sop_conflict", "integrity", title, "fail", float(count), "none with two contents", share=0.0,
        advice=advice, detail=f"{count} SOP Instance UIDs came with different content.",
    )  # fmt: skip


def check(scope: Scope) -> Iterator[Check]:
    """Judge one series."""
    yield _decoded(scope)
    yield from _syntax(scope)
    yield _lossless(scope)
    yield _once(scope)
    yield _whole(scope)
    yield from _promised(scope)


def _decoded(scope: Scope) -> Check:
    problems = [p for i in scope.series.images for p in i.problems]
    bad = [p for p in problems if p.code in UNDECODED]
    unsure = [p for p in problems if p.code in CANNOT_TELL]
    title = "Pixels complete and decodable"
    if bad:
        detail = f"{len(bad)} of {len(scope.series.images)} objects. {bad[0].sentence}"
        return scope.failed("decode", "integrity", title, detail, measured=f"{len(bad)} damaged", limit="all")
    if unsure:
        detail = f"{len(unsure)} of {len(scope.series.images)} objects were not decoded. {unsure[0].sentence}"
        return scope.silent("decode", "integrity", title, detail, "undetermined", "minor")
    return scope.passed("decode", "integrity", title, measured="all", limit="all")


def _syntax(scope: Scope) -> Iterator[Check]:
    allowed = scope.profile.integrity.transfer_syntaxes
    if not allowed:
        return
    found = Counter(i.headers.pixels.transfer_syntax_uid for i in scope.series.images)
    wrong = [uid for uid in found if uid and uid not in allowed]
    title, limit = "Transfer syntax", "a lossless one of the profile"
    if wrong:
        detail = f"{sum(found[uid] for uid in wrong)} of {len(scope.series.images)} objects."
        yield scope.failed("transfer_syntax", "integrity", title, detail, measured=", ".join(wrong), limit=limit)
    else:
        yield scope.passed("transfer_syntax", "integrity", title, measured=", ".join(filter(None, found)), limit=limit)


def _lossless(scope: Scope) -> Check:
    title = "Never compressed with loss"
    lossy = [
        i
        for i in scope.series.images
        if i.headers.pixels.lossy == "01"
        or (i.headers.pixels.lossy_ratio or 0) > 1
        or any(p.code == "lossy" for p in i.problems)
    ]
    if not lossy:
        return scope.passed("lossy", "integrity", title, measured="lossless", limit="lossless")
    detail = f"{len(lossy)} of {len(scope.series.images)} objects were compressed with loss."
    if scope.profile.integrity.allow_lossy:
        return scope.warned("lossy", "integrity", title, detail, measured="lossy")
    return scope.failed("lossy", "integrity", title, detail, measured="lossy", limit="lossless")


def _once(scope: Scope) -> Check:
    count = len(scope.series.duplicates)
    title = "Each image once"
    if not count:
        return scope.passed("duplicates", "integrity", title, measured="no duplicates", limit="no duplicates")
    uids = Counter(i.headers.sop_uid for i in scope.series.images)
    resent = sum(n - 1 for n in uids.values())
    if resent >= count:
        return scope.passed("duplicates", "integrity", title, measured=f"{resent} sent again, counted once")
    detail = f"{count} images are there twice under different SOP Instance UIDs."
    return scope.failed("duplicates", "integrity", title, detail, measured=f"{count} duplicates", limit="no duplicates")


def _whole(scope: Scope) -> Check:
    grid = scope.series.grid
    title = "Slice grid without holes"
    if grid is None or len(grid.positions) < 3:
        return scope.silent("complete", "integrity", title, "The slices are not one stack.", "ignore", "major")
    missing = grid.images_missing
    shown = f"{grid.images_expected - missing} of {grid.images_expected}"
    if not missing:
        return scope.passed("complete", "integrity", title, measured=shown, limit="all")
    places = f"; {grid.missing_positions} places of the stack are empty" if grid.missing_positions else ""
    detail = f"{missing} of {grid.images_expected} slices missing{places}."
    if scope.profile.integrity.complete_series == "warn":
        return scope.warned("complete", "integrity", title, detail, measured=shown)
    return scope.failed("complete", "integrity", title, detail, measured=shown, limit="all")


def _promised(scope: Scope) -> Iterator[Check]:
    """Compare with a count that the header itself promises (Philips slices, time points)."""
    expected = scope.series.images[0].headers.expected
    grid = scope.series.grid
    if grid is None or not expected.philips_slices:
        return
    title = "Slices as many as the header promises"
    found, promised = len(grid.positions), expected.philips_slices
    if found < promised:
        detail = f"{promised - found} of {promised} slice positions did not come."
        yield scope.failed("header_count", "integrity", title, detail, measured=float(found), limit=f"{promised}")
    else:
        yield scope.passed("header_count", "integrity", title, measured=float(found), limit=f"{promised}")


def check_incomplete(profile: Profile, sentences: Sequence[str]) -> Iterator[Check]:
    """Take over what the judges of completeness did not find."""
    for n, sentence in enumerate(sentences, 1):
        check_id = "study.incomplete" if n == 1 else f"study.incomplete_{n}"
        advice = advise("incomplete", check_id, profile.remediation)
        severe = profile.integrity.complete_series == "required"
        yield Check(
            check_id, "integrity", "Study complete when judged", "fail" if severe else "warn", "incomplete", "complete",
            share=0.0, severity="major" if severe else "minor", advice=advice, detail=sentence,
        )  # fmt: skip
