"""``evocodec encode | decode`` of long videos: bounded memory, whole files or none, and S3."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from evocodec.app import Laboratory
from evocodec.app.decode_plan import limits_for
from evocodec.app.file_codec import decode_file, encode_file
from evocodec.config import load_settings
from evocodec.domain.errors import UserError
from evocodec.domain.video import StreamInfo
from evocodec.metrics.meter import measure_quality
from evocodec.video.clip_spec import parse_clip
from evocodec.video.clips import clip_info, default_clips, iter_frames, load_clip
from evocodec.video.ffmpeg import ffmpeg_exe
from tests.support.default_options import default_limits

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the sandbox is made of Linux")

CARPHONE = default_clips()[0]
STORE = Path(__file__).resolve().parents[1] / "data" / "store_codec.py"
FRAMES = 120  # of 640×360: 39 MiB
GREY = (Path(__file__).resolve().parents[1] / "data" / "grey_codec.py").read_text()
SCRIPT = """
import json, sys
from pathlib import Path
from evocodec.app import Laboratory
from evocodec.app.file_codec import decode_file, encode_file
from evocodec.config import load_settings

def peak():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))

seen = []
with Laboratory.open(load_settings()) as laboratory:
    def code(source):
        report = encode_file(
            laboratory, source, "out.evc", version="grey.py",
            on_progress=lambda what, done, total: seen.append((what, done, total)),
        )
        decode_file(laboratory, "out.evc", "out.y4m")
        return report
    code("long.mp4@0-4")
    before = peak()
    report = code("long.mp4")
    print(json.dumps([peak() - before, report.frames, report.psnr_y_db, seen[-1]]))
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("grey.py").write_text(GREY)
    return tmp_path


def make_video(path: Path, frames: int) -> None:
    source = f"testsrc2=size=640x360:rate=30,trim=end_frame={frames}"
    coding = ("-pix_fmt", "yuv420p", "-c:v", "libx264", "-preset", "ultrafast")
    command = [ffmpeg_exe(), "-v", "error", "-f", "lavfi", "-i", source, *coding, str(path)]
    subprocess.run(command, check=True)


def test_memory_does_not_grow_with_the_length(folder: Path) -> None:
    make_video(folder / "long.mp4", FRAMES)
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True
    )
    growth, frames, psnr_y_db, last = json.loads(done.stdout)
    assert frames == FRAMES
    assert last == ["verifying", FRAMES, FRAMES]
    assert growth < 10 << 20  # a quarter of what either sequence has
    assert clip_info(parse_clip("out.y4m")).frame_count == FRAMES
    quality = measure_quality(iter_frames("long.mp4"), iter_frames("out.y4m"))
    assert psnr_y_db == pytest.approx(quality.psnr_y_db)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_encode_leaves_no_file(folder: Path, number: signal.Signals) -> None:
    slow = GREY.replace("for frame in frames:", "import time\n    for frame in frames:")
    Path("slow.py").write_text(slow.replace("yield bytes", "time.sleep(0.2)\n        yield bytes"))
    make_video(folder / "long.mp4", 100)
    command = (sys.executable, "-m", "evocodec.cli.main", "encode", "long.mp4", "out.evc")
    with subprocess.Popen([*command, "--version", "slow.py"], stderr=subprocess.PIPE) as process:
        deadline = time.monotonic() + 60
        while (
            not any(folder.glob(".evocodec-*.part"))
            and time.monotonic() < deadline
            and process.poll() is None
        ):
            time.sleep(0.05)
        time.sleep(0.5)  # some frames further: any moment will do
        process.send_signal(number)
        assert process.wait(timeout=30) == 130
    assert sorted(folder.glob("out*")) == sorted(folder.glob(".evocodec-*")) == []


def test_a_place_that_cannot_be_written_is_told_before_the_work(folder: Path) -> None:
    with (
        Laboratory.open(load_settings()) as laboratory,
        pytest.raises(
            UserError, match=r"cannot write nowhere/out\.evc: the folder \S*nowhere is not"
        ),
    ):
        encode_file(laboratory, f"{CARPHONE.path}@0-2", "nowhere/out.evc", version="grey.py")


def test_several_clips_cannot_go_into_one_file(folder: Path) -> None:
    with (
        Laboratory.open(load_settings()) as laboratory,
        pytest.raises(UserError, match="choose one as @builtin/NAME"),
    ):
        encode_file(laboratory, "@builtin", "out.evc", version="grey.py")


def test_time_and_output_limits_grow_with_the_video_and_memory_does_not() -> None:
    limits = default_limits(wall_seconds=10, cpu_seconds=20, output_bytes=1000)
    small = limits_for(limits, StreamInfo(176, 144, CARPHONE_FPS, 17))
    assert (small.wall_seconds, small.cpu_seconds) == (10, 20)
    large = limits_for(limits, StreamInfo(480 * 4, 270 * 4, CARPHONE_FPS, 640))
    assert (large.wall_seconds, large.cpu_seconds) == (1600, 3200)
    assert large.output_bytes == 480 * 4 * 270 * 4 * 640 * 3 // 2
    assert large.memory_bytes == limits.memory_bytes


CARPHONE_FPS = load_clip(parse_clip(f"{CARPHONE.path}@0-1")).stream.fps


def test_videos_come_from_and_go_to_s3(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("boto3", reason="boto3 is not installed")
    pytest.importorskip("moto.server", reason="moto's server is not installed")
    from tests.support.s3_server import BUCKET, running_store, with_credentials

    with_credentials(monkeypatch)
    with running_store() as (door, client):
        client.upload_file(CARPHONE.path, BUCKET, "carphone.mp4")
        settings = load_settings(flags={"data.s3_endpoint_url": door.url})
        with Laboratory.open(settings) as laboratory:
            there = f"s3://{BUCKET}/out.evc"
            report = encode_file(
                laboratory, f"s3://{BUCKET}/carphone.mp4@0-5", there, version=str(STORE), qp=20
            )
            assert (report.frames, report.psnr_y_db, report.output) == (5, 100.0, there)
            decode_file(laboratory, there, "out.y4m")
            decode_file(laboratory, there, f"s3://{BUCKET}/out.y4m")
        stored = client.get_object(Bucket=BUCKET, Key="out.y4m")["Body"].read()
    assert stored == Path("out.y4m").read_bytes()
    assert (
        load_clip(parse_clip("out.y4m")).sha256
        == load_clip(parse_clip(f"{CARPHONE.path}@0-5")).sha256
    )
