"""Programs by name: built-in seeds, files, versions, candidates."""

from importlib import resources
from pathlib import Path

from evocodec.domain.errors import UserError
from evocodec.regular_files import read_regular

FIRST_PROGRAM = "inter"
"""Where evolution starts without a version and without ``--program``."""
BUILT_IN = (FIRST_PROGRAM, "per_frame")
_LARGEST = 16 << 20


def built_in(name: str) -> str:
    """The text of a seed program."""
    return resources.files("evocodec.codec.seeds").joinpath(f"{name}.py").read_text("utf-8")


def read_program(path: Path) -> str:
    """A program from a file.

    Raises:
        UserError: it is missing, a folder, or no text.
    """
    try:
        return read_regular(path, _LARGEST).decode("utf-8")
    except OSError as error:
        message = f"cannot read the program {path}: {error.strerror or error}"
        raise UserError(message) from error
    except UnicodeDecodeError as error:
        message = f"cannot read the program {path}: it is not UTF-8 text"
        raise UserError(message) from error


def looks_like_file(ref: str) -> bool:
    """Whether a reference means a file rather than a version, a candidate or a built-in name."""
    return ref.endswith(".py") or ("/" in ref and Path(ref).exists())


def short_name(ref: str) -> str:
    """Return the name of a program in reports; a file is named without its folder."""
    return Path(ref).name if looks_like_file(ref) else ref
