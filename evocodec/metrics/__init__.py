"""Picture quality: PSNR, MS-SSIM, VMAF, and the meter that computes them."""
