"""Cost of a Ray head that dies, with the driver process and without it; see docs/execution.md.

Run it with ``python benchmarks/head_death.py``: a run on three nodes on loopback, in either way.
"""

import argparse
import json
import tempfile
from dataclasses import asdict
from pathlib import Path

from tests.support.head_death import PROGRAMS, measure_head_death


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("ways", nargs="*", default=list(PROGRAMS), help="driver, exit")
    for way in parser.parse_args().ways:
        with tempfile.TemporaryDirectory(prefix="head") as folder:
            print(json.dumps(asdict(measure_head_death(way, Path(folder) / "w"))), flush=True)


if __name__ == "__main__":
    main()
