"""Probe scripts: plain Python that runs inside probe pods, for an image without a shell.

A pod returns its result as its termination message, at most 4096 bytes of JSON. That needs no right
to read logs, and no connection from the API server to the node.
"""

from typing import Final

PYTHON: Final = "/opt/evocodec/bin/python"
PORT: Final = 8080

LISTEN: Final = f"""\
import socket
server = socket.create_server(("0.0.0.0", {PORT}))
while True:
    server.accept()[0].close()
"""

# Policies reach a new pod after a moment, and name servers may be slow: both are asked again
# until the answer is the wanted one or the time is over.
REACH: Final = """\
import json, os, socket, time

def reach(host, port):
    try:
        socket.create_connection((host, port), timeout=3).close()
    except OSError:
        return False
    return True

def resolves(name):
    try:
        return bool(socket.getaddrinfo(name, 443, type=socket.SOCK_STREAM))
    except OSError:
        return False

def patiently(ask, wanted):
    began = time.monotonic()
    while True:
        answer = ask()
        seconds = time.monotonic() - began
        if answer == wanted or seconds > float(os.environ["SETTLE"]):
            return answer, seconds
        time.sleep(0.5)

wanted = os.environ["WANTED"] == "reach"
target, seconds = patiently(lambda: reach(os.environ["TARGET"], int(os.environ["PORT"])), wanted)
found = {"target": target, "seconds": round(seconds, 1)}
if wanted:
    names = os.environ["NAMES"].split()
    found["names"] = {name: patiently(lambda: resolves(name), True)[0] for name in names}
else:
    server = os.environ.get("KUBERNETES_SERVICE_HOST", "")
    port = int(os.environ.get("KUBERNETES_SERVICE_PORT", "443"))
    found["api"] = bool(server) and reach(server, port)
    found["metadata"] = reach("169.254.169.254", 80)
with open("/dev/termination-log", "w") as file:
    json.dump(found, file)
"""

FLOOR: Final = """\
import glob, json, subprocess, sys

def ask(*words):
    done = subprocess.run(
        [sys.executable, "-m", "evocodec.cli.main", "-w", "/tmp/check", "--json", *words],
        capture_output=True, text=True, stdin=subprocess.DEVNULL,
    )
    try:
        return json.loads(done.stdout)
    except ValueError:
        return {"problem": (done.stderr or done.stdout).strip()[-500:]}

doctor = ask("--set", "sandbox.mode=pod", "doctor")
floor = [c for c in doctor.get("checks", []) if c["name"] == "sandbox"]
attacks = ask("redteam", "--mode", "pod")
rows = attacks.get("attacks", [])
bad = [f"{r['theme']}/{r['name']}" for r in rows if r["verdict"] in ("BROKEN", "unclear")]
found = {
    "floor": floor[0]["state"] if floor else "unknown",
    "detail": (floor[0]["detail"] if floor else str(doctor))[:800],
    "attacks": len(rows),
    "held": attacks.get("counts", {}).get("held", 0),
    "ok": bool(attacks.get("ok")),
    "bad": bad[:10],
    "problem": str(attacks.get("problem") or attacks.get("error") or "")[:800],
    "gpus": len(glob.glob("/dev/nvidia[0-9]*")),
}
with open("/dev/termination-log", "w") as file:
    json.dump(found, file)
"""
