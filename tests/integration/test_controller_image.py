"""The controller's image: its files agree with the rest, and locked down it can do its work."""

import json
import os
import re
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.container_images import ROOT, built_image

pytestmark = pytest.mark.timeout(1800)  # the first test that needs the image builds it

FOLDER = ROOT / "controller-image"
LOCK = FOLDER / "requirements.lock"


def pins(path: Path) -> dict[str, str]:
    found = re.findall(r"^([A-Za-z0-9._-]+)==([^\s\\]+)", path.read_text(encoding="utf-8"), re.M)
    return {re.sub(r"[-_.]+", "-", name).lower(): version for name, version in found}


# -- its files --


def test_every_locked_package_has_a_hash_and_a_tested_version() -> None:
    text = LOCK.read_text(encoding="utf-8").replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line.strip()]
    assert lines
    assert all(re.match(r"\S+==\S+ +(--hash=sha256:[0-9a-f]{64} *)+$", line) for line in lines)
    tested, locked = pins(ROOT / "constraints.txt"), pins(LOCK)
    assert {name for name in locked.keys() & tested if locked[name] != tested[name]} == set()


def test_it_has_everything_that_evocodec_depends_on() -> None:
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = [*project["dependencies"], *project["optional-dependencies"]["aws"]]
    names = {re.match(r"[A-Za-z0-9-]+", line)[0].lower() for line in wanted}  # type: ignore[index]
    assert names - pins(LOCK).keys() == set()


def test_both_images_carry_the_same_versions() -> None:
    sandbox, controller = pins(ROOT / "sandbox-image" / "requirements.lock"), pins(LOCK)
    common = sandbox.keys() & controller.keys()
    assert "ray" in common
    assert {name for name in common if sandbox[name] != controller[name]} == set()


def test_neither_candidates_libraries_nor_tools_for_tests_are_in_it() -> None:
    assert not {"torch", "numba", "pytest", "moto", "kmock", "hypothesis"} & pins(LOCK).keys()


def test_the_last_stage_starts_from_nothing_and_is_not_root() -> None:
    stages = (FOLDER / "Dockerfile").read_text(encoding="utf-8").split("\nFROM ")
    assert stages[-1].startswith("scratch\n")
    assert re.search(r"^USER 65532:65532$", stages[-1], re.M)
    assert "\nRUN " not in stages[-1]


# -- the image itself --


@pytest.fixture(scope="module")
def image() -> Iterator[str]:
    with built_image("controller", os.environ.get("EVOCODEC_CONTROLLER_IMAGE")) as name:
        yield name


def run(image: str, program: str) -> str:
    """Run a Python program in the image as its pod would: nothing written but three places."""
    # A volume, which goes with the container; podman gives a tmpfs the owner root here.
    volume = "--mount type=volume,destination=/data,U=true"
    flags = f"{volume} --shm-size 256m --entrypoint /opt/evocodec/bin/python"
    with tempfile.TemporaryDirectory() as folder:
        outcome = subprocess.run(
            [ROOT / "sandbox-image" / "run.sh", "-"],
            input=program,
            env={**os.environ, "IMAGE": image, "RUN_FLAGS": flags},
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=600,  # a run on a busy machine
            check=False,
        )
    assert outcome.returncode == 0, outcome.stderr
    return outcome.stdout


def test_it_keeps_versions_in_git_and_asks_a_credential_helper(image: str) -> None:
    program = """
import json, os, subprocess
def git(*words, **more):
    done = subprocess.run(["git", *words], capture_output=True, text=True, **more)
    return done.stdout or done.stderr
open("/data/credentials", "w").write("https://bot:token@git.example.com\\n")
asked = git("-c", "credential.helper=store --file=/data/credentials", "credential", "fill",
            input="protocol=https\\nhost=git.example.com\\n\\n")
remote = git("ls-remote", "https://127.0.0.1:9/x")
print(json.dumps({"asked": asked, "remote": remote, "root": os.access("/opt", os.W_OK)}))
"""
    answer = json.loads(run(image, program))
    assert "password=token" in answer["asked"]
    assert "Failed to connect" in answer["remote"]  # the helper is there, and so is libcurl
    assert answer["root"] is False


def test_a_run_adopts_a_version_in_it(image: str) -> None:
    program = """
import json, subprocess
def evocodec(*words):
    done = subprocess.run(["evocodec", "-w", "/data", *words], stdin=subprocess.DEVNULL,
                          capture_output=True, text=True)
    return done.stdout + done.stderr
checks = json.loads(evocodec("doctor", "--json"))["checks"]
from evocodec.video.clips import default_clips
clip = f"{default_clips()[0].path}@0-8:96x80"
# The gate's draws are secret: whatever the first program comes to on them, it may be adopted.
wide = ("judge.chance_first_below_mbps=1000", "held_out.keep=0.0", "held_out.excess_percent=1000")
flags = [f"--set={setting}" for setting in ("sandbox.mode=pod", *wide)]
run = evocodec(*flags, "run", "--plain", "--candidates", "1", "--minutes", "9", "--clip", clip)
import boto3, langchain_openai, langgraph
print(json.dumps({"failed": [c for c in checks if c["state"] == "fail"], "run": run}))
"""
    answer = json.loads(run(image, program))
    assert answer["failed"] == []
    assert "adopted as v1, commit" in answer["run"], answer["run"]


def test_no_package_manager_or_compiler_is_left(image: str) -> None:
    program = (
        "import os\n"
        "names = {'pip', 'ensurepip', 'virtualenv', 'uv', 'apt', 'bash', 'curl', 'gcc', 'perl'}\n"
        "for folder, folders, files in os.walk('/'):\n"
        "    if folder == '/': folders[:] = {*folders} - {'proc', 'sys'}\n"
        "    for name in {*files, *folders} & names:\n"
        "        print(os.path.join(folder, name))\n"
        "    for name in files:\n"
        "        path = os.path.join(folder, name)\n"
        "        if not os.path.islink(path) and os.stat(path).st_mode & 0o6000: print(path)\n"
    )
    assert run(image, program).split() == []


def test_its_labels_say_what_it_is_and_where_it_comes_from(image: str) -> None:
    shown = subprocess.run(
        ["podman", "image", "inspect", image], check=True, capture_output=True, text=True
    ).stdout
    (about,) = json.loads(shown)
    labels, config = about["Labels"], about["Config"]
    assert labels["org.opencontainers.image.title"] == "evocodec-controller"
    assert re.fullmatch(r"[0-9a-f]{40}", labels["org.opencontainers.image.revision"])
    assert config["User"] == "65532:65532"
