"""Diffusion encoding: shells, volumes without weighting, directions and their spread.

Place: called by ``verdict`` for rules with a diffusion table. Everything comes from headers; it must never guess a
direction or a b value that the headers do not hold.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from agent.completeness.sequence_class import B0_MAX
from agent.qc.checks.bands import Band
from agent.qc.checks.diffusion_numbers import design_condition, shell_of, unique_directions
from agent.qc.checks.scope import Scope
from agent.qc.findings import Check
from agent.qc.profiles.model import Diffusion


def check(scope: Scope) -> Iterator[Check]:
    """Judge the diffusion table of a series."""
    need = scope.rule.diffusion
    if need is None:
        return
    values = [v.b_value for v in scope.series.volumes if v.b_value is not None]
    if not values:
        title = "Diffusion encoding in the headers"
        yield scope.failed(
            "directions_known", "diffusion", title, "No image carries a b value.", measured="absent", limit="present",
            severity=need.severity,
        )  # fmt: skip
        return
    yield _shells(scope, need, values)
    unweighted = sum(1 for b in values if b <= B0_MAX)
    yield scope.judged(
        "b0_min", "diffusion", "Volumes without diffusion weighting (b = 0)", float(unweighted),
        Band(low=float(need.b0_min)), severity=need.severity,
    )  # fmt: skip
    yield from _directions(scope, need)


def _shells(scope: Scope, need: Diffusion, values: list[float]) -> Check:
    tolerance = float(need.shell_tol.rstrip("%")) / 100
    found = Counter(shell_of(b, need.shells, tolerance) for b in values)
    missing = [shell for shell in need.shells if not found[shell]]
    table = Counter(round(b) if b > B0_MAX else 0 for b in values)
    shown = ", ".join(f"{count} × b {b}" for b, count in sorted(table.items()))
    limit = "b " + " and ".join(f"{shell:g}" for shell in need.shells)
    if missing:
        detail = f"No volume at b = {' and '.join(f'{shell:g}' for shell in missing)} s/mm²."
        return scope.failed(
            "shells", "diffusion", "b values", detail, measured=shown, limit=limit, severity=need.severity
        )
    return scope.passed("shells", "diffusion", "b values", measured=shown, limit=limit)


def _directions(scope: Scope, need: Diffusion) -> Iterator[Check]:
    weighted = [v for v in scope.series.volumes if v.is_weighted]
    gradients = [v.gradient for v in weighted if v.gradient is not None]
    title = "Different directions"
    if weighted and not gradients:
        detail = "The weighted volumes carry no gradient direction."
        yield scope.failed(
            "directions_known", "diffusion", "Gradient directions in the headers", detail, measured="absent",
            limit="present", severity=need.severity,
        )  # fmt: skip
        return
    unique = unique_directions(gradients)
    detail = f"{len(gradients)} weighted volumes share them." if len(unique) < len(gradients) else ""
    yield scope.judged(
        "directions_min", "diffusion", title, float(len(unique)), Band(low=float(need.directions_min)),
        severity=need.severity, detail=detail,
    )  # fmt: skip
    condition = design_condition(unique)
    if condition is None:
        yield scope.silent(
            "direction_condition_max", "diffusion", "Spread of the directions", "Fewer than six directions.", "ignore",
            "minor",
        )  # fmt: skip
        return
    limit = need.direction_condition_max
    yield scope.judged(
        "direction_condition_max", "diffusion", "Spread of the directions (condition number)", round(condition, 3),
        Band(high=limit, fail_high=2 * limit), severity="minor",
    )  # fmt: skip
