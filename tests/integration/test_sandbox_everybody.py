"""The same wall for everybody: ordinary users, every launcher of a run, and machines in use."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack

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
