"""Settings: one definition, errors that name the key, the bad value and the near miss."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
from agent.config import load_settings, setting_keys
from agent.config_reference import example_file, sources_of
from agent.errors import ConfigError


def write(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "agent.toml"
    file.write_text(text)
    return file


def test_no_file_is_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    settings = load_settings()
    assert settings.dicom.port == 11112
    assert settings.data_dir == tmp_path / "agent-data"


def test_the_environment_goes_before_the_file_and_the_command_line_before_both(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write(tmp_path, "[dicom]\nport = 1\nae_title = 'FILE'\n[study]\nquiet_s = 7\n")
    monkeypatch.setenv("AGENT_DICOM__PORT", "2")
    assert load_settings(file).dicom.port == 2
    settings = load_settings(file, {"dicom": {"port": 3}})
    assert (settings.dicom.port, settings.dicom.ae_title, settings.study.quiet_s) == (3, "FILE", 7)


def test_an_unknown_key_names_the_near_miss(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"dicom\.prot is no setting\. Did you mean dicom\.port\?"):
        load_settings(write(tmp_path, "[dicom]\nprot = 1\n"))


def test_an_unknown_variable_names_the_near_miss(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AGENT_STUDY__QUITE_S", "1")
    with pytest.raises(ConfigError, match=r"Did you mean study\.quiet_s\?"):
        load_settings()


def test_a_bad_value_is_shown_with_its_key(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"dicom\.port = 70000: input should be less than or equal to 65535"):
        load_settings(write(tmp_path, "[dicom]\nport = 70000\n"))


def test_a_secret_is_never_shown(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load_settings(write(tmp_path, "[cloud]\nsecret_access_key = ['hunter2']\n"))
    assert "hunter2" not in str(caught.value)
    settings = load_settings(write(tmp_path, "[cloud]\nsecret_access_key = 'hunter2'\n"))
    assert "hunter2" not in repr(settings)
    assert not any("hunter2" in value for _, value, _ in sources_of(settings))


def test_a_secret_comes_from_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "secret").write_text("from-file\n")
    monkeypatch.setenv("AGENT_CLOUD__SECRET_ACCESS_KEY_FILE", str(tmp_path / "secret"))
    assert load_settings().cloud.secret_access_key.get_secret_value() == "from-file"


def test_a_secret_file_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AGENT_CLOUD__SECRET_ACCESS_KEY_FILE", "/nowhere/secret")
    with pytest.raises(ConfigError, match="AGENT_CLOUD__SECRET_ACCESS_KEY_FILE"):
        load_settings()


def test_a_broken_file_says_where(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"not valid TOML.*line 2"):
        load_settings(write(tmp_path, "[dicom]\nport = = 1\n"))


def test_a_missing_file_is_an_error() -> None:
    with pytest.raises(ConfigError, match="no configuration file"):
        load_settings(Path("/nowhere/agent.toml"))


def test_the_example_file_loads_with_every_line_active(tmp_path: Path) -> None:
    active = []
    in_entry = False
    for line in example_file().splitlines():
        in_entry = line.startswith("# [[") or (in_entry and not line.startswith("["))
        key = line.removeprefix("# ").split(" = ")[0]
        if not in_entry and (
            line.startswith("[") or (" = " in line and key.isidentifier() and not line.endswith('= ""'))
        ):
            active.append(line.removeprefix("# "))
    assert len(active) > 50
    assert load_settings(write(tmp_path, "\n".join(active))).dicom.port == 11112


def test_settings_travel_to_another_process(tmp_path: Path) -> None:
    settings = load_settings(write(tmp_path, "[dicom]\nport = 1\n"))
    assert pickle.loads(pickle.dumps(settings)).dicom.port == 1


def test_every_setting_is_explained() -> None:
    assert not [key for key, (section, name) in setting_keys().items() if not section.model_fields[name].description]


def test_the_key_file_lies_beside_the_configuration(tmp_path: Path) -> None:
    assert load_settings(write(tmp_path, "")).key_file == tmp_path / "agent.key"


def test_every_bad_setting_has_a_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load_settings(write(tmp_path, "[dicom]\nport = 70000\nprot = 1\n"))
    assert [line.split(" ")[0] for line in str(caught.value).splitlines()] == ["dicom.port", "dicom.prot"]
