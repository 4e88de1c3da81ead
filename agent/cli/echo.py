"""``agent echo``: is a peer there, does it know us, and if not, why."""

from __future__ import annotations

import click


def parse_place(value: str) -> tuple[str, int]:
    """Take ``HOST:PORT`` apart; an IPv6 address stands in brackets.

    Raises
    ------
    click.BadParameter
        If it is none.
    """
    host, _, port = value.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not host or not port.isdigit() or not 0 < int(port) < 65_536:
        raise click.BadParameter(f"{value!r} is not HOST:PORT, for example 127.0.0.1:11112.")
    return host, int(port)


def check_title(_ctx: click.Context, _parameter: click.Parameter, value: str) -> str:
    """Refuse what is no AE title (PS3.5 6.2).

    Raises
    ------
    click.BadParameter
        If it is none.
    """
    if not 0 < len(value.strip()) <= 16 or not value.isascii() or "\\" in value or not value.isprintable():
        raise click.BadParameter("an AE title has 1 to 16 ASCII characters, no backslash.")
    return value.strip()


@click.command()
@click.argument("place", metavar="HOST:PORT")
@click.option("--called", required=True, callback=check_title, help="AE title of the peer.")
@click.option(
    "--calling", default="NEUROPACS_AGENT", show_default=True, callback=check_title, help="AE title to call with."
)
@click.option("--timeout", default=10.0, show_default=True, help="Seconds to wait for each answer.")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def command(place: str, called: str, calling: str, timeout: float, as_json: bool) -> int:
    """Send a C-ECHO to HOST:PORT and say in words what happened; exit 1 when the peer does not answer it."""
    import json

    from agent.dicom.scu import EchoRequest, echo

    host, port = parse_place(place)
    result = echo(EchoRequest(host, port, called, calling, timeout))
    if as_json:
        took = None if result.milliseconds is None else round(result.milliseconds, 1)
        click.echo(
            json.dumps({"ok": result.ok, "code": result.code, "diagnosis": result.diagnosis, "milliseconds": took})
        )
    elif result.ok:
        click.echo(f"{result.diagnosis} ({result.milliseconds:.0f} ms)")
    else:
        click.echo(f"agent echo: {result.diagnosis}", err=True)
    return 0 if result.ok else 1
