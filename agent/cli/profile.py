"""``agent profile``: check, list and show quality profiles.

Place: a command of ``agent.cli``; calls ``agent.qc.profile``. A bad profile is exit code 3 and a clear line
for each problem.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

FOLDER = click.option(
    "--profiles", type=click.Path(file_okay=False, exists=True, path_type=Path), help="Folder of site profiles."
)


@click.group(name="profile", short_help="Check, list and show quality profiles.")
def command() -> None:
    """Quality profiles say what a study must be; they are TOML files."""


@command.command(name="check")
@click.argument("file", metavar="FILE_OR_NAME")
@FOLDER
@click.option(
    "--study", type=click.Path(exists=True, path_type=Path), help="Also say which rule each series falls under."
)
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def check_profile(file: str, profiles: Path | None, study: Path | None, *, as_json: bool) -> int:
    """Read a profile and say whether it can be used, or everything that is wrong with it."""
    from agent.qc.profile import load_profile

    loaded = load_profile(file, profiles)
    rules = len(loaded.profile.sequence)
    limits = sum(len(rule.parameters) + len(rule.metrics) for rule in loaded.profile.sequence)
    answer: dict[str, Any] = {
        "id": loaded.id, "version": loaded.version, "sha256": loaded.sha256, "rules": rules, "limits": limits,
    }  # fmt: skip
    if study is not None:
        answer["series"] = _matches(file, profiles, study)
    if as_json:
        click.echo(json.dumps(answer, indent=1))
        return 0
    click.echo(f"{loaded.id} {loaded.version} can be used: {rules} rules, {limits} limits, hash {loaded.sha256[:16]}.")
    for series in answer.get("series", []):
        click.echo(f"  {series['label']}: {series['rule'] or 'no rule'} ({series['confidence'] * 100:.0f} % sure)")
    return 0


def _matches(file: str, profiles: Path | None, study: Path) -> list[dict[str, Any]]:
    from agent.qc.folder import check_folder

    report = check_folder(study, file, profiles=profiles, with_pictures=False).report
    return [s.to_record() for s in report.series]


@command.command(name="list")
@FOLDER
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def list_profiles(profiles: Path | None, *, as_json: bool) -> int:
    """List the profiles that can be chosen."""
    from agent.qc.profile import all_profiles

    rows = [
        {"id": p.id, "version": p.version, "title": p.profile.profile.title, "sha256": p.sha256}
        for p in all_profiles(profiles)
    ]
    if as_json:
        click.echo(json.dumps(rows, indent=1))
        return 0
    for row in rows:
        click.echo(f"{row['id']:<20} {row['version']:<10} {row['title']}")
    return 0


@command.command(name="show")
@click.argument("file", metavar="FILE_OR_NAME")
@FOLDER
@click.option("--json", "as_json", is_flag=True, help="Print everything the profile says, inherited rules included.")
def show_profile(file: str, profiles: Path | None, *, as_json: bool) -> int:
    """Show a profile in words."""
    from agent.qc.profile import load_profile
    from agent.qc.profiles.words import words_of

    loaded = load_profile(file, profiles)
    if as_json:
        click.echo(json.dumps(loaded.profile.model_dump(mode="json", by_alias=True), indent=1, ensure_ascii=False))
        return 0
    for line in words_of(loaded):
        click.echo(line)
    return 0
