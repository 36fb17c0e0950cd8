"""Sections of the settings: each group of settings, with defaults and meanings."""

import logging
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, model_validator

from evocodec.config_base import Section, names
from evocodec.config_model import ModelSettings, RoleSettings

__all__ = [
    "ChampionSettings",
    "DataSettings",
    "EvaluationSettings",
    "HeldOutSettings",
    "JudgeSettings",
    "LimitSettings",
    "ModelSettings",
    "RaySettings",
    "RoleSettings",
    "RunSettings",
    "SandboxSettings",
    "Section",
    "StoreSettings",
    "TelemetrySettings",
    "names",
]

_logger = logging.getLogger(__name__)


class RunSettings(Section):
    """Length of a run, and how many candidates are in flight."""

    ANY_FILE = names(
        "minutes candidates slots ahead seed max_revisions max_repairs replay history "
        "failures_in_a_row"
    )
    OWN_FOLDER = names("program")

    minutes: float = Field(15.0, gt=0, description="no new candidate is opened after that")
    candidates: int = Field(0, ge=0, description="stop after this many; 0 means no limit")
    slots: int = Field(0, ge=0, description="candidates evaluated at once; 0 means what fits")
    ahead: int = Field(2, ge=0, description="proposals made ahead of free slots, with a model")
    seed: int = Field(1, description="seed of every pseudo-random choice of the search")
    program: str = Field(
        "", description="seed program, a built-in name or a file; empty: current version or inter"
    )
    max_revisions: int = Field(2, ge=0, description="code ⇄ review loops per candidate")
    max_repairs: int = Field(2, ge=0, description="evaluate → code repair loops per candidate")
    failures_in_a_row: int = Field(
        8,
        ge=0,
        description="of one cause, or identical replies, that stop a run with a model; 0: none",
    )
    replay: str = Field("", description="a run whose recorded model replies are played back")
    history: int = Field(20, ge=0, description="past experiments that the planner is shown")


class EvaluationSettings(Section):
    """Clips and stages."""

    ANY_FILE = names(
        "clips screen_frames screen_keep_below smoke_qp max_points track anchors vmaf "
        "chroma_margin_db worst_frame_margin_db confidence"
    )

    clips: tuple[str, ...] = Field((), description="PATH[@START-END][:WxH]; none: built-in clips")
    screen_frames: int = Field(9, ge=1)
    screen_keep_below: float = Field(
        0.92,
        gt=0,
        description="estimated bits ÷ champion bits always worth a full evaluation; above it only "
        "what could still win",
    )
    smoke_qp: float = Field(30.0, ge=0, le=63)
    max_points: int = Field(8, ge=4, description="rate points per clip at most")
    track: Literal["random_access", "low_delay"] = Field(
        "random_access", description="coding structure of the anchors that are compared with"
    )
    anchors: tuple[str, ...] = Field(
        (),
        description="anchors that eval and runs compare with besides x265 medium; none: all of "
        "them, in runs those that were measured before",
    )
    vmaf: Literal["never", "eval", "always"] = Field(
        "eval", description="when VMAF is computed: it costs more than the other metrics"
    )
    chroma_margin_db: float = Field(
        4.0, gt=0, description="how far PSNR-U and -V may lie below HEVC's at equal PSNR-Y"
    )
    worst_frame_margin_db: float = Field(
        3.0, gt=0, description="how far PSNR-Y of the worst frame may lie below HEVC's worst"
    )
    confidence: float = Field(
        0.9, gt=0.5, lt=1, description="level of the bootstrap interval over clips"
    )


class HeldOutSettings(Section):
    """The held-out gate before an adoption: clips that no agent knows."""

    ANY_FILE = names("clips derived_most frames")
    TRUSTED_FILE = names("enabled derived keep excess_percent")

    enabled: bool = Field(True, description="off: adoption by the development clips alone")
    clips: tuple[str, ...] = Field(
        (), description="PATH[@START-END][:WxH], never shown to agents; besides the derived ones"
    )
    derived: int = Field(
        3, ge=0, description="clips drawn afresh per adoption: crops, flips, reversals, motion"
    )
    derived_most: int = Field(
        9, ge=0, description="while those leave it open, as many again, up to so many in all"
    )
    frames: int = Field(9, ge=2, description="frames of a derived clip")
    keep: float = Field(
        0.8, ge=0, le=1, description="share of the development gain that must survive"
    )
    excess_percent: float = Field(
        15.0,
        ge=0,
        description="how many more bits than on development clips, relative to HEVC on both",
    )


class LimitSettings(Section):
    """What a candidate may cost; 0 means no limit."""

    ANY_FILE = names("min_encode_fps min_decode_fps max_memory_mib")
    TRUSTED_FILE = names("max_program_kib charge_program free_program_kib")

    min_encode_fps: float = Field(0.0, ge=0)
    min_decode_fps: float = Field(0.0, ge=0)
    max_memory_mib: float = Field(0.0, ge=0)
    max_program_kib: float = Field(32.0, ge=0, description="source and weights, compressed")
    charge_program: Literal["auto"] | bool = Field(
        "auto",
        description="count the compressed program in every stream: all of it, nothing, or auto: "
        "what is beyond free_program_kib, where that is over 2 % of HEVC's bits",
    )
    free_program_kib: float = Field(20.0, ge=0, description="of code that auto does not charge")


class DataSettings(Section):
    """Where video comes from, and what is kept of it."""

    ANY_FILE = names("cache_mib")
    TRUSTED_FILE = names("s3_endpoint_url max_decode_mib")

    cache_mib: int = Field(4096, ge=16, description="size of the cache of fetched video")
    s3_endpoint_url: str = Field("", description="of an S3-compatible store; empty: AWS")
    max_decode_mib: float = Field(
        4096.0, gt=0, description="what decode may write; --max-bytes for one file"
    )


class SandboxSettings(Section):
    """Limits of one encode or one decode."""

    ANY_FILE = names("wall_seconds cpu_seconds memory_mib output_mib scratch_mib scratch_inodes")
    TRUSTED_FILE = names(
        "processes max_program_kib max_literal_kib allow_library_codecs mode provider floor unsafe"
    )

    wall_seconds: float = Field(120.0, gt=0)
    cpu_seconds: float = Field(120.0, gt=0)
    memory_mib: int = Field(2048, ge=64)
    output_mib: int = Field(256, ge=1)
    processes: int = Field(16, ge=1)
    scratch_mib: int = Field(16, ge=0, description="a job's own folder for writing; 0: none")
    scratch_inodes: int = Field(256, ge=0)
    max_program_kib: int = Field(256, ge=1)
    max_literal_kib: float = Field(
        2.0, gt=0, description="data in one literal, compressed; 4 times that in a table, 8 in all"
    )
    allow_library_codecs: bool = Field(
        False, description="let candidates call existing codecs; every report then says so"
    )
    mode: Literal["auto", "namespaces", "pod"] = Field(
        "auto", description="what the machine offers; refuse without namespaces; or never use them"
    )
    provider: Literal["forkserver", "bubblewrap"] = Field(
        "forkserver", description="what stands around the fork server: nothing more, or bwrap"
    )
    floor: tuple[str, ...] = Field(
        (), description="layers a run insists on besides the usual; alternatives as a|b"
    )
    unsafe: bool = Field(False, description="run even below the isolation floor; recorded")


class RaySettings(Section):
    """The engine."""

    ANY_FILE = names(
        "cpus_per_task gpus_per_task sandboxes_per_task retries grace_seconds "
        "first_worker_seconds head_seconds object_store_mib"
    )
    TRUSTED_FILE = names("address")

    address: str = Field(
        "", description="host:port of an existing cluster's head (its GCS); empty: a local one"
    )
    cpus_per_task: float = Field(1.0, gt=0)
    gpus_per_task: float = Field(0.0, ge=0, description="may be a part of one: 0.25")
    sandboxes_per_task: float = Field(
        0.0, ge=0, description="of the custom resource `sandbox`, which workers of our image have"
    )
    retries: int = Field(
        2, ge=0, description="infrastructure failures retried per job; lost nodes do not count"
    )
    grace_seconds: float = Field(20.0, gt=0)
    first_worker_seconds: float = Field(
        1800.0, gt=0, description="how long a cluster that scales from nothing may need for a node"
    )
    head_seconds: float = Field(
        30.0, ge=5, description="a head that is silent for so long is lost, and joined again"
    )
    object_store_mib: int = Field(256, ge=80)


class JudgeSettings(Section):
    """The adoption rules (M6, M7)."""

    ANY_FILE = names(
        "adopt_first_below_mbps chance_first_below_mbps bitrate_gain_percent "
        "compression_gain_percent"
    )

    adopt_first_below_mbps: float = Field(9.0, gt=0)
    chance_first_below_mbps: float = Field(15.0, gt=0)
    bitrate_gain_percent: float = Field(10.0, ge=0, lt=100)
    compression_gain_percent: float = Field(20.0, ge=0)


class ChampionSettings(Section):
    """Where adopted versions live."""

    TRUSTED_FILE = names("remote")
    OWN_WORKSPACE = names("path")

    path: str = Field("", description="git repository of versions; empty: inside the workspace")
    remote: str = Field("", description="a URL or path that every adoption is pushed to")


class StoreSettings(Section):
    """Where a run is kept; credentials are never settings: AWS's own chain finds them."""

    TRUSTED_FILE = names(
        "backend region dynamodb_endpoint_url s3_endpoint_url create_tables ledger_table "
        "records_table bucket prefix encryption kms_key_id part_mib retry_seconds ttl_days"
    )

    backend: Literal["sqlite", "dynamodb"] = Field(
        "sqlite", description="sqlite: files in the workspace; dynamodb: DynamoDB, and S3 by bucket"
    )
    region: str = Field("", description="AWS region; empty: AWS_REGION or the profile's")
    dynamodb_endpoint_url: str = Field("", description="empty: AWS")
    s3_endpoint_url: str = Field("", description="of an S3-compatible store; empty: AWS")
    create_tables: bool = Field(True, description="make tables that are missing, on demand billing")
    ledger_table: str = Field("evocodec-ledger", min_length=3)
    records_table: str = Field("ai-video-codec-experiments", min_length=3)
    bucket: str = Field("", description="S3 bucket of the blobs; empty: files in the workspace")
    prefix: str = Field("evocodec/", description="what object names begin with")
    encryption: Literal["", "AES256", "aws:kms"] = Field(
        "", description="of objects; empty: as the bucket says"
    )
    kms_key_id: str = Field("", description="key for aws:kms, and for tables that are made")
    part_mib: int = Field(16, ge=5, le=5120, description="larger objects go in parts of this size")
    retry_seconds: float = Field(
        60.0, gt=0, description="how long a call is tried again before it counts as failed"
    )
    ttl_days: float = Field(
        0.0, ge=0, description="DynamoDB may delete events and records after that; 0: never"
    )

    @model_validator(mode="before")
    @classmethod
    def _leave_out_checkpoints(cls, values: Any) -> Any:
        """Ignore with a warning, until 0.3, what 0.1 knew of LangGraph's checkpoints."""
        if not isinstance(values, Mapping):
            return values  # which is refused with a message
        gone = {"checkpoints_table", "checkpoint_ttl_days"} & set(values)
        for name in sorted(gone):
            _logger.warning(
                "store.%s is ignored: there are no checkpoints any more, a run resumes from its "
                "ledger alone. Remove the setting; 0.3 will refuse it",
                name,
            )
        return {name: value for name, value in values.items() if name not in gone}


class TelemetrySettings(Section):
    """Metrics and logs of a run."""

    ANY_FILE = names("metrics_port log_format log_level")
    TRUSTED_FILE = names("metrics_bind")
    OWN_WORKSPACE = names("log_to")

    metrics_port: int = Field(
        0, ge=0, le=65535, description="serve /metrics for Prometheus there; 0: not at all"
    )
    metrics_bind: str = Field("127.0.0.1", description="address that /metrics is served on")
    log_to: str = Field(
        "", description="stdout, stderr or a file; empty: only log.jsonl beside the run"
    )
    log_format: Literal["text", "json"] = Field("text", description="of what goes to log_to")
    log_level: Literal["debug", "info", "warning", "error"] = "info"
