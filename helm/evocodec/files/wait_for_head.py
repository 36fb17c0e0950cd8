#!/opt/evocodec/bin/python
"""Wait until Ray's head answers.

KubeRay runs a shell script that does this before each worker. The image has no shell, so this file
lies where the shell would be, and takes no notice of what it is told to run.
"""

import os
import subprocess
import sys
import time

RAY = os.environ.get("RAY_PROGRAM", "/opt/evocodec/bin/ray")


def main() -> int:
    """Ask until there is an answer; Kubernetes shows what is printed."""
    address = f"{os.environ['FQ_RAY_IP']}:{os.environ.get('RAY_PORT', '6379')}"
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
