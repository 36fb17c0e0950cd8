"""Every commit parses: the check that CI and the pre-commit hook run, on real repositories."""

import shutil
import subprocess
from pathlib import Path

import pytest

from tools import check_history

ROOT = Path(__file__).parents[2]
BROKEN = "def f(:\n"


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository of two good commits with a broken one between them."""
    folder = tmp_path / "house"
    folder.mkdir()
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")
    for name in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{name}_NAME", "Somebody")
        monkeypatch.setenv(f"GIT_{name}_EMAIL", "somebody@example.com")
    git(folder, "init", "-q", "-b", "main")
    commit(folder, "x = 1\n")
    commit(folder, BROKEN)
    commit(folder, "x = 2\n")
    return folder


def git(folder: Path, *words: str) -> str:
    return check_history.git(folder, *words).decode().strip()


def commit(folder: Path, text: str) -> str:
    (folder / "room.py").write_text(text)
    (folder / "notes.txt").write_text("def f(:\n")  # not Python
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "--allow-empty", "-m", "Change the room")
    return git(folder, "rev-parse", "HEAD")


def test_a_broken_commit_is_named_though_a_later_one_mended_it(repository: Path) -> None:
    broken = git(repository, "rev-parse", "HEAD~1")
    (found,) = check_history.mistakes(repository)
    assert found.startswith(f"{broken[:8]} room.py:1: ")


def test_commits_that_were_known_before_are_left_out(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = git(repository, "rev-parse", "HEAD~1")
    monkeypatch.setattr(check_history, "KNOWN", frozenset({broken[:8]}))
    assert list(check_history.mistakes(repository)) == []


def test_only_what_the_branch_adds_is_checked_where_its_origin_is_known(
    repository: Path, tmp_path: Path
) -> None:
    clone = tmp_path / "clone"
    git(tmp_path, "clone", "-q", str(repository), str(clone))
    commit(clone, "x = 3\n")
    assert list(check_history.mistakes(clone)) == []
    commit(clone, BROKEN)
    assert len(list(check_history.mistakes(clone))) == 1
    assert len(list(check_history.mistakes(clone, every=True))) == 2


def test_a_shallow_clone_is_checked_as_far_as_it_goes(repository: Path, tmp_path: Path) -> None:
    clone = tmp_path / "clone"
    git(tmp_path, "clone", "-q", "--depth", "1", f"file://{repository}", str(clone))
    git(clone, "remote", "remove", "origin")
    assert list(check_history.mistakes(clone)) == []


def test_without_a_history_there_is_nothing_to_check(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert check_history.main([]) == 0
    assert "nothing to check" in capsys.readouterr().err


def test_the_hook_refuses_a_commit_that_does_not_parse_and_lets_a_good_one_through(
    repository: Path,
) -> None:
    (repository / "tools").mkdir()
    for name in ("__init__.py", "check_history.py"):
        shutil.copy(ROOT / "tools" / name, repository / "tools")
    git(repository, "config", "core.hooksPath", str(ROOT / "tools" / "hooks"))
    with pytest.raises(subprocess.CalledProcessError) as refused:
        commit(repository, BROKEN)
    assert b"does not parse: room.py:1" in refused.value.stderr
    commit(repository, "x = 4\n")
    assert git(repository, "show", "HEAD:room.py") == "x = 4"
