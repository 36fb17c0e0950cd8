"""Video options of this process: cache folder, cache size, S3 endpoint, file of test sets.

Clips are loaded in many places, also in workers that have no settings. All of them read these
options.
"""

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

S3_SCHEME = "s3://"


@dataclass(frozen=True, slots=True)
class DataOptions:
    """Options for loading video.

    ``cache_bytes`` limits the files in ``cache_folder`` that are not in use. ``test_sets`` is the
    file of named test sets, or None.
    """

    cache_folder: Path
    cache_bytes: int
    s3_endpoint_url: str
    test_sets: Path | None


def shared_folder() -> Path:
    """Return the default cache folder; every process of this user shares it."""
    return Path(tempfile.gettempdir()) / f"evocodec-{os.getuid()}" / "video"


_current: list[DataOptions] = []  # made when first asked for: there may be no temporary folder


def use_options(options: DataOptions) -> DataOptions:
    """Set the options of the process; returns the previous ones."""
    before, _current[:] = data_options(), [options]
    return before


def data_options() -> DataOptions:
    """Return the options of the process."""
    if not _current:
        # Nobody has said how much may lie there: what is not in use is removed.
        _current.append(
            DataOptions(shared_folder(), cache_bytes=0, s3_endpoint_url="", test_sets=None)
        )
    return _current[0]
