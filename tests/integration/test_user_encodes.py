"""A person's own encodes as an anchor: streams without their container, of the clip's frames."""

import subprocess
from pathlib import Path

import pytest

from evocodec.anchors.encoders import X265_MEDIUM
from evocodec.anchors.measure import anchor_curve, measure_anchor
from evocodec.anchors.user_encodes import bits_ratio, user_encode_curve
from evocodec.app.clips import baseline_curves
from evocodec.domain.errors import ConfigError, SourceError
from evocodec.domain.results import Metric
from evocodec.video.clips import Clip, default_clips, load_clip
from evocodec.video.ffmpeg import ffmpeg_exe
from evocodec.video.y4m import write_y4m

FRAMES = 8
CODECS = {
    "hevc": X265_MEDIUM.arguments,
    "h264": ("-c:v", "libx264", "-preset", "veryfast"),
    "av1": ("-c:v", "libsvtav1", "-preset", "12", "-svtav1-params", "lp=1"),
    "vvc": ("-c:v", "libvvenc", "-preset", "faster", "-threads", "1"),
}


@pytest.fixture(scope="module")
def clip() -> Clip:
    return load_clip(default_clips()[0]).head(FRAMES)


@pytest.fixture(scope="module")
def y4m(clip: Clip, tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("source") / "clip.y4m"
    write_y4m(file, clip.stream, clip.frames)
    return file


def ffmpeg(source: Path, *options: str) -> None:
    command = [ffmpeg_exe(), "-v", "error", "-nostdin", "-y", "-i", str(source)]
    subprocess.run([*command, *options], check=True, capture_output=True)


def test_the_container_is_not_counted(clip: Clip, y4m: Path, tmp_path: Path) -> None:
    raw, wrapped = tmp_path / "mine.hevc", tmp_path / "mine.mkv"
    ffmpeg(y4m, *X265_MEDIUM.arguments, "-crf", "30", str(raw))
    ffmpeg(y4m, *X265_MEDIUM.arguments, "-crf", "30", str(wrapped))
    reference = measure_anchor(clip, X265_MEDIUM, 30, tmp_path)
    (bare,) = user_encode_curve(clip, [str(raw)]).points
    (copied,) = user_encode_curve(clip, [str(wrapped)]).points
    assert bare.bits == 8 * raw.stat().st_size
    assert bare.quality == copied.quality == reference.quality
    # A declared range takes a byte, start codes three or four; the container takes hundreds.
    assert abs(bare.bits - reference.bits) <= 8 * 4
    assert abs(copied.bits - bare.bits) <= 8 * 4
    assert wrapped.stat().st_size - raw.stat().st_size > 300


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_every_codec_is_taken_out_of_its_container(
    codec: str, suffix: str, clip: Clip, y4m: Path, tmp_path: Path
) -> None:
    file = tmp_path / f"mine.{suffix}"
    ffmpeg(y4m, *CODECS[codec], str(file))
    (point,) = user_encode_curve(clip, [str(file)]).points
    assert point.frames == FRAMES
    assert point.quality.psnr_y_db > 30
    assert 0 < point.bits < 8 * file.stat().st_size


def test_several_files_make_a_curve_and_one_is_compared_at_its_quality(
    clip: Clip, y4m: Path, tmp_path: Path
) -> None:
    files = []
    for crf in (36, 28, 20, 12):
        files.append(str(tmp_path / f"{crf}.mp4"))
        ffmpeg(y4m, *CODECS["h264"], "-crf", str(crf), files[-1])
    curve = baseline_curves({clip.name: clip}, files)[clip.name]
    assert [point.qp for point in curve.points] == [1, 2, 3, 4]
    hevc = anchor_curve(clip, X265_MEDIUM, tmp_path / "cache", jobs=2)
    ratio = bits_ratio(hevc, curve.points[1])
    assert ratio is not None
    assert 0.5 < ratio < 1.1
    assert bits_ratio(curve, curve.points[1]) == pytest.approx(1)
    assert bits_ratio(hevc, curve.points[1], Metric.VMAF) is None


def test_full_range_is_converted_and_not_misread(clip: Clip, y4m: Path, tmp_path: Path) -> None:
    file = tmp_path / "full.mp4"
    full = ("-vf", "scale=in_range=tv:out_range=pc:flags=accurate_rnd", "-color_range", "pc")
    ffmpeg(y4m, *full, *CODECS["h264"], "-crf", "16", str(file))
    (point,) = user_encode_curve(clip, [str(file)]).points
    assert point.quality.psnr_y_db > 38


def test_other_frames_than_the_clips_are_refused(clip: Clip, y4m: Path, tmp_path: Path) -> None:
    short, small = tmp_path / "short.mp4", tmp_path / "small.mp4"
    ffmpeg(y4m, "-frames:v", "5", *CODECS["h264"], str(short))
    ffmpeg(y4m, "-vf", "scale=88:72", *CODECS["h264"], str(small))
    with pytest.raises(SourceError, match=r"short\.mp4: 5 frames .* exactly the 8 frames of car"):
        user_encode_curve(clip, [str(short)])
    with pytest.raises(SourceError, match=r"small\.mp4 cannot be .* 88x72, the clip's 176x144"):
        user_encode_curve(clip, [str(small)])


def test_what_is_no_stream_of_a_known_codec_is_refused(
    clip: Clip, y4m: Path, tmp_path: Path
) -> None:
    old, text, cut = tmp_path / "old.mp4", tmp_path / "notes.mp4", tmp_path / "cut.mp4"
    ffmpeg(y4m, "-c:v", "mpeg4", str(old))
    text.write_text("not a video")
    ffmpeg(y4m, *CODECS["h264"], str(cut))
    cut.write_bytes(cut.read_bytes()[:900])
    with pytest.raises(SourceError, match="its video is mpeg4; a baseline is HEVC, AVC"):
        user_encode_curve(clip, [str(old)])
    for file in (text, cut, tmp_path / "absent.mp4"):
        with pytest.raises(SourceError, match=file.name):
            user_encode_curve(clip, [str(file)])


def test_with_several_clips_a_file_says_which_it_is_of(clip: Clip, tmp_path: Path) -> None:
    clips = {"a": clip, "b": clip}
    with pytest.raises(ConfigError, match=r"may be an encode of any of a, b; write CLIP=PATH"):
        baseline_curves(clips, ["mine.mp4"])
    with pytest.raises(SourceError, match=r"absent\.mp4"):
        baseline_curves(clips, [f"b={tmp_path / 'absent.mp4'}"])
