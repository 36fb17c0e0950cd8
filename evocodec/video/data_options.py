"""Video options of this process: cache folder, cache size, S3 endpoint, file of test sets.

A clip is loaded in many places, also in workers that have no settings; what they share is this.
"""

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

GIBIBYTE = 1 << 30
S3_SCHEME = "s3://"


@dataclass(frozen=True, slots=True)
class DataOptions:
    """``cache_bytes`` bounds what lies in ``cache_folder`` and is not in use.

    ``catalogue`` is the file of named test sets, None where there is none.
    """

    cache_folder: Path
    cache_bytes: int = 4 * GIBIBYTE
    s3_endpoint_url: str = ""
    catalogue: Path | None = None


def shared_folder() -> Path:
    """Where video is kept unless told otherwise: in a place that others may write to as well."""
    return Path(tempfile.gettempdir()) / f"evocodec-{os.getuid()}" / "video"


_current: list[DataOptions] = [DataOptions(shared_folder())]


def use_options(options: DataOptions) -> DataOptions:
    """Make these the options of the process; returns the ones before."""
    before, _current[0] = _current[0], options
    return before


def data_options() -> DataOptions:
    """The options of the process; by default a private folder for temporary files."""
    return _current[0]
