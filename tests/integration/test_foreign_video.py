"""Videos of somebody else: ffmpeg opens the one file that was named, and no second one."""

import os
import shutil
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from evocodec.anchors.user_encodes import user_encode_curve
from evocodec.domain.errors import InfrastructureFailure, SourceError
from evocodec.video.clip_spec import ClipSource
from evocodec.video.clips import clip_info, default_clips, iter_frames, load_clip
from evocodec.video.ffmpeg import ffmpeg_exe, probe

CARPHONE, CITY = (clip.path for clip in default_clips()[:2])


class Bait:
    """A FIFO beside the video: whoever opens it is noticed."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.opened = threading.Event()
        os.mkfifo(path)
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()

    def _watch(self) -> None:
        # Opening for writing waits for a reader.
        os.close(os.open(self.path, os.O_WRONLY))
        self.opened.set()

    def close(self) -> bool:
        """End the watch; return whether anybody had opened it."""
        found = self.opened.is_set()
        descriptor = os.open(self.path, os.O_RDONLY | os.O_NONBLOCK)
        self._thread.join()
        os.close(descriptor)
        return found


@pytest.fixture
def bait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bait]:
    monkeypatch.chdir(tmp_path)
    watched = Bait(tmp_path / "bait.ts")
    yield watched
    if not watched.opened.is_set():
        watched.close()


def dash(name: str) -> str:
    return (
        '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" '
        'mediaPresentationDuration="PT1S" minBufferTime="PT1S" profiles="urn:mpeg:dash:profile:'
        'isoff-main:2011"><Period><AdaptationSet mimeType="video/mp4"><Representation id="1" '
        f'bandwidth="1" width="16" height="16"><BaseURL>{name}</BaseURL></Representation>'
        "</AdaptationSet></Period></MPD>"
    )


HLS = "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{}\n#EXT-X-ENDLIST\n"
PLAYLISTS = {
    "ffconcat": "ffconcat version 1.0\nfile {}\n",
    "HLS": HLS,
    "HLS over file:": HLS.replace("{}", "file:{}"),
    "HLS over concat:": HLS.replace("{}", "concat:{}|{}"),
    "HLS over subfile:": HLS.replace("{}", "subfile,,start,0,end,9,,:{}"),
    "HLS over crypto:": HLS.replace("{}", "crypto:{}"),
    "HLS key": HLS.replace("#EXTINF", '#EXT-X-KEY:METHOD=AES-128,URI="{}"\n#EXTINF'),
    "DASH": dash("{}"),
    "WebM DASH": dash("{}").replace("video/mp4", "video/webm"),
    "SDP": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nm=video 9 RTP/AVP 96\n",
    "IMF": '<?xml version="1.0"?><CompositionPlaylist><Id>urn:uuid:x</Id>{}</CompositionPlaylist>',
    "redirector": "[Reference]\nRef1={}\n",
}
NAMES = ("film.mkv", "film.ffconcat", "film.m3u8", "film.mpd", "film.sdp", "film.avs", "film.txt")


@pytest.mark.parametrize("text", PLAYLISTS.values(), ids=PLAYLISTS.keys())
def test_a_list_of_files_opens_none_of_them(bait: Bait, text: str) -> None:
    for name in NAMES:
        Path(name).write_text(text.replace("{}", "bait.ts"))
        for read in (probe, lambda name: clip_info(ClipSource("x", name))):
            with pytest.raises(SourceError):
                read(name)
    assert not bait.close()


def test_a_baseline_opens_no_second_file_either(bait: Bait) -> None:
    Path("film.hevc").write_text("ffconcat version 1.0\nfile bait.ts\n")
    clip = load_clip(ClipSource("city", CITY, frames=1))
    with pytest.raises(SourceError):
        user_encode_curve(clip, ["film.hevc"])
    assert not bait.close()


def test_the_bait_is_taken_by_ffmpeg_alone(bait: Bait) -> None:
    """The lists above are real: ffmpeg, called as people call it, follows them."""
    Path("film.m3u8").write_text(HLS.replace("{}", "bait.ts"))
    command = [ffmpeg_exe(), "-v", "error", "-nostdin", "-i", "film.m3u8", "-f", "null", "-"]
    with suppress(subprocess.TimeoutExpired):
        subprocess.run(command, timeout=20, capture_output=True, check=False)
    assert bait.opened.wait(5)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_an_ffmpeg_that_is_killed_leaves_no_video_called_damaged(number: signal.Signals) -> None:
    frames = iter_frames(str(CARPHONE), frames=120)
    next(frames)
    (reader,) = [p for p in psutil.Process().children() if "ffmpeg" in p.name()]
    reader.send_signal(number)
    with pytest.raises(InfrastructureFailure, match=r"ended by (SIGKILL|a signal)"):
        list(frames)


ODD_NAMES = ["-y.mkv", "a:b.mkv", "pipe:0", "concat:x.mkv", "clip%03d.mkv", "http:", "data:,x.mkv"]


@pytest.mark.parametrize("name", ODD_NAMES)
def test_an_odd_name_is_only_a_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copy(CITY, name)
    assert probe(name).width == 240
    assert len(list(iter_frames(name, frames=2))) == 2


@pytest.mark.parametrize(
    "name",
    [
        *("a.mp4", "a.mov", "a.mkv", "a.avi", "a.ts", "a.mpg", "a.flv", "a.wmv", "a.mxf", "a.3gp"),
        *("a.nut", "a.m4v", "a.h264", "a.hevc", "a.m2v", "a.y4m", "a.gif", "a.mjpeg"),
    ],
)
def test_what_holds_its_own_samples_is_still_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    source = "testsrc2=size=176x144:rate=25"
    command = [ffmpeg_exe(), "-v", "error", "-f", "lavfi", "-i", source, "-frames:v", "3"]
    subprocess.run([*command, "-pix_fmt", "yuv420p", name], check=True)
    assert clip_info(ClipSource("x", name)).frame_count == 3
