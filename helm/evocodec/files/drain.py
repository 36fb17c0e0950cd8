"""Before a worker's pod stops: let Ray send nothing more here, and let what runs here end.

drain.py SECONDS ADDRESS, the address being the head's. Ray ends its node by itself when the last
task has ended; until then, or until the time is up, this program waits.
"""

import os
import subprocess
import sys
import time
from pathlib import Path

RAY = os.environ.get("RAY_PROGRAM", "/opt/evocodec/bin/ray")
NODE = "--node_id="


def main() -> int:
    """Say that the node goes, and wait."""
    seconds, address = int(sys.argv[1]), sys.argv[2]
    until = time.monotonic() + seconds
    node = node_id()
    if not node:
        return 0
    words = ["drain-node", f"--address={address}", f"--node-id={node}"]
    words += ["--reason=DRAIN_NODE_REASON_PREEMPTION", "--reason-message=the pod stops"]
    try:
        # A head that is gone does not answer, and then nobody waits for what runs here.
        asked = subprocess.run(
            [RAY, *words, f"--deadline-remaining-seconds={seconds}"],
            capture_output=True,
            text=True,
            timeout=min(seconds, 30),
            check=False,
        )
    except subprocess.TimeoutExpired:
        sys.stderr.write(f"{address} does not answer\n")
        return 1
    if asked.returncode != 0:
        sys.stderr.write((asked.stderr or asked.stdout)[-500:])
        return 1
    while node_id() and time.monotonic() < until:
        time.sleep(0.5)
    return 0


def node_id() -> str:
    """Return what Ray calls the node that runs in this container; empty: none runs any more."""
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_text(errors="replace").split("\0")
        except OSError:  # it has ended meanwhile
            continue
        if Path(words[0]).name == "raylet":
            return next((word.removeprefix(NODE) for word in words if word.startswith(NODE)), "")
    return ""


if __name__ == "__main__":
    raise SystemExit(main())
