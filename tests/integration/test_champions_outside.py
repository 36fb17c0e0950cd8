"""The champion repository and what is around it: remotes, configuration, hooks, folders."""

import shutil
import subprocess
from pathlib import Path

import pytest

from evocodec.champions.repository import ChampionRepository
from evocodec.domain.errors import UserError
from tests.support.adoption_entries import entry, git

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")


@pytest.fixture
def champions(tmp_path: Path) -> ChampionRepository:
    return ChampionRepository(tmp_path / "champions")


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    folder = tmp_path / "remote.git"
    subprocess.run(["git", "init", "-q", "--bare", str(folder)], check=True)
    return folder


def test_adoptions_reach_the_remote_with_their_tags(tmp_path: Path, bare: Path) -> None:
    champions = ChampionRepository(tmp_path / "champions", remote=str(bare))
    adoption = champions.adopt(entry(1))
    assert (adoption.pushed, adoption.push_error) == (True, "")
    assert git(bare, "rev-parse", "main") == adoption.commit
    assert git(bare, "rev-parse", "v1^{commit}") == adoption.commit


def test_an_unreachable_remote_loses_nothing_and_is_made_up_for(tmp_path: Path, bare: Path) -> None:
    away = bare.rename(tmp_path / "away.git")
    champions = ChampionRepository(tmp_path / "champions", remote=str(bare))
    first = champions.adopt(entry(1))
    assert first.pushed is False
    assert "does not appear to be a git repository" in first.push_error
    assert "tried again" in first.push_error
    assert champions.program(1).text == "STEP = 1\n"
    away.rename(bare)
    second = champions.adopt(entry(2))
    assert second.pushed
    assert git(bare, "rev-parse", "v1^{commit}") == first.commit
    assert git(bare, "rev-parse", "main") == second.commit


def test_a_remote_with_other_commits_is_not_overwritten(tmp_path: Path, bare: Path) -> None:
    ours = ChampionRepository(tmp_path / "ours", remote=str(bare))
    ours.adopt(entry(1))
    clone = tmp_path / "clone"
    subprocess.run(["git", "clone", "-q", str(bare), str(clone)], check=True)
    git(clone, "checkout", "-q", "main")
    who = ("-c", "user.name=A", "-c", "user.email=a@b")
    git(clone, *who, "commit", "-q", "--allow-empty", "-m", "theirs")
    git(clone, "push", "-q", "origin", "main")
    theirs = git(bare, "rev-parse", "main")
    second = ours.adopt(entry(2))
    assert second.pushed is False
    assert "the remote has commits or tags" in second.push_error
    assert git(bare, "rev-parse", "main") == theirs
    # All or nothing: no tag without its branch.
    assert git(bare, "tag", "--list") == "v1"
    assert ours.program(2).text == "STEP = 2\n"
    git(ours.path, *who, "pull", "-q", "--no-rebase", "--no-edit", str(bare), "main")
    assert ours.push().pushed
    assert [version.version for version in ours.versions()] == [1, 2]


def test_a_new_machine_goes_on_from_the_versions_of_the_remote(tmp_path: Path, bare: Path) -> None:
    ChampionRepository(tmp_path / "first", remote=str(bare)).adopt(entry(1))
    second = ChampionRepository(tmp_path / "second", remote=str(bare))
    second.prepare()
    current = second.current()
    assert current is not None
    assert current.version == 1
    assert (second.path / "codec.py").read_text() == "STEP = 1\n"
    adoption = second.adopt(entry(2, run_id="run-2"))
    assert (adoption.version, adoption.pushed) == (2, True)


def test_credentials_of_a_remote_are_not_repeated_in_messages(tmp_path: Path) -> None:
    remote = "http://user:sekret@127.0.0.1:9/none.git"
    champions = ChampionRepository(tmp_path / "champions", remote=remote)
    adoption = champions.adopt(entry(1))
    assert not adoption.pushed
    assert adoption.push_error
    assert "sekret" not in adoption.push_error
    assert "sekret" not in (champions.path / ".git" / "config").read_text()


@pytest.fixture
def hostile_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What users really have: signing, failing hooks, templates, aliases, no name."""
    hooks = tmp_path / "hooks"
    hooks.mkdir()
    for name in ("pre-commit", "commit-msg", "reference-transaction", "pre-push", "post-commit"):
        hook = hooks / name
        hook.write_text("#!/bin/sh\nexit 1\n")
        hook.chmod(0o755)
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / ".gitconfig").write_text(
        f"""[user]
    useConfigOnly = true
[commit]
    gpgSign = true
[tag]
    gpgSign = true
    forceSignAnnotated = true
[push]
    gpgSign = true
[gpg]
    program = /bin/false
[core]
    hooksPath = {hooks}
    autocrlf = true
    editor = /bin/false
    fsmonitor = /bin/false
[init]
    templateDir = {hooks}
    defaultBranch = trunk
[log]
    showSignature = true
[format]
    pretty = oneline
"""
    )
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "elsewhere"))
    monkeypatch.setenv("GIT_INDEX_FILE", str(tmp_path / "elsewhere-index"))
    monkeypatch.setenv("GIT_AUTHOR_NAME", "Somebody Else")
    monkeypatch.setenv("LANG", "de_DE.UTF-8")


def test_odd_configuration_hooks_and_environment_change_nothing(
    tmp_path: Path, hostile_configuration: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    author = "Lab <lab@example.org>"
    champions = ChampionRepository(tmp_path / "c", author=author)
    assert champions.adopt(entry(1)).version == 1
    assert champions.adopt(entry(2)).version == 2
    assert champions.rollback(1, "because").version == 1
    assert not (tmp_path / "elsewhere").exists()
    for name in ("GIT_DIR", "GIT_INDEX_FILE", "GIT_AUTHOR_NAME"):
        monkeypatch.delenv(name)
    assert git(champions.path, "-c", "log.showSignature=false", "log", "--format=%an <%ae>") == (
        "\n".join([author] * 3)
    )


def test_hooks_and_signing_of_the_user_do_not_stop_a_push_but_those_of_the_remote_do(
    tmp_path: Path, bare: Path, hostile_configuration: None
) -> None:
    champions = ChampionRepository(tmp_path / "c", remote=str(bare))
    refused = champions.adopt(entry(1))
    # A remote on this machine runs under the same configuration, hooks included.
    assert not refused.pushed
    assert "aborted by hook" in refused.push_error
    (tmp_path / "hooks" / "reference-transaction").unlink()
    assert champions.push().pushed


def test_a_repository_inside_another_one_is_its_own(tmp_path: Path) -> None:
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    champions = ChampionRepository(tmp_path / ".evocodec" / "champions")
    champions.adopt(entry(1))
    assert git(tmp_path, "rev-list", "--all", "--count") == "0"
    assert len(champions.versions()) == 1


def test_a_relative_remote_is_meant_from_where_the_user_is(
    tmp_path: Path, bare: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert ChampionRepository(Path("champions"), remote=bare.name).adopt(entry(1)).pushed


def test_a_folder_with_other_things_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("mine")
    with pytest.raises(UserError, match="not empty"):
        ChampionRepository(tmp_path).adopt(entry(1))
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_file_in_the_way_is_a_plain_message(tmp_path: Path) -> None:
    (tmp_path / "champions").write_text("a file")
    with pytest.raises(UserError, match="cannot be kept"):
        ChampionRepository(tmp_path / "champions").adopt(entry(1))


def test_without_git_the_message_says_what_to_install(
    champions: ChampionRepository, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match="git is not installed"):
        champions.adopt(entry(1))


def test_an_author_without_an_address_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="Name <email>"):
        ChampionRepository(tmp_path, author="somebody")
