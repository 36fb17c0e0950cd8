"""The edges of the command line: odd streams, folders and files end with words and exit code 2."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from evocodec.cli.main import application
from tests.support.odd_media import make_clip_file
from tests.support.other_user import run_as

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the sandbox is made of Linux")

APP = application()
STORE = Path(__file__).resolve().parents[1] / "data" / "store_codec.py"
EVOCODEC = f"{sys.executable} -m evocodec.cli.main"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("edges")
    make_clip_file(folder / "in.mkv", frames=2)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert said("encode", "in.mkv", "in.evc", "--version", str(STORE))[0] == 0
    return folder


@pytest.fixture(autouse=True)
def here(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(made)


def said(*words: str) -> tuple[int, str]:
    """Exit code, and everything said in one line."""
    result = CliRunner(env={"COLUMNS": "300", "NO_COLOR": "1"}).invoke(APP, words)
    return result.exit_code, " ".join(result.output.split())


def shell(line: str, **environment: str) -> tuple[int, str]:
    """The same of a line for the shell, where E is evocodec."""
    done = subprocess.run(
        ["bash", "-c", line],
        env={**os.environ, "E": EVOCODEC, "NO_COLOR": "1", **environment},
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    return done.returncode, " ".join((done.stdout + done.stderr).split())


@pytest.mark.parametrize(
    ("line", "code", "words"),
    [
        ("$E config >&-", 0, ""),
        ("$E decode in.evc out.y4m >&- 2>&- && ls out.y4m", 0, "out.y4m"),
        ("$E decode in.evc - >&-", 2, "cannot write stdout: it is closed"),
        ("$E config > /dev/full", 2, "there is no space left"),
        ("$E config --json > /dev/full", 2, "there is no space left"),
        ("$E decode in.evc - > /dev/full", 2, "cannot write stdout: there is no space left"),
        ("$E decode - piped.y4m < in.evc && ls piped.y4m", 0, "piped.y4m"),
        ("$E decode - piped.y4m < /dev/null", 2, "nothing came from stdin"),
        ("mkdir -p gone; cd gone; rmdir ../gone; $E status", 2, "current folder was removed"),
    ],
)
def test_odd_streams_and_folders_of_the_shell(line: str, code: int, words: str) -> None:
    found, text = shell(line)
    assert (found, words in text) == (code, True), text
    assert "unexpected" not in text


@pytest.mark.parametrize(
    "environment", [{"PYTHONIOENCODING": "ascii"}, {"LC_ALL": "C", "PYTHONUTF8": "0"}]
)
def test_a_locale_without_the_signs_of_tables_gets_their_escapes(
    environment: dict[str, str],
) -> None:
    code, text = shell("$E clips list", **environment)
    assert (code, "@builtin" in text) == (0, True), text


LONG = "n" * 300


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("encode", LONG, "o.evc"), "longer than the file system allows"),
        (("encode", "-", "o.evc"), "stdin is not read here"),
        (("encode", "http://host/x.mp4", "o.evc"), "nothing is downloaded"),
        (("encode", "file:///x.mp4", "o.evc"), "without file://"),
        (("encode", "/dev/zero", "o.evc"), "it is a device"),
        (("encode", "/proc/cpuinfo", "o.evc"), "the kernel makes it"),
        (("encode", "in.evc", "o.evc"), "is an .evc file, not a video"),
        (("encode", "~nobody-such/x.mp4", "o.evc"), "no such file"),
        (("encode", "dangling", "o.evc"), "leads to nowhere"),
        (("encode", "in.mkv/x", "o.evc"), "a file, not a folder"),
        (("decode", LONG, "o.y4m"), "longer than the file system allows"),
        (("decode", "pipe", "o.y4m"), "it is a FIFO"),
        (("clips", "add", "s", "pipe"), "it is a FIFO"),
        (("anchors", "pipe"), "it is a FIFO"),
        (("anchors", "in.mkv", "--baseline-file", "pipe"), "it is a FIFO"),
        (("eval", LONG), "name too long"),
        (("-w", "in.mkv", "status"), "a file is in the place of a folder"),
        (("-w", LONG, "status"), "name too long"),
        (("--config", "pipe", "status"), "it is a FIFO"),
        (("--config", "in.mkv", "status"), "cannot read the settings file"),
    ],
)
def test_what_cannot_be_read_says_why(words: tuple[str, ...], reason: str) -> None:
    if not Path("pipe").exists():
        os.mkfifo("pipe")
        Path("dangling").symlink_to("nowhere")
    more = ("--version", str(STORE)) if words[0] == "encode" else ()
    code, text = said(*words, *more)
    assert (code, reason.lower() in text.lower()) == (2, True), text


def test_a_file_or_a_folder_without_permission_is_told_with_chmod(made: Path) -> None:
    (made / "closed").mkdir(exist_ok=True)
    for name in ("secret.mkv", "closed/in.mkv"):
        (made / name).write_bytes((made / "in.mkv").read_bytes())
    made.joinpath("secret.mkv").chmod(0o600)
    made.joinpath("closed").chmod(0o700)
    for folder in (made, *made.parents):
        if "pytest" in folder.parent.as_posix() or folder.name.startswith("pytest-of-"):
            folder.chmod(0o755)  # pytest's own folders are closed to others
    for name, reason in (
        ("secret.mkv", "no permission to read it"),
        ("closed/in.mkv", "may not be entered"),
    ):
        command = (sys.executable, "-m", "evocodec.cli.main", "-w", "/tmp/evocodec-nobody")
        done = run_as(12345, [*command, "clips", "add", "s", str(made / name)])
        text = " ".join(done.stderr.split())
        assert (done.returncode, reason in text, "chmod" in text) == (2, True, True), text


def test_a_flipped_byte_is_told_as_damage_before_the_program_runs() -> None:
    data = bytearray(Path("in.evc").read_bytes())
    data[len(data) // 2] ^= 0x10
    Path("flipped.evc").write_bytes(data)
    code, text = said("decode", "flipped.evc", "o.y4m")
    assert (code, "damaged or incomplete: its checksum" in text) == (2, True), text
    assert not Path("o.y4m").exists()


def test_a_video_is_named_where_a_person_would_type_it() -> None:
    code, text = said("clips", "describe", "in.mkv")
    assert (code, "96×80" in text) == (0, True), text
    for words in (("anchors", "none.mkv"), ("eval", "inter", "none.mkv")):
        code, text = said(*words)
        assert (code, "none.mkv: no such file" in text) == (2, True), text
