"""Settings: one typed, frozen tree; file < environment < flags.

The file is ``evocodec.toml`` in the current folder, believed as far as ``config_trust.py`` says, or
``--config FILE``; the environment uses ``EVOCODEC_`` and ``__``
between levels (``EVOCODEC_MODEL__BASE_URL``); flags are dotted names (``--set run.minutes=10``).
"""

import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, TypeGuard
from urllib.parse import unquote

from pydantic import (
    BaseModel,
    Field,
    SecretStr,
    ValidationError,
)
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
)

from evocodec.config_sections import (
    ChampionSettings,
    DataSettings,
    EvaluationSettings,
    HeldOutSettings,
    JudgeSettings,
    LimitSettings,
    ModelSettings,
    RaySettings,
    RunSettings,
    SandboxSettings,
    StoreSettings,
    TelemetrySettings,
)
from evocodec.config_trust import (
    SettingsFile,
    is_trusted,
    protected_settings,
    read_settings_file,
    trusted_files,
)
from evocodec.domain.errors import ConfigError
from evocodec.keys import environment_with_keys, remember

DEFAULT_FILE = "evocodec.toml"


class Settings(BaseSettings):
    """Everything that can be set."""

    model_config = SettingsConfigDict(
        frozen=True,
        extra="forbid",
        env_prefix="EVOCODEC_",
        env_nested_delimiter="__",
    )

    ANY_FILE: ClassVar[frozenset[str]] = frozenset()
    OWN_FOLDER: ClassVar[frozenset[str]] = frozenset({"workspace"})

    workspace: Path = Field(Path(".evocodec"), description="everything a run writes is below this")
    run: RunSettings = RunSettings()
    evaluation: EvaluationSettings = EvaluationSettings()
    held_out: HeldOutSettings = HeldOutSettings()
    limits: LimitSettings = LimitSettings()
    data: DataSettings = DataSettings()
    sandbox: SandboxSettings = SandboxSettings()
    ray: RaySettings = RaySettings()
    model: ModelSettings = ModelSettings()
    judge: JudgeSettings = JudgeSettings()
    champions: ChampionSettings = ChampionSettings()
    store: StoreSettings = StoreSettings()
    telemetry: TelemetrySettings = TelemetrySettings()

    def secrets(self) -> Iterator[str]:
        """Every secret that is set, in all sections: what logs must not show."""
        return _secrets(self)


def _secrets(section: BaseModel) -> Iterator[str]:
    for name in type(section).model_fields:
        value = getattr(section, name)
        if isinstance(value, BaseModel):
            yield from _secrets(value)
        elif isinstance(value, SecretStr) and value.get_secret_value():
            yield value.get_secret_value()
        elif isinstance(value, Mapping):
            yield from (each.get_secret_value() for each in value.values() if _is_secret(each))
        elif isinstance(value, str):
            yield from _in_url(value)


def _is_secret(value: object) -> TypeGuard[SecretStr]:
    return isinstance(value, SecretStr) and bool(value.get_secret_value())


def _in_url(text: str) -> Iterator[str]:
    """Yield the name with the password of a URL, and the password, as written and as meant."""
    _, found, rest = text.partition("://")
    given, found_name, _ = re.split("[/?#]", rest)[0].rpartition("@") if found else ("", "", "")
    if found_name:
        password = given.partition(":")[2]
        yield from filter(None, {given, password, unquote(password)})


def load_settings(*, file: Path | None = None, flags: Mapping[str, Any] | None = None) -> Settings:
    """Merge file, environment and flags (dotted names), the last one winning.

    A ``file`` that is given is trusted; the one in the current folder as far as
    ``config_trust.py`` says.

    Raises:
        ConfigError: a file that is missing, not TOML, or sets what it may not; or a setting
            unknown or out of range.
    """
    found = settings_file(file)
    given = dict(found.tree) if found is not None else {}

    class Layered(Settings):
        """The tree with its three sources in order."""

        @classmethod
        def settings_customise_sources(
            cls,
            settings_cls: type[BaseSettings],
            init_settings: PydanticBaseSettingsSource,
            env_settings: PydanticBaseSettingsSource,
            dotenv_settings: PydanticBaseSettingsSource,
            file_secret_settings: PydanticBaseSettingsSource,
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            if isinstance(env_settings, EnvSettingsSource):
                env_settings.env_vars = _variables()
            return (init_settings, env_settings, InitSettingsSource(settings_cls, given))

    tree: dict[str, Any] = {}
    for name, value in (flags or {}).items():
        _put(tree, name.split("."), value)
    try:
        settings = Layered(**tree)
    except ValidationError as error:
        raise ConfigError(_explain(error)) from error
    except SettingsError as error:
        message = f"a setting in the environment cannot be read: {error}"
        raise ConfigError(message) from error
    remember(settings.secrets())
    return settings


def _variables() -> dict[str, str | None]:
    """Return the environment with its keys, by lower-case names as pydantic looks them up."""
    return {name.lower(): value for name, value in environment_with_keys().items()}


def settings_file(file: Path | None = None) -> SettingsFile | None:
    """Return the settings file that counts: the one given, or the one in the current folder.

    Raises ``ConfigError`` when it cannot be read, or is not trusted and sets what it may not.
    """
    try:
        found = read_settings_file(file or Path(DEFAULT_FILE))
    except FileNotFoundError:
        if file is None:
            return None
        message = f"the settings file {file} does not exist; check --config"
        raise ConfigError(message) from None
    if file is None:
        _require_trust(found)
    return found


def _require_trust(found: SettingsFile) -> None:
    names = protected_settings(found, Settings)
    if not names or is_trusted(found):
        return
    changed = str(found.path) in trusted_files()
    why = "has changed since you trusted it" if changed else "is not trusted"
    raise ConfigError(
        f"{found.path} was not asked for and {why}, but sets {', '.join(names)}. Nothing of it was "
        f"used; run `evocodec trust` once if you have read it and agree, or give it with "
        f"--config {DEFAULT_FILE}, or remove those lines"
    )


def origin_of(name: str, *, file: Path | None, flags: Mapping[str, Any]) -> str:
    """Where a setting has its value from: ``--set``, ``environment``, a file's name, or nothing.

    The sources are those of ``load_settings``, which has found them to be readable.
    """
    found = settings_file(file)
    given: dict[str, Any] = {}
    environment = EnvSettingsSource(Settings)
    environment.env_vars = _variables()
    for flag, value in flags.items():
        _put(given, flag.split("."), value)
    sources: tuple[tuple[str, Mapping[str, Any]], ...] = (
        ("--set", given),
        ("environment", environment()),
        (str(file or DEFAULT_FILE), found.tree if found is not None else {}),
    )
    return next((label for label, tree in sources if _has(tree, name.split("."))), "")


def _has(tree: Any, name: list[str]) -> bool:
    for part in name:
        if not isinstance(tree, Mapping) or part not in tree:
            return False
        tree = tree[part]
    return True


def bytes_of_mib(mebibytes: float) -> int:
    """Settings of memory and storage are in MiB; the parts count bytes."""
    return int(mebibytes * (1 << 20))


def bytes_of_kib(kibibytes: float) -> int:
    """Settings of a program's size are in KiB; the parts count bytes."""
    return int(kibibytes * (1 << 10))


def parse_assignment(text: str) -> tuple[str, Any]:
    """Read ``section.name=value``; the value is TOML, or a bare string.

    Raises:
        ConfigError: there is no ``=`` or no name.
    """
    name, equals, raw = text.partition("=")
    if not equals or not name.strip():
        message = f"--set wants section.name=value, got {text!r}; try --set run.minutes=5"
        raise ConfigError(message)
    try:
        value: Any = tomllib.loads(f"v = {raw}")["v"]
    except tomllib.TOMLDecodeError:
        value = raw
    return name.strip(), value


def _put(tree: dict[str, Any], name: list[str], value: object) -> None:
    node = tree
    for part in name[:-1]:
        child = node.setdefault(part, {})
        if not isinstance(child, dict):
            message = f"{part!r} is not a section of settings, in {'.'.join(name)}"
            raise ConfigError(message)
        node = child
    node[name[-1]] = value


def _explain(error: ValidationError) -> str:
    lines = []
    for problem in error.errors(include_url=False, include_input=False):
        where = ".".join(str(part) for part in problem["loc"])
        what = problem["msg"].removeprefix("Value error, ")
        if problem["type"] == "extra_forbidden":
            what = "there is no such setting"
        lines.append(f"{where}: {what}")
    return "; ".join(lines) + ". See `evocodec config` for what each setting takes"
