"""A champions folder of somebody else: it executes nothing, and what it forges does no harm."""

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from evocodec.champions.publish import published_writer
from evocodec.champions.repository import ChampionRepository
from evocodec.cli.main import application
from evocodec.domain.errors import EvocodecError, UserError
from evocodec.video.clips import default_clips
from tests.support.adoption_entries import entry, git

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")


STORE = Path(__file__).resolve().parents[1] / "data" / "store_codec.py"


@pytest.fixture(scope="module")
def honest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two versions; never changed, but copied."""
    folder = tmp_path_factory.mktemp("honest") / "champions"
    champions = ChampionRepository(folder)
    champions.adopt(entry(1))
    champions.adopt(entry(2))
    return folder


class Bait:
    """A harmless command; whoever executes it leaves a mark."""

    def __init__(self, folder: Path) -> None:
        self.mark = folder / "executed"
        self.script = folder / "bait.sh"
        self.script.write_text(f"#!/bin/sh\necho $0 $@ >> {self.mark}\ncat\n")
        self.script.chmod(0o755)


def configure(champions: Path, *lines: str) -> None:
    with (champions / ".git" / "config").open("a") as file:
        file.write("".join(f"{line}\n" for line in lines))


def sign_head(champions: Path) -> None:
    """Make the newest commit carry a signature, which showing would verify."""
    data = git(champions, "cat-file", "commit", "main") + "\n"
    head, _, message = data.partition("\n\n")
    signature = "gpgsig -----BEGIN PGP SIGNATURE-----\n \n abcd\n -----END PGP SIGNATURE-----"
    write_commit(champions, f"{head}\n{signature}\n\n{message}".encode())


def write_commit(champions: Path, data: bytes) -> str:
    """Make a commit object the newest of the branch."""
    command = ["git", "-C", str(champions), "hash-object", "-t", "commit", "--literally"]
    done = subprocess.run([*command, "-w", "--stdin"], input=data, capture_output=True, check=True)
    name = done.stdout.decode().strip()
    (champions / ".git" / "refs" / "heads" / "main").write_text(f"{name}\n")
    return name


def lose_programs(champions: Path) -> None:
    for number in (1, 2):
        blob = git(champions, "rev-parse", f"v{number}:codec.py")
        (champions / ".git" / "objects" / blob[:2] / blob[2:]).unlink()


def signature(champions: Path, bait: Bait) -> None:
    configure(champions, "[log]", "showSignature=true", "[gpg]", f"program={bait.script}")
    configure(champions, '[gpg "ssh"]', f"program={bait.script}")
    sign_head(champions)


def promisor(champions: Path, bait: Bait) -> None:
    configure(
        champions, *('[remote "x"]', "promisor=true", "url=/nowhere", f"uploadpack={bait.script}")
    )
    configure(champions, "[extensions]", "partialClone=x")
    lose_programs(champions)


def external_protocol(champions: Path, bait: Bait) -> None:
    configure(champions, '[remote "x"]', "promisor=true", f"url=ext::{bait.script}")
    configure(champions, '[protocol "ext"]', "allow=always", "[protocol]", "allow=always")
    lose_programs(champions)


def filters(champions: Path, bait: Bait) -> None:
    configure(champions, '[filter "x"]', f"clean={bait.script}", f"smudge={bait.script}")
    configure(champions, f"process={bait.script}", "required=false", '[diff "x"]')
    configure(champions, f"textconv={bait.script}", f"command={bait.script}")
    configure(champions, '[merge "x"]', f"driver={bait.script}")
    (champions / ".git" / "info").mkdir(exist_ok=True)
    for place in (champions / ".git" / "info" / "attributes", champions / ".gitattributes"):
        place.write_text("* filter=x diff=x merge=x\n")
    configure(champions, "[core]", f"attributesFile={champions / '.gitattributes'}")


def network(champions: Path, bait: Bait) -> None:
    configure(champions, "[core]", f"sshCommand={bait.script}", f"gitProxy={bait.script}")
    configure(champions, f"askPass={bait.script}", "[credential]", f"helper={bait.script}")
    configure(champions, f'[url "ext::{bait.script} "]', "insteadOf=/", "pushInsteadOf=/")
    configure(champions, '[protocol "ext"]', "allow=always", "[push]", "gpgSign=if-asked")
    configure(champions, "[remote]", "pushDefault=x", '[remote "x"]', f"receivepack={bait.script}")


def helpers(champions: Path, bait: Bait) -> None:
    configure(champions, "[core]", f"fsmonitor={bait.script}", f"pager={bait.script}")
    configure(champions, f"editor={bait.script}", f"alternateRefsCommand={bait.script}")
    configure(champions, "[pager]", f"log={bait.script}", "[alias]", f"log=!{bait.script}")
    configure(champions, f"cat-file=!{bait.script}", "[sequence]", f"editor={bait.script}")
    configure(champions, '[trailer "Evocodec-Run"]', f"command={bait.script}", f"cmd={bait.script}")
    configure(champions, "[interactive]", f"diffFilter={bait.script}", "[uploadpack]")
    configure(champions, f"packObjectsHook={bait.script}")


def hooks(champions: Path, bait: Bait) -> None:
    for folder in (champions / ".git" / "hooks", champions / "hooks"):
        folder.mkdir(exist_ok=True)
        for name in ("reference-transaction", "pre-push", "post-index-change", "post-checkout"):
            shutil.copy(bait.script, folder / name)
    configure(champions, "[core]", f"hooksPath={champions / 'hooks'}")


def included(champions: Path, bait: Bait) -> None:
    (champions / "more").write_text(f"[core]\nfsmonitor={bait.script}\nsshCommand={bait.script}\n")
    configure(champions, "[include]", f"path={champions / 'more'}", "[extensions]")
    configure(champions, "worktreeConfig=true", f'[includeIf "gitdir:{champions}/"]')
    configure(champions, f"path={champions / 'more'}")
    shutil.copy(champions / "more", champions / ".git" / "config.worktree")


def other_work_tree(champions: Path, bait: Bait) -> None:
    configure(champions, "[core]", f"worktree={bait.script.parent}", "bare=true")


def everything(champions: Path, bait: Bait) -> None:
    for poison in (filters, network, helpers, hooks, included, other_work_tree, signature):
        poison(champions, bait)


POISONS = [signature, promisor, external_protocol, filters, everything]


@pytest.mark.parametrize("poison", POISONS, ids=lambda poison: poison.__name__)
def test_nothing_that_a_repository_says_is_executed(
    honest: Path, tmp_path: Path, poison: Callable[[Path, Bait], None]
) -> None:
    folder, bait = tmp_path / "champions", Bait(tmp_path)
    shutil.copytree(honest, folder)
    poison(folder, bait)
    subprocess.run(["git", "init", "-q", "--bare", str(tmp_path / "remote.git")], check=True)
    champions = ChampionRepository(folder, remote=str(tmp_path / "remote.git"))
    assert [version.version for version in champions.versions()] == [1, 2]
    complete = poison not in {promisor, external_protocol}
    operations: list[Callable[[], object]] = [
        champions.prepare,
        champions.current,
        champions.problems,
        lambda: champions.program(1),
        lambda: published_writer("v2", champions),
        lambda: champions.rollback(1, "why not"),
        lambda: champions.adopt(entry(3)),
        champions.push,
    ]
    for operation in operations:
        with suppress(*(() if complete else (EvocodecError,))):
            operation()
    assert not bait.mark.exists(), bait.mark.read_text()
    if complete:
        assert champions.program(3).text == "STEP = 3\n"
        assert (folder / "codec.py").exists()
        assert champions.push().pushed


TAKEN: dict[Callable[[Path, Bait], None], list[str]] = {
    signature: ["log"],
    promisor: ["show", "v1:codec.py"],
    external_protocol: ["show", "v1:codec.py"],
    filters: ["checkout", "-f", "v1"],
    network: ["-c", "protocol.ext.allow=always", "fetch", "ssh://127.0.0.1:9/x"],
    helpers: ["status"],
    hooks: ["update-ref", "refs/heads/other", "HEAD"],
    included: ["status"],
}
"""How plain git, with the configuration of each, comes to execute the bait."""


@pytest.mark.parametrize(
    ("poison", "words"), TAKEN.items(), ids=[poison.__name__ for poison in TAKEN]
)
def test_the_baits_are_taken_by_git_itself(
    honest: Path, tmp_path: Path, poison: Callable[[Path, Bait], None], words: list[str]
) -> None:
    bait = Bait(tmp_path)
    shutil.copytree(honest, tmp_path / "champions")
    poison(tmp_path / "champions", bait)
    command = ["git", "-C", str(tmp_path / "champions"), *words]
    # A bait that stands for the other end of a connection waits for git, and git for it.
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    ) as process:
        deadline = time.monotonic() + 60
        while not bait.mark.exists() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    assert bait.mark.exists()


def evocodec(*words: str) -> Result:
    runner = CliRunner(env={"COLUMNS": "200", "NO_COLOR": "1"})
    return runner.invoke(application(), [*words, "--set", "champions.path=champions"])


def test_no_command_executes_anything_or_shows_a_forged_figure_without_a_mark(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folder, bait = tmp_path / "champions", Bait(tmp_path)
    ChampionRepository(folder).adopt(entry(1, source=STORE.read_text()))
    everything(folder, bait)
    forgery = "Evocodec-Version: 2\nEvocodec-Run: r\nEvocodec-Candidate: c1\nBitrate-Mbps: 0.01"
    add_commit(folder, forged(forgery))
    add_commit(folder, forged("Evocodec-Version: 1\nBitrate-Mbps: 0.02"))
    listed = evocodec("champions", "list")
    assert "v2 ? ←" in listed.stdout
    assert "ledger has not recorded" in listed.stdout
    assert "claims v1 again" in listed.stderr
    told = json.loads(evocodec("champions", "list", "--json").stdout)
    assert [version["in_ledger"] for version in told["versions"]] == [False, False]
    assert len(told["problems"]) == 1
    clip = f"{default_clips()[0].path}@0-1:32x16"
    for words in (
        ["champions", "show", "v1"],
        ["champions", "show", "v1", "--source"],
        ["champions", "export", "out.py", "--version", "v1"],
        ["champions", "rollback", "v1", "--reason", "forged"],
        ["show", "v1"],
        ["diff", "v1", "inter"],
        ["encode", clip, "a.evc", "--version", "v1", "--no-verify"],
        ["decode", "a.evc", "a.y4m"],
    ):
        result = evocodec(*words)
        assert result.exit_code == 0, (words, result.output)
    shown = evocodec("show", "v2")
    assert "ledger has not recorded" in shown.stdout
    assert not bait.mark.exists(), bait.mark.read_text()


def linked_git(champions: Path) -> None:
    (champions / ".git").rename(champions / "elsewhere")
    (champions / ".git").symlink_to("elsewhere")


def git_file(champions: Path) -> None:
    (champions / ".git").rename(champions / "elsewhere")
    (champions / ".git").write_text("gitdir: elsewhere\n")


def alternates(champions: Path) -> None:
    place = champions / ".git" / "objects" / "info"
    place.mkdir(exist_ok=True)
    (place / "alternates").write_text("/somewhere/objects\n")


def in_place_of(name: str, make: Callable[[Path], None]) -> Callable[[Path], None]:
    def change(champions: Path) -> None:
        path = champions / ".git" / name
        if path.is_dir():
            path.rename(champions / "moved")
        else:
            path.unlink(missing_ok=True)
        path.parent.mkdir(parents=True, exist_ok=True)
        make(path)

    return change


ODD_FOLDERS = {
    "a link for .git": linked_git,
    "a file for .git": git_file,
    "alternates": alternates,
    **{
        f"a FIFO for {name}": in_place_of(name, os.mkfifo)
        for name in ("HEAD", "packed-refs", "index", "refs/heads/main", "objects/pack/x.idx")
    },
    **{
        f"a link for {name}": in_place_of(name, lambda path: path.symlink_to("/dev/zero"))
        for name in ("refs", "objects", "refs/tags/v1", "logs/HEAD", "evocodec.lock")
    },
}


@pytest.mark.parametrize("change", ODD_FOLDERS.values(), ids=ODD_FOLDERS.keys())
def test_links_and_fifos_in_a_repository_are_refused_at_once(
    honest: Path, tmp_path: Path, change: Callable[[Path], None]
) -> None:
    shutil.copytree(honest, tmp_path / "champions")
    change(tmp_path / "champions")
    champions = ChampionRepository(tmp_path / "champions")
    for operation in (champions.versions, lambda: champions.adopt(entry(3))):
        with pytest.raises(UserError, match=r"is not a|names other places|cannot be kept"):
            operation()


def forged(trailers: str, *, title: str = "v9: 0.01 Mbit/s") -> bytes:
    return f"{title}\n\n{trailers}\n".encode()


VERSION_1 = "Evocodec-Version: 1\nEvocodec-Run: x\nEvocodec-Candidate: c9\nBitrate-Mbps: 0.01"
FORGERIES = {
    "the same version again": (forged(VERSION_1), "claims v1 again, which is commit"),
    "an absurd version": (forged("Evocodec-Version: 999999999"), "no number for the next one"),
    "a negative version": (forged("Evocodec-Version: -3"), "no number for the next one"),
    "digits of another script": (forged("Evocodec-Version: ٣"), "no number for the next one"),
    "a doubled trailer": (forged(f"{VERSION_1}\nEvocodec-Version: 3"), "more than once"),
    "going back to nowhere": (forged("Evocodec-Rollback-To: 7"), "a version that is not there"),
    "going back very far": (forged(f"Evocodec-Rollback-To: {'9' * 6000}"), "that is not there"),
    "a message of 10 MB": (forged("x" * (10 << 20) + f"\n\n{VERSION_1}"), "it is not read"),
}


def add_commit(champions: Path, message: bytes) -> str:
    head = git(champions, "rev-parse", "main")
    tree = git(champions, "rev-parse", "main^{tree}")
    who = "A <a@b> 1767323045 +0000"
    data = f"tree {tree}\nparent {head}\nauthor {who}\ncommitter {who}\n\n".encode()
    return write_commit(champions, data + message)


@pytest.mark.parametrize(("message", "problem"), FORGERIES.values(), ids=FORGERIES.keys())
def test_a_forged_commit_is_named_and_the_rest_goes_on(
    honest: Path, tmp_path: Path, message: bytes, problem: str
) -> None:
    shutil.copytree(honest, tmp_path / "champions")
    commit = add_commit(tmp_path / "champions", message)
    champions = ChampionRepository(tmp_path / "champions")
    (told,) = champions.problems()
    assert commit[:10] in told
    assert problem in told
    assert [version.version for version in champions.versions()] == [1, 2]
    current = champions.current()
    assert current is not None
    assert current.version == 2
    assert champions.program(1).text == "STEP = 1\n"
    assert champions.adopt(entry(3)).version == 3
    assert [version.version for version in champions.versions()] == [1, 2, 3]


@pytest.mark.parametrize("figure", ["-1", "0", "NaN", "nan", "1e999", "inf", "1_0", "٣", "x"])
def test_a_figure_that_is_none_is_left_out_and_told(
    honest: Path, tmp_path: Path, figure: str
) -> None:
    shutil.copytree(honest, tmp_path / "champions")
    trailers = f"Evocodec-Version: 3\nBitrate-Mbps: {figure}\nCompression-Ratio: 4.2"
    add_commit(tmp_path / "champions", forged(trailers))
    champions = ChampionRepository(tmp_path / "champions")
    newest = champions.versions()[-1]
    assert (newest.version, newest.bitrate_mbps, newest.compression_ratio) == (3, None, 4.2)
    (told,) = champions.problems()
    assert newest.commit[:10] in told
    assert "Bitrate-Mbps" in told


def test_a_message_cannot_pass_for_a_commit_or_an_option(honest: Path, tmp_path: Path) -> None:
    shutil.copytree(honest, tmp_path / "champions")
    separators = "\x1e--output=/tmp/x\x1f2020-01-01\x1fEvocodec-Version: 7"
    add_commit(tmp_path / "champions", forged(f"Evocodec-Run: a{separators}"))
    add_commit(tmp_path / "champions", b"\xff\xfe no UTF-8\n\nEvocodec-Run: \xff\n")
    champions = ChampionRepository(tmp_path / "champions")
    assert [version.version for version in champions.versions()] == [1, 2]
