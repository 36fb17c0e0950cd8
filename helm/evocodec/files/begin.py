"""Begin a run, or go on with the one that a restart interrupted."""

import json
import os
import subprocess
import sys

EVOCODEC = os.environ.get("EVOCODEC_PROGRAM", "/opt/evocodec/bin/evocodec")


def main() -> None:
    """Become `evocodec run`, so that it gets the signals."""
    common = sys.argv[1:]
    asked = subprocess.run(
        [EVOCODEC, *common, "--json", "status"], capture_output=True, text=True, check=False
    )
    words = [EVOCODEC, *common, "run", "--plain"]
    if asked.returncode == 0 and json.loads(asked.stdout).get("outcome") != "finished":
        words.append("--resume")
    sys.stdout.flush()
    os.execv(EVOCODEC, words)  # noqa: S606 - there is no shell, and need not be


if __name__ == "__main__":
    main()
