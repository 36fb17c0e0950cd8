#!/opt/evocodec/bin/python
"""Stand in for the shell that the image does not have, in the two cases in which one is asked for.

Ray starts its client server, and workers with an environment of their own, by ``bash -c 'exec …'``;
that is done without a shell. KubeRay waits for the head by a script before each worker; that is
done instead of the script. Anything else is refused.
"""

import os
import re
import shlex
import subprocess
import sys
import time

RAY = os.environ.get("RAY_PROGRAM", "/opt/evocodec/bin/ray")


def main() -> int:
    """Do what is asked for, or say that it is not done here."""
    text = sys.argv[-1]
    if text.startswith("exec "):
        words = shlex.split(text)[1:]
        sys.stdout.flush()
        os.execvp(words[0], words)  # noqa: S606 - there is no shell, and need not be
    if asked := re.search(r"\bray health-check --address (\S+)", text):
        return wait_for_head(asked[1])
    sys.stderr.write("this image has no shell\n")
    return 126


def wait_for_head(address: str) -> int:
    """Ask until there is an answer; Kubernetes shows what is printed."""
    while True:
        asked = subprocess.run(
            [RAY, "health-check", "--address", address], capture_output=True, text=True, check=False
        )
        if asked.returncode == 0:
            sys.stdout.write(f"Ray's head answers at {address}\n")
            return 0
        reason = (asked.stderr or asked.stdout).strip().splitlines()
        sys.stdout.write(f"waiting for {address}: {reason[-1] if reason else 'no answer'}\n")
        sys.stdout.flush()
        time.sleep(float(os.environ.get("WAIT_SECONDS", "5")))


if __name__ == "__main__":
    raise SystemExit(main())
