"""From settings to loaded clips and their anchors."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from evocodec.config import Settings
from evocodec.domain.errors import ConfigError
from evocodec.domain.results import RatePoint, RdCurve
from evocodec.evaluation.anchors import (
    X265_MEDIUM,
    AnchorEncoder,
    anchor_curve,
    is_cached,
    operating_quality_db,
)
from evocodec.evaluation.clips import Clip, ClipSource, default_clips, load_clip, parse_clip
from evocodec.evaluation.ffmpeg import check_readable


@dataclass(frozen=True, slots=True)
class AnchoredClip:
    """A clip with what HEVC needs for it."""

    clip: Clip
    curve: RdCurve
    operating_psnr_y_db: float
    cached: bool


def clip_sources(settings: Settings) -> tuple[ClipSource, ...]:
    """The clips that the settings name, or the built-in ones.

    Raises:
        ConfigError: two clips have one name.
    """
    sources = tuple(parse_clip(text) for text in settings.evaluation.clips) or default_clips()
    names = [source.name for source in sources]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        message = (
            f"two clips are called {twice[0]!r}: results are kept by name. "
            "Rename one of the files, or use other frames of one file in another run"
        )
        raise ConfigError(message)
    return sources


def require_clips(settings: Settings) -> None:
    """Check that every clip is a file that can be read, before anything slow begins.

    Raises:
        SourceError: one is missing, a folder, or empty.
    """
    for source in clip_sources(settings):
        check_readable(source.path)


def anchored_clips(
    settings: Settings,
    cache: Path,
    *,
    encoder: AnchorEncoder = X265_MEDIUM,
    on_clip: Callable[[AnchoredClip], None] | None = None,
    on_point: Callable[[RatePoint], None] | None = None,
) -> Mapping[str, AnchoredClip]:
    """Decode every clip and get its anchor curve, from the cache where it is known."""
    anchored: dict[str, AnchoredClip] = {}
    for source in clip_sources(settings):
        clip = load_clip(source)
        cached = is_cached(clip, encoder, cache)
        curve = anchor_curve(clip, encoder, cache, on_point=on_point)
        one = AnchoredClip(clip, curve, operating_quality_db(curve, clip.stream), cached)
        anchored[clip.name] = one
        if on_clip:
            on_clip(one)
    return anchored
