"""The command line: one file a command.

Job: find the file of a command and run it, turn errors into one line each and an exit code. Place: the outermost layer.
Each file ``agent/cli/<name>.py`` holds one ``command`` (a click command or group) and imports what is heavy inside
it, so that ``agent --help`` answers at once. It must never print a traceback to a user.
"""

from __future__ import annotations

import importlib
import os
import sys

import click

from agent.errors import AgentError

COMMANDS = {
    "serve": "Run the agent.",
    "demo": "Show the whole path on this machine.",
    "echo": "Ask a DICOM node whether it answers.",
    "send": "Send files and folders to a DICOM node.",
    "qc": "Check the quality of a folder of images.",
    "deid": "De-identify a folder without the agent.",
    "study": "List, show and command studies.",
    "store": "Verify and export received objects.",
    "user": "Manage accounts of the dashboard.",
    "token": "Manage tokens of the API.",
    "keys": "Make, check and rotate the master key.",
    "config": "See, check and start a configuration.",
    "profile": "Check, list and show quality profiles.",
    "audit": "Check and export the audit.",
}
"""Every command in the order of the documents, with the line that ``agent --help`` shows."""


class LazyGroup(click.Group):
    """A group whose commands are imported when they are asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the commands in the order of the documents."""
        del ctx
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the file of a command."""
        del ctx
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = importlib.import_module(f"agent.cli.{cmd_name}").command
        command.short_help = COMMANDS[cmd_name]
        return command


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="imaging-ingestion-agent", prog_name="agent")
def agent() -> None:
    """Receive DICOM studies, check them, de-identify them, have them analysed and bring the report back."""


def main() -> None:
    """Run the command line; errors become a line for each problem and their exit code."""
    try:
        sys.exit(agent(standalone_mode=False) or 0)
    except AgentError as error:
        for line in str(error).splitlines():
            click.echo(f"agent: {line}", err=True)
        sys.exit(error.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except (click.Abort, KeyboardInterrupt):
        click.echo("agent: stopped.", err=True)
        sys.exit(130)
    except BrokenPipeError:
        sys.exit(0)
    except Exception as error:
        if os.environ.get("AGENT_LOG__LEVEL") == "debug":
            raise
        click.echo(
            f"agent: this is a defect of the agent ({type(error).__name__}). "
            "Run it again with AGENT_LOG__LEVEL=debug for the details and report them.",
            err=True,
        )
        sys.exit(1)
