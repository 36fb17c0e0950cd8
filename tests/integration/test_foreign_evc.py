"""``.evc`` files of somebody else: they name no file, and write no more than was asked for."""

import json
import os
import socket
from fractions import Fraction
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from evocodec.app import Laboratory
from evocodec.app.file_codec import decode_file, encode_file, plan_decoding
from evocodec.cli.exits import ExitCode
from evocodec.cli.main import application
from evocodec.codec.container import EvcHeader, write_evc
from evocodec.config import load_settings
from evocodec.domain.errors import UserError
from evocodec.domain.video import StreamInfo
from evocodec.video.clips import default_clips

BAIT = "aws_secret_access_key = BAIT-4711"
STORE = Path(__file__).resolve().parents[1] / "data" / "store_codec.py"
CARPHONE = default_clips()[0].path


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


SMALL = StreamInfo(16, 16, Fraction(25), 2)


def evc(writer: str, stream: StreamInfo = SMALL, name: str = "a.evc") -> str:
    with Path(name).open("wb") as file:
        write_evc(file, EvcHeader(writer, stream), [b"x"])
    return name


def evocodec(*words: str) -> Result:
    runner = CliRunner(env={"COLUMNS": "200", "NO_COLOR": "1"})
    return runner.invoke(application(), list(words))


def stored(folder: Path) -> list[bytes]:
    return [path.read_bytes() for path in folder.glob(".evocodec/blobs/*/*")]


@pytest.mark.parametrize(
    "writer",
    [
        *("./thumb.py", "thumb.py", "{here}/thumb.py", "~/thumb.py", "credentials", "fifo"),
        *("inter", "per_frame", "current", "latest", "c0001", "run/c0001", "3", "file+1a2b3c4d"),
        *("http://127.0.0.1/x", "s3://bucket/key", "v1/../thumb.py", "v1 ", "V1", "v０1"),
    ],
)
def test_a_writer_id_is_no_reference(
    folder: Path, monkeypatch: pytest.MonkeyPatch, writer: str
) -> None:
    monkeypatch.setenv("HOME", str(folder))
    Path("thumb.py").write_text(STORE.read_text())
    Path("credentials").write_text(BAIT)
    os.mkfifo("fifo")
    writer = writer.replace("{here}", "." if len(str(folder)) > 50 else str(folder))
    with (
        Laboratory.open(load_settings()) as laboratory,
        pytest.raises(UserError) as caught,
    ):
        decode_file(laboratory, evc(writer), "out.y4m")
    assert "neither a version" in str(caught.value)
    assert "BAIT" not in str(caught.value)
    assert stored(folder) == []
    assert not list(folder.glob("out*"))


def test_a_hash_names_a_kept_program_and_no_other_text(folder: Path) -> None:
    with Laboratory.open(load_settings()) as laboratory:
        for unknown in ("0" * 64, laboratory.blobs.put(b"\xff\xfe no text")):
            with pytest.raises(UserError):
                decode_file(laboratory, evc(unknown), "out.y4m")
        kept = laboratory.blobs.put(STORE.read_bytes())
        assert plan_decoding(laboratory, evc(kept), "out.y4m").writer == kept


def test_a_small_file_with_huge_claims_is_refused_before_anything_runs(folder: Path) -> None:
    large = evc("v1", StreamInfo(16384, 16384, Fraction(25), 10_000_000))
    with Laboratory.open(load_settings()) as laboratory:
        with pytest.raises(UserError, match="claims 10000000 frames in a file of"):
            decode_file(laboratory, large, "out.y4m")
        many = evc("v1", StreamInfo(16384, 16384, Fraction(25), 1000))
        with pytest.raises(UserError, match="give --max-bytes 402653") as caught:
            decode_file(laboratory, many, "out.y4m")
        assert "Nothing was written" in str(caught.value)
        with pytest.raises(UserError, match=r"are free there"):
            decode_file(laboratory, many, "out.y4m", max_bytes=1 << 60)
    assert not list(folder.glob("out*"))


def test_how_much_will_be_written_is_said_and_may_be_raised(folder: Path) -> None:
    with Laboratory.open(load_settings()) as laboratory:
        encode_file(laboratory, f"{CARPHONE}@0-2:32x16", "a.evc", version=str(STORE), verify=False)
    plan = json.loads(evocodec("decode", "a.evc", "out.y4m", "--dry-run", "--json").stdout)
    assert plan["frames"] == 2
    refused = evocodec("decode", "a.evc", "out.y4m", "--max-bytes", "1KB", "--json")
    assert refused.exit_code == ExitCode.USAGE
    advice = json.loads(refused.stdout)["error"]["try"]
    assert f"--max-bytes {plan['output_bytes']}" in advice
    assert not Path("out.y4m").exists()
    done = evocodec("decode", "a.evc", "out.y4m", "--max-bytes", "64KiB", "--json")
    assert done.exit_code == ExitCode.OK, done.output
    report = json.loads(done.stdout)
    assert report["output_bytes"] == plan["output_bytes"] == Path("out.y4m").stat().st_size
    assert report["max_bytes"] == 64 << 10
    said = f"decoding writes {plan['output_bytes']} bytes"
    assert said in done.stderr


def test_a_link_in_the_place_of_the_partial_output_is_not_followed(folder: Path) -> None:
    Path("precious").write_text("keep me")
    for name in ("a.evc.part", "out.y4m.part"):
        Path(name).symlink_to("precious")
    with Laboratory.open(load_settings()) as laboratory:
        encode_file(laboratory, f"{CARPHONE}@0-1:32x16", "a.evc", version=str(STORE), verify=False)
        decode_file(laboratory, "a.evc", "out.y4m")
    assert Path("precious").read_text() == "keep me"
    assert not Path("out.y4m").is_symlink()


FILE_ARGUMENTS = [
    ["decode", "NAME", "out.y4m"],
    ["decode", "NAME", "out.y4m", "--dry-run"],
    ["encode", "NAME", "out.evc", "--version", "inter"],
    ["encode", f"{CARPHONE}@0-1", "out.evc", "--version", "./NAME"],
    ["eval", "./NAME"],
    ["eval", "inter", "--clip", "NAME"],
    ["compare", "./NAME", "inter"],
    ["submit", "./NAME"],
    ["diff", "./NAME", "inter"],
    ["run", "--program", "./NAME"],
    ["clips", "add", "set", "NAME"],
    ["clips", "describe", "NAME"],
    ["anchors", "--clip", "NAME"],
    ["anchors", "--clip", f"{CARPHONE}@0-2:96x80", "--baseline", "NAME"],
    ["config", "--config", "NAME"],
    ["status", "--config", "NAME"],
    ["trust", "NAME"],
]


OTHER_KINDS = [
    *((kind, FILE_ARGUMENTS[0]) for kind in ("device", "socket", "folder")),
    *((kind, FILE_ARGUMENTS[4]) for kind in ("device", "socket", "folder")),
]


@pytest.mark.parametrize(
    ("kind", "words"), [*(("fifo", words) for words in FILE_ARGUMENTS), *OTHER_KINDS]
)
def test_what_is_no_regular_file_ends_at_once(folder: Path, kind: str, words: list[str]) -> None:
    name = "odd"
    with socket.socket(socket.AF_UNIX) as listener:
        if kind == "fifo":
            os.mkfifo(name)
        elif kind == "device":
            Path(name).symlink_to("/dev/zero")
        elif kind == "socket":
            listener.bind(name)
        else:
            Path(name).mkdir()
        result = evocodec(*(word.replace("NAME", name) for word in words))
    assert result.exit_code == ExitCode.USAGE, result.output
    assert "something unexpected" not in result.output


def test_a_fifo_in_a_workspace_of_somebody_else_ends_at_once(folder: Path) -> None:
    with Laboratory.open(load_settings()) as laboratory:
        kept = laboratory.blobs.put(STORE.read_bytes())
    (blob,) = folder.glob(".evocodec/blobs/*/*")
    blob.unlink()
    os.mkfifo(blob)
    os.mkfifo(".evocodec/clips.toml")
    for words in (
        ["decode", evc(kept), "out.y4m"],
        ["clips", "list"],
        ["encode", "@set/x", "out.evc", "--version", "inter"],
    ):
        result = evocodec(*words)
        assert result.exit_code in {ExitCode.USAGE, ExitCode.FAILED}, result.output
        assert "FIFO" in result.output
