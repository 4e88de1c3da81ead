"""De-identification profiles: what a site may choose, as data.

Job: read a profile (TOML, shipped or a site's) into a checked model; name the key that does not fit. Place: called by
``compile`` and ``agent deid``; the shipped profiles lie in ``profiles/``. It must never offer a way to switch the
Basic Profile itself off.
"""

from __future__ import annotations

import difflib
import tomllib
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator
from pydicom.datadict import dictionary_VR, tag_for_keyword

from agent.errors import ConfigError

Word = Annotated[str, Field(pattern=r"^[A-Za-z0-9]{1,24}$")]
# VR and, when there may be more than one, the number of values.
Meaning = Annotated[str, Field(pattern=r"^(?:AS|CS|DS|IS|FL|FD|SL|SS|UL|US|SQ)(?: [1-9]\d?)?$")]
_TEXT_VRS = ("LO", "SH", "ST", "LT", "UT", "UC")
_CHARACTERISTICS = frozenset({"PatientSex", "PatientAge", "PatientWeight", "PatientSize"})


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class PrivateBlock(_Strict):
    """Private elements of one creator that are known to hold no identity."""

    creator: str = Field(min_length=1, max_length=64)
    group: int = Field(ge=0x0009, le=0xFFFF)
    elements: dict[str, Meaning]

    @field_validator("group")
    @classmethod
    def _odd(cls, group: int) -> int:
        if not group & 1:
            raise ValueError("a private group is odd (PS3.5 7.8)")
        return group

    @field_validator("elements")
    @classmethod
    def _bytes(cls, elements: dict[str, str]) -> dict[str, str]:
        for low in elements:
            if len(low) != 2 or any(c not in "0123456789ABCDEF" for c in low):
                raise ValueError(f"{low} is not an element byte; write two hexadecimal digits in capitals")
        return elements


class DeidProfile(_Strict):
    """One profile."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,39}$")
    version: int = Field(ge=1)
    title: str = ""
    patient_characteristics: tuple[str, ...] = ()
    descriptors: tuple[str, ...] = ()
    extra_words: tuple[Word, ...] = ()
    remove: tuple[str, ...] = ()
    secondary_images: Literal["exclude", "keep"] = "exclude"
    private: tuple[PrivateBlock, ...] = ()

    @field_validator("patient_characteristics")
    @classmethod
    def _characteristics(cls, keywords: tuple[str, ...]) -> tuple[str, ...]:
        for keyword in keywords:
            if keyword not in _CHARACTERISTICS:
                raise ValueError(f"{keyword} cannot be kept; possible: {', '.join(sorted(_CHARACTERISTICS))}")
        return keywords

    @field_validator("descriptors")
    @classmethod
    def _descriptors(cls, keywords: tuple[str, ...]) -> tuple[str, ...]:
        for keyword in keywords:
            tag = tag_for_keyword(keyword)
            if tag is None or dictionary_VR(tag) not in _TEXT_VRS:
                raise ValueError(f"{keyword} is not the keyword of a text attribute")
        return keywords

    @field_validator("remove")
    @classmethod
    def _remove(cls, keywords: tuple[str, ...]) -> tuple[str, ...]:
        for keyword in keywords:
            if tag_for_keyword(keyword) is None:
                raise ValueError(f"{keyword} is not the keyword of an attribute")
        return keywords


def shipped_profiles() -> list[str]:
    """Return the names of the profiles that ship with the agent."""
    folder = resources.files("agent.deid").joinpath("profiles")
    return sorted(entry.name.removesuffix(".toml") for entry in folder.iterdir() if entry.name.endswith(".toml"))


@cache
def load_profile(name_or_file: str) -> DeidProfile:
    """Return a profile by its name or from a file.

    Raises
    ------
    ConfigError
        When there is no such profile, or a key or value in it does not fit.
    """
    path = Path(name_or_file)
    if name_or_file in shipped_profiles():
        text = resources.files("agent.deid").joinpath(f"profiles/{name_or_file}.toml").read_text(encoding="utf-8")
    elif path.is_file():
        text = _read(path)
    else:
        near = difflib.get_close_matches(name_or_file, shipped_profiles(), n=1)
        raise ConfigError(
            f"There is no de-identification profile {name_or_file}.",
            code="deid_profile",
            hint=f"Did you mean {near[0]}?"
            if near
            else f"Shipped: {', '.join(shipped_profiles())}; or name a TOML file.",
        )
    try:
        return DeidProfile.model_validate(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(
            f"{name_or_file} is not valid TOML: {error}.", code="deid_profile", hint="Correct that line."
        ) from error
    except ValidationError as error:
        raise ConfigError(
            f"{name_or_file} does not fit: {_explain(error)}",
            code="deid_profile",
            hint="docs/deidentification.md lists the keys.",
        ) from error


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"The profile {path} cannot be read.", code="deid_profile", hint="Check its mode.") from error


def _explain(error: ValidationError) -> str:
    known = [*DeidProfile.model_fields, *PrivateBlock.model_fields]
    lines = []
    for item in error.errors():
        key = ".".join(str(part) for part in item["loc"])
        if item["type"] == "extra_forbidden":
            near = difflib.get_close_matches(str(item["loc"][-1]), known, n=1)
            lines.append(f"{key} is no key of a profile{f'; did you mean {near[0]}?' if near else '.'}")
        elif item["type"] == "missing":
            lines.append(f"{key} is missing.")
        else:
            lines.append(f"{key} = {item['input']!r}: {item['msg'].removeprefix('Value error, ')}.")
    return " ".join(lines)
