"""A settings file in the current folder: what it may set before the user trusts it."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import BaseModel
from typer.testing import CliRunner, Result

from evocodec.cli.main import application
from evocodec.config import Settings, load_settings, settings_file
from evocodec.config_sections import Section
from evocodec.config_trust import is_trusted, protected_settings, read_settings_file
from evocodec.domain.errors import ConfigError

KINDS = ("ANY_FILE", "TRUSTED_FILE", "OWN_FOLDER", "OWN_WORKSPACE")
PROTECTED = [
    *("[sandbox]\nunsafe = true", "[sandbox]\nmode = 'pod'", "[sandbox]\nfloor = []"),
    *("[sandbox]\nallow_library_codecs = true", "[sandbox]\nmax_program_kib = 9999"),
    *("[model]\nbase_url = 'http://127.0.0.1:1'", "[model.coder]\nbase_url = 'http://x'"),
    *("[model]\napi_key = 'theirs'", "[ray]\naddress = '10.0.0.1:6379'"),
    *("[data]\ns3_endpoint_url = 'http://x'", "[store]\nbackend = 'dynamodb'"),
    *("[champions]\nremote = 'ext::sh -c x'", "[champions]\npath = '/srv/other'"),
    *("[telemetry]\nlog_to = '/tmp/x.log'", "[telemetry]\nlog_to = '../x.log'"),
    *("[telemetry]\nlog_to = 'link/x.log'", "workspace = '/tmp/w'", "workspace = '../w'"),
    *("workspace = '~/w'", "workspace = 'link'", "[run]\nprogram = '~/.aws/credentials'"),
    *("[run]\nprogram = 'link/x.py'", "[held_out]\nenabled = false", "sandbox = 3"),
    *("[telemetry]\nmetrics_bind = '0.0.0.0'", "[limits]\nmax_program_kib = 0"),
]
FREE = [
    *("", "[run]\nminutes = 3\nprogram = 'inter'", "[run]\nprogram = 'mine.py'"),
    *("workspace = 'w'", "[champions]\npath = '.evocodec/v'", "[telemetry]\nlog_to = 'stderr'"),
    *("[telemetry]\nlog_to = '.evocodec/x.log'", "[model]\nmodel = 'small'"),
    "workspace = 'w'\n[champions]\npath = 'w/v'",
]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    here = tmp_path / "here"
    here.mkdir()
    (here / "link").symlink_to(tmp_path)
    monkeypatch.chdir(here)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "own"))
    monkeypatch.setenv("HOME", str(tmp_path))
    return here


def evocodec(*words: str) -> Result:
    return CliRunner(env={"COLUMNS": "300", "NO_COLOR": "1"}).invoke(application(), list(words))


def sections(section: type[BaseModel]) -> Iterator[type[BaseModel]]:
    yield section
    for field in section.model_fields.values():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, Section):
            yield from sections(kind)


@pytest.mark.parametrize("section", dict.fromkeys(sections(Settings)), ids=lambda s: s.__name__)
def test_every_setting_says_whether_any_file_may_set_it(section: type[BaseModel]) -> None:
    own = {
        name
        for name, field in section.model_fields.items()
        if not (isinstance(field.annotation, type) and issubclass(field.annotation, Section))
    }
    said = [name for kind in KINDS for name in getattr(section, kind, ())]
    assert sorted(said) == sorted(own)


@pytest.mark.parametrize("text", PROTECTED)
def test_what_protects_is_refused_until_it_is_trusted(folder: Path, text: str) -> None:
    Path("evocodec.toml").write_text(text)
    with pytest.raises(ConfigError, match="run `evocodec trust` once"):
        load_settings()
    found = read_settings_file(Path("evocodec.toml"))
    assert len(protected_settings(found, Settings)) == 1
    assert evocodec("trust").exit_code == 0
    assert settings_file() == found


@pytest.mark.parametrize("text", FREE)
def test_what_any_file_may_set_needs_no_trust(folder: Path, text: str) -> None:
    Path("evocodec.toml").write_text(text)
    load_settings()


def test_a_changed_or_moved_file_is_asked_for_again_and_trust_can_be_taken_back(
    folder: Path,
) -> None:
    file = Path("evocodec.toml")
    file.write_text("[sandbox]\nunsafe = true\n")
    assert "sandbox.unsafe" in evocodec("trust").stdout
    assert load_settings().sandbox.unsafe
    assert str(file.absolute()) in json.loads(evocodec("trust", "--list", "--json").stdout)["files"]
    file.write_text("[sandbox]\nunsafe = true\nmode = 'pod'\n")
    with pytest.raises(ConfigError, match="has changed since you trusted it"):
        load_settings()
    evocodec("trust")
    Path("other").mkdir()
    (Path("other") / "evocodec.toml").write_bytes(file.read_bytes())
    assert not is_trusted(read_settings_file(Path("other") / "evocodec.toml"))
    assert evocodec("trust", "--revoke").exit_code == 0
    with pytest.raises(ConfigError, match="is not trusted"):
        load_settings()


def test_a_file_that_was_asked_for_or_is_the_users_own_is_trusted(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = Path("evocodec.toml")
    file.write_text("[sandbox]\nunsafe = true\n")
    assert load_settings(file=file).sandbox.unsafe
    own = tmp_path / "own" / "evocodec"
    own.mkdir(parents=True)
    (own / "evocodec.toml").write_bytes(file.read_bytes())
    monkeypatch.chdir(own)
    assert load_settings().sandbox.unsafe


def test_a_configuration_folder_inside_the_current_one_is_not_the_users(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("evocodec.toml").write_text("[sandbox]\nunsafe = true\n")
    found = read_settings_file(Path("evocodec.toml"))
    Path("conf/evocodec").mkdir(parents=True)
    Path("conf/evocodec/trusted.json").write_text(json.dumps({str(found.path): found.sha256}))
    monkeypatch.setenv("XDG_CONFIG_HOME", "conf")
    with pytest.raises(ConfigError, match="is not trusted"):
        load_settings()


def test_the_file_that_is_read_is_named_once_and_by_config(folder: Path) -> None:
    Path("evocodec.toml").write_text("[run]\nminutes = 3\n")
    result = evocodec("config")
    assert result.stderr.splitlines() == [f"settings from {folder / 'evocodec.toml'}"]
    (line,) = (line for line in result.stdout.splitlines() if line.startswith("run.minutes"))
    assert "evocodec.toml" in line
    assert evocodec("config", "--config", "evocodec.toml").stderr == ""


def test_a_key_of_the_environment_does_not_reach_a_server_that_a_file_names(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EVOCODEC_MODEL__API_KEY", "BAIT-KEY")
    Path("evocodec.toml").write_text("[model]\nbase_url = 'http://127.0.0.1:1/v1'\nmodel = 'm'\n")
    refused = evocodec("doctor")
    assert refused.exit_code == 2
    assert "model.base_url" in refused.stderr
    assert "BAIT" not in refused.output


def test_a_fifo_in_the_place_of_the_file_ends_at_once(folder: Path) -> None:
    os.mkfifo("evocodec.toml")
    with pytest.raises(ConfigError, match="FIFO"):
        load_settings()
