"""News to mail servers and webhooks.

Job: send one short message to every configured channel that wants its kind, each thing once. Place: called by the
notifier in a thread of its own; uses apprise, imported at the first message because it is slow. It must never carry
patient data (the caller writes subject and body from codes and references) and never show a channel's address, which
holds credentials.
"""

from __future__ import annotations

import re
import threading
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Literal

from agent.config import NotifySettings
from agent.errors import ConfigError
from agent.metrics import NOTIFICATIONS

Event = Literal["qc_passed", "failed", "delivered", "alarm"]
_SEVERITY: dict[str, str] = {"qc_passed": "success", "delivered": "success", "failed": "failure", "alarm": "warning"}
_SUBJECT, _BODY = 200, 4000
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]+")


class NoticeOutcome(StrEnum):
    """What became of a message."""

    SENT = "sent"
    FAILED = "failed"
    PARTLY = "partly"
    DUPLICATE = "duplicate"
    UNWANTED = "unwanted"


@dataclass(frozen=True, slots=True)
class Notice:
    """One message.

    Parameters
    ----------
    event : str
        Kind; a channel chooses by it.
    key : str
        What makes it the same message again, for example ``study:revision:status``.
    subject, body : str
        Plain text without patient data.
    """

    event: Event
    key: str
    subject: str
    body: str


class Notifications:
    """The configured channels.

    Parameters
    ----------
    channels : sequence of NotifySettings
        Where to, and what each wants to hear.
    is_new : callable, optional
        Says of a key whether it was never sent, and keeps it; durable when the caller's store does it. Without it the
        keys of this process are remembered.

    Raises
    ------
    ConfigError
        If a channel's address is none that can be used; the address is not repeated.
    """

    def __init__(self, channels: Sequence[NotifySettings], is_new: Callable[[str], bool] | None = None) -> None:
        self._channels = tuple(channels)
        self._known: set[str] = set()
        self._lock = threading.Lock()
        self._is_new = is_new or self._remember

    def check(self) -> None:
        """Make sure that every channel's address can be understood."""
        wrong = [n for n, c in enumerate(self._channels, 1) if _channel(c.url.get_secret_value()) is None]
        if wrong:
            named = " and ".join(f"notification channel {number}" for number in wrong)
            raise ConfigError(
                f"The address of {named} is not understood.",
                code="notify_url",
                hint="Write it as apprise does, for example mailtos://user:password@host or jsons://host/path.",
            )

    def wants(self, event: Event) -> bool:
        """Say whether any channel wants to hear of `event`."""
        return any(event in channel.on for channel in self._channels)

    def notify(self, notice: Notice) -> NoticeOutcome:
        """Send `notice` to every channel that wants it; blocks until they have answered.

        Returns
        -------
        NoticeOutcome
            ``failed`` when no channel took it, ``partly`` when some did. A failed one may be given again: its key is
            only kept by `is_new`, which the caller may undo.
        """
        outcome = self._send(notice)
        NOTIFICATIONS.labels(outcome.value).inc()
        return outcome

    def _send(self, notice: Notice) -> NoticeOutcome:
        wanted = [channel for channel in self._channels if notice.event in channel.on]
        if not wanted:
            return NoticeOutcome.UNWANTED
        if not self._is_new(notice.key):
            return NoticeOutcome.DUPLICATE
        taken = [_deliver(channel.url.get_secret_value(), notice) for channel in wanted]
        if all(taken):
            return NoticeOutcome.SENT
        if any(taken):
            return NoticeOutcome.PARTLY
        self._forget(notice.key)
        return NoticeOutcome.FAILED

    def _remember(self, key: str) -> bool:
        with self._lock:
            if key in self._known:
                return False
            self._known.add(key)
            return True

    def _forget(self, key: str) -> None:
        with self._lock:
            self._known.discard(key)


def _channel(url: str) -> Any | None:
    """Return the library's channel; None when it does not understand the address."""
    with (
        warnings.catch_warnings()
    ):  # its plug-ins, loaded at the first address, import modules that are on their way out
        warnings.simplefilter("ignore", DeprecationWarning)
        from apprise import Apprise

        channel = Apprise()
        return channel if channel.add(url) else None


def _deliver(url: str, notice: Notice) -> bool:
    channel = _channel(url)
    return channel is not None and bool(
        channel.notify(
            title=_plain(notice.subject, _SUBJECT).replace("\n", " "),
            body=_plain(notice.body, _BODY),
            notify_type=_SEVERITY[notice.event],
            body_format="text",
        )
    )


def _plain(text: str, limit: int) -> str:
    return _CONTROLS.sub(" ", text).strip()[:limit]
