"""Video input: clips, sources, ffmpeg, Y4M, raw YUV, S3, the cache, named test sets."""
