"""``agent serve``: run the agent.

Job: read the settings, prepare what must stand before anything else is imported, start the engine, say where it
listens. Place: calls ``engine``. The folder of the metrics must be named in the environment before prometheus-client
is imported anywhere in the process.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Any

import click

from agent.errors import ConfigError


@click.command()
@click.option("--config", type=click.Path(path_type=Path), help="Configuration file (TOML).")
@click.option("--data", type=click.Path(path_type=Path), help="Data directory.")
@click.option("--no-web", is_flag=True, help="Run without the dashboard.")
def command(config: Path | None, data: Path | None, no_web: bool) -> int:
    """Run the agent until it is told to stop (Ctrl-C or SIGTERM; a second one hurries)."""
    from agent.config import load_settings

    overrides: dict[str, Any] = {"data_dir": data} if data is not None else {}
    settings = load_settings(config, overrides)
    prepare_metrics(settings.data_dir)

    from agent.engine import Engine
    from agent.logs import configure_logs

    configure_logs(settings.log.level, settings.log.format)
    engine = Engine(settings, with_web=not no_web)

    def on_ready() -> None:
        if engine.created_key:
            click.echo(f"agent: made the key file {settings.key_file}. Keep a copy: without it nothing can be read.")
        aet = settings.dicom.ae_title
        web = "" if no_web else f"; dashboard {engine.wait_for_web() or 'starting'}"
        click.echo(f"agent: ready. DICOM {aet} on {settings.dicom.host}:{engine.dicom_port}{web}")

    engine.run(on_ready, say_stopping)
    return 0


def say_stopping() -> None:
    """Tell the user that the signal was heard; written past the buffers, which the signal may have interrupted."""
    with contextlib.suppress(OSError):
        os.write(2, b"agent: stopping; a second Ctrl-C hurries.\n")


def prepare_metrics(data_dir: Path) -> None:
    """Name the folder in which all processes count, before prometheus-client is imported.

    Raises
    ------
    ConfigError
        When the data directory cannot be written.
    """
    folder = data_dir / "run" / "metrics"
    try:
        for part in (data_dir, data_dir / "run", folder):
            part.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise ConfigError(
            f"The data directory {data_dir} cannot be written: {error.strerror}.",
            code="data_dir_unwritable",
            hint="Check its owner and mode, or choose another with --data.",
        ) from error
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(folder)
