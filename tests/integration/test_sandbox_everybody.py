"""The same wall for everybody: ordinary users, every launcher of a run, and machines in use."""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from evocodec.domain.vocabulary import Layer
from evocodec.sandbox.policy import NAMESPACES
from tests.support.other_user import SOMEBODY, run_as

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the sandbox is made of Linux")

LAYERS_OF_BOTH_LAUNCHERS = """
import json
from evocodec.execution.emulation import emulated_processor
from evocodec.sandbox.providers import make_launcher
from tests.support.default_options import default_policy

found = []
for environment in ({}, emulated_processor()):
    with make_launcher(default_policy(), env=environment) as launcher:
        found.append(dict(launcher.describe().layers))
print(json.dumps(found))
"""

ONE_JOB_IN_POD_MODE = """
from evocodec.sandbox.forkserver import ForkServerLauncher
from tests.support.default_options import default_policy
from tests.support.sandbox_jobs import encode, encoder

with ForkServerLauncher(default_policy(mode="pod")) as launcher:
    print(launcher.describe().layers["unprivileged_user"])
    print(encode(launcher, encoder("import threading\\nthreading.Thread(target=id).start()")))
"""


def test_the_verifying_launcher_of_an_ordinary_user_has_the_layers_of_the_other_one() -> None:
    done = run_as(SOMEBODY, [sys.executable, "-c", LAYERS_OF_BOTH_LAUNCHERS])
    assert done.returncode == 0, done.stderr
    plain, emulated = json.loads(done.stdout)
    assert emulated.keys() == plain.keys()
    differing = {name for name in plain if plain[name] != emulated[name]} - {Layer.CGROUP}
    assert differing == set()
    if plain[Layer.USER_NAMESPACE] == "on":
        assert {layer: emulated[layer] for layer in NAMESPACES} == dict.fromkeys(NAMESPACES, "on")


@pytest.fixture
def many_processes_of_nobody() -> Iterator[None]:
    """As many as a job may have threads; they are alive while a test runs."""
    with ExitStack() as alive:
        for _ in range(16):
            process = subprocess.Popen(["setpriv", "--reuid=65534", "sleep", "300"])
            alive.callback(process.wait)
            alive.callback(process.kill)
        time.sleep(0.1)
        yield


@pytest.mark.usefixtures("many_processes_of_nobody")
def test_threads_of_others_do_not_count_against_a_job_of_root_in_pod_mode() -> None:
    done = run_as(0, [sys.executable, "-c", ONE_JOB_IN_POD_MODE])
    assert done.stdout.split() == ["on", "b'done'"], done.stderr


def test_an_ordinary_users_doctor_finds_the_namespaces_a_run_may_need() -> None:
    lab = [sys.executable, "-c", "from evocodec.cli.main import entry; entry()"]
    # pytest's own folders are closed to others.
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o777)
        words = ["-w", folder, "--set", "sandbox.mode=namespaces", "doctor", "--json"]
        done = run_as(SOMEBODY, [*lab, *words])
    found = {check["name"]: check for check in json.loads(done.stdout)["checks"]}["sandbox"]
    if found["parts"].get(Layer.USER_NAMESPACE) != "on":
        pytest.skip(f"no user namespaces here: {found['parts'].get(Layer.USER_NAMESPACE)}")
    assert (found["state"], found["parts"][Layer.PID_NAMESPACE]) == ("ok", "on")


def test_what_a_launcher_promises_holds_for_an_ordinary_user_too() -> None:
    if os.getuid() != 0:
        pytest.skip("its tests have run as an ordinary user already")
    options = ["-q", "-p", "no:cacheprovider", "-p", "no:xdist", "-k", "not bubblewrap"]
    words = [sys.executable, "-m", "pytest", *options, "tests/contract/test_launchers.py"]
    done = run_as(SOMEBODY, words)
    assert done.returncode == 0, done.stdout[-3000:]
