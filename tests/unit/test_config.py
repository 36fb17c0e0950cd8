from pathlib import Path

import pytest

from evocodec.config import load_settings, origin_of, parse_assignment
from evocodec.domain.errors import ConfigError


def test_flags_win_over_environment_which_wins_over_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "evocodec.toml"
    file.write_text("[run]\nminutes = 1\nslots = 1\nseed = 1\n")
    monkeypatch.setenv("EVOCODEC_RUN__SLOTS", "2")
    monkeypatch.setenv("EVOCODEC_RUN__SEED", "2")
    settings = load_settings(file=file, flags={"run.seed": 3})
    assert (settings.run.minutes, settings.run.slots, settings.run.seed) == (1, 2, 3)


def test_a_file_in_the_current_folder_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "evocodec.toml").write_text('[model]\nmodel = "small"\n')
    monkeypatch.chdir(tmp_path)
    assert load_settings().model.configured


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        ({"run.minuts": 5}, "run.minuts: there is no such setting"),
        ({"run.minutes": -1}, "run.minutes"),
        ({"nonsense": 1}, "nonsense: there is no such setting"),
        ({"judge.bitrate_gain_percent": "much"}, "judge.bitrate_gain_percent"),
        ({"run": 3, "run.minutes": 1}, "not a section"),
    ],
)
def test_a_wrong_setting_is_named(flags: dict[str, object], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        load_settings(flags=flags)


def test_a_wrong_setting_in_the_file_is_named(tmp_path: Path) -> None:
    file = tmp_path / "evocodec.toml"
    file.write_text("[run]\nminits = 1\n")
    with pytest.raises(ConfigError, match=r"run\.minits"):
        load_settings(file=file)
    file.write_text("run = = 1")
    with pytest.raises(ConfigError, match="cannot read the settings file"):
        load_settings(file=file)
    with pytest.raises(ConfigError, match="does not exist"):
        load_settings(file=tmp_path / "none.toml")


def test_a_key_is_never_shown() -> None:
    settings = load_settings(flags={"model.api_key": "sk-secret"})
    assert "sk-secret" not in repr(settings)
    assert "sk-secret" not in settings.model_dump_json()


def test_assignments_are_toml_values_or_bare_strings() -> None:
    assert parse_assignment("run.seed=7") == ("run.seed", 7)
    assert parse_assignment("model.model=small") == ("model.model", "small")
    assert parse_assignment('evaluation.clips=["a.mp4"]') == ("evaluation.clips", ["a.mp4"])
    with pytest.raises(ConfigError, match=r"section\.name=value"):
        parse_assignment("run.seed")


def test_a_setting_says_where_its_value_comes_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "mine.toml"
    file.write_text("[run]\nminutes = 1\nslots = 1\nseed = 1\n")
    monkeypatch.setenv("EVOCODEC_RUN__SLOTS", "2")
    monkeypatch.setenv("EVOCODEC_RUN__SEED", "2")
    monkeypatch.setenv("EVOCODEC_MODEL__CODER__API_KEY", "k")

    def origin(name: str) -> str:
        return origin_of(name, file=file, flags={"run.seed": 3})

    assert origin("run.seed") == "--set"
    assert origin("run.slots") == origin("model.coder.api_key") == "environment"
    assert origin("run.minutes") == str(file)
    assert origin("run.ahead") == ""


def test_settings_of_the_checkpoints_that_are_gone_are_ignored_with_a_warning(
    caplog: pytest.LogCaptureFixture,
) -> None:
    flags = {"store.checkpoints_table": "mine", "store.checkpoint_ttl_days": 3, "store.ttl_days": 9}
    assert load_settings(flags=flags).store.ttl_days == 9
    assert [record.args for record in caplog.records] == [
        ("checkpoint_ttl_days",),
        ("checkpoints_table",),
    ]
    with pytest.raises(ConfigError, match="store"):
        load_settings(flags={"store": 3})
