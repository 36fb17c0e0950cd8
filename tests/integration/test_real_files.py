"""Files as people have them: numbers are right or absent, and what was assumed is said."""

import re
import subprocess
from fractions import Fraction
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from evocodec.anchors.encoders import X265_MEDIUM
from evocodec.anchors.measure import anchor_curve
from evocodec.anchors.user_encodes import user_encode_curve
from evocodec.domain.errors import SourceError
from evocodec.metrics.psnr import PSNR_CAP_DB
from evocodec.video.clip_spec import ClipSource, parse_clip
from evocodec.video.clips import Clip, iter_source, load_clip, video_info
from evocodec.video.ffmpeg import ffmpeg_exe
from evocodec.video.y4m import write_y4m

COUNT = 12
X265 = ("-c:v", "libx265", "-x265-params", "log-level=error")


def ffmpeg(*arguments: str | Path) -> None:
    command = [ffmpeg_exe(), "-v", "error", "-nostdin", "-y", *map(str, arguments)]
    subprocess.run(command, check=True, capture_output=True)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Holds ``base.mkv``: noise over a moving gradient, so that every frame has its own samples."""
    made = tmp_path_factory.mktemp("media")
    picture = "gradients=s=96x80:r=25:d=0.48:speed=0.05:seed=1,noise=alls=12:allf=t,format=yuv420p"
    ffmpeg(
        *("-f", "lavfi", "-i", picture, "-frames:v", str(COUNT)),
        *("-c:v", "ffv1", "-g", "1", made / "base.mkv"),
    )
    return made


@pytest.fixture(scope="module")
def base(folder: Path) -> Clip:
    return load_clip(ClipSource("base", str(folder / "base.mkv")))


def said(path: Path | str) -> str:
    return "; ".join(video_info(parse_clip(str(path))).notices)


def complaint(text: str) -> str:
    with pytest.raises(SourceError) as caught:
        load_clip(parse_clip(text))
    return str(caught.value)


def lumas(clip: Clip) -> list[bytes]:
    return [frame.y.tobytes() for frame in clip.frames]


# --- truncated and damaged files ---------------------------------------------------------------

CUTS = {
    "y4m": (),
    "mkv": ("-c:v", "libx264", "-bf", "2"),
    "ts": ("-c:v", "libx264", "-bf", "2"),
    "ogv": ("-c:v", "libtheora"),
    "mp4": ("-c:v", "libx264", "-bf", "2", "-g", "4", "-movflags", "frag_keyframe+empty_moov"),
    "mxf": ("-c:v", "mpeg2video"),
    "avi": ("-c:v", "mjpeg", "-q:v", "2"),
    "gif": (),
}


@pytest.mark.parametrize("container", CUTS)
def test_a_file_that_was_cut_is_no_shorter_clip(container: str, folder: Path, base: Clip) -> None:
    whole, cut = folder / f"whole.{container}", folder / f"cut.{container}"
    ffmpeg("-i", folder / "base.mkv", *CUTS[container], whole)
    reference = load_clip(ClipSource("whole", str(whole)))
    assert reference.stream.frame_count == COUNT
    data = whole.read_bytes()
    for share in (0.45, 0.8):
        cut.write_bytes(data[: int(len(data) * share) + 1])
        message = complaint(str(cut))
        assert "truncated" in message or "nothing could be decoded" in message
        count = int((re.search(r"(\d+) frames could be decoded", message) or ("", "0"))[1])
        # What is given out is what was coded, whatever is missing behind it.
        if count:
            part = load_clip(ClipSource("part", str(cut), frames=count))
            assert lumas(part) == lumas(reference)[:count]
        with pytest.raises(SourceError):
            load_clip(ClipSource("part", str(cut), frames=count + 1))


def test_one_newline_behind_the_last_frame_of_a_y4m_does_no_harm(folder: Path, base: Clip) -> None:
    path = folder / "newline.y4m"
    write_y4m(path, base.stream, base.frames)
    path.write_bytes(path.read_bytes() + b"\n")
    assert load_clip(ClipSource("x", str(path))).sha256 == base.sha256


def damaged(folder: Path) -> Path:
    """Change 60 bytes inside frame 7 of a video whose frames are all keyframes."""
    data = bytearray((folder / "base.mkv").read_bytes())
    middle = int(len(data) * 7.5 / COUNT)
    for place in range(middle, middle + 60):
        data[place] ^= 0x5A
    path = folder / "corrupt.mkv"
    path.write_bytes(data)
    return path


def test_advice_for_a_damaged_file_ends_before_the_damage(folder: Path, base: Clip) -> None:
    path = damaged(folder)
    message = complaint(str(path))
    assert f"`{path}@0-7`" in message
    assert "0x" not in message
    part = load_clip(parse_clip(f"{path}@0-7"))
    assert lumas(part) == lumas(base)[:7]


@pytest.mark.parametrize("part", ["@0-8", "@0-12", "@5-9", "@7-8"])
def test_damage_is_found_in_a_part_of_a_file_too(part: str, folder: Path) -> None:
    path = damaged(folder)
    assert "damaged" in complaint(f"{path}{part}")
    source = parse_clip(f"{path}{part}")
    with pytest.raises(SourceError, match="damaged"):
        list(iter_source(source))
    with pytest.raises(SourceError, match="damaged"):
        video_info(source)


def test_frames_behind_the_damage_are_given_out_from_the_next_keyframe_on(
    folder: Path, base: Clip
) -> None:
    part = load_clip(parse_clip(f"{damaged(folder)}@8-12"))
    assert lumas(part) == lumas(base)[8:12]


# --- the frame rate ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "times", "fps", "word"),
    [
        # The header's guess is 25: every frame is shown for 0.14 s.
        ("slow.mkv", "N*0.14/TB", Fraction(1000, 140), "come at 7.14"),
        # Four frames at 25 a second, then eight that are shown three times as long.
        ("vfr.mkv", "if(lt(N,4),N,4+(N-4)*3)/25/TB", Fraction(12 * 25, 28), "variable"),
    ],
)
def test_the_rate_is_frames_over_duration_where_the_header_lies(
    name: str, times: str, fps: Fraction, word: str, folder: Path
) -> None:
    path = folder / name
    ffmpeg(
        *("-i", folder / "base.mkv", "-vf", f"setpts='{times}'", "-fps_mode", "passthrough"),
        *("-enc_time_base", "1/1000", "-c:v", "ffv1", path),
    )
    info = video_info(ClipSource("x", str(path)))
    assert float(info.stream.fps) == pytest.approx(float(fps), rel=0.08)
    assert word in " ".join(info.notices)
    clip = load_clip(ClipSource("x", str(path)))
    assert (clip.stream.fps, clip.notices) == (info.stream.fps, info.notices)
    assert load_clip(parse_clip(f"{path},fps=30")).stream.fps == 30


def test_an_honest_rate_stays_as_it_is_declared(folder: Path) -> None:
    path = folder / "ntsc.mkv"
    ffmpeg("-r", "30000/1001", "-i", folder / "base.mkv", "-c:v", "ffv1", path)
    info = video_info(ClipSource("x", str(path)))
    assert info.stream.fps == Fraction(30000, 1001)
    assert not info.notices


@pytest.mark.parametrize("rate", ["F-25:1", "F25:0", "F2147483647:1", "Fsome"])
def test_a_y4m_with_an_absurd_rate_is_refused(rate: str, folder: Path, base: Clip) -> None:
    path = folder / "rate.y4m"
    write_y4m(path, base.stream, base.frames)
    path.write_bytes(path.read_bytes().replace(b" F25:1 ", f" {rate} ".encode(), 1))
    assert "frame rate" in complaint(str(path))


@pytest.mark.parametrize("rate", [b" F0:0 ", b" "])
def test_a_y4m_without_a_rate_gets_25_and_says_so(rate: bytes, folder: Path, base: Clip) -> None:
    path = folder / "norate.y4m"
    write_y4m(path, base.stream, base.frames)
    path.write_bytes(path.read_bytes().replace(b" F25:1 ", rate, 1))
    assert "25 frames/s are assumed" in said(path)


# --- what is said ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "filters", "options", "word"),
    [
        ("field.mp4", "setfield=tff", ("-c:v", "libx264", "-flags", "+ildct+ilme"), "interlaced"),
        (
            "hdr.mp4",
            "format=yuv420p10le,setparams=color_primaries=bt2020:color_trc=smpte2084:"
            "colorspace=bt2020nc",
            X265,
            "HDR (PQ)",
        ),
        ("alpha.mkv", "format=yuva420p", ("-c:v", "ffv1"), "alpha"),
    ],
)
def test_interlaced_hdr_and_transparent_video_is_told_as_such(
    name: str, filters: str, options: tuple[str, ...], word: str, folder: Path
) -> None:
    ffmpeg("-i", folder / "base.mkv", "-vf", filters, *options, folder / name)
    assert word in said(folder / name)


def test_rotation_and_the_choice_among_streams_are_told(folder: Path) -> None:
    two = folder / "two.mkv"
    small = ("-filter:v:0", "scale=64:48", "-c:v", "ffv1")
    ffmpeg("-i", folder / "base.mkv", "-map", "0:v", "-map", "0:v", *small, two)
    notice = said(two)
    assert "2 video streams" in notice
    assert "96x80" in notice
    assert video_info(ClipSource("x", str(two))).stream.width == 64
    plain, turned = folder / "plain.mp4", folder / "turned.mp4"
    ffmpeg("-i", folder / "base.mkv", "-c:v", "libx264", plain)
    ffmpeg("-display_rotation", "90", "-i", plain, "-c", "copy", turned)
    assert "rotation" in said(turned)
    assert not said(plain)


# --- samples -----------------------------------------------------------------------------------


def limited_from_full(samples: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
    return 16 + samples.astype(np.float64) * 219 / 255


@pytest.mark.parametrize("how", ["ffv1", "y4m", "raw"])
@pytest.mark.parametrize("span", ["tv", "pc"])
def test_grey_video_keeps_its_levels_in_either_range(how: str, span: str, folder: Path) -> None:
    # Made as a raw file of known samples: every level, in steps.
    stored = np.tile(np.linspace(19, 235, 96).astype(np.uint8), (80, 1))
    raw = folder / "grey.yuv"
    raw.write_bytes(stored.tobytes() * 2)
    form = ("-f", "rawvideo", "-pix_fmt", "gray", "-s", "96x80", "-r", "25", "-i", raw)
    if how == "raw":
        text = f"{raw},raw=96x80,25,gray,{span}"
    elif how == "y4m":
        text = str(folder / f"grey_{span}.y4m")
        word = {"tv": "LIMITED", "pc": "FULL"}[span]
        header = f"YUV4MPEG2 W96 H80 F25:1 Ip A1:1 Cmono XCOLORRANGE={word}\n".encode()
        Path(text).write_bytes(header + (b"FRAME\n" + stored.tobytes()) * 2)
    else:
        text = str(folder / f"grey_{span}.mkv")
        ffmpeg(*form, "-vf", f"setparams=range={span}", "-c:v", "ffv1", text)
    frame = load_clip(parse_clip(text)).frames[0]
    expected = stored if span == "tv" else limited_from_full(stored)
    assert np.abs(frame.y - expected).max() <= 0.75
    assert (frame.u == 128).all()
    assert (frame.v == 128).all()


def ten_bit_source(folder: Path) -> tuple[Path, npt.NDArray[np.int64]]:
    """Write a 10-bit Y4M whose luma has every fraction of an 8-bit level; return that luma."""
    generator = np.random.default_rng(5)
    luma = generator.integers(64, 941, (3, 80, 96))
    chroma = np.full((2, 40, 48), 512)
    path = folder / "ten.y4m"
    frames = (np.concatenate([plane.ravel(), chroma.ravel()]).astype("<u2") for plane in luma)
    header = b"YUV4MPEG2 W96 H80 F25:1 Ip A1:1 C420p10 XYSCSS=420P10\n"
    path.write_bytes(header + b"".join(b"FRAME\n" + frame.tobytes() for frame in frames))
    return path, luma


def rounded(luma: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    return np.minimum((luma + 2) >> 2, 255)


def test_samples_of_ten_bits_are_rounded_and_not_dithered(folder: Path) -> None:
    path, luma = ten_bit_source(folder)
    frames = load_clip(ClipSource("ten", str(path))).frames
    assert [frame.y.tolist() for frame in frames] == rounded(luma).tolist()


def test_a_lossless_ten_bit_encode_of_a_ten_bit_clip_is_lossless(folder: Path) -> None:
    path, _ = ten_bit_source(folder)
    coded = folder / "ten.mp4"
    ffmpeg("-i", path, "-c:v", "libx265", "-x265-params", "lossless=1:log-level=error", coded)
    clip = load_clip(ClipSource("ten", str(path)))
    point = user_encode_curve(clip, [str(coded)]).points[0]
    assert point.quality.psnr_y_db == PSNR_CAP_DB


def test_a_grey_encode_is_compared_as_it_was_coded(folder: Path, base: Clip) -> None:
    grey, coded = folder / "grey.mkv", folder / "grey.mp4"
    ffmpeg(
        "-i",
        folder / "base.mkv",
        "-vf",
        "extractplanes=y,setparams=range=tv",
        *("-c:v", "ffv1"),
        grey,
    )
    lossless = ("-c:v", "libx265", "-x265-params", "lossless=1:range=limited:log-level=error")
    ffmpeg("-i", grey, *lossless, coded)
    point = user_encode_curve(load_clip(ClipSource("grey", str(grey))), [str(coded)]).points[0]
    assert point.quality.psnr_y_db == PSNR_CAP_DB
    assert lumas(load_clip(ClipSource("grey", str(grey)))) == lumas(base)


def test_a_stream_whose_first_unit_looks_like_a_start_code_is_copied_out(
    folder: Path, base: Clip
) -> None:
    # A length of 0x000001.. in MP4 is taken for a start code unless lengths are converted.
    sizes = []
    for rate in (39.5, 40, 40.5, 39):
        coded = folder / f"small{rate}.mp4"
        ffmpeg(
            *("-i", folder / "base.mkv", "-c:v", "libx264", "-crf", str(rate), "-frames:v", "1"),
            *("-bsf:v", "filter_units=remove_types=6", coded),
        )
        data = coded.read_bytes()
        start = data.index(b"mdat") + 4
        sizes.append(int.from_bytes(data[start : start + 4], "big"))
        if 256 <= sizes[-1] <= 511:
            point = user_encode_curve(base.head(1), [str(coded)]).points[0]
            assert point.quality.psnr_y_db > 11
            return
    pytest.fail(f"no encode has a first unit of 256 to 511 bytes: {sizes}")


# --- anchors -----------------------------------------------------------------------------------


@pytest.mark.parametrize("size", ["8x8", "64x15"])
def test_a_clip_too_small_for_hevc_is_a_mistake_that_is_told(
    size: str, folder: Path, tmp_path: Path
) -> None:
    clip = load_clip(parse_clip(f"{folder / 'base.mkv'}@0-2:{size}"))
    with pytest.raises(SourceError, match="too small for HEVC"):
        anchor_curve(clip, X265_MEDIUM, tmp_path)


def test_a_size_that_crashes_x265_is_told_as_such(folder: Path, tmp_path: Path) -> None:
    clip = load_clip(parse_clip(f"{folder / 'base.mkv'}@0-8:36x30"))
    with pytest.raises(SourceError, match="36x30"):
        anchor_curve(clip, X265_MEDIUM, tmp_path)


# --- pictures ----------------------------------------------------------------------------------


def farthest(one: Clip, other: Clip) -> int:
    assert one.stream == other.stream
    pairs = zip(one.frames, other.frames, strict=True)
    return max(
        int(np.abs(a.astype(np.int16) - b).max())
        for first, second in pairs
        for a, b in zip(first, second, strict=True)
    )


@pytest.mark.parametrize(
    ("suffix", "form"),
    [
        ("png", "rgb24"),
        ("png", "rgb48be"),
        ("tiff", "rgb24"),
        ("bmp", "bgr24"),
        ("webp", "bgra"),
        ("ppm", "rgb24"),
    ],
)
def test_pictures_are_the_clip_that_they_were_made_of(
    suffix: str, form: str, folder: Path, tmp_path: Path
) -> None:
    video = tmp_path / "video.mkv"
    ffmpeg("-i", folder / "base.mkv", "-frames:v", "4", "-pix_fmt", "gbrp", "-c:v", "ffv1", video)
    frames = tmp_path / "frames"
    frames.mkdir()
    lossless = ("-c:v", "libwebp", "-lossless", "1") if suffix == "webp" else ()
    ffmpeg("-i", video, "-pix_fmt", form, *lossless, frames / f"p%d.{suffix}")
    (frames / "readme.txt").write_text("no picture")
    wanted = load_clip(ClipSource("x", str(video)))
    for text in (str(frames), f"{frames}/p%d.{suffix}"):
        clip = load_clip(parse_clip(f"{text},fps=25"))
        assert farthest(clip, wanted) <= (1 if form == "rgb48be" else 0)
        assert not [notice for notice in clip.notices if "rate" in notice]
    part = load_clip(parse_clip(f"{frames}@1-3"))
    assert lumas(part) == lumas(clip)[1:3]
    assert "25 frames/s are assumed" in "; ".join(part.notices)


def test_ten_pictures_are_taken_by_number_and_a_gap_is_told(folder: Path, tmp_path: Path) -> None:
    ffmpeg("-i", folder / "base.mkv", "-frames:v", "11", tmp_path / "f%d.jpg")
    (tmp_path / "f5.jpg").unlink()
    clip = load_clip(parse_clip(str(tmp_path)))
    assert clip.stream.frame_count == 10
    assert "jump from 4 to 6" in "; ".join(clip.notices)
    only = load_clip(ClipSource("x", str(tmp_path / "f%d.jpg"), frames=1, start_frame=9))
    assert lumas(only) == lumas(load_clip(ClipSource("x", str(tmp_path / "f11.jpg"))))


def test_pictures_that_are_no_clip_are_told(folder: Path, tmp_path: Path) -> None:
    assert "without pictures" in complaint(str(tmp_path))
    assert "no picture" in complaint(str(tmp_path / "x%04d.png"))
    ffmpeg("-i", folder / "base.mkv", "-frames:v", "3", tmp_path / "f%d.png")
    ffmpeg("-i", folder / "base.mkv", "-frames:v", "1", "-vf", "scale=64:48", tmp_path / "f2.png")
    assert "f2.png is 64x48" in complaint(str(tmp_path))
    (tmp_path / "f2.png").write_bytes((tmp_path / "f1.png").read_bytes()[:3000])
    assert "damaged" in complaint(str(tmp_path))
    (tmp_path / "f2.png").write_bytes(b"junk")
    assert "f2.png is no picture" in complaint(str(tmp_path))
    (tmp_path / "f2.png").unlink()
    ffmpeg("-i", folder / "base.mkv", "-frames:v", "1", tmp_path / "f2.jpg")
    assert "several kinds (jpg, png)" in complaint(str(tmp_path))
