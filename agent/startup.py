"""Whether the settings can carry an agent.

Job: everything that can be known before the agent starts: folders, keys, peers, profiles, cloud, channels, dashboard;
all problems at once. Place: called by ``agent config check`` and by the engine before it starts, so that both say the
same. It must never ask the network, nor make or change a file.
"""

from __future__ import annotations

import difflib
import os
import zoneinfo
from collections.abc import Callable, Iterator

from agent.cloud.endpoint import check_bucket, check_endpoint
from agent.config import Settings
from agent.deid.rules.profile import load_profile as load_deid_profile
from agent.errors import ConfigError
from agent.ops.notifications import Notifications
from agent.qc.profile import load_profile, profile_names
from agent.store.keys import Keyring


def check_settings(settings: Settings, *, with_web: bool = True) -> None:
    """Refuse settings with which the agent could not work.

    Parameters
    ----------
    settings : Settings
        All settings.
    with_web : bool, optional
        The dashboard will run.

    Raises
    ------
    ConfigError
        One line for each problem, with what to do.
    """
    found = list(problems(settings, with_web=with_web))
    if len(found) == 1:
        raise found[0]
    if found:
        raise ConfigError("\n".join(str(problem) for problem in found), code="settings_unusable")


def problems(settings: Settings, *, with_web: bool = True) -> Iterator[ConfigError]:
    """Find everything that stands in the way."""
    for check in (_check_data_dir, Keyring.check):
        yield from _problem_of(lambda check=check: check(settings))  # type: ignore[misc]
    yield from _peers(settings)
    yield from _quality_profiles(settings)
    yield from _problem_of(lambda: _check_deid(settings))
    yield from _cloud(settings)
    yield from _problem_of(Notifications(settings.notify).check)
    if with_web:
        yield from _dashboard(settings)


def _problem_of(check: Callable[[], object]) -> Iterator[ConfigError]:
    try:
        check()
    except ConfigError as error:
        yield error


def _check_data_dir(settings: Settings) -> None:
    folder = settings.data_dir
    place = next(p for p in (folder, *folder.parents) if p.exists())
    if not place.is_dir():
        reason = "not a directory"
    elif not os.access(place, os.W_OK | os.X_OK):
        reason = f"no permission to write to {place}"
    else:
        return
    raise ConfigError(
        f"The data directory {folder} cannot be written: {reason}.",
        code="data_dir_unwritable",
        hint="Check its owner and mode, or choose another with --data.",
    )


def _peers(settings: Settings) -> Iterator[ConfigError]:
    names: set[str] = set()
    callers: dict[tuple[str, str], str] = {}
    for peer in settings.dicom.peer:
        if peer.name in names:
            yield ConfigError(
                f"dicom.peer.name = {peer.name!r} is given to two peers.", code="peer_twice", hint="Rename one of them."
            )
        names.add(peer.name)
        caller = (peer.calling_aet.strip(), peer.address.strip())
        if caller in callers:
            where = f" at {caller[1]}" if caller[1] else ""
            yield ConfigError(
                f"The peers {callers[caller]!r} and {peer.name!r} are the same caller: {caller[0]}{where}.",
                code="peer_twice",
                hint="Remove one [[dicom.peer]].",
            )
        callers.setdefault(caller, peer.name)


def _quality_profiles(settings: Settings) -> Iterator[ConfigError]:
    folder = settings.qc.profiles
    if folder is not None and not folder.is_dir():
        yield ConfigError(
            f"qc.profiles names {folder}, which is no folder.", code="profile_missing", hint="Correct or remove it."
        )
        return
    for name in profile_names(folder):
        yield from _problem_of(lambda name=name: load_profile(name, folder))  # type: ignore[misc]


def _check_deid(settings: Settings) -> None:
    try:
        load_deid_profile(settings.deid.profile)
    except ConfigError as error:
        raise ConfigError(f"deid.profile: {error.message}", code=error.code, hint=error.hint) from error


def _cloud(settings: Settings) -> Iterator[ConfigError]:
    cloud = settings.cloud
    if cloud.adapter == "none":
        return
    yield from _problem_of(lambda: check_endpoint(cloud.endpoint_url))
    yield from _problem_of(lambda: check_bucket(cloud.bucket))
    if bool(cloud.access_key_id.get_secret_value()) != bool(cloud.secret_access_key.get_secret_value()):
        yield ConfigError(
            "Only one of cloud.access_key_id and cloud.secret_access_key is set.",
            code="cloud_credentials",
            hint="Set both, or none to use the environment's AWS credentials.",
        )


def _dashboard(settings: Settings) -> Iterator[ConfigError]:
    from agent.web.server import check_address

    yield from _problem_of(lambda: check_address(settings.web))
    yield from _problem_of(lambda: _check_time_zone(settings.web.time_zone))
    if settings.web.port and settings.web.port == settings.dicom.port:
        yield ConfigError(
            f"dicom.port and web.port are both {settings.web.port}.", code="port_twice", hint="Change one of them."
        )


def _check_time_zone(name: str) -> None:
    if not name:
        return
    try:
        zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        known = zoneinfo.available_timezones()
    else:
        return
    near = difflib.get_close_matches(name, known, n=1) or [k for k in known if k.casefold() == name.casefold()]
    raise ConfigError(
        f"web.time_zone = {name} is no time zone.",
        code="time_zone",
        hint=f"Did you mean {near[0]}?" if near else "Write its IANA name, for example Europe/Berlin.",
    )
