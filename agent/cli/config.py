"""``agent config``: see, check and start a configuration."""

from __future__ import annotations

from pathlib import Path

import click

CONFIG = click.option("--config", "config", type=click.Path(path_type=Path, dir_okay=False), help="Configuration file.")


@click.group()
def command() -> None:
    """See, check and start a configuration."""


@command.command()
@CONFIG
@click.option("--data", type=click.Path(path_type=Path, file_okay=False), help="Data directory.")
def check(config: Path | None, data: Path | None) -> None:
    """Say whether `agent serve` could work with the settings; exit 3 and a line for each problem when not.

    Looks at settings, folders, profiles, keys and addresses; nothing is made, and the network is not asked.
    """
    from agent.config import load_settings
    from agent.startup import check_settings

    settings = load_settings(config, {"data_dir": data} if data else None)
    check_settings(settings)
    click.echo(f"Settings are valid ({settings.source or 'defaults and environment'}).")


@command.command()
def example() -> None:
    """Print a configuration file with every setting, its default and what it does."""
    from agent.config_reference import example_file

    click.echo(example_file())


@command.command()
@CONFIG
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def show(config: Path | None, as_json: bool) -> None:
    """Print the settings in force and where each comes from; secrets are hidden."""
    import json

    from agent.config import load_settings
    from agent.config_reference import sources_of

    settings = load_settings(config)
    rows = sources_of(settings)
    if as_json:
        click.echo(json.dumps({key: {"value": value, "from": origin} for key, value, origin in rows}, indent=1))
        return
    width = max(len(key) for key, _, _ in rows)
    for key, value, origin in rows:
        click.echo(f"{key:<{width}}  {value}  ({origin})")
