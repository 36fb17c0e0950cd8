"""Anchor encoders: the real encoders to compare with, and the exact settings of each.

Every stream has one intra picture, no scene-cut detection, no informational messages and no
container. Encoders are pinned to a number of threads that cannot change their bytes.
"""

import shlex
from dataclasses import dataclass, replace
from fractions import Fraction

from evocodec.domain.errors import ConfigError
from evocodec.domain.results import Track


@dataclass(frozen=True, slots=True)
class AnchorEncoder:
    """One encoder, with every setting that affects its bytes except the rate.

    ``arguments`` are ffmpeg's; ``muxer`` is a raw format; ``rate_limits`` are the limits of
    ``rate_flag``, which moves in steps of ``rate_step``. ``rate_of_crf`` (offset, slope) estimates
    the rate that equals an x265 medium CRF in PSNR-Y; ``relative_cost`` estimates CPU seconds
    relative to x265 medium. Both only choose the first rates and estimate durations; they never
    change results.
    """

    name: str
    arguments: tuple[str, ...]
    muxer: str
    rate_limits: tuple[float, float]
    rate_flag: str = "-crf"
    rate_step: float = 0.5
    rate_of_crf: tuple[float, float] = (0.0, 1.0)
    relative_cost: float = 1.0
    base: str = ""
    track: Track = Track.RANDOM_ACCESS

    @property
    def base_name(self) -> str:
        """Name that both tracks share: ``x265-medium`` for ``x265-medium-ld``."""
        return self.base or self.name

    def command(
        self, ffmpeg: str, size: tuple[int, int], fps: Fraction, rate: float, output: str
    ) -> list[str]:
        """Return the command line; it reads raw 8-bit 4:2:0 frames from standard input."""
        return [
            *self._command(ffmpeg, f"{size[0]}x{size[1]}", str(fps), f"{rate:g}"),
            *("-f", self.muxer, output),
        ]

    def described(self) -> str:
        """Return the command line as text, with WxH, FPS and Q left open."""
        arguments = [
            *self._command("ffmpeg", "WxH", "FPS", "Q"),
            "-f",
            self.muxer,
            f"OUT.{self.muxer}",
        ]
        return shlex.join(arguments)

    def _command(self, ffmpeg: str, size: str, fps: str, rate: str) -> list[str]:
        return [
            *(ffmpeg, "-v", "error", "-nostdin", "-y"),
            *("-f", "rawvideo", "-pix_fmt", "yuv420p", "-s", size, "-r", fps, "-i", "pipe:0"),
            *(*self.arguments, self.rate_flag, rate),
        ]


# At 1 the quantiser is next to lossless: 20 dB above 2 on a soft clip, and no curve between.
_AV1_RATE_LIMITS = (2.0, 63.0)
_AV1_RATE_OF_CRF = (-23.0, 2.6)
_AV1_LOW_DELAY_RATE_OF_CRF = (-22.0, 2.27)


def _x264() -> AnchorEncoder:
    return AnchorEncoder(
        name="x264-medium",
        arguments=(
            # x264 has no switch for its signature: the filter drops SEI, which decodes nothing.
            *("-c:v", "libx264", "-threads", "1", "-bsf:v", "filter_units=remove_types=6"),
            *("-preset", "medium", "-tune", "psnr", "-x264-params"),
            "keyint=infinite:scenecut=0",
        ),
        muxer="h264",
        rate_limits=(0.0, 51.0),
        rate_of_crf=(2.0, 1.0),
        relative_cost=0.4,
    )


def _x265(preset: str, relative_cost: float) -> AnchorEncoder:
    return AnchorEncoder(
        name=f"x265-{preset}",
        arguments=(
            *("-c:v", "libx265", "-preset", preset, "-tune", "psnr", "-x265-params"),
            "log-level=error:info=0:keyint=-1:min-keyint=1:scenecut=0:frame-threads=1:pools=2",
        ),
        muxer="hevc",
        rate_limits=(0.0, 51.0),
        rate_of_crf=(2.0, 1.0) if preset == "veryslow" else (0.0, 1.0),
        relative_cost=relative_cost,
    )


def _svt(preset: int, relative_cost: float) -> AnchorEncoder:
    return AnchorEncoder(
        name=f"svt-av1-p{preset}",
        arguments=(
            *("-c:v", "libsvtav1", "-preset", str(preset), "-svtav1-params"),
            "keyint=-1:scd=0:tune=1:lp=1",
        ),
        muxer="obu",
        rate_limits=_AV1_RATE_LIMITS,
        rate_step=1.0,
        rate_of_crf=_AV1_RATE_OF_CRF,
        relative_cost=relative_cost,
    )


def _aom(*, look_ahead: int) -> AnchorEncoder:
    return AnchorEncoder(
        name="aom-cpu4",
        arguments=(
            *("-c:v", "libaom-av1", "-threads", "1", "-cpu-used", "4", "-b:v", "0"),
            *("-g", "9999", "-lag-in-frames", str(look_ahead)),
        ),
        muxer="obu",
        rate_limits=_AV1_RATE_LIMITS,
        rate_step=1.0,
        rate_of_crf=_AV1_RATE_OF_CRF,
        relative_cost=7.0,
    )


def _vvenc(preset: str, relative_cost: float) -> AnchorEncoder:
    return AnchorEncoder(
        name=f"vvenc-{preset}",
        arguments=(
            *("-c:v", "libvvenc", "-threads", "1", "-preset", preset, "-qpa", "0"),
            # Delimiters are 7 bytes a picture that no decoder needs: 6 % of a small stream.
            *("-vvenc-params", "intraperiod=-1:accessunitdelimiter=0"),
        ),
        muxer="vvc",
        rate_limits=(0.0, 63.0),
        rate_flag="-qp",
        rate_step=1.0,
        rate_of_crf=(2.0, 1.05),
        relative_cost=relative_cost,
    )


X265_MEDIUM = _x265("medium", 1.0)
"""What candidates are measured against; HEVC, wherever one encoder must stand for it."""

_RANDOM_ACCESS = (
    _x264(),
    X265_MEDIUM,
    _x265("veryslow", 12.0),
    _svt(8, 0.8),
    _svt(6, 1.1),
    _aom(look_ahead=35),
    _vvenc("faster", 3.0),
    _vvenc("medium", 20.0),
)

# What takes an encoder's view of the future away: reordering, look-ahead, and filters over time.
_LOW_DELAY_OPTIONS = {
    "x264": "bframes=0:rc-lookahead=0:sync-lookahead=0:mbtree=0",
    "x265": "bframes=0:rc-lookahead=0:cutree=0",
    "svt": "pred-struct=1",
    "vvenc": (
        "gopsize=8:picreordering=0:decodingrefreshtype=none:poc0idr=1:"
        "lookahead=0:mctffuturereference=0"
    ),
}


def _low_delay(encoder: AnchorEncoder) -> AnchorEncoder:
    family = encoder.name.partition("-")[0]
    if family == "aom":
        arguments = _aom(look_ahead=0).arguments
    else:
        *first, params = encoder.arguments
        arguments = (*first, f"{params}:{_LOW_DELAY_OPTIONS[family]}")
    return replace(
        encoder,
        name=f"{encoder.name}-ld",
        arguments=arguments,
        rate_of_crf=(_AV1_LOW_DELAY_RATE_OF_CRF if encoder.muxer == "obu" else encoder.rate_of_crf),
        base=encoder.name,
        track=Track.LOW_DELAY,
    )


_LOW_DELAY = tuple(_low_delay(encoder) for encoder in _RANDOM_ACCESS)


def anchor_encoders(track: Track) -> tuple[AnchorEncoder, ...]:
    """Every anchor of a track, x265 medium first."""
    found = _RANDOM_ACCESS if track is Track.RANDOM_ACCESS else _LOW_DELAY
    return tuple(sorted(found, key=lambda encoder: encoder.base_name != X265_MEDIUM.name))


def primary_encoder(track: Track) -> AnchorEncoder:
    """Return the anchor that all others of the track are compared with: x265 medium."""
    return anchor_encoders(track)[0]


def anchor_encoder(name: str, track: Track) -> AnchorEncoder:
    """Return the anchor of that name in a track; its ``-ld`` may be left out.

    Raises:
        ConfigError: there is no such anchor.
    """
    for encoder in anchor_encoders(track):
        if name in (encoder.name, encoder.base_name):
            return encoder
    known = ", ".join(encoder.base_name for encoder in anchor_encoders(track))
    message = f"there is no anchor called {name!r}; there are {known}"
    raise ConfigError(message)


def chosen_encoders(names: tuple[str, ...], track: Track) -> tuple[AnchorEncoder, ...]:
    """Return the primary anchor and the named ones, without repetition; for no name, all."""
    if not names:
        return anchor_encoders(track)
    chosen = (primary_encoder(track), *(anchor_encoder(name, track) for name in names))
    return tuple(dict.fromkeys(chosen))
