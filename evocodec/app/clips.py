"""Clips and anchors of an evaluation, loaded as the settings say."""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from evocodec.anchors.encoders import AnchorEncoder, primary_encoder
from evocodec.anchors.measure import Listener, anchor_curve, is_cached, operating_quality_db
from evocodec.anchors.user_encodes import user_encode_curve
from evocodec.config import Settings
from evocodec.domain.errors import ConfigError
from evocodec.domain.results import RatePoint, RdCurve, Track
from evocodec.video.clip_spec import ClipSource
from evocodec.video.clips import Clip, default_clips, load_clip
from evocodec.video.sources import check_source
from evocodec.video.test_sets import check_samples, named_clips


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
    sources = named_clips(settings.evaluation.clips) or default_clips()
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
        check_source(source)


def anchored_clips(
    settings: Settings,
    cache: Path,
    *,
    clips: Iterable[Clip] | None = None,
    encoder: AnchorEncoder | None = None,
    on_clip: Callable[[AnchoredClip], None] | None = None,
    on_point: Callable[[RatePoint], None] | None = None,
    on_event: Listener | None = None,
    jobs: int = 1,
    fresh: bool = False,
    vmaf: bool = False,
) -> Mapping[str, AnchoredClip]:
    """Decode every clip and get its anchor curve, from the cache where it is known.

    The anchor is x265 medium in the track that the settings name, unless ``encoder`` is given.
    ``clips`` are those of the settings, where somebody is ``loading`` them already.
    """
    encoder = encoder or primary_encoder(Track(settings.evaluation.track))
    anchored: dict[str, AnchoredClip] = {}
    with nullcontext(clips) if clips is not None else loading(settings) as loaded:
        for clip in loaded:
            cached = not fresh and is_cached(clip, encoder, cache, vmaf=vmaf)
            curve = anchor_curve(
                clip,
                encoder,
                cache,
                jobs=jobs,
                on_point=on_point,
                on_event=on_event,
                fresh=fresh,
                vmaf=vmaf,
            )
            anchored_clip = AnchoredClip(
                clip, curve, operating_quality_db(curve, clip.stream), cached
            )
            anchored[clip.name] = anchored_clip
            if on_clip:
                on_clip(anchored_clip)
    return anchored


@contextmanager
def loading(settings: Settings) -> Iterator[Iterator[Clip]]:
    """Decode the clips side by side from now on; yields them in order."""
    pool = ThreadPoolExecutor(len(os.sched_getaffinity(0)), "clip")
    try:
        yield pool.map(lambda source: check_samples(load_clip(source)), clip_sources(settings))
    finally:
        pool.shutdown(wait=False, cancel_futures=True)  # an error is not to wait for the rest


def baseline_curves(
    clips: Mapping[str, Clip], files: Sequence[str], *, vmaf: bool = False
) -> Mapping[str, RdCurve]:
    """A person's own encodes, measured: a curve for each clip that has files.

    A file is ``PATH``, or ``CLIP=PATH`` where there is more than one clip.

    Raises:
        ConfigError: it cannot be told which clip a file is an encode of.
        SourceError: a file cannot be read, or holds other frames than its clip.
    """
    by_clip: dict[str, list[str]] = {}
    for text in files:
        clip, path = _clip_of(text, clips)
        by_clip.setdefault(clip, []).append(path)
    return {
        name: user_encode_curve(clips[name], paths, vmaf=vmaf) for name, paths in by_clip.items()
    }


def _clip_of(text: str, clips: Mapping[str, Clip]) -> tuple[str, str]:
    name, equals, path = text.partition("=")
    if equals and name in clips:
        return name, path
    if len(clips) == 1:
        return next(iter(clips)), text
    message = (
        f"{text!r} may be an encode of any of {', '.join(clips)}; write CLIP=PATH, for example "
        f"--baseline-file {next(iter(clips))}={text}, or name one clip with --clip"
    )
    raise ConfigError(message)
