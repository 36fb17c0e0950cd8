"""Reference codecs for a comparison: real encoders, and a person's own encodes."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from evocodec.anchors.encoders import AnchorEncoder
from evocodec.anchors.measure import covering_curve
from evocodec.anchors.user_encodes import BASELINE, bits_ratio
from evocodec.app.anchor_progress import OnAnchor, anchor_jobs, forward_anchor_event
from evocodec.app.clips import baseline_curves
from evocodec.app.engine import wants_vmaf
from evocodec.curves.bd_rate import MIN_POINTS
from evocodec.domain.errors import InfrastructureFailure
from evocodec.domain.results import RdCurve
from evocodec.report.gather import within_range
from evocodec.report.model import Codec, Kind

if TYPE_CHECKING:
    from evocodec.app.measurement_setup import MeasurementSetup


def anchor_codecs(
    setup: "MeasurementSetup",
    encoders: Sequence[AnchorEncoder],
    *,
    repeat: bool = False,
    on_anchor: OnAnchor | None = None,
) -> tuple[tuple[Codec, ...], tuple[str, ...]]:
    """Real encoders over the primary anchor's range, from the cache where they are known.

    The first must be the primary one. Also returns, in words, which could not take a clip: SVT-AV1
    needs 64 samples a side, and one row less is no reason to lose the others.
    """
    primary, *others = encoders
    codecs = [
        Codec(
            primary.name,
            Kind.ANCHOR,
            {name: anchored_clip.curve for name, anchored_clip in setup.anchored.items()},
            command=primary.described(),
        )
    ]
    notices: list[str] = []
    for encoder in others:
        curves: dict[str, RdCurve] = {}
        for name, anchored_clip in setup.anchored.items():
            try:
                whole = covering_curve(
                    anchored_clip.clip,
                    encoder,
                    anchored_clip.curve,
                    setup.workspace.cache,
                    jobs=anchor_jobs(),
                    on_event=lambda event: forward_anchor_event(event, setup.stop, on_anchor),
                    fresh=repeat,
                    vmaf=wants_vmaf(setup.settings, evaluating=True),
                )
                curves[name] = within_range(whole, anchored_clip.curve)
            except InfrastructureFailure as error:
                notices.append(f"No figures of {encoder.name} on {name}: {error}")
        codecs.append(Codec(encoder.name, Kind.ANCHOR, curves, command=encoder.described()))
    return tuple(codecs), tuple(notices)


def baseline_codec(setup: "MeasurementSetup", files: Sequence[str]) -> Codec | None:
    """A person's own encodes as one side of a comparison; None without any.

    Raises:
        UserError: a file that is no encode of a clip.
    """
    if not files:
        return None
    clips = {name: anchored_clip.clip for name, anchored_clip in setup.anchored.items()}
    vmaf = wants_vmaf(setup.settings, evaluating=True)
    return Codec(BASELINE, Kind.FILE, baseline_curves(clips, files, vmaf=vmaf))


def baseline_notices(subject: Codec, baseline: Codec | None) -> tuple[str, ...]:
    """Return notices for files too few for a curve: the bits at each file's own quality."""
    found = []
    for clip, curve in baseline.curves.items() if baseline else ():
        if len(curve.points) >= MIN_POINTS:
            continue
        for point in curve.points:
            ratio = bits_ratio(subject.curves[clip], point)
            if ratio:
                change = (ratio - 1) * 100
                found.append(
                    f"At the {point.quality.psnr_y_db:.2f} dB PSNR-Y of the file given for {clip}, "
                    f"{subject.name} needs {abs(change):.1f} % {'more' if change > 0 else 'fewer'} "
                    "bits."
                )
    return tuple(found)
