"""PSNR and MS-SSIM mean what the literature means by them."""

import math
import weakref

import numpy as np
import pytest
from scipy import ndimage

from evocodec.domain.errors import CandidateFailure, FailureKind
from evocodec.domain.video import Frame
from evocodec.metrics.meter import QualityMeter, measure, measure_quality
from evocodec.metrics.ms_ssim import ms_ssim
from evocodec.metrics.psnr import PSNR_CAP_DB, frame_psnr, plane_psnr


def flat(value: int, width: int = 16, height: int = 8) -> Frame:
    chroma = np.full(((height + 1) // 2, (width + 1) // 2), value, np.uint8)
    return Frame(np.full((height, width), value, np.uint8), chroma, chroma)


def texture(height: int = 200, width: int = 240, seed: int = 1) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(size=(height, width))
    smooth = ndimage.gaussian_filter(noise, 3)
    return np.clip(128 + 400 * smooth, 0, 255).astype(np.uint8)


def noisy(image: np.ndarray, sigma: float) -> np.ndarray:
    noise = np.random.default_rng(7).normal(scale=sigma, size=image.shape)
    return np.clip(image + noise, 0, 255).round().astype(np.uint8)


def textbook_ms_ssim(x: np.ndarray, y: np.ndarray) -> float:
    """Wang et al. 2003, written plainly: 2-D window, float64, scipy."""
    weights = [0.0448, 0.2856, 0.3001, 0.2363, 0.1333]
    axis = np.arange(11) - 5
    window = np.exp(-(axis[:, None] ** 2 + axis[None, :] ** 2) / (2 * 1.5**2))
    window /= window.sum()
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2

    def local_mean(image: np.ndarray) -> np.ndarray:
        return ndimage.correlate(image, window)[5:-5, 5:-5]

    x, y = x.astype(np.float64), y.astype(np.float64)
    result = 1.0
    for scale, weight in enumerate(weights):
        mx, my = local_mean(x), local_mean(y)
        vx, vy = local_mean(x * x) - mx**2, local_mean(y * y) - my**2
        cov = local_mean(x * y) - mx * my
        cs = (2 * cov + c2) / (vx + vy + c2)
        lum = (2 * mx * my + c1) / (mx**2 + my**2 + c1)
        result *= float((lum * cs).mean() if scale == 4 else cs.mean()) ** weight
        # An even mean filter, then every second sample, the border repeated.
        x, y = (
            ndimage.correlate(each, np.full((2, 2), 0.25), origin=-1, mode="nearest")[::2, ::2]
            for each in (x, y)
        )
    return result


def test_psnr_of_a_known_error_is_the_textbook_value() -> None:
    y, u, v = frame_psnr(flat(100), flat(105))
    assert y == u == v == pytest.approx(10 * math.log10(255**2 / 25), abs=1e-9)


def test_psnr_is_averaged_over_frames_not_over_errors() -> None:
    reference = [flat(100), flat(100)]
    decoded = [flat(101), flat(103)]
    expected = (10 * math.log10(255**2 / 1) + 10 * math.log10(255**2 / 9)) / 2
    quality = measure_quality(reference, decoded)
    assert quality.psnr_y_db == pytest.approx(expected, abs=1e-9)
    assert quality.worst_frame_psnr_y_db == pytest.approx(10 * math.log10(255**2 / 9))


def test_a_lossless_frame_counts_as_the_cap() -> None:
    quality = measure_quality([flat(3), flat(4)], [flat(3), flat(4)])
    assert quality.psnr_y_db == quality.psnr_611_db == PSNR_CAP_DB


def test_an_almost_lossless_large_frame_does_not_exceed_a_lossless_one() -> None:
    reference = flat(50, 1024, 1024)
    luma = reference.y.copy()
    luma[0, 0] += 1
    assert frame_psnr(reference, reference._replace(y=luma))[0] <= PSNR_CAP_DB


def test_psnr_611_weighs_luma_six_times() -> None:
    reference = flat(100)
    decoded = Frame(flat(101).y, flat(102).u, flat(104).v)
    quality = measure_quality([reference], [decoded])
    expected = (6 * quality.psnr_y_db + quality.psnr_u_db + quality.psnr_v_db) / 8
    assert quality.psnr_611_db == pytest.approx(expected, abs=1e-12)
    assert quality.psnr_y_db > quality.psnr_u_db > quality.psnr_v_db


@pytest.mark.parametrize(
    "decoded",
    [
        [],
        [flat(1)],
        [flat(1), flat(1), flat(1)],
        [flat(1), flat(1, 18, 8)],
        [flat(1), flat(1)._replace(u=flat(1).y)],
        [flat(1), flat(1)._replace(y=flat(1).y.astype(np.float32))],
    ],
    ids=["none", "too few", "too many", "other width", "chroma of luma size", "floats"],
)
def test_frames_of_another_format_are_a_candidates_bad_output(decoded: list[Frame]) -> None:
    with pytest.raises(CandidateFailure) as failure:
        measure_quality([flat(1), flat(1)], decoded)
    assert failure.value.kind is FailureKind.BAD_OUTPUT


def test_ms_ssim_of_identical_pictures_is_one() -> None:
    assert ms_ssim(texture(), texture()) == pytest.approx(1.0, abs=1e-9)


@pytest.mark.parametrize("size", [(176, 176), (177, 201), (180, 320), (239, 176)])
def test_ms_ssim_agrees_with_a_plain_implementation(size: tuple[int, int]) -> None:
    reference = texture(*size)
    decoded = noisy(reference, 12)
    assert ms_ssim(reference, decoded) == pytest.approx(
        textbook_ms_ssim(reference, decoded), abs=2e-5
    )


def test_ms_ssim_falls_as_the_picture_gets_worse() -> None:
    reference = texture()
    values = [ms_ssim(reference, noisy(reference, sigma)) for sigma in (1, 4, 16, 64)]
    assert values == sorted(values, reverse=True)
    assert 0 < values[-1] < 0.8 < 0.99 < values[0] < 1


def test_ms_ssim_of_an_inverted_picture_is_not_negative_or_complex() -> None:
    assert ms_ssim(texture(), 255 - texture()) >= 0


def test_ms_ssim_is_absent_where_five_scales_do_not_fit() -> None:
    small, large = texture(175, 300), texture(176, 300)
    chroma = np.zeros((88, 150), np.uint8)
    assert (
        measure_quality([Frame(small, chroma, chroma)], [Frame(small, chroma, chroma)]).ms_ssim
        is None
    )
    assert measure_quality([Frame(large, chroma, chroma)], [Frame(large, chroma, chroma)]).ms_ssim
    with pytest.raises(ValueError, match="176"):
        ms_ssim(small, small)


def test_every_frame_is_kept_in_order_and_the_worst_one_is_named() -> None:
    reference = [flat(100)] * 4
    quality, series = measure(reference, [flat(value) for value in (101, 100, 110, 104)])
    assert [round(db, 2) for db in series.psnr_y_db] == [48.13, 100.0, 28.13, 36.09]
    assert quality.worst_frame == 2
    assert quality.worst_frame_psnr_y_db == series.psnr_y_db[2]
    assert series.ms_ssim == series.vmaf == ()


def test_ms_ssim_of_a_sequence_is_the_mean_of_its_frames() -> None:
    luma, chroma = texture(), np.zeros((100, 120), np.uint8)
    decoded = [Frame(noisy(luma, sigma), chroma, chroma) for sigma in (2, 30)]
    quality, series = measure([Frame(luma, chroma, chroma)] * 2, decoded)
    assert series.ms_ssim == tuple(ms_ssim(luma, frame.y) for frame in decoded)
    assert quality.ms_ssim == pytest.approx(sum(series.ms_ssim) / 2, abs=1e-12)
    assert quality.ms_ssim is not None
    assert quality.ms_ssim_db == pytest.approx(-10 * math.log10(1 - quality.ms_ssim))


def test_a_meter_keeps_no_frame_that_it_has_measured() -> None:
    with QualityMeter() as meter:
        frame = Frame(texture(), *(np.zeros((100, 120), np.uint8) for _ in range(2)))
        luma = weakref.ref(frame.y)
        meter.add(frame, frame)
        assert luma() is not None
        del frame
        assert luma() is None


def test_frames_may_come_from_generators() -> None:
    frames = [flat(1), flat(2)]
    assert measure_quality(iter(frames), (frame for frame in frames)).psnr_y_db == PSNR_CAP_DB
    with pytest.raises(CandidateFailure, match="1 frames were decoded where 2 went in"):
        measure_quality(iter(frames), iter(frames[:1]))


def test_a_meter_names_the_frame_of_another_format() -> None:
    with QualityMeter() as meter:
        meter.add(flat(1), flat(1))
        with pytest.raises(CandidateFailure, match="frame 1, plane y: uint8 of shape"):
            meter.add(flat(1), flat(1, 18, 8))


def test_the_peak_follows_the_bit_depth() -> None:
    reference = np.full((8, 16), 400, np.uint16)
    assert plane_psnr(reference, reference + 20, bit_depth=10) == pytest.approx(
        10 * math.log10(1023**2 / 400), abs=1e-9
    )


def test_ten_bits_of_the_same_picture_are_as_similar_as_eight() -> None:
    reference, decoded = texture(), noisy(texture(), 12)
    deep = [image.astype(np.uint16) * 4 for image in (reference, decoded)]
    assert ms_ssim(*deep, bit_depth=10) == pytest.approx(ms_ssim(reference, decoded), abs=1e-4)


def test_chroma_of_full_size_is_measured_as_it_is() -> None:
    plane = texture(16, 24)
    worse = noisy(plane, 5)
    _, series = measure([Frame(plane, plane, plane)], [Frame(plane, worse, plane)])
    assert series.psnr_u_db == (plane_psnr(plane, worse),)
    assert series.psnr_v_db == (PSNR_CAP_DB,)
