"""What ``encode`` and ``decode`` do to the files that a person names, on the real command line."""

import os
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from evocodec.cli.main import application
from evocodec.domain.video import StreamInfo
from evocodec.video.clip_spec import parse_clip
from evocodec.video.clips import load_clip
from evocodec.video.y4m import read_y4m
from tests.support.odd_media import make_clip_file

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the sandbox is made of Linux")

APP = application()
STORE = Path(__file__).resolve().parents[1] / "data" / "store_codec.py"
MAIN = (sys.executable, "-m", "evocodec.cli.main")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with a small video, its ``.evc`` file, and what that decodes to."""
    folder = tmp_path_factory.mktemp("named")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        make_clip_file(Path("in.mkv"), frames=3)
        assert run("encode", "in.mkv", "in.evc", "--version", str(STORE)).exit_code == 0
        assert run("decode", "in.evc", "in.y4m").exit_code == 0
        yield folder


@pytest.fixture(autouse=True)
def here(made: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Everything begins, and has to end, with the three files as they were."""
    monkeypatch.chdir(made)
    before = {name: Path(name).read_bytes() for name in ("in.mkv", "in.evc", "in.y4m")}
    yield
    for name, content in before.items():
        assert Path(name).read_bytes() == content
    assert not list(made.glob(".evocodec-*.part"))


def run(*words: str) -> Result:
    return CliRunner(env={"COLUMNS": "300", "NO_COLOR": "1"}).invoke(APP, ["-w", "w", *words])


def refused(*words: str) -> str:
    result = run(*words)
    assert result.exit_code == 2, result.output
    return " ".join(result.output.split())


def test_a_pattern_that_names_two_videos_destroys_neither() -> None:
    Path("b.mp4").write_bytes(Path("in.mkv").read_bytes())
    message = refused("encode", "in.mkv", "b.mp4", "--version", str(STORE))
    assert "a Matroska or WebM video, not an .evc file" in message
    assert "one IN and one OUT" in message
    assert Path("b.mp4").read_bytes() == Path("in.mkv").read_bytes()


@pytest.mark.parametrize(
    "words",
    [
        ("encode", "in.mkv", "in.mkv", "--version", str(STORE), "--force"),
        ("encode", "in.mkv@0-2", "./in.mkv", "--version", str(STORE), "--force"),
        ("decode", "in.evc", "in.evc", "--force"),
        ("decode", "in.evc", "in.evc", "--dry-run"),
    ],
)
def test_the_input_is_no_output(words: tuple[str, ...]) -> None:
    assert "which this command reads" in refused(*words)


def test_a_described_video_and_one_in_the_home_folder_are_no_outputs(
    made: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(made))
    Path("hard.png").hardlink_to("in.mkv")
    for words in (
        ("clips", "describe", "in.mkv@0-2", "--picture", "hard.png", "--force"),
        ("encode", "~/in.mkv", "hard.png", "--version", str(STORE), "--force"),
    ):
        assert "which this command reads" in refused(*words)
    Path("hard.png").unlink()


def test_a_video_of_a_set_and_the_ledger_are_no_outputs() -> None:
    assert run("clips", "add", "mine", "in.mkv").exit_code == 0
    assert "which this command reads" in refused("decode", "in.evc", "in.mkv", "--force")
    assert "belongs to the workspace" in refused("decode", "in.evc", "w/ledger.sqlite", "--force")
    assert "belongs to the workspace" in refused("decode", "in.evc", "w/clips.toml", "--force")


def test_the_raw_original_is_not_replaced_by_its_lossy_copy() -> None:
    line, _, rest = Path("in.y4m").read_bytes().partition(b"\n")
    original = line.replace(b" XEVOCODEC", b"") + b"\n" + rest
    Path("talk.y4m").write_bytes(original)
    assert "Y4M video that evocodec did not decode" in refused("decode", "in.evc", "talk.y4m")
    assert Path("talk.y4m").read_bytes() == original


def test_a_folder_is_refused_before_the_work() -> None:
    """A version that cannot work would tell of itself first, were it asked."""
    Path("folder").mkdir(exist_ok=True)
    Path("bad.py").write_text("def encode(*_): raise ValueError('work')\ndecode = encode\n")
    for out in ("folder", "folder/"):
        message = refused("encode", "in.mkv", out, "--version", "bad.py")
        assert "is a folder; name a file in it" in message.replace(" try: ", "; ")


def test_a_fifo_a_device_and_a_link_stay_what_they_are() -> None:
    wanted = Path("in.y4m").read_bytes()
    os.mkfifo("pipe")
    got: list[bytes] = []
    reader = threading.Thread(target=lambda: got.append(Path("pipe").read_bytes()))
    reader.start()
    assert run("decode", "in.evc", "pipe").exit_code == 0
    reader.join(60)
    assert got == [wanted]
    assert stat.S_ISFIFO(os.stat("pipe").st_mode)
    if os.getuid() == 0:
        os.mknod("null", 0o666 | stat.S_IFCHR, os.makedev(1, 3))
        assert run("decode", "in.evc", "null").exit_code == 0
        assert stat.S_ISCHR(os.lstat("null").st_mode)
    Path("link.y4m").symlink_to("target.y4m")
    assert run("decode", "in.evc", "link.y4m").exit_code == 0
    assert os.readlink("link.y4m") == "target.y4m"
    assert Path("target.y4m").read_bytes() == wanted


def test_stdout_takes_the_file_and_stderr_what_is_said() -> None:
    for command in (["decode", "in.evc", "-"], ["decode", "in.evc", "/dev/stdout"]):
        done = subprocess.run([*MAIN, "-w", "w", *command], capture_output=True, check=True)
        assert done.stdout == Path("in.y4m").read_bytes()
        assert b"3 frames" in done.stderr
    coding = [*MAIN, "-w", "w", "encode", "in.mkv", "-", "--version", str(STORE)]
    done = subprocess.run(coding, capture_output=True, check=True)
    assert done.stdout == Path("in.evc").read_bytes()
    assert "--json and the output both want stdout" in refused("decode", "in.evc", "-", "--json")


def test_a_reader_that_leaves_ends_decode_quietly() -> None:
    make_clip_file(Path("long.mkv"), frames=40)
    assert run("encode", "long.mkv", "long.evc", "--version", str(STORE)).exit_code == 0
    decoding = [*MAIN, "-w", "w", "decode", "long.evc", "-"]
    with subprocess.Popen(decoding, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.read(10) == b"YUV4MPEG2 "
        process.stdout.close()
        errors = process.stderr.read()
        assert process.wait(60) == 0
    assert b"error" not in errors
    assert b"Traceback" not in errors


def test_what_is_decoded_again_replaces_itself() -> None:
    assert run("decode", "in.evc", "in.y4m").exit_code == 0
    assert run("encode", "in.mkv", "in.evc", "--version", str(STORE)).exit_code == 0
    stream, frames = read_y4m("in.y4m")
    assert stream == StreamInfo(96, 80, stream.fps, 3)
    assert len(frames) == 3
    assert load_clip(parse_clip("in.y4m")).sha256 == load_clip(parse_clip("in.mkv")).sha256
