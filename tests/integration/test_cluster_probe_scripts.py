"""What runs inside the probe pods of `evocodec cluster check`, run for real."""

import json
import os
import socket
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from evocodec.cluster.probe_scripts import FLOOR, REACH
from evocodec.cluster.quantities import quantity

Json = dict[str, Any]


def run_script(script: str, tmp_path: Path, **environment: str) -> Json:
    message = tmp_path / "termination-log"
    subprocess.run(
        [sys.executable, "-c", script.replace("/dev/termination-log", str(message))],
        check=True,
        timeout=120,
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path), **environment},
    )
    assert message.stat().st_size <= 4096
    answer: Json = json.loads(message.read_text())
    return answer


@pytest.mark.parametrize(("listening", "wanted"), [(True, "reach"), (False, "refusal")])
def test_the_network_script_tells_an_open_door_from_a_closed_one(
    tmp_path: Path, listening: bool, wanted: str
) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        port = str(server.getsockname()[1])
        if not listening:
            server.close()
        answer = run_script(
            REACH,
            tmp_path,
            TARGET="127.0.0.1",
            PORT=port,
            WANTED=wanted,
            SETTLE="1",
            NAMES="localhost no.such.name.invalid",
        )
    assert answer["target"] is listening
    if listening:
        assert answer["names"] == {"localhost": True, "no.such.name.invalid": False}
    else:
        assert answer["api"] is False


def test_the_network_script_waits_for_a_policy_and_says_how_long(tmp_path: Path) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        answer = run_script(
            REACH,
            tmp_path,
            TARGET="127.0.0.1",
            PORT=str(server.getsockname()[1]),
            WANTED="refusal",
            SETTLE="1",
            NAMES="",
        )
    assert answer["target"] is True
    assert answer["seconds"] >= 1


def test_the_floor_script_asks_the_doctor_and_the_red_team_of_this_machine(tmp_path: Path) -> None:
    few = FLOOR.replace('"--mode", "pod"', '"--mode", "pod", "--only", "tcp-ipv4"')
    assert few != FLOOR
    answer = run_script(few, tmp_path, PYTHONPATH=os.pathsep.join(filter(None, sys.path)))
    assert answer["floor"] == "ok", answer
    assert (answer["attacks"], answer["held"], answer["ok"], answer["bad"]) == (1, 1, True, [])


@pytest.mark.parametrize(
    ("text", "number"),
    [("500m", 0.5), ("32Gi", 32 * 2.0**30), ("4", 4.0), ("1e3", 1e3), ("2k", 2e3), ("?", 0.0)],
)
def test_quantities_are_read_with_their_units(text: str, number: float) -> None:
    assert quantity(text) == pytest.approx(number)
