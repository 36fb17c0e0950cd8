"""Stage settings: how candidates are measured and judged, derived from the settings tree."""

import logging
import tempfile
from collections.abc import Mapping
from pathlib import Path

from evocodec.anchors.encoders import primary_encoder
from evocodec.anchors.reference_cost import reference_cost
from evocodec.app.clips import AnchoredClip
from evocodec.config import Settings, bytes_of_kib, bytes_of_mib
from evocodec.domain.errors import InfrastructureFailure
from evocodec.domain.results import Cost, Track
from evocodec.evaluation.guards import Guards
from evocodec.evaluation.staged import StageSettings
from evocodec.rules.adoption import Thresholds
from evocodec.rules.cost_limits import CostLimits
from evocodec.rules.program_charge import ChargeMode, ProgramCharge

_logger = logging.getLogger(__name__)


def stage_settings(settings: Settings) -> StageSettings:
    """Return the settings of the stages."""
    evaluation = settings.evaluation
    return StageSettings(
        screen_frames=evaluation.screen_frames,
        smoke_qp=evaluation.smoke_qp,
        screen_keep_below=evaluation.screen_keep_below,
        max_points=evaluation.max_points,
        charge=program_charge(settings),
        guards=Guards(evaluation.chroma_margin_db, evaluation.worst_frame_margin_db),
        thresholds=thresholds(settings),
    )


def program_charge(settings: Settings) -> ProgramCharge:
    """Return when a program's bytes are charged."""
    limits = settings.limits
    modes = {True: ChargeMode.ALWAYS, False: ChargeMode.NEVER, "auto": ChargeMode.AUTO}
    return ProgramCharge(modes[limits.charge_program], bytes_of_kib(limits.free_program_kib))


def thresholds(settings: Settings) -> Thresholds:
    """Return the thresholds of the adoption rules."""
    judge, limits = settings.judge, settings.limits
    return Thresholds(
        adopt_first_below_mbps=judge.adopt_first_below_mbps,
        chance_first_below_mbps=judge.chance_first_below_mbps,
        bitrate_gain_percent=judge.bitrate_gain_percent,
        compression_gain_percent=judge.compression_gain_percent,
        confidence=settings.evaluation.confidence,
        limits=CostLimits(
            min_encode_fps=limits.min_encode_fps,
            min_decode_fps=limits.min_decode_fps,
            max_memory_bytes=bytes_of_mib(limits.max_memory_mib),
            max_program_bytes=bytes_of_kib(limits.max_program_kib),
        ),
    )


def reference_costs(settings: Settings, anchored: Mapping[str, AnchoredClip]) -> dict[str, Cost]:
    """Cost of x265 medium on this machine per clip; empty when it cannot be measured."""
    encoder = primary_encoder(Track(settings.evaluation.track))
    try:
        with tempfile.TemporaryDirectory(prefix="evocodec-cost-") as folder:
            return {
                name: reference_cost(
                    anchored_clip.clip,
                    encoder,
                    anchored_clip.curve,
                    anchored_clip.operating_psnr_y_db,
                    Path(folder),
                )
                for name, anchored_clip in anchored.items()
            }
    except InfrastructureFailure as failure:
        _logger.warning("no cost beside the anchor's: %s", failure)
        return {}
