"""Chaos test: a whole run on three nodes, whose parts are killed one after the other.

Run it with ``python -m benchmarks.chaos --candidates 60``, and with ``--stores`` to keep everything
in DynamoDB Local and a persisting S3, which are killed as well (EVOCODEC_DYNAMODB_LOCAL=fetch
accepts AWS's licence). Workers, nodes and the head of a real Ray on loopback (GPUs pretended) die
every few seconds while the mutation proposer evolves a toy; so does the controller, which is
resumed. Then ledger, records, versions and blobs are compared, and some points are measured again
without Ray, undisturbed: the same bytes, the same quality.
"""

import argparse
import itertools
import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import pytest

from evocodec.config import parse_assignment
from tests.support.chaos_run import Plan, evolve

RAY = ("worker", "node", "worker", "head", "controller")
ALL = ("worker", "dynamodb", "node", "s3", "worker", "both stores", "head", "controller")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--candidates", type=int, default=60)
    parser.add_argument("--every", type=float, default=8.0, help="seconds between two deaths")
    parser.add_argument("--stores", action="store_true", help="DynamoDB and S3, killed as well")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE")
    given = parser.parse_args(arguments)
    plan = Plan(
        candidates=given.candidates,
        deaths=itertools.cycle(ALL if given.stores else RAY),
        every_seconds=given.every,
        stores=given.stores,
        extra=dict(parse_assignment(text) for text in given.set),
    )
    try:
        with tempfile.TemporaryDirectory(prefix="chaos") as folder:
            result = evolve(plan, Path(folder))
    except pytest.skip.Exception as missing:
        parser.error(str(missing))
    print(json.dumps(asdict(result), indent=2))
    return 1 if result.problems else 0


if __name__ == "__main__":
    sys.exit(main())
