"""The whole loop: real video, real Ray, real sandbox, real git; only the codec is a toy."""

import itertools
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from evocodec.app import Laboratory
from evocodec.app.file_codec import decode_file, encode_file
from evocodec.app.runs import perform_run
from evocodec.domain.events import PointMeasured
from evocodec.evaluation.probe import PROBE
from evocodec.report.run_plots import plot_run
from evocodec.views.run import RunView
from tests.support.toy_laboratory import CARPHONE, git, laboratory, local_laboratory


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Laboratory, RunView]]:
    """One run of the mutation proposer with a remote, looked at by every test below."""
    folder = tmp_path_factory.mktemp("run")
    remote = folder / "remote.git"
    git(folder, "init", "-q", "--bare", str(remote))
    with laboratory(
        folder / "workspace", run__candidates=7, champions__remote=str(remote)
    ) as opened:
        yield opened, perform_run(opened)


def test_a_run_adopts_what_is_better_and_says_why_not_otherwise(
    finished: tuple[Laboratory, RunView],
) -> None:
    _, view = finished
    assert view.outcome == "finished"
    assert len(view.candidates) == 7
    assert len(view.versions) >= 2
    assert all(not candidate.running and candidate.reason for candidate in view.candidates)
    bitrates = [version.bitrate_mbps for version in view.versions if version.bitrate_mbps]
    assert len(bitrates) == len(view.versions)
    for before, after in itertools.pairwise(bitrates):
        assert after <= 0.9 * before + 1e-9


def test_every_adoption_is_a_tagged_and_pushed_commit_with_its_metrics(
    finished: tuple[Laboratory, RunView],
) -> None:
    opened, view = finished
    repository = opened.workspace.champions
    for version in view.versions:
        assert git(repository, "rev-parse", f"v{version.version}^{{commit}}") == version.commit
        message = git(repository, "log", "-1", "--format=%B", version.commit)
        assert f"{version.bitrate_mbps:.2f}" in message
        assert view.run_id in message
        remote = git(repository, "ls-remote", opened.settings.champions.remote)
        assert version.commit in remote
    assert len(git(repository, "log", "--format=%H").splitlines()) == len(view.versions)


def test_every_candidate_leaves_its_experiment_record(
    finished: tuple[Laboratory, RunView],
) -> None:
    opened, view = finished
    every = list(view.candidates)
    assert every
    for candidate in every:
        record = opened.records.get(candidate.experiment_id)
        assert record
        (experiment,) = record["experiments"]
        assert experiment["experiment_type"] == "llm_generated_code_evolution"
        assert record["unsafe"] is False
        assert record["library_codecs_allowed"] is False
        evolution = experiment["evolution"]
        assert evolution["status"] == candidate.status.value
        if candidate.adoption:
            assert evolution["version"] == candidate.adoption.version
            assert evolution["github_commit_hash"] == candidate.adoption.commit
            assert candidate.score
            assert evolution["metrics"]["bitrate_mbps"] == pytest.approx(
                candidate.score.bitrate_mbps
            )
        assert json.loads(json.dumps(record)) == record


def test_tasks_are_named_after_candidate_clip_and_rate(
    finished: tuple[Laboratory, RunView],
) -> None:
    opened, view = finished
    points = [event for _, event in opened.resolver.events() if isinstance(event, PointMeasured)]
    assert points
    assert {p.point.clip for p in points} == {view.clips[0], PROBE}
    assert [p.task for p in points] == [
        f"{p.candidate_id}/{p.point.clip}/q{p.point.qp:g}" for p in points
    ]


def test_the_champion_round_trips_a_file_to_what_the_run_reported(
    finished: tuple[Laboratory, RunView], tmp_path: Path
) -> None:
    from evocodec.metrics.meter import measure_quality
    from evocodec.video.clip_spec import parse_clip
    from evocodec.video.clips import load_clip
    from evocodec.video.y4m import read_y4m

    opened, view = finished
    best = view.candidate(view.versions[-1].candidate_id)
    assert best
    assert best.score
    point = best.score.clips[0].curve.points[1]
    source = f"{CARPHONE}@0-8:96x80"
    coded, decoded = tmp_path / "clip.evc", tmp_path / "clip.y4m"
    report = encode_file(opened, source, str(coded), qp=point.qp)
    assert report.psnr_y_db == pytest.approx(point.quality.psnr_y_db, abs=1e-9)
    assert coded.stat().st_size * 8 == report.bits
    decode_file(opened, str(coded), str(decoded))
    _, frames = read_y4m(decoded)
    quality = measure_quality(load_clip(parse_clip(source)).frames, frames)
    assert quality.psnr_y_db == pytest.approx(point.quality.psnr_y_db, abs=1e-9)


def test_the_next_run_goes_on_from_the_current_version(
    finished: tuple[Laboratory, RunView],
) -> None:
    opened, view = finished
    newest = view.versions[-1]
    with local_laboratory(opened.workspace.root, run__program="", run__candidates=2) as again:
        second = perform_run(again)
    first = second.candidates[0]
    assert first.verdict
    assert first.verdict.rule == "baseline"
    assert first.verdict.compared_with == f"v{newest.version}"
    assert first.score
    # Read between other rates than those that its parent's curve had placed.
    assert first.score.bitrate_mbps == pytest.approx(newest.bitrate_mbps, rel=0.03)
    assert second.candidates[1].parent_id == first.candidate_id


def test_a_run_draws_its_versions(finished: tuple[Laboratory, RunView]) -> None:
    opened, view = finished
    png, svg = plot_run(view, opened.workspace.run(view.run_id))
    assert png.read_bytes().startswith(b"\x89PNG")
    assert f"v{view.versions[-1].version}" in svg.read_text()
