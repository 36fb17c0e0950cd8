"""What is left of a run whose parts were killed: is anything lost, doubled, or different?"""

import hashlib
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from evocodec.app import Laboratory
from evocodec.app.clips import clip_sources
from evocodec.app.engine import engine_options
from evocodec.app.stores import aws_options
from evocodec.config import Settings
from evocodec.domain.events import (
    Adopted,
    AttemptFailed,
    CandidateClosed,
    CandidateOpened,
    CodeWritten,
    Event,
    InfrastructureRetried,
    PointMeasured,
    RunStarted,
)
from evocodec.domain.results import RatePoint, Stage
from evocodec.evaluation.probe import PROBE
from evocodec.execution.engine import local_engine
from evocodec.execution.jobs import RateJob
from evocodec.store.aws.client import connect
from evocodec.video.clips import load_clip
from tests.support.persistent_aws import BUCKET


@dataclass
class Left:
    """What the ledger says of a run."""

    events: list[Event] = field(default_factory=list)
    opened: Counter[str] = field(default_factory=Counter)
    closed: dict[str, CandidateClosed] = field(default_factory=dict)
    closings: Counter[str] = field(default_factory=Counter)
    adopted: list[Adopted] = field(default_factory=list)
    points: Counter[tuple[object, ...]] = field(default_factory=Counter)
    measured: list[tuple[str, Stage, RatePoint]] = field(default_factory=list)
    """Of which program, hashed."""
    programs: dict[tuple[str, int], str] = field(default_factory=dict)
    blobs: set[str] = field(default_factory=set)
    """Names of those that something relies on."""
    failures: Counter[str] = field(default_factory=Counter)
    retries: Counter[str] = field(default_factory=Counter)

    @property
    def outcomes(self) -> Counter[str]:
        """How many candidates came to what."""
        return Counter(closing.status.value for closing in self.closed.values())


def read_ledger(opened: Laboratory, run_id: str) -> Left:
    """Read all there is of a run."""
    left = Left()
    for _, event in opened.ledger.events(run_id):
        left.events.append(event)
        match event:
            case RunStarted(beginning=beginning):
                left.blobs |= set(beginning.baselines) if beginning else set()
            case CandidateOpened(candidate_id=name):
                left.opened[name] += 1
            case CodeWritten(candidate_id=name, attempt=attempt, source_sha256=sha256):
                left.programs[name, attempt] = sha256
                left.blobs.add(sha256)
            case CandidateClosed(candidate_id=name):
                left.closings[name] += 1
                left.closed[name] = event
            case Adopted():
                left.adopted.append(event)
            case AttemptFailed():
                left.failures[f"{event.stage}: {event.failure}"] += 1
            case InfrastructureRetried():
                left.retries[event.reason[:60]] += 1
            case PointMeasured(candidate_id=name, attempt=attempt, stage=stage, point=point):
                left.points[name, attempt, stage, point.clip, point.qp] += 1
                left.measured.append((left.programs[name, attempt], stage, point))
                left.blobs |= {point.series_sha256} - {""}
    return left


def problems_of_ledger(left: Left, candidates: int) -> Iterator[str]:
    """Every candidate opened once and closed once, every point measured once."""
    wanted = Counter(f"c{number:04}" for number in range(1, candidates + 1))
    for what, found in (("opened", left.opened), ("closed", left.closings)):
        if found != wanted:
            yield f"{what}: lost {list(wanted - found)}, too many {list(found - wanted)}"
    yield from (f"{key} measured {n} times" for key, n in left.points.items() if n > 1)


def problems_of_sayings(left: Left, said: Sequence[Event], kills: int) -> Iterator[str]:
    """What the controllers said that they had recorded is there, in that order, and said once.

    One event for each killed controller may have been recorded and not said any more.
    """
    recorded = {event.key: event for event in left.events}
    heard = {event.key: event for event in said}
    if len(heard) != len(said):
        yield f"said twice: {list(Counter(event.key for event in said) - Counter(list(heard)))}"
    if lost := [key for key, event in heard.items() if recorded.get(key) != event]:
        yield f"said and not recorded like that: {lost}"
    silent = [key for key in recorded if key not in heard]
    if len(silent) > kills:
        yield f"recorded and not said, with {kills} controllers killed: {silent}"
    if [key for key in recorded if key in heard] != list(heard):
        yield "said in another order than recorded"


def problems_of_versions(opened: Laboratory, left: Left) -> Iterator[str]:
    """Repository, ledger and records tell of the same versions."""
    versions = opened.champions.versions()
    in_git = [(v.version, v.candidate_id, v.commit, v.tag) for v in versions]
    in_ledger = [(a.version, a.candidate_id, a.commit, a.tag) for a in left.adopted]
    if in_git != sorted(in_ledger):
        yield f"versions in git: {in_git}, in the ledger: {in_ledger}"
    if [version.version for version in versions] != list(range(1, len(versions) + 1)):
        yield f"versions are not numbered 1, 2, 3: {in_git}"
    for version in versions:
        wanted = [sha for (name, _), sha in left.programs.items() if name == version.candidate_id]
        source = opened.champions.program(version.version).text
        if hashlib.sha256(source.encode()).hexdigest() != wanted[-1]:
            yield f"v{version.version} is not the program that was measured"
    commits = {event.candidate_id: event.commit for event in left.adopted}
    for name, closing in left.closed.items():
        record = opened.records.get(closing.experiment_id)
        if record is None:
            yield f"{name} has no record"
            continue
        (experiment,) = record["experiments"]
        evolution = experiment["evolution"]
        if evolution["github_commit_hash"] != commits.get(name, ""):
            yield f"{name}: the record says {evolution['github_commit_hash']!r} of its commit"
    if len({closing.experiment_id for closing in left.closed.values()}) != len(left.closed):
        yield "two candidates have one record"


def problems_of_tables(settings: Settings, left: Left, run_id: str) -> Iterator[str]:
    """Look at items and objects themselves, past everything that writes them."""
    store = settings.store
    dynamodb = connect("dynamodb", aws_options(store, "dynamodb")).raw
    items = [
        item
        for page in dynamodb.get_paginator("query").paginate(
            TableName=store.ledger_table,
            KeyConditionExpression="#run = :run",
            ExpressionAttributeNames={"#run": "run"},
            ExpressionAttributeValues={":run": {"S": f"run/{run_id}"}},
            ConsistentRead=True,
        )
        for item in page["Items"]
    ]
    places = [item["item"]["S"] for item in items if item["item"]["S"].startswith("E#")]
    pointers = sorted(int(item["position"]["N"]) for item in items if "position" in item)
    wanted = list(range(1, len(left.events) + 1))
    if [int(place.removeprefix("E#")) for place in places] != wanted or pointers != wanted:
        gaps = sorted(
            {*map(str, wanted)} ^ {place.removeprefix("E#").lstrip("0") for place in places}
        )
        yield f"{len(wanted)} events, {len(places)} places, {len(pointers)} keys; gaps: {gaps}"
    bodies = {item["body_sha256"]["S"] for item in items if "body_sha256" in item}
    records = dynamodb.scan(TableName=store.records_table, Select="COUNT", ConsistentRead=True)
    if records["Count"] != len(left.closed):
        yield f"{records['Count']} records of {len(left.closed)} candidates"
    s3 = connect("s3", aws_options(store, "s3")).raw
    for sha256 in sorted(left.blobs | bodies):
        key = f"{store.prefix}blobs/{sha256[:2]}/{sha256[2:]}"
        try:
            data = s3.get_object(Bucket=BUCKET, Key=key)["Body"].read()
        except s3.exceptions.NoSuchKey:
            yield f"blob {sha256} is not in S3"
            continue
        if hashlib.sha256(data).hexdigest() != sha256:
            yield f"blob {sha256} is damaged"


def problems_of_numbers(
    opened: Laboratory, settings: Settings, left: Left, count: int
) -> Iterator[str]:
    """Some points, measured again without Ray: the same bytes, the same quality."""
    # The probe's clip is a secret of the run.
    known = [measured for measured in left.measured if measured[2].clip != PROBE]
    chosen = random.Random(7).sample(known, min(count, len(known)))
    engine = local_engine(engine_options(settings))
    engine.start()
    different: list[str] = []
    try:
        for source in clip_sources(settings):
            engine.put_clip(load_clip(source))
        for sha256, stage, point in chosen:

            def compare(job: RateJob, now: RatePoint, then: RatePoint = point) -> None:
                if _result(now) != _result(then):
                    different.append(f"{job.clip} q{job.qp:g}: {_result(now)}, was {_result(then)}")

            engine.run_jobs(
                "again",
                opened.blobs.get(sha256).decode(),
                [RateJob(stage, point.clip, point.frames, point.qp)],
                on_point=compare,
                on_retry=lambda *retry: different.append(f"not measured again: {retry}"),
            )
    finally:
        engine.close()
    yield from different


def _result(point: RatePoint) -> tuple[str, int, float]:
    return point.bitstream_sha256, point.bits, point.quality.psnr_y_db
