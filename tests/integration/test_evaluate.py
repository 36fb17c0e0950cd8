"""``evocodec eval`` and ``compare`` on a tiny clip: real sandboxes, real encoders, real files."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import psutil
import pytest
from typer.testing import CliRunner, Result

from evocodec.cli.main import application
from tests.support.toy_laboratory import CARPHONE, TOY

APP = application()

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the sandbox is made of Linux")

EVOCODEC = Path(sys.executable).with_name("evocodec")
CLIP = f"{CARPHONE}@0-8:96x80"
# A toy is nowhere near HEVC: what is tested is the report, not the codec.
LENIENT = (
    "--set",
    "evaluation.chroma_margin_db=90",
    "--set",
    "evaluation.worst_frame_margin_db=90",
)
FEW = ("--clip", CLIP, "--set", "evaluation.vmaf=never", *LENIENT)


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One for all tests, so that anchors are measured once."""
    return tmp_path_factory.mktemp("ws")


def invoke(workspace: Path, *words: str) -> Result:
    return CliRunner(env={"COLUMNS": "160", "NO_COLOR": "1"}).invoke(
        APP, ["-w", str(workspace), *words]
    )


def test_an_evaluation_is_told_as_table_json_csv_page_and_plots(
    workspace: Path, tmp_path: Path
) -> None:
    page, table, plots = tmp_path / "r.html", tmp_path / "r.csv", tmp_path / "plots"
    result = invoke(
        workspace,
        *("eval", str(TOY), *FEW, "--anchor", "x264-medium", "--json"),
        *("--html", str(page), "--csv", str(table), "--plots", str(plots)),
    )
    assert result.exit_code == 0, result.output
    payload = json.loads(result.stdout)
    whole = payload["report"]
    assert payload["bd_rate_percent"] > 0
    assert [codec["name"] for codec in whole["references"]] == ["x265-medium", "x264-medium"]
    assert {(one["anchor"], one["metric"]) for one in whole["comparisons"]} == {
        (anchor, metric)
        for anchor in ("x265-medium", "x264-medium")
        for metric in ("psnr_y", "psnr_u", "psnr_v", "psnr_611")
    }
    # The mean over one clip is that clip's own figure, computed by the score as well.
    means = {(one["reference"], one["metric"]): one for one in whole["means"]}
    assert means["x265-medium", "psnr_y"]["bd_rate_percent"] == pytest.approx(
        payload["bd_rate_percent"], abs=0.01
    )
    (view,) = whole["views"]
    assert view["reference"]["qp"] == 0  # as near to the toy's many bits as HEVC comes
    assert len(view["subject"]["series"]["psnr_y_db"]) == 8
    rows = list(csv.DictReader(table.read_text().splitlines()))
    assert len(rows) == len(whole["comparisons"])
    text = page.read_text()
    assert text.count("data:image/png;base64,") == 4 * len(view["frames"])
    assert whole["clips"][0]["sha256"] in text
    assert "libx264" in text
    assert {path.name for path in plots.iterdir()} >= {"rd-psnr_y.png", "rd-psnr_y.svg"}
    assert set(payload["written"]) >= {str(page), str(table)}


def test_two_codecs_are_compared_and_the_order_turns_the_sign(workspace: Path) -> None:
    def bd_rate(a: str, b: str) -> float:
        result = invoke(workspace, "compare", a, b, *FEW, "--metric", "psnr_y", "--json")
        assert result.exit_code == 0, result.output
        means = {one["reference"]: one for one in json.loads(result.stdout)["means"]}
        return float(means[a]["bd_rate_percent"])

    there = bd_rate("x265-medium", "x264-medium")
    back = bd_rate("x264-medium", "x265-medium")
    assert (1 + there / 100) * (1 + back / 100) == pytest.approx(1.0, abs=0.01)
    result = invoke(workspace, "compare", "x264-medium", str(TOY), *FEW)
    assert result.exit_code == 0, result.output
    assert "bits at equal PSNR-Y" in result.output


def test_frames_are_shown_at_nearly_the_same_rate(workspace: Path, tmp_path: Path) -> None:
    page = str(tmp_path / "r.html")
    result = invoke(
        workspace, "compare", "x265-medium", "x264-medium", *FEW, "--json", "--html", page
    )
    assert result.exit_code == 0, result.output
    (view,) = json.loads(result.stdout)["views"]
    assert abs(view["subject"]["bits"] / view["reference"]["bits"] - 1) < 0.05


def test_a_program_that_fails_ends_with_its_own_failure(workspace: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.py"
    bad.write_text(TOY.read_text().replace("step = step_of(qp)", "raise ValueError('my fault')"))
    for words in (("eval", str(bad)), ("compare", "x265-medium", str(bad))):
        result = invoke(workspace, *words, *FEW)
        assert result.exit_code == 4, result.output
        assert "my fault" in result.output


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("eval", "nothing_here.py"), "nothing_here.py"),
        (("eval", "inter", "--anchor", "x266"), "vvenc-faster"),
        (("eval", "inter", "--metric", "beauty"), "psnr_611"),
        (("eval", "inter", "--html", "/"), "is a folder"),
        (("compare", "x265-medium", "nothing"), "svt-av1-p6"),
        (("compare", "x265-medium", "x265-medium"), "compared with itself"),
        (("eval", "inter", "--baseline-file", "/nothing.hevc"), "/nothing.hevc"),
    ],
)
def test_a_mistake_is_told_with_what_to_type_next(
    workspace: Path, words: Sequence[str], said: str
) -> None:
    result = invoke(workspace, *words, *FEW)
    assert result.exit_code == 2, result.output
    assert said in result.output.replace("\n", " ")


def test_ctrl_c_ends_an_evaluation_in_order(workspace: Path, tmp_path: Path) -> None:
    slow = tmp_path / "slow.py"
    slow.write_text(
        TOY.read_text().replace(
            "    step = step_of(qp)", "    while qp < 99:\n        pass\n    step = step_of(qp)"
        )
    )
    process = subprocess.Popen(
        [EVOCODEC, "-w", workspace, "eval", slow, *FEW],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stderr is not None
        watched = psutil.Process(process.pid)
        until = time.monotonic() + 60
        while "smoke" not in (line := process.stderr.readline()) and time.monotonic() < until:
            assert line, process.poll()
        time.sleep(1.0)  # well inside an encode that never ends: any moment will do
        children = watched.children(recursive=True)
        assert children
        os.kill(process.pid, signal.SIGINT)
        _, stderr = process.communicate(timeout=30)
    assert process.returncode == 130, stderr
    assert "Traceback" not in stderr
    _, alive = psutil.wait_procs(children, timeout=30)
    assert alive == []


def test_an_evaluation_starts_neither_ray_nor_the_graph(workspace: Path) -> None:
    script = (
        "import sys; from evocodec.app import comparison, program_evaluation; "
        "print([name for name in ('ray', 'langgraph', 'langchain_core', 'matplotlib', 'boto3')"
        " if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
