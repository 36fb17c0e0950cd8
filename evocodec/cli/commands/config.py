"""``evocodec config``: every setting, its value here, and what it is for."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import typer
from rich.text import Text

from evocodec.cli.command import command
from evocodec.cli.errors import without_keys
from evocodec.cli.render.tables import add, make_table, spaced
from evocodec.cli.session import Session

if TYPE_CHECKING:
    from pydantic import BaseModel


@dataclass(frozen=True, slots=True)
class Setting:
    """One leaf of the tree; a secret's value is a mask."""

    name: str
    value: Any
    changed: bool
    description: str


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    command(
        app,
        "config",
        panel="Look after it",
        examples=["evocodec config", "evocodec config --set run.minutes=5 --json"],
    )(show_config)


def show_config(session: Session) -> None:
    """Show every setting, its value here, where that comes from, and its purpose.

    File < environment < flags, the last one winning. Secrets are masked.
    """
    settings = list(leaves(session.settings()))
    if session.json:
        session.emit_pretty({setting.name: setting.value for setting in settings})
        return
    table = make_table("setting", "value", "from", "", left=(0, 1, 2, 3), wrapped=(1, 3))
    for setting in settings:
        style = "bold" if setting.changed else "default"
        value = "" if setting.value in ("", None, []) else str(setting.value)
        about = Text(setting.description, style="dim")
        origin = Text(session.origin_of(setting.name), style="dim")
        add(table, setting.name, Text(value, style=style), origin, about)
    session.show(spaced(table))
    note = "bold: not the default · file evocodec.toml < EVOCODEC_RUN__MINUTES=5 < --set"
    session.show(Text(note, style="dim"))


def leaves(model: "BaseModel", prefix: str = "") -> Iterator[Setting]:
    """Yield every setting of the tree, in the order in which it is declared."""
    from pydantic import BaseModel, SecretStr

    for name, field in type(model).model_fields.items():
        value = getattr(model, name)
        if isinstance(value, BaseModel):
            yield from leaves(value, f"{prefix}{name}.")
            continue
        changed = value != field.get_default(call_default_factory=True)
        if isinstance(value, SecretStr):
            value = "(set)" if value.get_secret_value() else ""
        elif isinstance(value, str):
            value = without_keys(value)  # a URL may carry a password
        elif not isinstance(value, bool | int | float | None):
            value = [*value] if isinstance(value, tuple) else str(value)
        yield Setting(prefix + name, value, changed, field.description or "")
