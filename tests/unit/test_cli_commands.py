"""The shape of the command line: help, usage, errors and exit codes."""

import json

import pytest
from typer.testing import CliRunner

from evocodec import __version__
from evocodec.cli.commands.run import with_value
from evocodec.cli.errors import report, split_advice
from evocodec.cli.exits import ExitCode
from evocodec.cli.main import MODULES, application, needed
from evocodec.cli.session import GlobalOptions, Session
from evocodec.domain.errors import (
    BudgetExhausted,
    CandidateFailure,
    ConfigError,
    EndpointUnavailable,
    FailureKind,
    InfrastructureFailure,
)

APP = application()

COMMANDS = (
    *("run", "status", "ls", "show", "log", "diff", "eval", "compare", "anchors"),
    *("encode", "decode", "champions", "config", "trust", "doctor"),
    *("brief", "submit", "redteam", "pareto", "metrics"),
)
NESTED = [
    *(["champions", name] for name in ("list", "show", "export", "rollback")),
    *(["clips", name] for name in ("list", "add", "remove", "verify", "describe")),
    *(["store", name] for name in ("check", "migrate")),
    ["cluster", "check"],
]

runner = CliRunner(env={"COLUMNS": "100", "NO_COLOR": "1"})


@pytest.mark.parametrize("words", [*([name] for name in COMMANDS if name != "champions"), *NESTED])
def test_every_command_explains_itself_with_an_example(words: list[str]) -> None:
    result = runner.invoke(APP, [*words, "--help"])
    assert result.exit_code == 0
    assert f"evocodec {' '.join(words)}" in result.output.split("Examples")[1]
    assert "--json" in result.output
    assert "--workspace" in result.output


def test_the_overview_lists_all_commands_and_the_exit_codes() -> None:
    result = runner.invoke(APP, ["--help"])
    assert result.exit_code == 0
    for name in COMMANDS:
        assert f" {name} " in result.output
    for code in ExitCode:
        assert f" {int(code)} " in result.output


def test_no_command_shows_the_overview() -> None:
    assert "Usage: evocodec" in runner.invoke(APP, []).output


def test_brackets_in_help_are_not_taken_for_markup() -> None:
    assert "PATH[@START-END][:WxH]" in runner.invoke(APP, ["run", "--help"]).output


def test_the_version_is_printed() -> None:
    assert runner.invoke(APP, ["--version"]).output == f"evocodec {__version__}\n"


def test_a_misspelt_command_or_option_is_a_usage_error() -> None:
    assert runner.invoke(APP, ["staus"]).exit_code == ExitCode.USAGE
    assert runner.invoke(APP, ["status", "--jsn"]).exit_code == ExitCode.USAGE


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        (["--resume"], ["--resume=latest"]),
        (["--resume", "--plain"], ["--resume=latest", "--plain"]),
        (["--resume", "run-1"], ["--resume", "run-1"]),
        (["--resume=run-1"], ["--resume=run-1"]),
        (["--minutes", "4"], ["--minutes", "4"]),
    ],
)
def test_resume_takes_a_run_or_none(args: list[str], expected: list[str]) -> None:
    assert with_value(args, "--resume", "latest") == expected


def test_options_after_the_command_win_and_settings_add_up() -> None:
    before = GlobalOptions(assignments=("run.seed=1",), json=True)
    after = GlobalOptions(assignments=("run.seed=2",), verbose=True)
    merged = before.merged(after)
    assert merged.assignments == ("run.seed=1", "run.seed=2")
    assert merged.json
    assert merged.verbose


@pytest.mark.parametrize("place", ["before", "after"])
def test_global_options_work_on_either_side_of_the_command(place: str) -> None:
    options = ["--json", "--set", "run.minutes=7"]
    args = [*options, "config"] if place == "before" else ["config", *options]
    result = runner.invoke(APP, args)
    assert result.exit_code == 0
    assert json.loads(result.output)["run.minutes"] == 7.0


def test_config_masks_secrets_and_marks_what_differs() -> None:
    args = ["config", "--set", "model.api_key='sk-hush'"]
    for extra in ([], ["--json"]):
        result = runner.invoke(APP, [*args, *extra])
        assert result.exit_code == 0
        assert "sk-hush" not in result.output
        assert "(set)" in result.output


def test_a_mistake_is_one_plain_message_with_what_to_type() -> None:
    result = runner.invoke(APP, ["config", "--set", "minutes"])
    assert result.exit_code == ExitCode.USAGE
    assert result.stdout == ""
    assert result.stderr.startswith("error: --set wants section.name=value")
    assert "\n  try: --set run.minutes=5" in result.stderr
    assert "Traceback" not in result.stderr


def test_a_mistake_with_json_is_json_on_stdout() -> None:
    result = runner.invoke(APP, ["--json", "config", "--set", "run.minuts=5"])
    assert result.exit_code == ExitCode.USAGE
    error = json.loads(result.stdout)["error"]
    assert error["type"] == "ConfigError"
    assert "run.minuts" in error["message"]
    assert error["code"] == ExitCode.USAGE


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ConfigError("wrong"), ExitCode.USAGE),
        (EndpointUnavailable("gone"), ExitCode.ENDPOINT),
        (BudgetExhausted("spent"), ExitCode.ENDPOINT),
        (InfrastructureFailure("worker lost"), ExitCode.FAILED),
        (CandidateFailure(FailureKind.CRASH, "died"), ExitCode.CANDIDATE),
    ],
)
def test_each_kind_of_error_has_its_exit_code(error: Exception, code: ExitCode) -> None:
    assert report(Session(), error) is code


def test_a_candidates_text_is_fenced_and_harmless(capsys: pytest.CaptureFixture[str]) -> None:
    detail = "Traceback\n\x1b[2Jcleared [red]x[/red]"
    report(Session(), CandidateFailure(FailureKind.EXCEPTION, "raised \x1b[31m", detail=detail))
    err = capsys.readouterr().err
    assert "\x1b" not in err
    assert "│ cleared [red]x[/red]" in err


@pytest.mark.parametrize(
    ("message", "advice"),
    [
        ("no run is recorded; begin with `evocodec run`", "`evocodec run`"),
        ("bad value; try --qp 30", "--qp 30"),
        (
            "It cannot be used. Name another one with --workspace",
            "Name another one with --workspace",
        ),
        ("nothing to advise; that is all", ""),
        ("v1.2 of the file.py", ""),
    ],
)
def test_advice_is_told_apart_from_what_happened(message: str, advice: str) -> None:
    what, found = split_advice(message)
    assert found == advice
    assert what
    assert not found or found not in what


@pytest.mark.parametrize(
    ("words", "modules"),
    [
        (["eval", "inter"], ["evaluate"]),
        (["-w", "run", "--json", "ls"], ["inspect"]),
        (["--set=run.seed=1", "store", "check"], ["store"]),
        (["--set", "run.seed=1", "decode"], ["codec"]),
        (["evl"], list(MODULES)),
        (["--help", "eval"], list(MODULES)),
        (["-v"], list(MODULES)),
        ([], list(MODULES)),
    ],
)
def test_a_command_line_loads_what_its_command_needs(words: list[str], modules: list[str]) -> None:
    assert needed(words) == modules


def test_every_module_adds_the_commands_that_are_said_of_it() -> None:
    for module, names in MODULES.items():
        app = application([module])
        added = [command.name for command in app.registered_commands]
        added += [group.name for group in app.registered_groups]
        assert added == list(names)
