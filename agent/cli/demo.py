"""``agent demo``: the whole path on this machine, on real parts."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.option(
    "--data",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("agent-demo"),
    show_default=True,
    help="Folder for everything the demonstration keeps.",
)
@click.option("--studies", type=click.IntRange(1, 500), default=4, show_default=True, help="Invented studies to send.")
@click.option("--exit-when-done", is_flag=True, help="End when every study is where it is expected to end; 1 if not.")
def command(data: Path, studies: int, exit_when_done: bool) -> int:
    """Run the agent, a real S3 server and a reference analysis, and follow invented studies; Ctrl-C ends it."""
    from agent.demo.runner import Demo, DemoOptions

    return Demo(DemoOptions(data, studies, exit_when_done), click.echo).run()
