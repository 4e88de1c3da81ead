"""``agent audit``: check and export the audit, beside a running agent."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

import click

_CONFIG = click.option("--config", type=click.Path(path_type=Path, dir_okay=False), help="Configuration file.")
_DATA = click.option("--data", type=click.Path(path_type=Path, file_okay=False), help="Data directory.")


@click.group()
def command() -> None:
    """Check and export the audit."""


@command.command()
@_CONFIG
@_DATA
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def verify(config: Path | None, data: Path | None, as_json: bool) -> int:
    """Go through the whole chain; exit code 1 when a row was changed, moved or removed."""
    from agent.config import load_settings
    from agent.store import audit
    from agent.store.database import open_store

    open_store(load_settings(config, {"data_dir": data} if data else None))
    check = audit.verify()
    if as_json:
        click.echo(json.dumps({"rows": check.rows, "bad_at": check.bad_at, "head": check.head}))
    elif check.is_intact:
        click.echo(f"{check.rows} rows, the chain is intact. Head: {check.head}")
    else:
        click.echo(f"The chain breaks at row {check.bad_at}: it was changed, moved, or rows before it are gone.")
    return 0 if check.is_intact else 1


@command.command()
@_CONFIG
@_DATA
@click.option(
    "--format", "format_name", type=click.Choice(["jsonl", "csv"]), default="jsonl", help="JSON lines or CSV."
)
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="File to write; default: standard output.")
def export(config: Path | None, data: Path | None, format_name: Literal["jsonl", "csv"], out: Path | None) -> int:
    """Write every row with its digest; the export itself is audited."""
    from agent.cli.store import operator
    from agent.config import load_settings
    from agent.store import audit
    from agent.store.database import open_store

    keyring = open_store(load_settings(config, {"data_dir": data} if data else None), read_only=False).keyring
    audit.append(keyring, actor=operator(), role="", source="cli", action="audit_exported")
    lines = audit.export(format_name)
    if out is None:
        for line in lines:
            click.echo(line, nl=False)
        return 0
    with out.open("w", encoding="utf-8") as file:
        file.writelines(lines)
    return 0
