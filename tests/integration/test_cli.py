"""The command line on real workspaces, real git repositories, and a real terminal."""

import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest
import typer
from typer.testing import CliRunner, Result

from evocodec.champions.messages import AdoptionEntry
from evocodec.champions.repository import ChampionRepository
from evocodec.cli.command import guarded
from evocodec.cli.exits import ExitCode
from evocodec.cli.main import application
from evocodec.cli.session import GlobalOptions, Session
from evocodec.cli.stopping import SAME_WISH_SECONDS
from evocodec.codec.program import Program
from evocodec.domain.candidate import Verdict
from evocodec.domain.events import Adopted, Event
from evocodec.domain.vocabulary import VerdictRule
from evocodec.store.blobs import FileBlobStore
from evocodec.store.sqlite.ledger import SqliteLedger
from evocodec.video.clips import default_clips
from tests.support import sample_run as story

APP = application()

ROOT = Path(__file__).parents[2]
EVOCODEC = Path(sys.executable).with_name("evocodec")
HOSTILE_BYTES = ("\x1b", "\x9b", "\x07", "\r")


def record(workspace: Path, events: Sequence[Event]) -> None:
    """Make a workspace as a run leaves it: ledger, and the programs of its candidates."""
    workspace.mkdir(parents=True, exist_ok=True)
    blobs = FileBlobStore(workspace / "blobs")
    for number in range(1, 7):
        blobs.put(story.program(number).encode())
    ledger = SqliteLedger(workspace / "ledger.sqlite")
    for event in events:
        ledger.record(event)
    ledger.close()


def record_with_versions(workspace: Path) -> None:
    """Make a workspace with two versions whose commits its ledger has recorded."""
    commits = {1: adopt(workspace, 1, 11.24, "HEVC (v0)"), 2: adopt(workspace, 4, 9.6, "v1")}
    record(
        workspace,
        [
            replace(event, commit=commits[event.version]) if isinstance(event, Adopted) else event
            for event in story.finished()
        ],
    )


def adopt(workspace: Path, number: int, mbps: float, before: str) -> str:
    """Commit a version, and return the commit's name."""
    verdict = Verdict(
        adopt=True,
        rule=VerdictRule.BITRATE,
        reason=f"better than {before}",
        compared_with=before,
        improvement_percent=14.6,
        bitrate_mbps=mbps,
        compression_ratio=40.0,
    )
    entry = AdoptionEntry(
        run_id=story.RUN,
        candidate_id=f"c{number:04d}",
        parent_id="c0001" if number > 1 else "",
        program=Program(story.program(number)),
        score=story.score(mbps),
        verdict=verdict,
        hypothesis="quarter-pel motion",
    )
    return ChampionRepository(workspace / "champions").adopt(entry).commit


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a workspace with a run that was interrupted, and its two versions."""
    workspace = tmp_path_factory.mktemp("told")
    record_with_versions(workspace)
    return workspace


@pytest.fixture
def versions(tmp_path: Path) -> Path:
    """Return a workspace of its own for commands that change it."""
    record_with_versions(tmp_path)
    return tmp_path


def evocodec(workspace: Path, *args: str, columns: int = 100) -> Result:
    runner = CliRunner(env={"COLUMNS": str(columns), "NO_COLOR": "1"})
    return runner.invoke(APP, ["--workspace", str(workspace), *args])


def ok(workspace: Path, *args: str) -> str:
    result = evocodec(workspace, *args)
    assert result.exit_code == 0, result.output
    return result.stdout


def ok_json(workspace: Path, *args: str) -> dict[str, Any]:
    return json.loads(ok(workspace, *args, "--json"))


def test_status_is_one_screen_of_the_newest_run(told: Path) -> None:
    text = ok(told, "status")
    assert "interrupted after" in text
    assert "9.60 Mbit/s at equal quality" in text
    assert f"run --resume {story.RUN}" in text
    assert len(text.splitlines()) <= 24


def test_status_json_has_its_documented_keys(told: Path) -> None:
    body = ok_json(told, "status")
    assert set(body) == {
        *("run_id", "state", "outcome", "message", "started_at", "last_at", "elapsed_seconds"),
        *("resumed", "proposer", "seed", "unsafe", "clips", "counts", "failures", "tasks"),
        *("retries", "model", "champion", "best", "versions", "in_flight", "anchors"),
        "ray_dashboard",
    }
    figures = {"bitrate_mbps": 9.6, "held_out_bitrate_mbps": 9.87}
    assert body["champion"] == {"version": "v2", **figures}
    assert [c["candidate_id"] for c in body["in_flight"]] == ["c0005", "c0006"]
    assert body["model"] == {
        "calls": 1,
        "prompt_tokens": 5200,
        "completion_tokens": 3100,
        "cost_usd": 0.021,
    }


def test_ls_lists_every_candidate_with_its_outcome(told: Path) -> None:
    text = ok(told, "ls")
    assert re.search(r"c0001 +adopted as v1 +11\.24", text)
    assert re.search(r"c0002 +rejected +~10\.89", text)
    assert re.search(r"c0003 +failed +– ", text)
    assert re.search(r"c0006 +smoke test", text)


def test_ls_sorted_by_bitrate_has_the_best_first_and_failures_last(told: Path) -> None:
    rows = ok_json(told, "ls", "--sort", "bitrate")["candidates"]
    order = [row["candidate_id"] for row in rows]
    assert order == ["c0004", "c0001", "c0005", "c0002", "c0006", "c0003"]
    assert rows[-1]["bitrate_mbps"] is None


def test_ls_filters_and_limits(told: Path) -> None:
    failed = ok_json(told, "ls", "--status", "test_failed")["candidates"]
    assert [row["candidate_id"] for row in failed] == ["c0003"]
    assert len(ok_json(told, "ls", "--limit", "2")["candidates"]) == 2
    assert "6 candidates" in ok(told, "ls")
    assert "4 more" in ok(told, "ls", "--limit", "2")


def test_show_tells_why_a_candidate_was_adopted(told: Path) -> None:
    text = ok(told, "show", "c0004")
    for words in ("adopted as v2", "quarter-pel motion", "DEBLOCK_STRENGTH = 3", "BD-rate"):
        assert words in text
    assert "adopt (bitrate), compared with v1" in text
    assert "real_exp_c0004.json" in text
    held_out = "+14.6 % fewer bits than v1 on the development clips, +11.2 % (9.00 … 13.50 %"
    assert held_out in " ".join(text.split())


def test_show_names_the_pictures_of_curves_that_could_not_be_compared(told: Path) -> None:
    picture = told / "runs" / story.RUN / "curves" / "c0003-0.png"
    picture.parent.mkdir(parents=True, exist_ok=True)
    picture.write_bytes(b"")
    assert str(picture) in "".join(ok(told, "show", "c0003").split())
    assert ok_json(told, "show", "c0003")["pictures"] == [str(picture)]
    assert ok_json(told, "show", "c0004")["pictures"] == []


def test_show_fences_what_a_program_wrote(told: Path) -> None:
    text = ok(told, "show", "c0003")
    assert "failed in the smoke test: exception" in text
    assert "│ Traceback (most recent call last):" in text
    assert "line 3: imports socket" in text


def test_show_json_has_the_whole_candidate(told: Path) -> None:
    body = ok_json(told, "show", f"{story.RUN}/c0004")
    assert body["status"] == "adopted"
    assert body["score"]["bitrate_mbps"] == 9.6
    assert body["held_out"]["held_out_gain_percent"] == 11.2
    assert [clip["clip"] for clip in body["score"]["clips"]] == list(story.CLIPS)
    assert len(body["points"]) == 11
    assert body["adoption"]["tag"] == "v2"


def test_show_a_version_and_a_run(told: Path) -> None:
    version = ok(told, "show", "v2")
    assert "v2 (in use)" in version
    assert "c0004  adopted as v2" in version
    assert ok_json(told, "show", "v2")["candidate"]["candidate_id"] == "c0004"
    run = ok(told, "show", story.RUN)
    assert re.search(r"v1 +c0001 +11\.24 +9\.87 +\+12\.4 % ", run)
    assert "run --resume" in run


def test_a_run_without_adoption_says_so_with_the_best_and_why(tmp_path: Path) -> None:
    record(tmp_path, story.fruitless())
    text = ok(tmp_path, "show", story.RUN)
    assert "Nothing was adopted." in text
    assert "The best candidate was c0001: 16.20 Mbit/s" in text
    assert "a first version needs less than 15" in text


def test_log_prints_every_event(told: Path) -> None:
    lines = ok(told, "log").splitlines()
    assert len(lines) == len(story.finished())
    one = ok(told, "log", "--candidate", "c0002")
    assert "c0004" not in one
    assert "some/model" in one
    events = [json.loads(line) for line in ok(told, "log", "--json").splitlines()]
    assert events[0]["kind"] == "run_started"


def test_log_follows_a_run_until_it_stops(tmp_path: Path) -> None:
    events = story.finished()
    record(tmp_path, events[:-1])
    command = [str(EVOCODEC), "-w", str(tmp_path), "log", "--follow", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for _ in events[:-1]:
            assert process.stdout.readline()
        record(tmp_path, events[-1:])
        assert json.loads(process.stdout.readline())["kind"] == "run_stopped"
        assert process.wait(timeout=60) == 0


def test_diff_compares_with_the_parent_or_with_anything(told: Path, tmp_path: Path) -> None:
    text = ok(told, "diff", "c0004")
    assert "-DEBLOCK_STRENGTH = 1" in text
    assert "+DEBLOCK_STRENGTH = 4" in text
    assert " BLOCK = 16" in text
    mine = tmp_path / "mine.py"
    mine.write_text(story.program(4))
    # The path of the file may be long, and the sentence wrapped.
    assert "the same program" in " ".join(ok(told, "diff", "v2", str(mine)).split())
    assert ok_json(told, "diff", "v2", str(mine))["same"] is True
    assert ok_json(told, "diff", "v1", "v2")["same"] is False
    assert ok_json(told, "diff", "v2")["from"] == f"{story.RUN}/c0001"


def test_diff_of_a_first_program_asks_for_a_second(told: Path) -> None:
    result = evocodec(told, "diff", "c0001")
    assert result.exit_code == ExitCode.USAGE
    assert "name a second program" in result.stderr


def test_champions_are_listed_shown_exported_and_rolled_back(versions: Path) -> None:
    assert re.search(r"v2 ← +9\.60 +– +−4\.0 %", ok(versions, "champions", "list"))
    assert "DEBLOCK_STRENGTH = 4" in ok(versions, "champions", "show", "v2", "--source")
    target = versions / "codec.py"
    ok(versions, "champions", "export", str(target), "--version", "v1")
    assert target.read_text() == story.program(1)
    again = evocodec(versions, "champions", "export", str(target))
    assert again.exit_code == ExitCode.USAGE
    assert "--force" in again.stderr
    ok(versions, "champions", "rollback", "v1", "--reason", "too slow")
    listed = ok_json(versions, "champions", "list")["versions"]
    assert [v["current"] for v in listed] == [True, False]


def test_a_rollback_needs_a_reason(versions: Path) -> None:
    assert evocodec(versions, "champions", "rollback", "v1").exit_code == ExitCode.USAGE


@pytest.mark.parametrize(
    "args",
    [
        ["status"],
        ["ls"],
        ["show", "c0003"],
        ["show", story.RUN],
        ["log"],
        ["diff", "c0003"],
        ["status", "--json"],
        ["show", "c0003", "--json"],
        ["log", "--json"],
        ["diff", "c0003", "--json"],
    ],
)
def test_no_command_lets_terminal_control_through(told: Path, args: list[str]) -> None:
    text = ok(told, *args)
    for control in HOSTILE_BYTES:
        assert control not in text


@pytest.mark.parametrize("args", [["status"], ["ls"], ["log"], ["show", "c0001"]])
def test_an_empty_workspace_says_how_to_begin(tmp_path: Path, args: list[str]) -> None:
    result = evocodec(tmp_path / "new", *args)
    assert result.exit_code == ExitCode.USAGE
    assert "evocodec run" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["show", "c0099"], "its last is c0006"),
        (["show", "v9"], "choose one of: v1, v2"),
        (["show", "nonsense"], "there is no run"),
        (["log", "--candidate", "c0099"], "no candidate c0099"),
        (["ls", "--run", "elsewhere"], "there is no run"),
        (["champions", "show", "v7"], "choose one of: v1, v2"),
    ],
)
def test_a_wrong_name_is_answered_with_the_right_ones(
    told: Path, args: list[str], words: str
) -> None:
    result = evocodec(told, *args, columns=300)
    assert result.exit_code == ExitCode.USAGE
    assert words in result.stderr
    machine = evocodec(told, *args, "--json")
    assert words in json.loads(machine.stdout)["error"]["message"] + machine.stdout


def test_an_unexpected_error_is_one_line_and_a_log(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail() -> None:
        raise ZeroDivisionError("by zero")

    for verbose in (False, True):
        session = Session(GlobalOptions(workspace=tmp_path, verbose=verbose))
        with pytest.raises(typer.Exit) as left:
            guarded(session, fail)
        assert left.value.exit_code == ExitCode.FAILED
        err = capsys.readouterr().err
        assert "ZeroDivisionError: by zero" in err
        assert ("Traceback" in err) is verbose
    assert (tmp_path / "errors.log").read_text().count("Traceback") == 2


def test_a_reader_that_leaves_early_is_no_error(told: Path) -> None:
    command = f"'{EVOCODEC}' -w '{told}' log | head -n 1"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert done.stderr == ""
    assert len(done.stdout.splitlines()) == 1


class Terminal:
    """A child process on a pseudo-terminal of 24 by 80."""

    def __init__(self, command: Sequence[str | Path], **environment: str) -> None:
        self.output = ""
        pid, self._master = pty.fork()
        if pid == 0:
            quiet = {name: value for name, value in os.environ.items() if name != "CI"}
            quiet |= {"TERM": "xterm", "COLUMNS": "80", "LINES": "24", **environment}
            os.execve(command[0], [str(word) for word in command], quiet)
        self.pid = pid

    def read_until(self, done: Callable[[str], bool], *, seconds: float) -> None:
        """Read what is drawn until it satisfies ``done``; fails after so many seconds."""
        deadline = time.monotonic() + seconds
        while not done(self.output):
            assert time.monotonic() < deadline, self.output[-3000:]
            self._read(0.2)

    def press_ctrl_c(self) -> None:
        os.write(self._master, b"\x03")

    def wait(self, *, seconds: float) -> int:
        """Return the exit status."""
        deadline = time.monotonic() + seconds
        while True:
            self._read(0.1)
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self._read(0.1)
                return os.waitstatus_to_exitcode(status)
            assert time.monotonic() < deadline, self.output[-3000:]

    def close(self) -> None:
        try:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        except (ProcessLookupError, ChildProcessError):
            pass
        os.close(self._master)

    def _read(self, seconds: float) -> None:
        ready, _, _ = select.select([self._master], [], [], seconds)
        if ready:
            try:
                self.output += os.read(self._master, 65536).decode("utf-8", "replace")
            except OSError:  # the child closed its side
                time.sleep(seconds)


@pytest.fixture
def terminal() -> Iterator[Callable[..., Terminal]]:
    opened: list[Terminal] = []

    def start(*command: str | Path, **environment: str) -> Terminal:
        opened.append(Terminal(command, **environment))
        return opened[-1]

    yield start
    for one in opened:
        one.close()


LIVE = """
import subprocess, sys, threading, time
sys.path.insert(0, sys.argv[1])
from tests.support import sample_run
from evocodec.cli.display.live import LiveDisplay
from evocodec.cli.session import Session
from evocodec.cli.stopping import kill_descendants, run_stoppable

session, stop = Session(), threading.Event()
display = LiveDisplay(session.out, minutes=4)

def work():
    child = subprocess.Popen(["sleep", "300"], start_new_session=True)
    print(f"child {child.pid}.", file=sys.stderr)
    for event in sample_run.story():
        display.on_event(event)
    while sys.argv[2] == "stubborn" or not stop.is_set():
        time.sleep(0.05)
    return 7

with display:
    code = run_stoppable(
        work,
        stop=stop,
        on_stop=lambda: display.notice("stopping cleanly"),
        on_leave=session.restore_terminal,
    )
kill_descendants()
sys.exit(code)
"""


def test_the_live_display_draws_and_ctrl_c_stops_cleanly(
    terminal: Callable[..., Terminal],
) -> None:
    child = terminal(sys.executable, "-c", LIVE, ROOT, "polite")
    child.read_until(lambda text: "c0005" in text and "champion" in text, seconds=20)
    child.press_ctrl_c()
    child.read_until(lambda text: "stopping cleanly" in text, seconds=60)
    assert child.wait(seconds=60) == 7
    assert child.output.rstrip().endswith("\x1b[?25h") or "\x1b[?25h" in child.output[-200:]
    assert "\x1b]0;" not in child.output, "a hypothesis must not set the window's title"


def test_a_second_ctrl_c_leaves_at_once_with_the_cursor_shown_and_no_process_behind(
    terminal: Callable[..., Terminal],
) -> None:
    child = terminal(sys.executable, "-c", LIVE, ROOT, "stubborn")
    child.read_until(lambda text: "c0005" in text, seconds=20)
    found = re.search(r"child (\d+)\.", child.output)
    assert found
    grandchild = int(found[1])
    assert psutil.pid_exists(grandchild)
    child.press_ctrl_c()
    child.read_until(lambda text: "stopping cleanly" in text, seconds=60)
    later = time.monotonic() + SAME_WISH_SECONDS
    child.read_until(lambda _: time.monotonic() > later, seconds=60)
    child.press_ctrl_c()
    assert child.wait(seconds=60) == ExitCode.INTERRUPTED
    assert "\x1b[?25h" in child.output[-50:]
    deadline = time.monotonic() + 60
    while psutil.pid_exists(grandchild) and not _is_zombie(grandchild):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def _is_zombie(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def test_sigterm_stops_like_the_first_ctrl_c(terminal: Callable[..., Terminal]) -> None:
    child = terminal(sys.executable, "-c", LIVE, ROOT, "polite")
    child.read_until(lambda text: "c0005" in text, seconds=20)
    os.kill(child.pid, signal.SIGTERM)
    assert child.wait(seconds=60) == 7


def test_status_watch_redraws_until_the_run_stops(
    terminal: Callable[..., Terminal], tmp_path: Path
) -> None:
    events = story.finished()
    record(tmp_path, events[:-1])
    child = terminal(EVOCODEC, "-w", tmp_path, "status", "--watch")
    child.read_until(lambda text: "c0005" in text, seconds=20)
    record(tmp_path, events[-1:])
    assert child.wait(seconds=60) == 0
    assert "interrupted after" in child.output


CLIP = "@0-6:96x80"  # of carphone: small enough for a whole run in seconds


@pytest.mark.ray
def test_a_real_run_is_stopped_by_ctrl_c_and_resumed_to_its_end(
    terminal: Callable[..., Terminal], tmp_path: Path
) -> None:
    carphone = next(clip.path for clip in default_clips() if clip.name == "carphone")
    options = ["-w", tmp_path, "--clip", f"{carphone}{CLIP}", "--candidates", "2"]
    child = terminal(EVOCODEC, "run", *options)
    child.read_until(lambda text: "c0001" in text, seconds=90)
    child.press_ctrl_c()
    child.read_until(lambda text: "stopping cleanly" in text, seconds=60)
    assert child.wait(seconds=60) == ExitCode.INTERRUPTED
    found = re.search(r"run --resume (run-[0-9a-f-]+)", child.output)
    assert found
    run_id = found[1]
    assert ok_json(tmp_path, "status")["outcome"] == "interrupted"

    command = [str(EVOCODEC), "-w", str(tmp_path), "run", "--resume", "--candidates", "2", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=200)
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    summary = lines[-1]["summary"]
    assert summary["run_id"] == run_id
    assert summary["outcome"] == "finished"
    assert summary["resumed"] == 1
    assert sum(summary["counts"].values()) == 2
    keys = [event.key for event in _events(tmp_path, run_id)]
    assert len(keys) == len(set(keys)), "nothing is done twice"
    assert {line["kind"] for line in lines[:-1]} >= {"run_started", "candidate_closed"}


def _events(workspace: Path, run_id: str) -> list[Event]:
    ledger = SqliteLedger(workspace / "ledger.sqlite", read_only=True)
    try:
        return [event for _, event in ledger.events(run_id)]
    finally:
        ledger.close()
