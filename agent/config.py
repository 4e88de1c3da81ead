"""Every setting of the agent, once.

Job: put the sections of ``config_sections`` together and read them from a TOML file, the environment
(``AGENT_SECTION__KEY``) and secret files (``…_FILE``); one clear error when something does not fit. Place: read by
``cli`` and handed down; ``docs/configuration.md`` is generated from it. It must never print a secret.
"""

from __future__ import annotations

import difflib
import os
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field, ValidationError, field_validator
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
    TomlConfigSettingsSource,
)

from agent.config_sections import (
    CloudSettings,
    DeidSettings,
    DicomSettings,
    KeySettings,
    LogSettings,
    NotifySettings,
    PeerSettings,
    QcSettings,
    RetentionSettings,
    Section,
    StoreSettings,
    StudySettings,
    WebSettings,
)
from agent.errors import ConfigError

__all__ = [
    "CloudSettings",
    "DeidSettings",
    "DicomSettings",
    "KeySettings",
    "LogSettings",
    "NotifySettings",
    "PeerSettings",
    "QcSettings",
    "RetentionSettings",
    "Section",
    "Settings",
    "StoreSettings",
    "StudySettings",
    "WebSettings",
    "load_settings",
    "setting_keys",
]

CONFIG_PLACES = (Path("agent.toml"), Path("/etc/imaging-agent/agent.toml"))


class Settings(BaseSettings):
    """All settings; see ``docs/configuration.md``."""

    model_config = SettingsConfigDict(
        extra="forbid",
        frozen=True,
        env_prefix="AGENT_",
        env_nested_delimiter="__",
        nested_model_default_partial_update=True,
    )

    data_dir: Path = Field(Path("agent-data"), description="Everything the agent keeps.")
    dicom: DicomSettings = DicomSettings()
    study: StudySettings = StudySettings()
    qc: QcSettings = QcSettings()
    deid: DeidSettings = DeidSettings()
    store: StoreSettings = StoreSettings()
    retention: RetentionSettings = RetentionSettings()
    cloud: CloudSettings = CloudSettings()
    notify: tuple[NotifySettings, ...] = Field((), description="Notification channels.")
    web: WebSettings = WebSettings()
    log: LogSettings = LogSettings()
    keys: KeySettings = KeySettings()
    _source: Path | None = None

    @field_validator("data_dir")
    @classmethod
    def _absolute(cls, value: Path) -> Path:
        return value.expanduser().absolute()

    @property
    def key_file(self) -> Path:
        """The master key's file."""
        if self.keys.file is not None:
            return self.keys.file.expanduser().absolute()
        beside = self._source.parent if self._source is not None else Path.cwd()
        return beside / "agent.key"

    @property
    def source(self) -> Path | None:
        """The TOML file that was read, if one was."""
        return self._source

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Command line before environment before file."""
        del dotenv_settings, file_secret_settings
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls)


def load_settings(path: Path | None = None, overrides: Mapping[str, Any] | None = None) -> Settings:
    """Read the settings.

    Parameters
    ----------
    path : Path, optional
        The TOML file; without it ``AGENT_CONFIG``, ``./agent.toml`` and ``/etc/imaging-agent/agent.toml`` are looked
        for, and none is needed.
    overrides : mapping, optional
        Nested values of the command line, which go before everything else.

    Raises
    ------
    ConfigError
        A line for each problem, naming the key, the value that does not fit and, for an unknown key, the one that was
        probably meant.
    """
    source = _find_file(path)
    if source is not None:
        _check_syntax(source)
    _check_environment()
    located = type(
        "_Located", (Settings,), {"__module__": __name__, "model_config": SettingsConfigDict(toml_file=source)}
    )
    try:
        with _secret_files_read():
            read: Settings = located(**dict(overrides or {}))
    except ValidationError as error:
        raise ConfigError(_explain(error, source), code="config_invalid") from error
    except SettingsError as error:
        raise ConfigError(f"A setting of the environment cannot be read: {error}.", code="config_invalid") from error
    # a plain Settings, so that it can be handed to another process
    settings = Settings.model_construct(**{name: getattr(read, name) for name in Settings.model_fields})
    settings._source = source  # noqa: SLF001
    return settings


def setting_keys() -> dict[str, tuple[type[BaseModel], str]]:
    """Return every key (``dicom.port``) with the section class and the field it belongs to."""
    keys: dict[str, tuple[type[BaseModel], str]] = {}
    for name, info in Settings.model_fields.items():
        section = _section_of(info.annotation)
        if section is None:
            keys[name] = (Settings, name)
            continue
        for field, field_info in section.model_fields.items():
            inner = _section_of(field_info.annotation)
            if inner is None:
                keys[f"{name}.{field}"] = (section, field)
            else:
                keys.update({f"{name}.{field}.{f}": (inner, f) for f in inner.model_fields})
    return keys


def _section_of(annotation: Any) -> type[Section] | None:
    candidates = (annotation, *getattr(annotation, "__args__", ()))
    return next((c for c in candidates if isinstance(c, type) and issubclass(c, Section)), None)


def _find_file(path: Path | None) -> Path | None:
    named = path or (Path(os.environ["AGENT_CONFIG"]) if os.environ.get("AGENT_CONFIG") else None)
    if named is None:
        return next((place.absolute() for place in CONFIG_PLACES if place.is_file()), None)
    if not named.is_file():
        raise ConfigError(
            f"There is no configuration file {named}.", code="config_missing", hint="Check --config and AGENT_CONFIG."
        )
    return named.absolute()


def _check_syntax(path: Path) -> None:
    try:
        tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"{path} is not valid TOML: {error}.", code="config_syntax", hint="Correct that line."
        ) from error
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}.", code="config_unreadable") from error


@contextmanager
def _secret_files_read() -> Iterator[None]:
    """Put the content of ``AGENT_SECTION__KEY_FILE`` in the place of ``AGENT_SECTION__KEY`` while reading."""
    known = set(setting_keys())
    before = dict(os.environ)
    names = [n for n in before if n.startswith("AGENT_") and n.endswith("_FILE") and "__" in n]
    try:
        for name in names:
            key = _key_of_variable(name.removesuffix("_FILE"))
            if key not in known or _key_of_variable(name) in known:
                continue
            del os.environ[name]
            try:
                os.environ[name.removesuffix("_FILE")] = Path(before[name]).read_text(encoding="utf-8").strip()
            except OSError as error:
                raise ConfigError(
                    f"{name} names a file that cannot be read: {error.strerror}.", code="config_secret",
                    hint="Check its path and mode.",
                ) from error  # fmt: skip
        yield
    finally:
        for name in names:
            os.environ.pop(name.removesuffix("_FILE"), None)
        os.environ.update(before)


def _key_of_variable(name: str) -> str:
    return name.removeprefix("AGENT_").lower().replace("__", ".")


def _check_environment() -> None:
    sections = set(Settings.model_fields)
    known = set(setting_keys())
    for name in os.environ:
        if not name.startswith("AGENT_") or "__" not in name:
            continue
        key = _key_of_variable(name)
        plain = key.removesuffix("_file")
        if (
            key not in known
            and plain not in known
            and key not in sections
            and not key.startswith(("dicom.peer", "notify"))
        ):
            raise ConfigError(f"{name} sets {key}, which is no setting.{_near(key, known)}", code="config_unknown")


def _near(key: str, known: set[str]) -> str:
    close = difflib.get_close_matches(key, known, n=1, cutoff=0.6)
    if not close:
        leaf = {k.rsplit(".", 1)[-1]: k for k in known}
        close = [leaf[m] for m in difflib.get_close_matches(key.rsplit(".", 1)[-1], leaf, n=1, cutoff=0.75)]
    return f" Did you mean {close[0]}?" if close else " `agent config example` lists all settings."


def _explain(error: ValidationError, source: Path | None) -> str:
    known = set(setting_keys()) | set(Settings.model_fields)
    secret = {
        key
        for key, (section, field) in setting_keys().items()
        if "Secret" in str(section.model_fields[field].annotation)
    }
    lines = []
    for item in error.errors():
        key = ".".join(str(part) for part in item["loc"] if not isinstance(part, int))
        if item["type"] == "extra_forbidden":
            lines.append(f"{key} is no setting.{_near(key, known)}")
            continue
        shown = "" if key in secret or isinstance(item["input"], dict) else f" = {item['input']!r}"
        lines.append(f"{key}{shown}: {item['msg'][:1].lower()}{item['msg'][1:]}.")
    where = f" ({source} or the environment)" if source else " (environment or command line)"
    return "\n".join(line + where for line in lines)
