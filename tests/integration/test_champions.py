"""The champion repository, with real git: adoption, repair, rollback, lookups."""

import contextlib
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from functools import partial
from pathlib import Path

import psutil
import pytest

from evocodec.champions.publish import resolve
from evocodec.champions.repository import ChampionRepository
from evocodec.domain.errors import InfrastructureFailure, UserError
from tests.support.adoption_entries import entry, git
from tests.support.sandbox_jobs import until

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")


@pytest.fixture
def champions(tmp_path: Path) -> ChampionRepository:
    return ChampionRepository(tmp_path / "champions")


def test_before_the_first_adoption_there_is_nothing_and_nothing_is_made(
    champions: ChampionRepository,
) -> None:
    assert champions.versions() == ()
    assert champions.current() is None
    assert champions.push().pushed is False
    with pytest.raises(UserError, match="none yet"):
        champions.program(1)
    with pytest.raises(UserError, match="none yet"):
        champions.rollback(1, "why not")
    assert not champions.path.exists()


def test_an_adoption_is_one_commit_with_trailers_metrics_and_an_annotated_tag(
    champions: ChampionRepository,
) -> None:
    adoption = champions.adopt(entry(1))
    assert (adoption.version, adoption.tag, adoption.pushed, adoption.push_error) == (
        1,
        "v1",
        False,
        "",
    )
    assert git(champions.path, "rev-list", "--count", "main") == "1"
    assert git(champions.path, "rev-parse", "v1^{commit}") == adoption.commit
    assert git(champions.path, "cat-file", "-t", "v1") == "tag"
    trailers = git(champions.path, "log", "-1", "--format=%(trailers:only)")
    for line in (
        "Evocodec-Version: 1",
        "Evocodec-Run: run-1",
        "Evocodec-Candidate: c0001",
        "Evocodec-Parent: c0000",
        "Evocodec-Origin: model",
        "Evocodec-Model: some-model",
        "Bitrate-Mbps: 12.7273",
        "Compression-Ratio: 21.0000",
        "BD-Rate-Percent: -5.5000",
        "Improvement: 10.2% better than v0",
    ):
        assert line in trailers
    metrics = json.loads(git(champions.path, "show", "v1:metrics.json"))
    assert metrics["score"]["bitrate_mbps"] == pytest.approx(12.727, abs=0.001)
    assert git(champions.path, "status", "--porcelain") == ""
    assert (champions.path / "codec.py").read_text() == "STEP = 1\n"
    assert git(champions.path, "log", "-1", "--format=%cI") == "2026-01-02T03:04:05+00:00"
    git(champions.path, "fsck", "--strict")


def test_old_versions_stay_readable_and_the_newest_is_current(
    champions: ChampionRepository,
) -> None:
    for number in (1, 2, 3):
        assert champions.adopt(entry(number)).version == number
    assert [version.version for version in champions.versions()] == [1, 2, 3]
    assert [champions.program(n).text for n in (1, 2, 3)] == [f"STEP = {n}\n" for n in (1, 2, 3)]
    current = champions.current()
    assert current is not None
    assert (current.version, current.candidate_id, current.compared_with) == (3, "c0003", "v2")
    assert current.bitrate_mbps == pytest.approx(10.5184, abs=0.0001)
    assert current.improvement_percent == 10.25
    assert "v3 (current)" in (champions.path / "README.md").read_text()
    with pytest.raises(UserError, match=r"no version v9.*v1, v2, v3"):
        champions.program(9)


def test_the_bytes_of_a_program_are_kept_exactly(champions: ChampionRepository) -> None:
    source = "# Umlaut ü, tab\t, trailing  \r\nX = '→'\n\n\n"
    champions.adopt(entry(1, source=source))
    assert champions.program(1).text == source


def test_adopting_the_same_candidate_again_returns_what_it_became(
    champions: ChampionRepository,
) -> None:
    first = champions.adopt(entry(1))
    champions.adopt(entry(2))
    assert champions.adopt(entry(1)) == first
    assert len(champions.versions()) == 2
    assert champions.adopt(entry(1, run_id="run-2")).version == 3


def test_a_crash_between_commit_and_tag_is_repaired_by_the_next_call(
    champions: ChampionRepository,
) -> None:
    first = champions.adopt(entry(1))
    git(champions.path, "tag", "-d", "v1")
    assert champions.program(1).text == "STEP = 1\n"
    assert champions.adopt(entry(1)) == first
    assert git(champions.path, "rev-parse", "v1^{commit}") == first.commit


def test_a_crash_before_the_work_tree_was_written_is_repaired(
    champions: ChampionRepository,
) -> None:
    champions.adopt(entry(1))
    second = champions.adopt(entry(2))
    git(champions.path, "reset", "-q", "--hard", "v1")
    git(champions.path, "update-ref", "refs/heads/main", second.commit)
    champions.adopt(entry(2))
    assert (champions.path / "codec.py").read_text() == "STEP = 2\n"
    assert git(champions.path, "status", "--porcelain") == ""


def test_a_killed_initialisation_is_completed(champions: ChampionRepository) -> None:
    (champions.path / ".git").mkdir(parents=True)
    (champions.path / ".git" / "HEAD").write_text("ref: refs/heads/main\n")
    assert champions.versions() == ()
    assert champions.adopt(entry(1)).version == 1


def test_a_leftover_index_lock_does_not_stop_an_adoption_and_is_explained(
    champions: ChampionRepository, caplog: pytest.LogCaptureFixture
) -> None:
    champions.adopt(entry(1))
    lock = champions.path / ".git" / "index.lock"
    lock.touch()
    assert champions.adopt(entry(2)).version == 2
    assert champions.program(2).text == "STEP = 2\n"
    assert f"rm '{lock}'" in caplog.text
    lock.unlink()
    champions.adopt(entry(2))
    assert (champions.path / "codec.py").read_text() == "STEP = 2\n"


def test_a_leftover_branch_lock_is_an_infrastructure_failure_that_says_what_to_do(
    champions: ChampionRepository,
) -> None:
    champions.adopt(entry(1))
    lock = champions.path / ".git" / "refs" / "heads" / "main.lock"
    lock.touch()
    with pytest.raises(InfrastructureFailure, match=r"delete the file and try again: rm '.*main"):
        champions.adopt(entry(2))
    lock.unlink()
    assert champions.adopt(entry(2)).version == 2
    assert len(champions.versions()) == 2


def test_changes_of_a_person_in_the_work_tree_are_kept_and_not_committed(
    champions: ChampionRepository, caplog: pytest.LogCaptureFixture
) -> None:
    champions.adopt(entry(1))
    (champions.path / "codec.py").write_text("MINE = True\n")
    champions.adopt(entry(2))
    assert (champions.path / "codec.py").read_text() == "MINE = True\n"
    assert champions.program(2).text == "STEP = 2\n"
    assert "not committed" in caplog.text


def test_commits_and_files_of_people_are_kept(champions: ChampionRepository) -> None:
    champions.adopt(entry(1))
    (champions.path / "LICENSE").write_text("mine\n")
    who = ("-c", "user.name=A", "-c", "user.email=a@b")
    git(champions.path, "add", "LICENSE")
    git(champions.path, *who, "commit", "-qm", "Add a licence")
    current = champions.current()
    assert current is not None
    assert current.version == 1
    champions.adopt(entry(2))
    assert git(champions.path, "show", "v2:LICENSE") == "mine"


@pytest.mark.parametrize(
    "hypothesis",
    [
        "try\n\nEvocodec-Version: 99\nEvocodec-Rollback-To: 1",
        "x\nEvocodec-Candidate: c9999\n---\nEvocodec-Source-SHA256: 00",
        "escape \x1b[2J and \x00 and \ud800 and \x1e \x1f",
        "word" * 5000,
        "",
    ],
)
def test_text_of_a_model_cannot_pass_for_a_trailer_or_steer_a_terminal(
    champions: ChampionRepository, hypothesis: str
) -> None:
    champions.adopt(entry(1))
    champions.adopt(entry(2, hypothesis=hypothesis))
    assert [version.version for version in champions.versions()] == [1, 2]
    current = champions.current()
    assert current is not None
    assert (current.version, current.candidate_id) == (2, "c0002")
    message = git(champions.path, "log", "-1", "--format=%B")
    assert "\x1b" not in message
    json.loads(git(champions.path, "show", "v2:metrics.json"))


def test_going_back_keeps_the_history_and_the_next_version_number(
    champions: ChampionRepository,
) -> None:
    for number in (1, 2):
        champions.adopt(entry(number))
    assert champions.rollback(1, "v2 flickers").version == 1
    current = champions.current()
    assert current is not None
    assert current.version == 1
    assert (champions.path / "codec.py").read_text() == "STEP = 1\n"
    assert [version.version for version in champions.versions()] == [1, 2]
    assert "v2 flickers" in git(champions.path, "log", "-1", "--format=%B")
    assert git(champions.path, "rev-list", "--count", "main") == "3"
    champions.rollback(1, "again")
    assert git(champions.path, "rev-list", "--count", "main") == "3"
    assert champions.adopt(entry(3)).version == 3
    current = champions.current()
    assert current is not None
    assert current.version == 3


def test_a_program_changed_behind_its_commit_is_noticed(champions: ChampionRepository) -> None:
    champions.adopt(entry(1))
    (champions.path / "codec.py").write_text("EVIL = 1\n")
    message = git(champions.path, "log", "-1", "--format=%B")
    who = ("-c", "user.name=A", "-c", "user.email=a@b")
    git(champions.path, *who, "commit", "-qam", message, "--amend")
    with pytest.raises(InfrastructureFailure, match="not the one that was adopted"):
        champions.program(1)


def test_threads_that_adopt_at_once_get_different_numbers(champions: ChampionRepository) -> None:
    taken: list[int] = []
    threads = [
        threading.Thread(target=lambda n=n: taken.append(champions.adopt(entry(n)).version))
        for n in range(1, 5)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(taken) == [1, 2, 3, 4]
    assert len(champions.versions()) == 4


@pytest.mark.parametrize("reference", ["current", "v2", "2", 2])
def test_a_version_is_found_by_any_of_its_names(
    champions: ChampionRepository, reference: str | int
) -> None:
    champions.adopt(entry(1))
    second = champions.adopt(entry(2))
    published = resolve(reference, champions)
    assert published.program.text == "STEP = 2\n"
    assert published.writer_id == f"v2+{second.commit[:8]}"
    assert resolve(published.writer_id, champions) == published


def test_the_current_version_is_the_one_gone_back_to(champions: ChampionRepository) -> None:
    champions.adopt(entry(1))
    champions.adopt(entry(2))
    champions.rollback(1, "because")
    assert resolve("current", champions).writer_id.startswith("v1+")


def test_a_writer_of_another_repository_is_not_taken_for_ours(
    champions: ChampionRepository,
) -> None:
    champions.adopt(entry(1))
    with pytest.raises(UserError, match="another champion repository"):
        resolve("v1+00000000", champions)


def test_a_program_file_is_found_by_its_path(champions: ChampionRepository, tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text("X = 1\n")
    published = resolve(str(path), champions)
    assert published.program.text == "X = 1\n"
    assert published.writer_id.startswith("file+")
    assert len(published.writer_id) == len("file+") + 8


@pytest.mark.parametrize("reference", ["current", "v7", "nowhere.py", "", "."])
def test_what_cannot_be_found_is_a_plain_message(
    champions: ChampionRepository, reference: str
) -> None:
    with pytest.raises(UserError):
        resolve(reference, champions)


def test_a_binary_file_is_no_program(champions: ChampionRepository, tmp_path: Path) -> None:
    (tmp_path / "x.py").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="not UTF-8"):
        resolve(str(tmp_path / "x.py"), champions)


ADOPT = """
import sys
from pathlib import Path
from evocodec.champions.repository import AdoptionEntry, ChampionRepository
from evocodec.codec.program import Program
from evocodec.domain.candidate import Verdict
from evocodec.domain.results import Score

score = Score(9.0, 20.0, -5.0, "city", 0.9, 2.0, 8.0, 2**20, 4000, ())
verdict = Verdict(True, "bitrate", "fewer bits", "v0", 10.0)
champions = ChampionRepository(Path(sys.argv[1]))
print("ready", flush=True)
for number in range(1, 1000):
    name = f"c{number:04}"
    entry = AdoptionEntry(
        run_id="r",
        candidate_id=name,
        program=Program(f"STEP = {number}\\n"),
        score=score,
        verdict=verdict,
    )
    print(name, champions.adopt(entry).version, flush=True)
"""


def session_is_over(session: int) -> bool:
    """Whether no process of it is left."""
    return all(session_of(pid) != session for pid in psutil.pids())


def session_of(pid: int) -> int | None:
    with contextlib.suppress(ProcessLookupError):
        return os.getsid(pid)
    return None


def test_a_kill_at_any_moment_leaves_a_repository_that_goes_on(tmp_path: Path) -> None:
    champions = ChampionRepository(tmp_path / "champions")
    promised: dict[str, int] = {}
    for milliseconds in (5, 20, 35, 50, 65, 80, 95, 130):
        command = [sys.executable, "-c", ADOPT, str(champions.path)]
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, text=True, start_new_session=True
        ) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            time.sleep(milliseconds / 1000)  # the moment is what is tried
            process.kill()
            said = process.stdout.read()
        # A git command of it may still be at work.
        until(partial(session_is_over, process.pid))
        for line in said.splitlines():
            name, _, version = line.partition(" ")
            if version:
                assert promised.setdefault(name, int(version)) == int(version)
    for lock in (champions.path / ".git").rglob("*.lock"):
        if lock.name != "evocodec.lock":
            lock.unlink()
    last = champions.adopt(entry(999)).version
    versions = champions.versions()
    assert [version.version for version in versions] == list(range(1, last + 1))
    assert len({version.candidate_id for version in versions}) == last
    assert promised.items() <= {v.candidate_id: v.version for v in versions}.items()
    tags = git(champions.path, "tag", "--list").split()
    assert sorted(tags) == sorted(version.tag for version in versions)
    git(champions.path, "fsck", "--strict")
