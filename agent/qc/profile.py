"""Reading profiles: shipped ones, those of a site, and what a profile extends.

Job: find a profile by name or path, join it with the one it extends, check it, and name what is wrong in one line;
choose the profile for a study from what its series are. Place: called by the judge and by ``agent profile``. It must
never choose by a UID, a file name or a free text.
"""

from __future__ import annotations

import hashlib
import json
import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from agent.completeness.evidence import DiffusionNeed
from agent.errors import ConfigError
from agent.qc.profiles.model import Profile, nearest

SHIPPED = resources.files("agent.qc") / "profiles"
FALLBACK = "integrity"


@dataclass(frozen=True, slots=True)
class LoadedProfile:
    """A checked profile and the hash of everything it says, inherited rules included."""

    profile: Profile
    sha256: str

    @property
    def id(self) -> str:
        """Its name."""
        return self.profile.profile.id

    @property
    def version(self) -> str:
        """Its version."""
        return self.profile.profile.version

    def required_classes(self) -> tuple[str, ...]:
        """Sequence classes a study must hold."""
        return tuple(rule.sequence_class for rule in self.profile.sequence if rule.required)

    def diffusion_need(self) -> DiffusionNeed | None:
        """Return what the required diffusion series must hold, for the judges of completeness."""
        for rule in self.profile.sequence:
            if rule.required and rule.diffusion is not None:
                d = rule.diffusion
                return DiffusionNeed(d.shells, d.b0_min, d.directions_min, float(d.shell_tol.rstrip("%")) / 100)
        return None


@dataclass(frozen=True, slots=True)
class StudyContent:
    """What a study holds, as far as the choice of a profile needs it."""

    modality: str
    classes: frozenset[str]
    body_parts: frozenset[str]
    directions: int
    fov_mm: float | None


def load_profile(name: str, folder: Path | None = None) -> LoadedProfile:
    """Read a profile.

    Parameters
    ----------
    name : str
        A name, or the path of a TOML file.
    folder : Path, optional
        Profiles of the site; they replace shipped ones of the same name.

    Raises
    ------
    ConfigError
        A line for each problem: the file, the key and what was probably meant.
    """
    merged = _merged(name, folder, ())
    return _checked(merged, name)


def shipped_names() -> list[str]:
    """Return the names of the shipped profiles."""
    return sorted(p.name.removesuffix(".toml") for p in SHIPPED.iterdir() if p.name.endswith(".toml"))


def profile_names(folder: Path | None = None) -> list[str]:
    """Return the names of all profiles that can be chosen: shipped ones and those of the site."""
    names = set(shipped_names())
    if folder is not None and folder.is_dir():
        names |= {path.stem for path in folder.glob("*.toml")}
    return sorted(names)


def all_profiles(folder: Path | None = None) -> list[LoadedProfile]:
    """Read every profile that can be chosen."""
    return [load_profile(name, folder) for name in profile_names(folder)]


def choose_profile(content: StudyContent, folder: Path | None = None) -> LoadedProfile:
    """Choose the profile for what a study holds; ``integrity`` when none is made for it."""
    fitting = [p for p in all_profiles(folder) if _fits(p.profile, content)]
    if not fitting:
        return load_profile(FALLBACK, folder)
    return max(fitting, key=lambda p: (_priority(p.profile), p.id))


def _priority(profile: Profile) -> int:
    return profile.chosen_for.priority if profile.chosen_for is not None else 0


def _fits(profile: Profile, content: StudyContent) -> bool:
    rule = profile.chosen_for
    if rule is None or content.modality not in profile.profile.modality:
        return False
    if rule.classes and not (set(rule.classes) & content.classes):
        return False
    if content.directions < rule.directions_min:
        return False
    if rule.largest_fov_mm is not None and content.fov_mm is not None and content.fov_mm > rule.largest_fov_mm:
        return False
    if not rule.body_parts:
        return True
    if not content.body_parts:
        return rule.or_unknown_body_part
    return bool({part.upper() for part in rule.body_parts} & content.body_parts)


@lru_cache(maxsize=64)
def _parse(text: str, where: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{where} is not valid TOML: {error}.", code="profile_syntax") from error


def _read(name: str, folder: Path | None) -> dict[str, Any]:
    path = Path(name)
    if path.suffix == ".toml" or path.is_file():
        return _parse(_text_of(path), str(path))
    if folder is not None and (folder / f"{name}.toml").is_file():
        place = folder / f"{name}.toml"
        return _parse(_text_of(place), str(place))
    if name in shipped_names():
        return _parse((SHIPPED / f"{name}.toml").read_text(encoding="utf-8"), f"profile {name}")
    own = [p.stem for p in folder.glob("*.toml")] if folder is not None and folder.is_dir() else []
    known = shipped_names() + own
    raise ConfigError(
        f"There is no quality profile {name!r}.{nearest(name, known)}",
        code="profile_missing",
        hint=f"Known are {', '.join(sorted(set(known)))}; a path must end in .toml.",
    )


def _text_of(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise ConfigError(f"{path} cannot be read: {reason}.", code="profile_unreadable") from error


def _merged(name: str, folder: Path | None, seen: tuple[str, ...]) -> dict[str, Any]:
    if name in seen:
        raise ConfigError(
            f"Profiles extend each other in a circle: {' → '.join((*seen, name))}.", code="profile_circle"
        )
    own = _read(name, folder)
    header = own.get("profile")
    base = header.get("extends") if isinstance(header, dict) else None
    if not base:
        return own
    # a site file of the same name as the shipped profile extends the shipped one, not itself
    place = None if base == Path(name).stem else folder
    inherited = _merged(str(base), place, (*seen, name) if base != name else seen)
    return _join(inherited, own)


def _join(base: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
    """Lay `own` over `base`: tables join, lists and values replace, rules for a sequence join by name."""
    joined = dict(base)
    for key, value in own.items():
        before = joined.get(key)
        if key == "sequence" and isinstance(value, list) and isinstance(before, list):
            joined[key] = _join_rules(before, value)
        elif isinstance(value, dict) and isinstance(before, dict):
            joined[key] = _join(before, value)
        else:
            joined[key] = value
    return joined


def _join_rules(base: Sequence[dict[str, Any]], own: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    rules = {rule.get("name"): rule for rule in base}
    for rule in own:
        name = rule.get("name")
        rules[name] = _join(rules[name], rule) if name in rules else rule
    return list(rules.values())


def _checked(merged: dict[str, Any], name: str) -> LoadedProfile:
    try:
        profile = Profile.model_validate(merged)
    except ValidationError as error:
        lines = [f"Profile {name}: {line}" for line in _explain(error)]
        raise ConfigError("\n".join(lines), code="profile_invalid") from error
    text = json.dumps(profile.model_dump(mode="json"), sort_keys=True)
    return LoadedProfile(profile, hashlib.sha256(text.encode()).hexdigest())


def _explain(error: ValidationError) -> list[str]:
    """Say everything that is wrong, a line for each key; misspelt keys before those that are missing for it."""
    lines: dict[str, list[str]] = {}
    for item in sorted(error.errors(), key=lambda item: item["type"] != "extra_forbidden"):
        # a value that may be of several kinds has an error for each kind, told apart by a part like literal['any']
        path = [part for part in item["loc"] if isinstance(part, int) or "[" not in part]
        lines.setdefault(repr(path), []).append(_sentence(item["type"], path, item["msg"]))
    return [" ".join(dict.fromkeys(sentences)) for sentences in lines.values()]


def _sentence(kind: str, place: Sequence[str | int], message: str) -> str:
    path = [str(part) for part in place if not isinstance(part, int)]
    key = ".".join(path)
    if kind == "extra_forbidden":
        return f"{key} is not a key of a profile.{nearest(path[-1], _keys_beside(path))}"
    message = message.removeprefix("Value error, ")
    return f"{key}: {message}{'' if message.endswith(('.', '?')) else '.'}"


def _keys_beside(path: Sequence[str]) -> list[str]:
    """Return the keys that the table of an unknown key may hold."""
    model: type[BaseModel] = Profile
    for part in path[:-1]:
        field = next((f for n, f in model.model_fields.items() if part in (n, f.alias)), None)
        if field is None:
            continue
        candidates = (field.annotation, *getattr(field.annotation, "__args__", ()))
        inner = [c for c in candidates if isinstance(c, type) and issubclass(c, BaseModel)]
        model = inner[0] if inner else model
    return [f.alias or n for n, f in model.model_fields.items()]
