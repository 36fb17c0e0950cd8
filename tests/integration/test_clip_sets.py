"""``evocodec clips`` and what ``--clip`` makes of names, with real videos."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import cv2
import pytest
from typer.testing import CliRunner

from evocodec.app.clips import clip_sources
from evocodec.cli.main import application
from evocodec.config import load_settings
from evocodec.domain.errors import SourceError
from evocodec.video.clip_facts import activity
from evocodec.video.clip_spec import parse_clip
from evocodec.video.clips import default_clips, load_clip
from evocodec.video.data_options import data_options, use_options
from evocodec.video.ffmpeg import ffmpeg_exe
from evocodec.video.test_sets import check_samples, named_clips
from evocodec.video.y4m import pack_frame, write_y4m

APP = application()

CARPHONE, CITY, _ = default_clips()


@pytest.fixture(autouse=True)
def options() -> Iterator[None]:
    before = data_options()
    yield
    use_options(before)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    shutil.copy(CITY.path, tmp_path / "film.mkv")
    return tmp_path


def clips(*arguments: str, code: int = 0) -> dict[str, object]:
    done = CliRunner().invoke(APP, ["clips", *arguments, "--json"])
    assert done.exit_code == code, done.output
    answer: dict[str, object] = json.loads(done.stdout)
    return answer


def test_a_set_is_made_described_verified_and_removed(folder: Path) -> None:
    added = clips("add", "mine", "film.mkv@0-4:80x45", "--name", "short", "--licence", "CC0")
    assert added["clip"] == "@mine/short"
    assert (added["width"], added["height"], added["fps"], added["frames"]) == (80, 45, "25", 4)
    assert added["sha256"] == load_clip(parse_clip("film.mkv@0-4:80x45")).sha256
    clips("add", "mine", "film.mkv@4-8:80x45+10+20")
    listed = clips("list")["clips"]
    assert isinstance(listed, list)
    assert [row["clip"] for row in listed][-2:] == ["@mine/short", "@mine/film_4-8_80x45-10-20"]
    assert clips("verify", "@mine")["verified"] is True
    described = clips("describe", "@mine/short", "--picture", "sheet.png")["clips"]
    assert isinstance(described, list)
    assert described[0]["spatial"] == added["spatial"]
    assert isinstance(added["spatial"], float)
    assert added["spatial"] > 0
    sheet = cv2.imread("sheet.png")
    assert sheet is not None
    assert sheet.shape[1] == 720
    clips("remove", "@mine/short")
    assert clips("describe", "@mine/short", code=2)["error"]
    moved = folder / "elsewhere"
    moved.mkdir()
    for name in (".evocodec", "film.mkv"):
        (folder / name).rename(moved / name)
    done = CliRunner().invoke(APP, ["-w", "elsewhere/.evocodec", "clips", "verify"])
    assert (done.exit_code, done.stdout.split()[0]) == (0, "ok")


def test_a_changed_and_a_missing_file_are_found(folder: Path) -> None:
    clips("add", "mine", "film.mkv@0-4", "--name", "one")
    shutil.copy(folder / "film.mkv", folder / "other.mkv")
    clips("add", "mine", "other.mkv@0-4", "--name", "two")
    shutil.copy(CARPHONE.path, folder / "film.mkv")
    (folder / "other.mkv").unlink()
    rows = clips("verify", code=2)["clips"]
    assert isinstance(rows, list)
    assert [row["state"] for row in rows] == ["changed", "missing"]
    assert "176x144" in rows[0]["detail"]
    assert "no such file" in rows[1]["detail"]
    (source,) = named_clips(["@mine/one"])
    with pytest.raises(SourceError, match="not those that the set was made with"):
        check_samples(load_clip(source))


def test_names_work_wherever_clips_are_named(folder: Path) -> None:
    clips("add", "mine", "film.mkv@0-4", "--name", "film")
    settings = load_settings(flags={"evaluation.clips": ["@mine", "carphone"]})
    assert [source.name for source in clip_sources(settings)] == ["film", "carphone"]
    assert named_clips(["film"]) == named_clips(["@mine/film"])
    assert named_clips(["@builtin"]) == default_clips()
    assert named_clips(["film.mkv"])[0].path == "film.mkv"
    with pytest.raises(SourceError, match="there is no clip set or clip @nope"):
        named_clips(["@nope"])


def test_detail_and_motion_agree_with_ffmpeg() -> None:
    frames = f"trim=end_frame={CITY.frames},siti=print_summary=1"
    command = [ffmpeg_exe(), "-hide_banner", "-i", CITY.path, "-vf", frames, "-f", "null", "-"]
    report = subprocess.run(command, capture_output=True, text=True, check=True).stderr
    peaks = re.findall(r"^Max: ([\d.]+)", report, re.MULTILINE)
    spatial, temporal = (float(value) for value in peaks[-2:])  # a summary before has no frames
    found = activity(load_clip(CITY))
    assert found.spatial == pytest.approx(spatial, rel=2e-3)
    assert found.temporal == pytest.approx(temporal, rel=2e-3)


@pytest.mark.parametrize("form", ["yuv420p", "nv12", "yuv422p", "yuv420p10le"])
def test_raw_video_gives_the_frames_of_the_file_it_was_made_from(folder: Path, form: str) -> None:
    clip = load_clip(CARPHONE).head(6)
    write_y4m("film.y4m", clip.stream, clip.frames)
    convert = ["-i", "film.y4m", "-pix_fmt", form, "-f", "rawvideo", "film.yuv"]
    subprocess.run([ffmpeg_exe(), "-v", "error", *convert], check=True)
    raw = load_clip(parse_clip(f"film.yuv@2-5,raw=176x144,30000/1001,{form}"))
    assert raw.stream.fps == clip.stream.fps
    if form in {"yuv420p", "nv12"}:
        assert [pack_frame(f) for f in raw.frames] == [pack_frame(f) for f in clip.frames[2:5]]
    else:
        assert [f.y.tobytes() for f in raw.frames] == [f.y.tobytes() for f in clip.frames[2:5]]


def test_a_raw_file_of_another_size_is_told_what_it_may_be(folder: Path) -> None:
    (folder / "film.yuv").write_bytes(bytes(352 * 288 * 3 // 2 * 7))
    with pytest.raises(SourceError, match=r"7 frames of 352x288 yuv420p") as error:
        load_clip(parse_clip("film.yuv,raw=350x288,30"))
    assert "bytes over" in str(error.value)
    with pytest.raises(SourceError, match="raw video does not say"):
        load_clip(parse_clip("film.yuv"))
