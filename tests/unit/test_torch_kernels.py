"""The metrics on torch give what they give on the CPU; here on torch's own CPU device."""

import numpy as np
import pytest
from scipy import ndimage

from evocodec.domain.video import Frame, Plane
from evocodec.metrics.kernels.choose import CUDA_MIN_SAMPLES, choose_kernels
from evocodec.metrics.kernels.cpu import CPU
from evocodec.metrics.kernels.protocol import Kernels
from evocodec.metrics.meter import QualityMeter
from evocodec.metrics.ms_ssim import ms_ssim

torch = pytest.importorskip("torch", reason="torch is optional and not installed here")


def kernels() -> Kernels:
    from evocodec.metrics.kernels.torch import TorchKernels

    return TorchKernels("cpu")


def pair(height: int, width: int, peak: int = 255, dtype: type = np.uint8) -> tuple[Plane, Plane]:
    generator = np.random.default_rng(5)
    smooth = ndimage.gaussian_filter(generator.normal(size=(height, width)), 3)
    reference = np.clip(peak * (0.5 + 1.5 * smooth), 0, peak)
    decoded = np.clip(reference + generator.normal(scale=peak / 40, size=smooth.shape), 0, peak)
    return reference.astype(dtype), decoded.astype(dtype)


@pytest.mark.parametrize("size", [(176, 176), (177, 201), (270, 480)])
def test_ms_ssim_is_that_of_the_cpu(size: tuple[int, int]) -> None:
    assert ms_ssim(*pair(*size), kernels=kernels()) == pytest.approx(
        ms_ssim(*pair(*size)), abs=1e-6
    )


def test_ms_ssim_of_ten_bits_is_that_of_the_cpu() -> None:
    planes = pair(180, 200, 1023, np.uint16)
    assert ms_ssim(*planes, bit_depth=10, kernels=kernels()) == pytest.approx(
        ms_ssim(*planes, bit_depth=10), abs=1e-6
    )


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_squared_errors_are_exact(dtype: type) -> None:
    ours, theirs = pair(1080, 1920, np.iinfo(dtype).max, dtype)
    expected = int(((ours.astype(np.int64) - theirs) ** 2).sum())
    assert CPU.squared_error(ours, theirs) == expected
    on_torch = kernels()
    assert on_torch.squared_error(on_torch.load(ours), on_torch.load(theirs)) == expected


def test_a_meter_on_torch_measures_what_one_on_the_cpu_does() -> None:
    (y, other), (u, worse) = pair(200, 240), pair(100, 120)
    results = []
    for each in (None, kernels()):
        with QualityMeter(kernels=each) as meter:
            meter.add(Frame(y, u, u), Frame(other, worse, u))
            results.append(meter.finish()[1])
    cpu, on_torch = results
    assert (cpu.psnr_y_db, cpu.psnr_u_db, cpu.psnr_v_db) == (
        on_torch.psnr_y_db,
        on_torch.psnr_u_db,
        on_torch.psnr_v_db,
    )
    assert cpu.ms_ssim == pytest.approx(on_torch.ms_ssim, abs=1e-6)


def test_small_frames_stay_on_the_cpu() -> None:
    assert choose_kernels((480, 270)) is CPU
    if not torch.cuda.is_available():
        assert choose_kernels((1080, 1920)) is CPU
    assert CUDA_MIN_SAMPLES <= 1080 * 1920
