"""Quality on real video against other implementations: ffmpeg's filters, run by themselves."""

import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import psutil
import pytest
from scipy import ndimage

from evocodec.domain.errors import CandidateFailure, InfrastructureFailure
from evocodec.domain.video import Frame, Plane
from evocodec.metrics.meter import QualityMeter, measure
from evocodec.metrics.vmaf import VmafProcess, require_libvmaf
from evocodec.video.clip_spec import ClipSource
from evocodec.video.clips import Clip, default_clips, load_clip
from evocodec.video.ffmpeg import ffmpeg_exe
from evocodec.video.y4m import write_y4m

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the log goes to /dev/fd")

FRAMES = 4
CARPHONE, CITY, DOG = (replace(source, frames=FRAMES) for source in default_clips())


def changed(clip: Clip, change: Callable[[Plane], np.ndarray]) -> tuple[Frame, ...]:
    return tuple(
        Frame(*(np.clip(change(plane).round(), 0, 255).astype(np.uint8) for plane in frame))
        for frame in clip.frames
    )


def noise(plane: Plane) -> np.ndarray:
    return plane + np.random.default_rng(int(plane[0, 0])).normal(scale=6, size=plane.shape)


def sharpened(plane: Plane) -> np.ndarray:
    smooth = cv2.GaussianBlur(plane, (5, 5), 1).astype(np.float64)
    return plane + (plane - smooth)


def compare_files(folder: Path, clip: Clip, decoded: tuple[Frame, ...], filters: str) -> None:
    """Let ffmpeg compare two files, decoded first; ``filters`` write their report to ``folder``."""
    write_y4m(folder / "reference.y4m", clip.stream, clip.frames)
    write_y4m(folder / "decoded.y4m", clip.stream, decoded)
    command = [ffmpeg_exe(), "-v", "error", "-nostdin", "-i", "decoded.y4m", "-i", "reference.y4m"]
    done = subprocess.run(
        [*command, "-lavfi", filters, "-f", "null", "-"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def libvmaf_log(folder: Path) -> list[dict[str, float]]:
    return [each["metrics"] for each in json.loads((folder / "log.json").read_text())["frames"]]


Install = Callable[[str], None]


@pytest.fixture(scope="module")
def dog() -> Clip:
    return load_clip(DOG)


@pytest.fixture(scope="module")
def city() -> Clip:
    """240 × 135: an odd height."""
    return load_clip(CITY)


def test_psnr_of_every_frame_and_plane_is_that_of_ffmpegs_filter(
    city: Clip, tmp_path: Path
) -> None:
    decoded = changed(city, noise)
    compare_files(tmp_path, city, decoded, "psnr=stats_file=psnr.log")
    lines = (tmp_path / "psnr.log").read_text().splitlines()
    theirs = [
        tuple(float(found) for found in re.findall(r"psnr_[yuv]:(\S+)", line)) for line in lines
    ]
    _, series = measure(city.frames, decoded)
    ours = list(zip(series.psnr_y_db, series.psnr_u_db, series.psnr_v_db, strict=True))
    assert len(theirs) == FRAMES
    for mine, other in zip(ours, theirs, strict=True):
        assert mine == pytest.approx(other, abs=0.0051)  # the filter prints two decimals


def libvmaf_ms_ssim(x: Plane, y: Plane) -> float:
    """MS-SSIM as libvmaf's float_ms_ssim understands it, written plainly.

    It differs from the paper twice: means of luminance, contrast and structure are taken apart and
    multiplied, and scales are halved after a CDF 9/7 low-pass instead of a 2 × 2 mean.
    """
    axis = np.arange(11) - 5
    window = np.exp(-(axis**2) / (2 * 1.5**2))
    window /= window.sum()
    half = [0.026727, -0.016828, -0.078201, 0.266846, 0.602914]
    low_pass = np.array([*half, *half[-2::-1]])
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2

    def local(image: np.ndarray) -> np.ndarray:
        rows = ndimage.correlate1d(image, window, axis=0)
        return ndimage.correlate1d(rows, window, axis=1)[5:-5, 5:-5]

    a, b = x.astype(np.float64), y.astype(np.float64)
    product = 1.0
    for scale, weight in enumerate((0.0448, 0.2856, 0.3001, 0.2363, 0.1333)):
        ma, mb = local(a), local(b)
        va, vb = (np.maximum(local(i * i) - m**2, 0) for i, m in ((a, ma), (b, mb)))
        deviations = np.sqrt(va * vb)
        contrast = (2 * deviations + c2) / (va + vb + c2)
        structure = (local(a * b) - ma * mb + c2 / 2) / (deviations + c2 / 2)
        term = contrast.mean() * structure.mean()
        if scale == 4:
            term *= ((2 * ma * mb + c1) / (ma**2 + mb**2 + c1)).mean()
        product *= term**weight
        a, b = (
            ndimage.correlate1d(ndimage.correlate1d(i, low_pass, axis=0), low_pass, axis=1)
            for i in (a, b)
        )
        a, b = a[::2, ::2], b[::2, ::2]
    return product


def test_ms_ssim_is_libvmafs_but_for_the_two_things_that_libvmaf_does_otherwise(
    dog: Clip, tmp_path: Path
) -> None:
    decoded = changed(dog, noise)
    filters = "libvmaf=feature=name=float_ms_ssim:log_fmt=json:log_path=log.json"
    compare_files(tmp_path, dog, decoded, filters)
    theirs = [each["float_ms_ssim"] for each in libvmaf_log(tmp_path)]
    _, series = measure(dog.frames, decoded)
    explained = [
        libvmaf_ms_ssim(mine.y, other.y) for mine, other in zip(dog.frames, decoded, strict=True)
    ]
    assert explained == pytest.approx(theirs, abs=1e-4)
    assert series.ms_ssim == pytest.approx(theirs, abs=3e-3)


@pytest.mark.parametrize("source", [CARPHONE, CITY], ids=["176x144", "240x135, odd"])
def test_vmaf_is_what_ffmpeg_says_of_two_files(source: ClipSource, tmp_path: Path) -> None:
    clip = load_clip(source)
    decoded = changed(clip, noise)
    models = r"version=vmaf_v0.6.1\:name=plain|version=vmaf_v0.6.1neg\:name=neg"
    filters = f"libvmaf=model='{models}':log_fmt=json:log_path=log.json"
    compare_files(tmp_path, clip, decoded, filters)
    theirs = libvmaf_log(tmp_path)
    quality, series = measure(clip.frames, decoded, vmaf=True)
    assert series.vmaf == tuple(each["plain"] for each in theirs)
    assert series.vmaf_neg == tuple(each["neg"] for each in theirs)
    assert quality.vmaf == pytest.approx(sum(series.vmaf) / FRAMES)
    assert quality.vmaf is not None
    assert 60 < quality.vmaf < 99


def test_vmaf_does_not_depend_on_threads_or_on_the_day(city: Clip) -> None:
    decoded = changed(city, noise)
    seen = set()
    for threads in (1, 1, 3):
        with QualityMeter(vmaf=True, vmaf_threads=threads) as meter:
            for mine, other in zip(city.frames, decoded, strict=True):
                meter.add(mine, other)
            seen.add(meter.finish()[1])
    assert len(seen) == 1


def test_vmaf_neg_is_not_taken_in_by_a_sharpened_picture(city: Clip) -> None:
    quality, series = measure(city.frames, changed(city, sharpened), vmaf=True)
    assert all(neg <= plain for neg, plain in zip(series.vmaf_neg, series.vmaf, strict=True))
    assert quality.vmaf == 100
    assert quality.vmaf_neg is not None
    assert quality.vmaf_neg < 90
    assert quality.psnr_y_db < 25


def test_a_range_mistake_costs_ten_decibels_where_vmaf_sees_nothing(dog: Clip) -> None:
    honest, _ = measure(dog.frames, changed(dog, lambda p: p + (p % 2) * 2.0 - 1), vmaf=True)
    stretched = changed(dog, lambda plane: (plane.astype(np.float64) - 16) * 255 / 219)
    trapped, _ = measure(dog.frames, stretched, vmaf=True)
    assert trapped.vmaf == 100
    assert trapped.psnr_y_db < honest.psnr_y_db - 10


def test_vmaf_is_absent_where_the_picture_is_too_small_for_it() -> None:
    small = load_clip(replace(CARPHONE, scale=(96, 62)))
    quality, series = measure(small.frames, small.frames, vmaf=True)
    assert quality.vmaf is None
    assert quality.vmaf_neg is None
    assert series.vmaf == ()
    least = load_clip(replace(CARPHONE, scale=(64, 64)))
    smallest, _ = measure(least.frames, least.frames, vmaf=True)
    assert smallest.vmaf is not None
    assert smallest.vmaf > 95
    with pytest.raises(ValueError, match="64 samples"):
        VmafProcess((62, 96))


def test_a_broken_sequence_leaves_no_process(city: Clip) -> None:
    before = set(psutil.Process().children())
    with pytest.raises(CandidateFailure):
        measure(city.frames, changed(city, noise)[:-1], vmaf=True)
    assert set(psutil.Process().children()) == before


@pytest.fixture
def other_ffmpeg(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Put a script in ffmpeg's place."""

    def install(script: str) -> None:
        path = tmp_path / "ffmpeg"
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
        monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(path))
        forget()

    def forget() -> None:
        ffmpeg_exe.cache_clear()
        require_libvmaf.cache_clear()

    yield install
    monkeypatch.undo()
    forget()


def test_an_ffmpeg_without_libvmaf_is_our_failure_and_no_score(
    city: Clip, other_ffmpeg: Install
) -> None:
    other_ffmpeg("echo \"No such filter: 'libvmaf'\" >&2; exit 8")
    with pytest.raises(InfrastructureFailure, match=r"No such filter.*evaluation\.vmaf=never"):
        measure(city.frames, city.frames, vmaf=True)
    assert measure(city.frames, city.frames)[0].vmaf is None


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("cat > /dev/null", "log cannot be read"),
        ("exit 0", "log cannot be read"),
        ('case "$*" in *pipe:0*) cat > /dev/null; echo gone >&2; exit 3;; esac', "exit 3.*gone"),
        (
            'case "$*" in *pipe:0*) cat > /dev/null; log=$(echo "$*" | grep -o "/dev/fd/[0-9]*");'
            ' echo \'{"frames": [{"frameNum": 0, "metrics": {"vmaf": 1, "vmaf_neg": 1}}]}\''
            " > $log;; esac",
            "scored 1 of 4 frames",
        ),
    ],
    ids=["no log", "leaves early", "fails", "loses frames"],
)
def test_a_libvmaf_that_does_not_score_every_frame_gives_no_score(
    city: Clip, other_ffmpeg: Install, script: str, message: str
) -> None:
    other_ffmpeg(script)
    with pytest.raises(InfrastructureFailure, match=message):
        measure(city.frames, city.frames, vmaf=True)
