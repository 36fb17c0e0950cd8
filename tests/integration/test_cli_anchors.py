"""``evocodec anchors`` on a real clip: tables, JSON, CSV, plot, commands, and what is refused."""

import csv
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from evocodec.cli.exits import ExitCode
from evocodec.cli.main import application
from evocodec.video.clips import default_clips
from evocodec.video.ffmpeg import ffmpeg_exe

APP = application()

CLIP = f"{default_clips()[0].path}@0-9"


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("workspace")


def anchors(workspace: Path, *arguments: str, code: ExitCode = ExitCode.OK) -> str:
    command = ["-w", str(workspace), "anchors", "--clip", CLIP, *arguments]
    result = CliRunner().invoke(APP, command, env={"COLUMNS": "160"})
    assert result.exit_code == code, result.output
    return result.output


def test_a_chosen_anchor_stands_beside_x265_medium(workspace: Path, tmp_path: Path) -> None:
    plot, table = tmp_path / "rd.png", tmp_path / "rd.csv"
    files = ("--plot", str(plot), "--csv", str(table))
    report = json.loads(anchors(workspace, "--anchor", "x264-medium", "--json", *files))
    first, second = report["anchors"]
    assert (first["codec"], second["codec"]) == ("x265-medium", "x264-medium")
    assert (first["operating_ratio"], first["comparisons"]) == (pytest.approx(1), [])
    (found,) = second["comparisons"]
    assert -60 < found["bd_rate"]["akima_percent"] < 60
    assert found["bd_rate"]["overlap"] >= 0.6
    assert 0 < second["encode_cpu_ratio"] < 3
    assert "libx264" in second["command"]
    assert len(second["points"]) >= 4
    rows = list(csv.DictReader(table.read_text().splitlines()))
    assert [row["anchor"] for row in rows] == ["x265-medium", "x264-medium"]
    assert float(rows[1]["bd_rate_akima_percent"]) == found["bd_rate"]["akima_percent"]
    assert plot.read_bytes().startswith(b"\x89PNG")


def test_the_second_time_nothing_is_encoded(workspace: Path) -> None:
    anchors(workspace, "--anchor", "x264-medium")
    text = anchors(workspace, "--anchor", "x264-medium", "--commands", "--points")
    assert "all from the cache" in text
    assert "-x264-params keyint=infinite:scenecut=0 -crf Q -f h264 OUT.h264" in text
    assert text.count("cached") >= 2


def test_what_cannot_be_done_is_told_with_what_to_type(workspace: Path) -> None:
    unknown = anchors(workspace, "--anchor", "x266", code=ExitCode.USAGE)
    assert "no anchor called 'x266'" in " ".join(unknown.split())
    assert "PNG" in anchors(workspace, "--plot", "rd.jpg", code=ExitCode.USAGE)
    absent = anchors(workspace, "--baseline-file", "absent.mp4", code=ExitCode.USAGE)
    assert "absent.mp4" in absent


def coded(folder: Path, name: str, *options: str) -> str:
    path = folder / name
    command = [ffmpeg_exe(), "-v", "error", "-y", "-i", default_clips()[0].path, "-frames:v", "9"]
    subprocess.run([*command, "-c:v", "libx264", *options, str(path)], check=True)
    return str(path)


def baseline(workspace: Path, *files: str) -> tuple[dict[str, Any], str]:
    """Return the baseline's row in JSON, and what people read."""
    options = [option for file in files for option in ("--baseline-file", file)]
    whole = json.loads(anchors(workspace, "--anchor", "x265-medium", "--json", *options))
    text = " ".join(anchors(workspace, "--anchor", "x265-medium", *options).split())
    (row,) = [row for row in whole["anchors"] if row["codec"] == "baseline"]
    return row, text


def test_few_files_get_a_sentence_each_and_never_a_curve(workspace: Path, tmp_path: Path) -> None:
    lossless = coded(tmp_path, "lossless.mp4", "-qp", "0")
    row, text = baseline(workspace, lossless)
    assert row["equal_quality_ratio"] is None
    assert "lossless" in row["problem"]
    assert "lossless" in text
    poor = coded(tmp_path, "poor.mp4", "-crf", "50")
    row, text = baseline(workspace, poor)
    assert "nothing is extrapolated" in row["problem"]
    assert "nothing is extrapolated" in text
    good, better = coded(tmp_path, "a.mp4", "-crf", "28"), coded(tmp_path, "b.mp4", "-crf", "20")
    row, text = baseline(workspace, good, better)
    assert row["operating_ratio"] is None
    assert row["problem"].count("% bits against x265-medium") == 2
    assert "2 of the 4 points" in text


def test_the_json_has_every_metric_that_a_table_shows(workspace: Path) -> None:
    report = json.loads(anchors(workspace, "--anchor", "x265-medium", "--metric", "vmaf", "--json"))
    point = report["anchors"][0]["points"][0]
    names = ("psnr_y_db", "psnr_u_db", "psnr_v_db", "psnr_611_db", "vmaf", "vmaf_neg")
    assert all(point[name] is not None for name in names), point
