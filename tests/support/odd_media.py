"""Small video files that ffmpeg makes of its own test pictures."""

import subprocess
from pathlib import Path

from evocodec.video.ffmpeg import ffmpeg_exe


def make_clip_file(path: Path, *, frames: int, size: str = "96x80") -> None:
    """Write a lossless Matroska file of moving pictures."""
    source = f"testsrc2=size={size}:rate=25,trim=end_frame={frames},format=yuv420p"
    coding = ("-c:v", "ffv1", "-f", "matroska", "-y")
    command = [ffmpeg_exe(), "-v", "error", "-f", "lavfi", "-i", source, *coding, str(path)]
    subprocess.run(command, check=True)
