"""The red team against the real sandbox, and against launchers that protect nothing."""

import importlib.util
import json
import os
import shutil
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from evocodec.cli.main import application
from evocodec.domain.vocabulary import AttackOutcome, Layer
from evocodec.sandbox import conformance
from evocodec.sandbox.forkserver import DEFAULT_PRELOAD, ForkServerLauncher
from evocodec.sandbox.policy import Mode
from evocodec.sandbox.providers import make_launcher
from evocodec.sandbox.redteam.attack import HIDING_LAYERS, Theme
from evocodec.sandbox.redteam.attacks import ALL_ATTACKS, select_attacks
from evocodec.sandbox.redteam.runner import run_attacks
from tests.support.default_options import default_policy
from tests.support.other_user import SOMEBODY, run_as
from tests.support.unprotected_launcher import SharedLauncher, WeakLauncher

APP = application()

PERSISTENT = ("module-state", "patched-guest", "environment", "random-state", "clip-by-memory")
HIDDEN = (
    *("existence", "existence-by-errors", "existence-by-detour", "swap-the-path"),
    *("relative-to-descriptors", "access-times-of-open-files"),
)
# What a launcher without any confinement still does not let through, and why.
HELD_BY_NATURE = {
    "receive-descriptors": "a job is given pipes, and pipes carry no descriptors",
    **dict.fromkeys(HIDDEN, "broken, but documented for launchers without a view"),
    "odd-pointers": "the kernel itself answers",
    "deep-recursion": "a stack overflow ends any process",
    "modules-and-kexec": "not every kernel has modules or kexec",
    "keyrings": "not every kernel has keyrings",
    "clip-by-keyring": "not every kernel has keyrings",
    "terminal-injection": "there is no terminal in the tests",
    "foreign-tables": "not every kernel has the 32-bit table",
    "rare-families": "not every kernel has one of them",
    "enormous-error": "the text is cut off by the end of the process",
    "be-killed-by-the-kernel": "an end without words is taken as one without results",
    "kill-itself": "an end without words is taken as one without results",
    "hostile-exception": "the guest itself cuts the report",
    "claimed-score": "nobody but the scorer is asked",
    "pickle-bomb": "nobody unpickles",
    "numba-cache": "a program without a file has nowhere to cache",
    "clip-in-transfer-buffers": "there are no such buffers",
    "access-times": "depends on how the file system is mounted",
    "callers-frames": "the environment is in no frame",
    "servers-sockets": "there is no server",
    "reference-in-decoder": "decoder and encoder are two processes, or the frames are gone",
    "clip-in-the-program": "the static gate, which needs no launcher",
    "bits-in-packet-boundaries": "the scorer, which needs no launcher",
    "pillow-codecs": "broken, where Pillow is installed",
    "codecs-of-the-system": "broken, where the system has codec libraries",
    **dict.fromkeys(
        (
            *("channel-clock", "channel-process-numbers", "channel-descriptors"),
            *("channel-page-timing", "channel-page-relay"),
        ),
        "decoding once more, which needs no launcher of ours",
    ),
    **dict.fromkeys(("torch", "torch-shared"), "torch is not always installed"),
    "known-clips": "clips that nobody has seen, which need no launcher",
    "which-clip-is-this": "the contract, which needs no launcher",
    "afterwards-honest-candidate": "no attack",
    **dict.fromkeys(PERSISTENT, "each job is a process of its own; see the shared launcher"),
}


@pytest.mark.parametrize("mode", ["auto", "pod"])
def test_everything_is_held_with_and_without_namespaces(mode: Mode) -> None:
    policy = default_policy(mode=mode)
    report = run_attacks(lambda: ForkServerLauncher(policy), ALL_ATTACKS, policy)
    assert len(report.results) == len(ALL_ATTACKS)
    assert [f"{r.attack.theme}/{r.attack.name}: {r.finding}" for r in report.failed] == []


@pytest.mark.parametrize("mode", ["auto", "pod"])
def test_the_layers_below_the_path_lock_hold_alone(mode: Mode) -> None:
    policy = default_policy(mode=mode, paths_open=True)
    attacks = select_attacks(["files", "persistence", "passed-descriptors"])
    report = run_attacks(lambda: ForkServerLauncher(policy), attacks, policy)
    assert [f"{r.attack.theme}/{r.attack.name}: {r.finding}" for r in report.failed] == []
    hiding = report.layers.holds(Layer.PIVOT_ROOT) or report.layers.holds(Layer.PATH_BROKER)
    documented = [r for r in report.results if r.attack.documented_without]
    assert documented
    if hiding:
        assert {r.finding.verdict for r in documented} == {AttackOutcome.HELD}


def test_everything_is_held_through_bubblewrap() -> None:
    if shutil.which("bwrap") is None:
        pytest.skip("bwrap is not installed (apt-get install bubblewrap)")
    policy = default_policy(provider="bubblewrap")
    report = run_attacks(lambda: make_launcher(policy), ALL_ATTACKS, policy)
    assert [f"{r.attack.name}: {r.finding}" for r in report.failed] == []
    assert report.layers.holds(Layer.BUBBLEWRAP)


def test_what_large_libraries_might_loosen_is_held_with_torch_loaded() -> None:
    if importlib.util.find_spec("torch") is None:
        pytest.skip("torch is not installed (pip install torch==2.13.0)")
    attacks = select_attacks(["memory", "processes", "introspection", "cheating"])
    preload = (*DEFAULT_PRELOAD, "torch")
    report = run_attacks(
        lambda: ForkServerLauncher(default_policy(), preload=preload), attacks, default_policy()
    )
    assert [f"{r.attack.name}: {r.finding}" for r in report.failed] == []


@pytest.mark.parametrize("mode", ["auto", "pod"])
def test_everything_is_held_for_an_ordinary_user(mode: Mode) -> None:
    lab = [sys.executable, "-c", "from evocodec.cli.main import entry; entry()"]
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o777)
        themes = [f"--only={theme}" for theme in Theme]  # the channels have tests of their own
        words = [*lab, "-w", f"{folder}/w", "redteam", "--mode", mode, "--json", *themes]
        done = run_as(SOMEBODY, words)
    report = json.loads(done.stdout)
    assert len(report["attacks"]) == len(ALL_ATTACKS)
    hides = [layer for layer in HIDING_LAYERS if not report["layers"][layer].startswith("off")]
    accepted = {"held"} if hides else {"held", "documented"}
    assert [row for row in report["attacks"] if row["verdict"] not in accepted] == []
    assert done.returncode == 0


def test_attacks_break_a_launcher_that_protects_nothing() -> None:
    if os.getuid() != 0:
        pytest.skip("an ordinary user is held back by being one")
    if os.environ.get("EVOCODEC_TEST_UNCONFINED") != "1":
        pytest.skip("mounts attacks without a sandbox: only where EVOCODEC_TEST_UNCONFINED=1")
    report = run_attacks(WeakLauncher, ALL_ATTACKS, default_policy())
    broken = {r.attack.name for r in report.results if r.finding.verdict is AttackOutcome.BROKEN}
    held = {r.attack.name: r.finding for r in report.results if r.attack.name not in broken}
    unexplained = {name: finding for name, finding in held.items() if name not in HELD_BY_NATURE}
    assert unexplained == {}
    assert len(broken) >= 0.75 * len(ALL_ATTACKS)


def test_state_persists_between_candidates_that_share_a_process() -> None:
    report = run_attacks(SharedLauncher, select_attacks(PERSISTENT), default_policy())
    verdicts = {r.attack.name: r.finding.verdict for r in report.results}
    assert verdicts == dict.fromkeys(PERSISTENT, AttackOutcome.BROKEN)


def test_page_timing_tells_the_decoder_something_until_it_decodes_again() -> None:
    (attack,) = select_attacks(["channel-page-timing"])
    believing = [replace(attack, steps=("encode", "decode"))]
    tries = (
        run_attacks(WeakLauncher, believing, default_policy()) for _ in range(5)
    )  # busy machines blur
    assert any(report.results[0].finding.verdict is AttackOutcome.BROKEN for report in tries)
    (result,) = run_attacks(WeakLauncher, [attack], default_policy()).results
    assert result.finding.verdict is AttackOutcome.HELD
    assert "nondeterministic" in result.finding.detail


def test_a_relay_by_page_timing_needs_what_is_undone_before_decoding_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    attack = select_attacks(["channel-page-relay"])
    (result,) = run_attacks(WeakLauncher, attack, default_policy()).results
    assert result.finding.verdict is AttackOutcome.HELD
    monkeypatch.setattr(conformance, "drop_page_cache", lambda _imports: None)
    tries = (run_attacks(WeakLauncher, attack, default_policy()) for _ in range(5))
    assert any(report.results[0].finding.verdict is AttackOutcome.BROKEN for report in tries)


def test_the_suite_takes_its_bait_away_again(monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("write-outside", "kill-outside", "unix-path", "daemon", "own-environ")
    environment = dict(os.environ)
    # A folder of its own: other red teams may lay out theirs at the same time. Short, for a socket.
    with tempfile.TemporaryDirectory(prefix="bait", dir="/tmp") as folder:
        made: list[str] = []
        make = tempfile.mkdtemp

        def noted(*arguments: Any, **more: Any) -> str:
            made.append(make(*arguments, **more))
            return made[-1]

        monkeypatch.setattr(tempfile, "tempdir", folder)
        monkeypatch.setattr(tempfile, "mkdtemp", noted)
        run_attacks(
            lambda: ForkServerLauncher(default_policy()), select_attacks(names), default_policy()
        )
        assert [path for path in made if path.startswith(f"{folder}/evocodec-redteam")]
        assert list(Path(folder).iterdir()) == []
    assert dict(os.environ) == environment


def test_the_command_prints_a_report_and_says_so_by_its_exit_code(tmp_path: Path) -> None:
    runner = CliRunner(env={"COLUMNS": "120", "NO_COLOR": "1"})
    words = ["-w", str(tmp_path), "redteam", "--only", "network", "--only", "results/early-end"]
    result = runner.invoke(APP, words)
    assert result.exit_code == 0, result.output
    assert "tcp-ipv4" in result.output
    assert "early-end" in result.output
    assert "15 held" in result.output
    assert "BROKEN" not in result.output


def test_the_command_loads_only_libraries_that_are_there(tmp_path: Path) -> None:
    words = ["-w", str(tmp_path), "redteam", "--only", "fork", "--preload"]
    assert CliRunner().invoke(APP, [*words, "numba", "--json"]).exit_code == 0
    assert CliRunner().invoke(APP, [*words, "nonsense"]).exit_code != 0


def test_the_command_gives_json(tmp_path: Path) -> None:
    words = ["-w", str(tmp_path), "redteam", "--only", "fork", "--mode", "pod", "--json"]
    result = CliRunner().invoke(APP, words)
    payload = json.loads(result.stdout)
    assert result.exit_code == 0
    assert payload["ok"] is True
    assert payload["layers"]["net_namespace"].startswith("off")
    (attack,) = payload["attacks"]
    assert attack["name"] == "fork"
    assert attack["verdict"] == "held"
    assert attack["layer"] == "seccomp"
    assert attack["gate"]
