"""A profile in words, for people who do not read TOML.

Place: called by ``agent profile show`` and the dashboard's page of profiles.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from pydicom.datadict import dictionary_description, tag_for_keyword

from agent.qc.profiles.model import DERIVED_PARAMETERS, METRICS, Limit, SequenceRule

if TYPE_CHECKING:
    from agent.qc.profile import LoadedProfile


def words_of(loaded: LoadedProfile) -> list[str]:
    """Return the profile as lines."""
    profile = loaded.profile
    head = profile.profile
    lines = [
        f"{head.title or head.id} – {head.id} {head.version}, hash {loaded.sha256[:16]}",
        f"Passes from a score of {head.pass_score:g}.",
        f"A failed major check means {head.on_major_fail}; what cannot be determined means {head.on_undetermined}.",
    ]
    if profile.identity.require:
        lines.append(f"Must hold: {', '.join(profile.identity.require)}.")
    lossy = "is allowed" if profile.integrity.allow_lossy else "fails"
    lines.append(f"Lossy compression {lossy}; an incomplete series: {profile.integrity.complete_series}.")
    for rule in profile.sequence:
        lines += _rule(rule)
    return lines


def _rule(rule: SequenceRule) -> Iterator[str]:
    need = "required" if rule.required else "optional"
    yield f"{rule.name} ({rule.sequence_class}, {need})"
    for name, limit in rule.parameters.items():
        title, unit = DERIVED_PARAMETERS.get(name, (_title(name), ""))
        yield f"  {title}: {_limit(limit, limit.unit or unit)} [{limit.severity}]"
    if rule.diffusion is not None:
        shells = ", ".join(f"{b:g}" for b in rule.diffusion.shells)
        yield f"  b values: {shells} (± {rule.diffusion.shell_tol}) [{rule.diffusion.severity}]"
        yield f"  Volumes at b = 0: at least {rule.diffusion.b0_min} [{rule.diffusion.severity}]"
        yield f"  Different directions: at least {rule.diffusion.directions_min} [{rule.diffusion.severity}]"
    for name, metric in rule.metrics.items():
        title, unit = METRICS[name]
        may = metric.severity if metric.calibrated else "warns only until calibrated"
        yield f"  {title}: {metric.band().words(unit)} [{may}]"


def _title(keyword: str) -> str:
    tag = tag_for_keyword(keyword)
    return dictionary_description(tag) if tag is not None else keyword


def _limit(limit: Limit, unit: str) -> str:
    band = limit.band()
    if band is not None:
        return band.words(unit)
    if limit.by_vendor:
        return "; ".join(
            f"{vendor} {low:g} to {high:g} {unit}".rstrip() for vendor, (low, high) in limit.by_vendor.items()
        )
    return " or ".join(str(value) for value in (limit.one_of or (limit.value,)))
