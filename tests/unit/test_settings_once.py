"""Each setting has one default, in ``evocodec.config_sections``, and reaches its part."""

import ast
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from operator import attrgetter
from typing import Any, NamedTuple

import pytest
from pydantic import BaseModel, SecretStr

from evocodec.app.engine import engine_options, make_limits, make_policy
from evocodec.app.prompt_settings import make_prompts
from evocodec.app.stage_settings import stage_settings
from evocodec.app.stores import aws_options, s3_options, table_options
from evocodec.app.workspace import Workspace
from evocodec.config import Settings, load_settings
from evocodec.domain.vocabulary import ModelRole
from evocodec.models.endpoint import endpoint_for
from tests.support.source_trees import name_of, nodes_of, product_files


class Feeds(NamedTuple):
    """A setting, another value of it, and where it arrives: the options of a part."""

    setting: str
    other: Any
    build: Callable[[Settings], Any]
    field: str


def _aws(service: Any) -> Callable[[Settings], Any]:
    return lambda settings: aws_options(settings.store, service)


def _s3(settings: Settings) -> Any:
    return s3_options(settings.store)


def _tables(settings: Settings) -> Any:
    return table_options(settings.store, ttl=settings.store.ttl_days > 0)


def _data(settings: Settings) -> Any:
    return Workspace.of(settings).data_options(settings)


def _coder(settings: Settings) -> Any:
    reachable = {"base_url": "http://127.0.0.1/v1", "model": "m"}
    given = {name: value for name, value in reachable.items() if not getattr(settings.model, name)}
    return endpoint_for(settings.model.model_copy(update=given), ModelRole.CODER)


FED = (
    Feeds("evaluation.screen_frames", 5, stage_settings, "screen_frames"),
    Feeds("evaluation.smoke_qp", 11.0, stage_settings, "smoke_qp"),
    Feeds("evaluation.screen_keep_below", 0.5, stage_settings, "screen_keep_below"),
    Feeds("evaluation.screen_keep_below", 0.5, make_prompts, "screen_keep_below"),
    Feeds("evaluation.max_points", 5, stage_settings, "max_points"),
    Feeds("evaluation.chroma_margin_db", 1.5, stage_settings, "guards.chroma_margin_db"),
    Feeds("evaluation.worst_frame_margin_db", 1.5, stage_settings, "guards.worst_frame_margin_db"),
    Feeds("evaluation.confidence", 0.6, stage_settings, "thresholds.confidence"),
    Feeds("evaluation.vmaf", "never", lambda s: engine_options(s, evaluating=True), "vmaf"),
    Feeds("limits.min_encode_fps", 3.0, stage_settings, "thresholds.limits.min_encode_fps"),
    Feeds("limits.min_decode_fps", 3.0, stage_settings, "thresholds.limits.min_decode_fps"),
    Feeds("limits.max_memory_mib", 3.0, stage_settings, "thresholds.limits.max_memory_bytes"),
    Feeds("limits.max_program_kib", 3.0, stage_settings, "thresholds.limits.max_program_bytes"),
    Feeds("limits.charge_program", True, stage_settings, "charge.mode"),
    Feeds("limits.free_program_kib", 3.0, stage_settings, "charge.free_bytes"),
    Feeds("judge.adopt_first_below_mbps", 3.0, stage_settings, "thresholds.adopt_first_below_mbps"),
    Feeds(
        "judge.chance_first_below_mbps", 3.0, stage_settings, "thresholds.chance_first_below_mbps"
    ),
    Feeds("judge.bitrate_gain_percent", 3.0, stage_settings, "thresholds.bitrate_gain_percent"),
    Feeds(
        "judge.compression_gain_percent", 3.0, stage_settings, "thresholds.compression_gain_percent"
    ),
    Feeds("data.cache_mib", 32, _data, "cache_bytes"),
    Feeds("data.cache_mib", 32, engine_options, "cache_bytes"),
    Feeds("data.s3_endpoint_url", "http://127.0.0.1:1", _data, "s3_endpoint_url"),
    Feeds("sandbox.wall_seconds", 3.0, make_limits, "wall_seconds"),
    Feeds("sandbox.cpu_seconds", 3.0, make_limits, "cpu_seconds"),
    Feeds("sandbox.memory_mib", 128, make_limits, "memory_bytes"),
    Feeds("sandbox.output_mib", 3, make_limits, "output_bytes"),
    Feeds("sandbox.processes", 3, make_limits, "processes"),
    Feeds("sandbox.scratch_mib", 3, make_limits, "scratch_bytes"),
    Feeds("sandbox.scratch_inodes", 3, make_limits, "scratch_inodes"),
    Feeds("sandbox.max_program_kib", 3, make_policy, "max_program_bytes"),
    Feeds("sandbox.max_literal_kib", 3.0, make_policy, "max_literal_bytes"),
    Feeds("sandbox.allow_library_codecs", True, make_policy, "allow_library_codecs"),
    Feeds("sandbox.mode", "pod", make_policy, "mode"),
    Feeds("sandbox.provider", "bubblewrap", make_policy, "provider"),
    Feeds("sandbox.floor", ["landlock"], make_policy, "floor"),
    Feeds("sandbox.unsafe", True, make_policy, "floor"),
    Feeds("ray.address", "head:6379", engine_options, "address"),
    Feeds("ray.cpus_per_task", 3.0, engine_options, "cpus_per_task"),
    Feeds("ray.gpus_per_task", 0.5, engine_options, "gpus_per_task"),
    Feeds("ray.sandboxes_per_task", 3.0, engine_options, "sandboxes_per_task"),
    Feeds("ray.retries", 7, engine_options, "retries"),
    Feeds("ray.grace_seconds", 3.0, engine_options, "grace_seconds"),
    Feeds("ray.first_worker_seconds", 3.0, engine_options, "first_worker_seconds"),
    Feeds("ray.head_seconds", 7.0, engine_options, "head_seconds"),
    Feeds("ray.object_store_mib", 81, engine_options, "object_store_bytes"),
    Feeds("model.base_url", "http://127.0.0.1:1/v1", _coder, "base_url"),
    Feeds("model.api_key", "sk-other", _coder, "api_key"),
    Feeds("model.model", "other", _coder, "model"),
    Feeds("model.temperature", 0.1, _coder, "temperature"),
    Feeds("model.max_tokens", 99, _coder, "max_tokens"),
    Feeds("model.timeout_seconds", 3.0, _coder, "timeout_seconds"),
    Feeds("model.idle_seconds", 3.0, _coder, "idle_seconds"),
    Feeds("model.stream", False, _coder, "stream"),
    Feeds("model.token_limit_name", "none", _coder, "token_limit_name"),
    Feeds("model.system_role", "no", _coder, "system_role"),
    Feeds("model.headers", {"api-key": "sk-other"}, _coder, "headers"),
    Feeds("model.extra_body", {"seed": 1}, _coder, "extra_body_json"),
    Feeds("model.ca_file", "/ca.pem", _coder, "ca_file"),
    Feeds("model.proxy", "none", _coder, "proxy"),
    Feeds("model.price_cached_usd_per_million", 3.0, _coder, "price_cached_usd_per_million"),
    Feeds("model.price_input_usd_per_million", 3.0, _coder, "price_input_usd_per_million"),
    Feeds("model.price_output_usd_per_million", 3.0, _coder, "price_output_usd_per_million"),
    Feeds("store.region", "eu-west-9", _aws("dynamodb"), "region"),
    Feeds("store.dynamodb_endpoint_url", "http://127.0.0.1:1", _aws("dynamodb"), "endpoint_url"),
    Feeds("store.s3_endpoint_url", "http://127.0.0.1:1", _aws("s3"), "endpoint_url"),
    Feeds("store.retry_seconds", 3.0, _aws("s3"), "retry_seconds"),
    Feeds("store.create_tables", False, _tables, "create"),
    Feeds("store.ttl_days", 3.0, _tables, "ttl"),
    Feeds("store.bucket", "other", _s3, "bucket"),
    Feeds("store.prefix", "other/", _s3, "prefix"),
    Feeds("store.encryption", "AES256", _s3, "encryption"),
    Feeds("store.kms_key_id", "other", _s3, "kms_key_id"),
    Feeds("store.kms_key_id", "other", _tables, "kms_key_id"),
    Feeds("store.part_mib", 7, _s3, "part_bytes"),
)
"""Settings that are turned into a part's options."""

READ_IN_PLACE = frozenset(
    {
        "workspace",
        *(f"run.{name}" for name in ("minutes", "candidates", "slots", "ahead", "seed")),
        *(f"run.{name}" for name in ("program", "max_revisions", "max_repairs", "replay")),
        "run.history",
        "run.failures_in_a_row",
        *(f"evaluation.{name}" for name in ("clips", "track", "anchors")),
        *(f"held_out.{name}" for name in ("enabled", "clips", "derived", "derived_most")),
        *(f"held_out.{name}" for name in ("frames", "keep", "excess_percent")),
        *(f"model.{name}" for name in ("max_retries", "backoff_seconds", "gone_after_seconds")),
        *(f"model.{name}" for name in ("max_concurrent", "budget_usd", "budget_tokens")),
        *(f"model.{name}" for name in ("model_review", "model_judge", "preflight")),
        *("champions.path", "champions.remote", "data.max_decode_mib"),
        *(f"store.{name}" for name in ("backend", "ledger_table", "records_table")),
        *(f"telemetry.{name}" for name in ("metrics_port", "metrics_bind")),
        *(f"telemetry.{name}" for name in ("log_to", "log_format", "log_level")),
    }
)
"""Settings that ``app`` and the model gateway read where they need them, from the tree itself."""

CONFIG_FILES = {"config.py", "config_sections.py", "config_model.py"}
"""Files that define settings, and so have their defaults."""

SETTINGS_OF_ONE_SECTION = {
    "evocodec/app/held_out_clips.py": "held_out",
    "evocodec/config_model.py": "model",
    "evocodec/models/budget.py": "model",
    "evocodec/models/call.py": "model",
    "evocodec/models/gateway.py": "model",
}
"""Files in which ``settings`` is one section of them."""

OF_ROLES = re.compile(r"model\.(planner|coder|reviewer|judge)\.")
"""A role's own settings are those of the model: tests/unit/test_model_settings.py."""

ALLOWED = {
    # "file: name" of a number that only happens to be called like a setting
    "evocodec/champions/publish.py: _MAX_PROGRAM_BYTES",  # more than a repository should hold
    "evocodec/anchors/encoders.py: track",  # of the encoders that are listed, before their others
    "evocodec/cluster/probe_pods.py: timeout_seconds",  # of a pod, not of a model
    "evocodec/curves/confidence.py: _SEED",  # of the bootstrap: the same in every run
    "evocodec/evaluation/held_out.py: _MAX_POINTS",  # of a clip of the gate
    "evocodec/guest/ring.py: _SLOTS",  # frames in the shared ring
    "evocodec/report/sections.py: SLOTS",  # lines of a table
    "evocodec/sandbox/parser_pool.py: cpu_seconds",  # of reading a program, not of running it
    "evocodec/sandbox/parser_pool.py: memory_bytes",
    "evocodec/sandbox/redteam/checks.py: _GRACE_SECONDS",  # for an attack to end
}


def leaves(section: BaseModel, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name in type(section).model_fields:
        value = getattr(section, name)
        if isinstance(value, BaseModel):
            yield from leaves(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def read(options: Any, field: str) -> Any:
    value = attrgetter(field)(options)
    return value.get_secret_value() if isinstance(value, SecretStr) else value


def test_every_setting_is_accounted_for() -> None:
    names = {name for name, _ in leaves(Settings()) if not OF_ROLES.match(name)}
    assert names == {fed.setting for fed in FED} | READ_IN_PLACE
    assert not READ_IN_PLACE & {fed.setting for fed in FED}


def settings_read(nodes: Iterable[ast.AST], one_section: str) -> Iterator[str]:
    """Yield ``section.name`` of what is read: of ``settings.run.seed`` and of ``run.seed``."""
    for node in nodes:
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load):
            owner = node.value
            named = owner.attr if isinstance(owner, ast.Attribute) else getattr(owner, "id", "")
            section = named.lstrip("_")
            section = one_section if section == "settings" else section
            yield f"{section}.{node.attr}" if section else node.attr


def test_a_setting_that_feeds_no_part_is_read_from_its_section() -> None:
    found = {
        name
        for path in product_files()
        if path.name not in CONFIG_FILES
        for name in settings_read(nodes_of(path), SETTINGS_OF_ONE_SECTION.get(name_of(path), ""))
    }
    assert READ_IN_PLACE - found == set()


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("settings.run.seed", {"run.seed", "run"}),
        ("self._settings.seed", {"model.seed", "self._settings"}),
        ("settings.run.seed = 1", {"run"}),
        ("other.seed", {"other.seed"}),
    ],
)
def test_a_reading_is_of_a_section(text: str, names: set[str]) -> None:
    section = "" if "run" in text else "model"
    assert set(settings_read(ast.walk(ast.parse(text)), section)) == names


@pytest.mark.parametrize("fed", FED, ids=lambda fed: f"{fed.setting}-{fed.field}")
def test_a_setting_reaches_the_part_that_it_is_for(fed: Feeds) -> None:
    usual, changed = load_settings(), load_settings(flags={fed.setting: fed.other})
    assert read(fed.build(usual), fed.field) != read(fed.build(changed), fed.field)


@pytest.mark.parametrize("fed", FED, ids=lambda fed: f"{fed.setting}-{fed.field}")
def test_the_options_of_a_part_have_no_default_of_a_setting(fed: Feeds) -> None:
    owner, _, name = fed.field.rpartition(".")
    options = fed.build(load_settings())
    options = attrgetter(owner)(options) if owner else options
    assert is_dataclass(options)
    (field,) = (field for field in fields(options) if field.name == name)
    assert field.default is MISSING, f"{type(options).__name__}.{name} = {field.default}"
    assert field.default_factory is MISSING


def defaults(nodes: Iterable[ast.AST]) -> Iterator[tuple[str, ast.expr]]:
    """Names with a value that is written beside them: fields, parameters, constants of modules."""
    for node in nodes:
        if isinstance(node, ast.ClassDef | ast.Module):
            for statement in node.body:
                if isinstance(statement, ast.AnnAssign) and statement.value is not None:
                    yield ast.unparse(statement.target), statement.value
                elif isinstance(statement, ast.Assign):
                    yield ast.unparse(statement.targets[0]), statement.value
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            positional = [*node.args.posonlyargs, *node.args.args]
            given = node.args.defaults
            yield from zip(
                (argument.arg for argument in positional[len(positional) - len(given) :]),
                given,
                strict=True,
            )
            for argument, value in zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True):
                if value is not None:
                    yield argument.arg, value


UNIT = re.compile(r"_(mib|kib|bytes|mebibytes|kibibytes)$")


def plain(name: str) -> str:
    """A name without what tells a constant or a unit of size from a setting."""
    return UNIT.sub("_size", name.lower().lstrip("_").removeprefix("default_"))


def is_number(value: ast.expr) -> bool:
    """Whether it is a number, or worked out from numbers; zero and False mean that it is absent."""
    if isinstance(value, ast.BinOp):
        return is_number(value.left) or is_number(value.right)
    return (
        isinstance(value, ast.Constant) and bool(value.value) and not isinstance(value.value, str)
    )


def second_defaults(
    nodes: Iterable[ast.AST], numbers: frozenset[str], words: Mapping[str, str]
) -> list[str]:
    """Names of numbers that are called like one among the settings, and of words equal to one."""
    return [
        name
        for name, value in defaults(nodes)
        if (plain(name) in numbers and is_number(value)) or word(value) == words.get(plain(name), 0)
    ]


def word(value: ast.expr) -> str:
    """A text, or the member of an enum, as a settings file writes it."""
    if isinstance(value, ast.Attribute):
        return value.attr.lower()
    return value.value if isinstance(value, ast.Constant) and isinstance(value.value, str) else ""


@cache
def numbers() -> frozenset[str]:
    """The settings that are numbers, by the last part of their name."""
    return frozenset(
        plain(name.rpartition(".")[2])
        for name, value in leaves(Settings())
        if isinstance(value, int | float | None) and not isinstance(value, bool)
    )


@cache
def texts() -> Mapping[str, str]:
    """The settings whose default is a word, by the last part of their name."""
    return {
        plain(name.rpartition(".")[2]): value
        for name, value in leaves(Settings())
        if isinstance(value, str) and value
    }


def test_no_default_is_written_beside_the_name_of_a_setting() -> None:
    found = {
        f"{name_of(path)}: {name}"
        for path in product_files()
        if path.name not in CONFIG_FILES and "seeds" not in path.parts
        for name in second_defaults(nodes_of(path), numbers(), texts())
    }
    assert found - ALLOWED == set()


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("class Limits:\n    memory_bytes: int = 2 * GIBIBYTE", ["memory_bytes"]),
        ("def call(*, timeout_seconds: float = 120.0): ...", ["timeout_seconds"]),
        ("def next_qps(curve, max_points=8): ...", ["max_points"]),
        ("_GRACE_SECONDS = 20.0", ["_GRACE_SECONDS"]),
        ("DEFAULT_SCREEN_FRAMES = 9", ["DEFAULT_SCREEN_FRAMES"]),
        ("def open_stores(backend: str = 'sqlite'): ...", ["backend"]),
        ("class Sandbox:\n    provider: Provider = Provider.FORKSERVER", ["provider"]),
        ("class Role:\n    MODEL = 'model'", []),
        ("class View:\n    retries: int = 0", []),
        ("def call(*, timeout_seconds: float | None = None): ...", []),
    ],
)
def test_a_second_default_would_be_found(text: str, found: list[str]) -> None:
    assert second_defaults(ast.walk(ast.parse(text)), numbers(), texts()) == found
