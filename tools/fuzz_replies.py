"""Long fuzz of replies: each rendering of a program gives that program, or a refusal.

The short form is ``tests/property/test_replies.py``. Ends with status 1 at the first reply that
gives another program, which it prints after making it small.

    python -m tools.fuzz_replies --minutes 10
"""

import argparse
import sys
import time
from collections import Counter

from hypothesis import HealthCheck, Phase, given, settings

from agents.extract import extract_program
from evocodec.domain.errors import CandidateFailure
from tests.support.rendered_replies import ReplyCase, reply_cases, same_program

_ROUND = 400


def fuzz(seconds: float) -> Counter[str]:
    """Try new replies for so long; returns how they ended, and raises for a wrong one."""
    ends: Counter[str] = Counter()

    @settings(
        max_examples=_ROUND,
        database=None,
        deadline=None,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )
    @given(reply_cases())
    def look(case: ReplyCase) -> None:
        try:
            found = extract_program(case.reply, case.base)
        except CandidateFailure:
            ends["refused"] += 1
            return
        if found.program.text.strip() == case.base.strip():
            ends["the given program, which is refused as a duplicate"] += 1
            return
        ends["read"] += 1
        if not same_program(found.program.text, case.program):
            raise AssertionError(f"another program was read: {found.how}")

    until = time.monotonic() + seconds
    while time.monotonic() < until:
        look()
    return ends


def main() -> None:
    """Run, and print how many replies ended in which way."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    ends = fuzz(60.0 * parser.parse_args().minutes)
    for name, count in ends.most_common():
        sys.stdout.write(f"{count:8,} {name}\n")


if __name__ == "__main__":
    main()
