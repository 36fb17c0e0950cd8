"""Public names of this package: PSNR, MS-SSIM, VMAF and the quality meter."""

from evocodec.metrics.meter import QualityMeter, measure, measure_quality, quality_of_series
from evocodec.metrics.ms_ssim import MS_SSIM_MIN_SIDE, ms_ssim
from evocodec.metrics.psnr import (
    PSNR_CAP_DB,
    check_same_format,
    frame_psnr,
    plane_psnr,
    psnr_series,
)
from evocodec.metrics.vmaf import VMAF_MIN_SIDE, require_libvmaf

__all__ = [
    "MS_SSIM_MIN_SIDE",
    "PSNR_CAP_DB",
    "VMAF_MIN_SIDE",
    "QualityMeter",
    "check_same_format",
    "frame_psnr",
    "measure",
    "measure_quality",
    "ms_ssim",
    "plane_psnr",
    "psnr_series",
    "quality_of_series",
    "require_libvmaf",
]
