"""Rate–distortion curves: interpolation, BD-rate, confidence intervals, comparison."""
