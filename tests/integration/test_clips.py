"""Real files through the real ffmpeg: exact frames come out, or a message that helps."""

import re
import subprocess
from collections.abc import Generator, Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
import psutil
import pytest

from evocodec.domain.errors import InfrastructureFailure, SourceError
from evocodec.domain.video import Frame, StreamInfo
from evocodec.metrics.meter import measure_quality
from evocodec.metrics.psnr import frame_psnr
from evocodec.video import frame_store
from evocodec.video.clip_cache import ClipCache
from evocodec.video.clip_spec import ClipSource, parse_clip
from evocodec.video.clips import default_clips, iter_frames, load_clip, stream_info
from evocodec.video.data_options import shared_folder, use_options
from evocodec.video.ffmpeg import ffmpeg_exe
from evocodec.video.frame_store import FrameFile
from evocodec.video.y4m import read_y4m, write_y4m
from tests.support.default_options import default_data_options

CARPHONE, CITY, DOG = default_clips()


def ffmpeg(*arguments: str | Path) -> None:
    command = [ffmpeg_exe(), "-v", "error", "-nostdin", "-y", *map(str, arguments)]
    subprocess.run(command, check=True, capture_output=True)


def same(ours: Sequence[Frame], theirs: Sequence[Frame]) -> bool:
    return len(ours) == len(theirs) and all(
        np.array_equal(a, b)
        for one, two in zip(ours, theirs, strict=True)
        for a, b in zip(one, two, strict=True)
    )


def random_clip(width: int, height: int, count: int = 3) -> tuple[StreamInfo, tuple[Frame, ...]]:
    stream = StreamInfo(width, height, Fraction(25), count)
    chroma = (stream.chroma_height, stream.chroma_width)
    generator = np.random.default_rng(3)
    frames = tuple(
        Frame(
            *(
                generator.integers(16, 236, shape, dtype=np.uint8)
                for shape in ((height, width), chroma, chroma)
            )
        )
        for _ in range(count)
    )
    return stream, frames


@pytest.mark.parametrize(
    ("source", "size", "fps", "digest"),
    [
        (CARPHONE, (176, 144), Fraction(30000, 1001), "e7574f84961f"),
        (CITY, (240, 135), Fraction(25), "42662b2d1121"),
        (DOG, (320, 180), Fraction(3001, 100), "2854d689d4b9"),
    ],
    ids=lambda value: value.name if isinstance(value, ClipSource) else "",
)
def test_the_built_in_clips_hold_exactly_these_samples(
    source: ClipSource, size: tuple[int, int], fps: Fraction, digest: str
) -> None:
    clip = load_clip(source)
    assert clip.stream == StreamInfo(*size, fps, source.frames or 0)
    assert clip.sha256.startswith(digest)
    assert source.origin
    assert source.licence


def test_psnr_equals_ffmpegs_psnr_filter(tmp_path: Path) -> None:
    clip = load_clip(DOG).head(8)
    reference, log = tmp_path / "reference.y4m", tmp_path / "psnr.log"
    write_y4m(reference, clip.stream, clip.frames)
    coded = tmp_path / "coded.mkv"
    ffmpeg("-i", reference, "-c:v", "libx264", "-crf", "30", coded)
    paired = "settb=1/25,setpts=N"  # by number, whatever the containers' clocks say
    graph = f"[0:v]{paired}[a];[1:v]{paired}[b];[a][b]psnr=stats_file={log}"
    ffmpeg("-i", coded, "-i", reference, "-lavfi", graph, "-f", "null", "-")
    theirs = [float(value) for value in re.findall(r"psnr_y:([\d.]+)", log.read_text())]

    decoded = load_clip(ClipSource("coded", str(coded))).frames
    ours = [luma for luma, _, _ in map(frame_psnr, clip.frames, decoded)]
    assert ours == pytest.approx(theirs, abs=0.01)
    quality = measure_quality(clip.frames, decoded)
    assert quality.psnr_y_db == pytest.approx(sum(theirs) / len(theirs), abs=0.01)
    assert 30 < quality.psnr_y_db < 45


def test_a_full_range_file_is_converted_not_reinterpreted(tmp_path: Path) -> None:
    clip = load_clip(CITY).head(3)
    write_y4m(tmp_path / "limited.y4m", clip.stream, clip.frames)
    full = tmp_path / "full.mkv"
    to_full = "scale=in_range=tv:out_range=pc:flags=accurate_rnd,format=yuvj420p"
    ffmpeg("-i", tmp_path / "limited.y4m", "-vf", to_full, "-c:v", "ffv1", full)
    loaded = load_clip(ClipSource("full", str(full)))
    assert measure_quality(clip.frames, loaded.frames).psnr_y_db > 50

    raw = tmp_path / "raw.yuv"
    ffmpeg("-i", full, "-f", "rawvideo", "-pix_fmt", "yuvj420p", raw)
    size = clip.stream.width * clip.stream.height
    naive = np.fromfile(raw, np.uint8, size).reshape(clip.frames[0].y.shape)
    trapped = clip.frames[0]._replace(y=naive)
    assert measure_quality([clip.frames[0]], [trapped]).psnr_y_db < 35


def test_a_bt601_file_is_converted_to_bt709(tmp_path: Path) -> None:
    stream, _ = random_clip(64, 64, 1)
    y, u, v = 120, 90, 170
    chroma = np.full((32, 32), 1, np.uint8)
    frame = Frame(np.full((64, 64), y, np.uint8), chroma * np.uint8(u), chroma * np.uint8(v))
    write_y4m(tmp_path / "plain.y4m", stream, [frame])
    tagged = tmp_path / "bt601.mkv"
    tags = ("-colorspace", "smpte170m", "-color_range", "tv")
    filters = "setparams=colorspace=smpte170m:range=tv"
    ffmpeg("-i", tmp_path / "plain.y4m", "-vf", filters, *tags, "-c:v", "ffv1", tagged)

    loaded = load_clip(ClipSource("bt601", str(tagged))).frames[0]
    # ITU-R BT.601-7 and BT.709-6: R'G'B' from one matrix, back through the other.
    luma, cb, cr = (y - 16) / 219, (u - 128) / 224, (v - 128) / 224
    red, blue = luma + 2 * (1 - 0.299) * cr, luma + 2 * (1 - 0.114) * cb
    green = (luma - 0.299 * red - 0.114 * blue) / 0.587
    luma709 = 0.2126 * red + 0.7152 * green + 0.0722 * blue
    expected = (
        16 + 219 * luma709,
        128 + 224 * (blue - luma709) / (2 * (1 - 0.0722)),
        128 + 224 * (red - luma709) / (2 * (1 - 0.2126)),
    )
    assert [float(plane.mean()) for plane in loaded] == pytest.approx(expected, abs=1.0)
    assert abs(expected[0] - y) > 3


def test_an_rgb_file_becomes_limited_range_bt709(tmp_path: Path) -> None:
    rgb = tmp_path / "rgb.mkv"
    ffmpeg("-f", "lavfi", "-i", "color=red:s=32x32:r=25:d=0.12,format=gbrp", "-c:v", "ffv1", rgb)
    frame = load_clip(ClipSource("rgb", str(rgb))).frames[0]
    assert [float(plane.mean()) for plane in frame] == pytest.approx([63, 102, 240], abs=1.5)


@pytest.mark.parametrize("size", [(33, 17), (1, 1), (32, 17), (33, 16), (5, 31)])
def test_odd_sizes_keep_every_sample(size: tuple[int, int], tmp_path: Path) -> None:
    stream, frames = random_clip(*size)
    assert frames[0].u.shape == ((size[1] + 1) // 2, (size[0] + 1) // 2)
    path = tmp_path / "odd.y4m"
    write_y4m(path, stream, frames)
    clip = load_clip(ClipSource("odd", str(path)))
    assert clip.stream == stream
    assert same(clip.frames, frames)


@pytest.mark.parametrize("crop", [(0, 0, 33, 17), (10, 4, 21, 20), (62, 46, 1, 1)])
def test_a_crop_is_the_same_as_slicing(crop: tuple[int, int, int, int], tmp_path: Path) -> None:
    stream, frames = random_clip(64, 48)
    path = tmp_path / "whole.y4m"
    write_y4m(path, stream, frames)
    x, y, width, height = crop
    right, below = (x + width + 1) // 2, (y + height + 1) // 2
    sliced = tuple(
        Frame(
            frame.y[y : y + height, x : x + width],
            frame.u[y // 2 : below, x // 2 : right],
            frame.v[y // 2 : below, x // 2 : right],
        )
        for frame in frames
    )
    assert same(load_clip(ClipSource("crop", str(path), crop=crop)).frames, sliced)


def test_scaling_averages_areas(tmp_path: Path) -> None:
    stream, frames = random_clip(64, 48)
    path = tmp_path / "whole.y4m"
    write_y4m(path, stream, frames)
    clip = load_clip(ClipSource("half", str(path), scale=(32, 24)))
    assert (clip.stream.width, clip.stream.height) == (32, 24)
    means = frames[1].y.reshape(24, 2, 32, 2).mean(axis=(1, 3))
    assert np.abs(clip.frames[1].y - means).max() <= 1


def test_a_crop_is_taken_before_scaling(tmp_path: Path) -> None:
    stream, frames = random_clip(64, 48)
    path = tmp_path / "whole.y4m"
    write_y4m(path, stream, frames)
    clip = load_clip(ClipSource("part", str(path), crop=(32, 16, 32, 32), scale=(16, 16)))
    means = frames[0].y[16:48, 32:64].reshape(16, 2, 16, 2).mean(axis=(1, 3))
    assert np.abs(clip.frames[0].y - means).max() <= 1


@pytest.mark.parametrize("text", ["{}@5-8", "{}@0-1", "{}@30-40"])
def test_a_range_is_exact_in_a_file_with_b_frames(text: str) -> None:
    whole = load_clip(ClipSource("all", CARPHONE.path))
    assert len(whole.frames) == 120
    source = parse_clip(text.format(CARPHONE.path))
    assert source.frames is not None
    part = load_clip(source)
    end = source.start_frame + source.frames
    assert same(part.frames, whole.frames[source.start_frame : end])


def test_no_frame_is_dropped_or_repeated_at_a_variable_rate(tmp_path: Path) -> None:
    stream, frames = random_clip(32, 32, 9)
    write_y4m(tmp_path / "constant.y4m", stream, frames)
    variable = tmp_path / "variable.mkv"
    stretch = "setpts='if(lt(N,4),N,N*3)/25/TB'"
    ffmpeg(
        *("-i", tmp_path / "constant.y4m", "-vf", stretch, "-fps_mode", "passthrough"),
        *("-c:v", "ffv1", variable),
    )
    assert same(load_clip(ClipSource("variable", str(variable))).frames, frames)


def test_streaming_yields_the_same_frames_and_stops_its_decoder(tmp_path: Path) -> None:
    whole = load_clip(CITY)
    assert same(tuple(iter_frames(CITY.path, frames=CITY.frames)), whole.frames)
    before = {child.pid for child in psutil.Process().children()}
    stream = iter_frames(CARPHONE.path)
    assert isinstance(stream, Generator)
    next(stream)
    assert {child.pid for child in psutil.Process().children()} - before
    stream.close()
    assert {child.pid for child in psutil.Process().children()} <= before


def test_length_is_counted_not_believed() -> None:
    assert stream_info(CARPHONE.path) == StreamInfo(176, 144, Fraction(30000, 1001), 120)
    assert stream_info(CITY.path).frame_count == 48


def test_y4m_files_and_clips_are_interchangeable(tmp_path: Path) -> None:
    clip = load_clip(CITY)
    path = tmp_path / "city.y4m"
    assert write_y4m(path, clip.stream, iter(clip.frames)) == clip.stream.frame_count
    stream, frames = read_y4m(path)
    assert stream == clip.stream
    assert same(frames, clip.frames)
    assert load_clip(ClipSource("again", str(path))).sha256 == clip.sha256


def test_a_frame_of_the_wrong_size_is_not_written(tmp_path: Path) -> None:
    stream, _ = random_clip(32, 32)
    _, others = random_clip(34, 32)
    with pytest.raises(ValueError, match="frame 0"):
        write_y4m(tmp_path / "bad.y4m", stream, others)


def test_the_head_of_a_clip_is_another_clip_of_the_same_name() -> None:
    clip = load_clip(CITY)
    head = clip.head(3)
    assert (head.name, head.stream.frame_count, len(head.frames)) == ("city", 3, 3)
    assert head.sha256 != clip.sha256
    assert head.sha256 == clip.head(5).head(3).sha256
    assert clip.head(CITY.frames or 0) is clip
    for count in (0, -1, 25):
        with pytest.raises(ValueError, match="frames asked for"):
            clip.head(count)


def test_a_digest_depends_on_samples_size_and_rate_alone(tmp_path: Path) -> None:
    digests = set()
    for name, width, height, fps in (
        ("a", 8, 4, 25),
        ("same", 8, 4, 25),
        ("b", 4, 8, 25),
        ("c", 8, 4, 30),
    ):
        stream = StreamInfo(width, height, Fraction(fps), 1)
        chroma = np.zeros((height // 2, width // 2), np.uint8)
        path = tmp_path / f"{name}.y4m"
        write_y4m(path, stream, [Frame(np.zeros((height, width), np.uint8), chroma, chroma)])
        digests.add(load_clip(ClipSource(name, str(path))).sha256)
    assert len(digests) == 3


@pytest.mark.parametrize("name", ["-i", "a:b.y4m", "per%03dcent.y4m", "spa ce.y4m", "ü.y4m"])
def test_awkward_file_names_are_only_names(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream, frames = random_clip(16, 16)
    write_y4m(tmp_path / name, stream, frames)
    monkeypatch.chdir(tmp_path)
    assert same(load_clip(ClipSource("x", name)).frames, frames)


def complaint(source: ClipSource) -> str:
    with pytest.raises(SourceError) as error:
        load_clip(source)
    return str(error.value)


def test_a_missing_file_is_told() -> None:
    assert "no such file" in complaint(ClipSource("x", "/nowhere/clip.mkv"))


def test_a_directory_is_told(tmp_path: Path) -> None:
    assert "is a directory" in complaint(ClipSource("x", str(tmp_path)))


def test_an_empty_file_is_told(tmp_path: Path) -> None:
    empty = tmp_path / "empty.mkv"
    empty.touch()
    assert "empty (0 bytes)" in complaint(ClipSource("x", str(empty)))


def test_a_file_that_is_no_video_is_told(tmp_path: Path) -> None:
    junk = tmp_path / "junk.mp4"
    junk.write_bytes(b"this is not a video. " * 500)
    assert "damaged or not a video" in complaint(ClipSource("x", str(junk)))


def test_a_sound_file_is_told(tmp_path: Path) -> None:
    sound = tmp_path / "sound.wav"
    ffmpeg("-f", "lavfi", "-i", "sine=duration=0.1", sound)
    assert "no video stream" in complaint(ClipSource("x", str(sound)))


def test_a_truncated_file_is_told_and_its_whole_part_is_usable(tmp_path: Path) -> None:
    cut = tmp_path / "cut.mkv"
    cut.write_bytes(Path(CITY.path).read_bytes()[:300_000])
    message = complaint(ClipSource("x", str(cut)))
    assert "damaged or truncated" in message
    count = int(re.findall(r"(\d+) frames could be decoded", message)[0])
    assert 3 < count < 48
    part = load_clip(ClipSource("x", str(cut), frames=count - 1))
    assert same(part.frames, load_clip(CITY).frames[: count - 1])


def test_a_file_cut_inside_its_samples_is_told(tmp_path: Path) -> None:
    fast, cut = tmp_path / "fast.mp4", tmp_path / "cut.mp4"
    ffmpeg("-i", CARPHONE.path, "-c", "copy", "-movflags", "+faststart", fast)
    cut.write_bytes(fast.read_bytes()[:60_000])
    assert "damaged or truncated" in complaint(ClipSource("x", str(cut)))


def test_too_few_frames_are_told_with_how_many_there_are() -> None:
    message = complaint(ClipSource("x", CITY.path, frames=20, start_frame=40))
    assert "20 frames from frame 40" in message
    assert "only 8 are there" in message
    assert "0 are there" in complaint(ClipSource("x", CITY.path, start_frame=500))


def test_a_clip_beyond_the_limit_lies_in_a_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    before = use_options(default_data_options(tmp_path))
    try:
        monkeypatch.setattr(frame_store, "IN_MEMORY_BYTES", 10 * 176 * 144 * 3 // 2)
        few = load_clip(ClipSource("x", CARPHONE.path, frames=10))
        many = load_clip(ClipSource("x", CARPHONE.path, frames=17))
    finally:
        use_options(before)
    assert isinstance(few.frames, tuple)
    assert isinstance(many.frames, FrameFile)
    assert many.sha256 == load_clip(CARPHONE).sha256
    assert same(many.frames, load_clip(CARPHONE).frames)
    assert [len(many.frames[3:8]), len(many.frames[-2:]), len(many.frames)] == [5, 2, 17]
    assert same([many.frames[-1]], [load_clip(CARPHONE).frames[16]])
    with pytest.raises(IndexError):
        many.frames[17]


def test_clips_are_equal_when_their_samples_are() -> None:
    one, two = load_clip(CITY), load_clip(CITY)
    assert one == two
    assert one.head(3) != two
    assert len(repr(one)) < 1000


@pytest.mark.parametrize(
    ("crop", "expected"),
    [
        ((0, 0, 241, 135), "inside the 240x135 picture"),
        ((200, 0, 64, 64), "inside the 240x135 picture"),
        ((0, 0, 0, 10), "inside the 240x135 picture"),
        ((-2, 0, 16, 16), "inside the 240x135 picture"),
        ((1, 0, 16, 16), "even x and y"),
    ],
)
def test_a_crop_that_makes_no_sense_is_told(crop: tuple[int, int, int, int], expected: str) -> None:
    assert expected in complaint(ClipSource("x", CITY.path, crop=crop))


@pytest.mark.parametrize("scale", [(0, 10), (-4, 10), (100_000, 10)])
def test_a_size_that_makes_no_sense_is_told(scale: tuple[int, int]) -> None:
    assert "cannot scale" in complaint(ClipSource("x", CITY.path, scale=scale))


@pytest.mark.parametrize(("start", "frames"), [(-1, 4), (0, 0), (0, -3)])
def test_a_range_that_makes_no_sense_is_told(start: int, frames: int) -> None:
    message = complaint(ClipSource("x", CITY.path, start_frame=start, frames=frames))
    assert "make no range" in message


def test_streaming_tells_the_same_mistakes(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no such file"):
        next(iter_frames(str(tmp_path / "none.mkv")))
    with pytest.raises(SourceError, match="no such file"):
        stream_info(str(tmp_path / "none.mkv"))
    with pytest.raises(SourceError, match="cannot be read"):
        read_y4m(tmp_path / "none.y4m")


def test_a_cache_in_a_place_for_all_must_be_ours_alone(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    folder = shared_folder()
    ClipCache(folder, 0).prepare()
    assert folder.stat().st_mode & 0o777 == 0o700
    folder.parent.chmod(0o777)
    with pytest.raises(InfrastructureFailure, match="other users can write"):
        ClipCache(folder, 0).prepare()
