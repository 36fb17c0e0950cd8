"""Measured channels: closed ones carry nothing, and the same programs show what they carried."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from evocodec.cli.main import application
from evocodec.domain.vocabulary import AttackOutcome, Layer
from evocodec.sandbox.forkserver import ForkServerLauncher
from evocodec.sandbox.policy import Mode
from evocodec.sandbox.redteam.capacity import measure
from evocodec.sandbox.redteam.capacity_channels import CHANNELS, select_channels
from tests.support.default_options import default_policy

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the sandbox is made of Linux")
CLOSED = [channel for channel in CHANNELS if not channel.limit_bits]


@pytest.mark.parametrize("mode", ["auto", "pod"])
def test_closed_channels_carry_nothing(mode: Mode) -> None:
    policy = default_policy(mode=mode)
    with ForkServerLauncher(policy) as launcher, ForkServerLauncher(policy) as other:
        results = [measure(replace(one, trials=2), launcher, other) for one in CLOSED]
    for result in results:
        assert result.verdict is AttackOutcome.HELD, result
        for arrived in (result.first, result.repeated):
            assert arrived.interval_bits(0.9999)[0] == 0.0, result
    refused = {r.channel.name for r in results if "PermissionError" in r.refusal}
    assert refused == {"file-pages", "inode-numbers"}


def test_names_carry_every_bit_where_paths_stay_open() -> None:
    (names,) = select_channels(["names"])
    policy = default_policy(paths_open=True)
    with ForkServerLauncher(policy) as launcher, ForkServerLauncher(policy) as other:
        if not launcher.describe().holds(Layer.PIVOT_ROOT):
            pytest.skip("through the path broker it is slow and noisy")
        # A busy machine blurs it.
        tries = (measure(names, launcher, other).first for _ in range(4))
        assert any(arrived.interval_bits()[0] > 0.75 * names.bits for arrived in tries)


def test_the_command_reports_them(tmp_path: Path) -> None:
    words = ["-w", str(tmp_path), "redteam", "--only", "process-memory", "--mode", "pod"]
    said = CliRunner(env={"COLUMNS": "160", "NO_COLOR": "1"}).invoke(application(), words)
    assert said.exit_code == 0, said.output
    assert "process-memory" in said.output
    assert "1 channel measured" in said.output
    payload = json.loads(CliRunner().invoke(application(), [*words, "--json"]).stdout)
    (channel,) = payload["channels"]
    assert (channel["name"], channel["verdict"]) == ("process-memory", "held")
    assert channel["first"]["bits"] == 64
    assert channel["repeated"]["upper_bound_bits"] < 16
