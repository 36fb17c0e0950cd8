"""How a clip is named on the command line, and how ffmpeg's own words are read."""

from fractions import Fraction

import pytest

from evocodec.domain.errors import SourceError
from evocodec.video.clip_spec import format_clip, parse_clip
from evocodec.video.declared import parse_video_line
from evocodec.video.raw_video import RawFormat


@pytest.mark.parametrize(
    ("text", "path", "start", "frames", "scale"),
    [
        ("clip.mkv", "clip.mkv", 0, None, None),
        ("a b/clip.mkv@0-32", "a b/clip.mkv", 0, 32, None),
        ("clip.mkv@10-42:320x180", "clip.mkv", 10, 32, (320, 180)),
        ("clip.mkv@100-", "clip.mkv", 100, None, None),
        ("clip.mkv:640x360", "clip.mkv", 0, None, (640, 360)),
        ("me@home.mkv", "me@home.mkv", 0, None, None),
        ("a@1-2/b.mkv", "a@1-2/b.mkv", 0, None, None),
        ("C:video.mkv", "C:video.mkv", 0, None, None),
        ("s3://bucket/clip.mkv@0-8", "s3://bucket/clip.mkv", 0, 8, None),
    ],
)
def test_path_range_and_size_are_told_apart(
    text: str, path: str, start: int, frames: int | None, scale: tuple[int, int] | None
) -> None:
    source = parse_clip(text)
    assert (source.path, source.start_frame, source.frames, source.scale) == (
        path,
        start,
        frames,
        scale,
    )


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("clip.mkv@32-10", "ends before it starts"),
        ("clip.mkv@5-5", "ends before it starts"),
        ("clip.mkv@5", "not START-END"),
        ("clip.mkv@", "not START-END"),
        ("clip.mkv@-5", "not START-END"),
        ("clip.mkv:320", "not WxH"),
        ("clip.mkv:320x", "not WxH"),
        ("clip.mkv@1-2:", "not WxH"),
        ("", "no path"),
    ],
)
def test_a_mistake_is_named_and_the_grammar_shown(text: str, complaint: str) -> None:
    with pytest.raises(SourceError, match=complaint) as error:
        parse_clip(text)
    assert "PATH[@START-END][:WxH]" in str(error.value)


def test_names_are_safe_in_task_names_and_differ_for_different_parts() -> None:
    names = [parse_clip(f"/v/holiday (1).mkv{part}").name for part in ("", "@0-8", "@8-16:64x64")]
    assert names == ["holiday-1", "holiday-1_0-8", "holiday-1_8-16_64x64"]
    assert parse_clip("../..mkv").name not in ("", ".", "..")


@pytest.mark.parametrize(
    ("line", "size", "pixel_format", "colour_range", "matrix", "native"),
    [
        (
            "h264 (High) (avc1 / 0x31637661), yuv420p(progressive), 176x144 [SAR 128:117 DAR "
            "1408:1053], 1171 kb/s, 29.97 fps (default)",
            (176, 144),
            "yuv420p",
            "",
            "",
            True,
        ),
        (
            "ffv1, yuv420p(tv, bt709/unknown/unknown, progressive), 240x135, SAR 1:1, 25 fps",
            (240, 135),
            "yuv420p",
            "tv",
            "bt709",
            True,
        ),
        (
            "mjpeg (Baseline) (jpeg / 0x6765706A), yuvj420p(pc, bt470bg/unknown/unknown), 32x18 "
            "[SAR 1:1 DAR 16:9]",
            (32, 18),
            "yuvj420p",
            "pc",
            "bt470bg",
            False,
        ),
        ("ffv1, yuv420p(pc, progressive), 32x16, 25 fps", (32, 16), "yuv420p", "pc", "", False),
        (
            "hevc (Main 10), yuv420p10le(tv, bt2020nc/bt2020/smpte2084), 3840x2160",
            (3840, 2160),
            "yuv420p10le",
            "tv",
            "bt2020nc",
            False,
        ),
        ("h264, yuv420p(tv, smpte170m), 8x8", (8, 8), "yuv420p", "tv", "smpte170m", False),
    ],
)
def test_what_a_stream_declares_is_read(
    line: str,
    size: tuple[int, int],
    pixel_format: str,
    colour_range: str,
    matrix: str,
    native: bool,
) -> None:
    probe = parse_video_line(line)
    assert (probe.width, probe.height) == size
    assert (probe.pixel_format, probe.colour_range, probe.matrix) == (
        pixel_format,
        colour_range,
        matrix,
    )
    assert probe.is_native is native


@pytest.mark.parametrize("line", ["h264, none, 12 fps", "h264", "", "h264, yuv420p, 25 fps"])
def test_a_stream_without_pictures_is_refused(line: str) -> None:
    with pytest.raises(SourceError, match="size or pixel format"):
        parse_video_line(line)


@pytest.mark.parametrize(
    "text",
    [
        "clip.mkv",
        "clip.mkv@100-",
        "s3://bucket/clip.mkv@10-42:64x48+32+16:320x180",
        "film.yuv@0-8,raw=1920x1080,30000/1001,yuv420p10le,pc",
    ],
)
def test_a_clip_can_be_written_as_it_was_read(text: str) -> None:
    assert format_clip(parse_clip(text)) == text


def test_a_crop_and_a_raw_format_are_read() -> None:
    source = parse_clip("film.yuv@0-8:64x48+32+16,raw=352x288,29.97")
    assert (source.path, source.crop) == ("film.yuv", (32, 16, 64, 48))
    assert source.raw == RawFormat(352, 288, Fraction("29.97"), "yuv420p")
    assert source.raw.frame_bytes == 352 * 288 * 3 // 2


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("film.yuv,raw=352x288", "not complete"),
        ("film.yuv,raw=352x288,0", "no frame rate"),
        ("film.yuv,raw=352x288,1/0", "no frame rate"),
        ("film.yuv,raw=352x288,30,rgb24", "choose one of yuv420p"),
        ("film.yuv,raw=0x288,30", "no picture size"),
        ("clip.mkv:64x48+2", "crop after ':'"),
    ],
)
def test_a_mistake_in_a_crop_or_raw_format_is_named(text: str, complaint: str) -> None:
    with pytest.raises(SourceError, match=complaint):
        parse_clip(text)
