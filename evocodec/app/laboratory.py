"""The laboratory: one object, opened on a workspace, that all commands use."""

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from evocodec.app.resolver import Resolver
from evocodec.app.stores import open_stores, record_place
from evocodec.app.workspace import Workspace
from evocodec.config import Settings, bytes_of_mib
from evocodec.domain.beginning import SubmittedProgram
from evocodec.domain.check import Check
from evocodec.domain.events import Event
from evocodec.store.blobs import BlobStore
from evocodec.store.ledger import Ledger
from evocodec.store.records import RecordStore
from evocodec.video.data_options import use_options
from evocodec.views.candidate import CandidateView
from evocodec.views.progress import Progress
from evocodec.views.run import RunView
from evocodec.views.snapshot import Snapshots

if TYPE_CHECKING:  # Ray, LangGraph and OpenCV take seconds to import: only who needs them pays
    from evocodec.anchors.measure import AnchorEvent
    from evocodec.app.anchor_progress import OnAnchor
    from evocodec.app.anchor_table import AnchorsRequest, PlannedAnchor
    from evocodec.app.decode_plan import DecodePlan
    from evocodec.app.evaluation_request import EvaluationRequest
    from evocodec.app.file_codec import OnProgress
    from evocodec.app.outputs import (
        AnchorReport,
        DecodeReport,
        EncodeReport,
        EvaluationReport,
    )
    from evocodec.app.recorded_metrics import RecordedMetrics
    from evocodec.app.run_plan import RunPlan
    from evocodec.champions.repository import ChampionRepository
    from evocodec.codec.program import Program
    from evocodec.report.model import Report
    from evocodec.sandbox.policy import Mode
    from evocodec.sandbox.redteam.attack import Attack
    from evocodec.sandbox.redteam.capacity import Channel
    from evocodec.sandbox.redteam.report import AttackResult, RedTeamReport


class Laboratory:
    """Runs, looks back, encodes and decodes; a context manager.

    Any thread may read; one ``run`` at a time.
    """

    def __init__(self, settings: Settings, ledger: Ledger, blobs: BlobStore, records: RecordStore):
        self.settings = settings
        self.workspace = Workspace.of(settings)
        self.ledger = ledger
        self.blobs = blobs
        self.records = records
        self._champions: ChampionRepository | None = None
        self._resolver = Resolver(
            ledger,
            blobs,
            lambda: self.champions,
            self.workspace.root,
            Snapshots(self.workspace.view_snapshots),
        )

    @classmethod
    def open(cls, settings: Settings) -> "Laboratory":
        """Open the workspace that the settings name, making it when it is not there.

        Raises:
            UserError: the workspace cannot be written, belongs to a newer version, or the tables
                and the bucket that the settings name cannot be used.
            InfrastructureFailure: DynamoDB or S3 does not answer.
        """
        workspace = Workspace.of(settings)
        workspace.prepare()
        use_options(workspace.data_options(settings))
        stores = open_stores(settings, workspace)
        return cls(settings, stores.ledger, stores.blobs, stores.records)

    def __enter__(self) -> "Laboratory":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Release the ledger."""
        self.ledger.close()

    @property
    def champions(self) -> "ChampionRepository":
        """The repository of adopted versions."""
        if self._champions is None:
            from evocodec.champions.repository import ChampionRepository

            configured = self.settings.champions
            path = Path(configured.path).expanduser() if configured.path else None
            self._champions = ChampionRepository(
                path or self.workspace.champions, remote=configured.remote or None
            )
        return self._champions

    def vouched_versions(self) -> frozenset[int]:
        """Numbers of the versions whose commits the ledger has recorded.

        A commit's hash covers its figures. Of any other version the repository alone says what it
        is, and a repository may come from anybody.
        """
        from evocodec.app.champion_ledger import vouched

        return vouched(self.ledger, self.champions.versions())

    # --- runs ---

    def run(
        self,
        *,
        resume: str | None = None,
        listeners: Sequence[Callable[[Event], None]] = (),
        stop: threading.Event | None = None,
        replay: Callable[[Iterable[Event]], None] | None = None,
    ) -> RunView:
        """Start a run, or resume one (by id, or ``latest``), and return when it ends.

        ``replay`` is given what a resumed run did before, once and before it goes on.

        Raises:
            UserError: there is nothing to resume, a clip cannot be read, or the sandbox is below
                its floor.
            InfrastructureFailure: the engine does not start.
        """
        plan = self._resumed_plan(resume) if resume else self._new_plan()
        return self._carry_out(plan, listeners, stop, replay if resume else None)

    def submit(
        self,
        ref: str,
        note: str,
        *,
        listeners: Sequence[Callable[[Event], None]] = (),
        stop: threading.Event | None = None,
    ) -> RunView:
        """Send a program from outside down the same path as any other, in a run of its own.

        It is reviewed, screened and measured against the current version, and adopted by the same
        rules. Raises as ``run`` does.
        """
        program = self.program(ref)
        submitted = SubmittedProgram(self.blobs.put(program.data), note)
        plan = replace(self._new_plan(), submission=submitted)
        return self._carry_out(plan, listeners, stop)

    def _carry_out(
        self,
        plan: "RunPlan",
        listeners: Sequence[Callable[[Event], None]],
        stop: threading.Event | None,
        replay: Callable[[Iterable[Event]], None] | None = None,
    ) -> RunView:
        from evocodec.app.logged_run import consume, perform
        from evocodec.app.runner import RunStores

        stores = RunStores(self.ledger, self.blobs, self.records, self.champions)
        stop = stop or threading.Event()
        perform(plan, stores, listeners, stop, replay=replay or consume)
        return self.view(plan.run_id)

    def _new_plan(self) -> "RunPlan":
        from evocodec.app.run_plan import new_plan

        return new_plan(self.settings, self.workspace, self.ledger, self.blobs, self.champions)

    def _resumed_plan(self, resume: str) -> "RunPlan":
        from evocodec.app.run_plan import resumed_plan

        run_id = self._resolver.run_id(resume)
        return resumed_plan(run_id, self.settings, self.workspace, self.ledger)

    def record_place(self, experiment_id: str) -> str:
        """Location of an experiment record, for people: a file, or a table and its key."""
        return record_place(self.settings.store, self.workspace, experiment_id)

    def runs(self) -> tuple[str, ...]:
        """Ids of all runs, newest first."""
        return self.ledger.runs()

    def view(self, run_id: str | None = None) -> RunView:
        """A run as it is now; the newest when none is named."""
        return self._resolver.view(run_id)

    def progress(self, run_id: str) -> tuple[Progress, int]:
        """The progress of a run, by its whole id, and the position of its newest event."""
        return self._resolver.progress(run_id)

    def run_id(self, run_id: str | None = None) -> str:
        """The whole id of a run, by a part of it; the newest when none is named."""
        return self._resolver.run_id(run_id)

    def events(
        self, run_id: str | None = None, *, candidate_id: str | None = None, after: int = 0
    ) -> Iterator[tuple[int, Event]]:
        """A run's events in order, with their positions."""
        return self.ledger.events(
            self._resolver.run_id(run_id), after=after, candidate_id=candidate_id
        )

    def metrics(self, run_id: str | None = None) -> "RecordedMetrics":
        """A run's Prometheus metrics, as far as its events tell them; the newest run's."""
        from evocodec.app.recorded_metrics import RecordedMetrics

        return RecordedMetrics(self.ledger, self._resolver.run_id(run_id))

    def candidate(self, ref: str) -> CandidateView:
        """A candidate: ``c0007`` of the newest run, or ``RUN/c0007``."""
        return self._resolver.candidate(ref)

    def excerpt(self, ref: str) -> tuple[CandidateView, RunView]:
        """Return a candidate, and its run with only this candidate and its screen reference."""
        return self._resolver.excerpt(ref)

    # --- programs ---

    def program(self, ref: str) -> "Program":
        """A program: a candidate, a version, ``current``, a seed's name or a file."""
        return self.resolve(ref)[1]

    def resolve(self, ref: str) -> "tuple[str, Program]":
        """The writer id that names a program in ``.evc`` files, and the program.

        Raises:
            UserError: nothing is called that.
        """
        return self._resolver.program(ref)

    def evaluate(
        self,
        ref: str,
        *,
        request: "EvaluationRequest | None" = None,
        listeners: Sequence[Callable[[Event], None]] = (),
        stop: threading.Event | None = None,
        on_anchor: "OnAnchor | None" = None,
    ) -> "EvaluationReport":
        """Measure a program on the configured clips, outside of any run; nothing is adopted.

        Raises:
            CandidateFailure: the program was refused or failed.
        """
        from evocodec.app.evaluation_request import starting_engine

        program, origin = self.program(ref), self._resolver.origin(ref)
        with starting_engine(self.settings) as starting:
            from evocodec.app.program_evaluation import evaluate_program

            return evaluate_program(
                starting,
                self.settings,
                self.workspace,
                label=ref,
                program=program,
                request=request,
                origin=origin,
                listeners=listeners,
                stop=stop or threading.Event(),
                on_anchor=on_anchor,
            )

    def compare(
        self,
        names: tuple[str, str],
        *,
        request: "EvaluationRequest",
        listeners: Sequence[Callable[[Event], None]] = (),
        stop: threading.Event | None = None,
        on_anchor: "OnAnchor | None" = None,
    ) -> "Report":
        """Set two programs or anchors against each other, the second against the first.

        Raises:
            CandidateFailure: one of the programs was refused or failed.
        """
        from evocodec.app.comparison import compare_sides, find_side
        from evocodec.app.evaluation_request import starting_engine

        a, b = (find_side(name, self.settings, self.program) for name in names)
        with starting_engine(self.settings) as starting:
            return compare_sides(
                starting,
                self.settings,
                self.workspace,
                a,
                b,
                listeners=listeners,
                stop=stop or threading.Event(),
                request=request,
                on_anchor=on_anchor,
            )

    def anchors(
        self,
        request: "AnchorsRequest | None" = None,
        *,
        on_plan: "Callable[[Sequence[PlannedAnchor], int], None] | None" = None,
        on_event: "Callable[[AnchorEvent], None] | None" = None,
    ) -> "tuple[AnchorReport, ...]":
        """The chosen anchors on every configured clip, compared with x265 medium."""
        from evocodec.app.anchor_table import AnchorsRequest, measure_anchors

        return measure_anchors(
            self.settings,
            self.workspace.cache,
            request or AnchorsRequest(),
            on_plan=on_plan,
            on_event=on_event,
        )

    def encode(
        self,
        source: str | Path,
        output: str | Path,
        *,
        version: str = "current",
        qp: float = 30.0,
        verify: bool = True,
        on_progress: "OnProgress" = lambda _what, _done, _of: None,
    ) -> "EncodeReport":
        """Encode a video with an adopted version (or any program) in the sandbox."""
        from evocodec.app.engine import local_launcher, make_limits
        from evocodec.app.file_codec import encode_file

        return encode_file(
            local_launcher(self.settings),
            make_limits(self.settings),
            self.resolve,
            source=str(source),
            output=str(output),
            version=version,
            qp=qp,
            verify=verify,
            on_progress=on_progress,
        )

    def plan_decode(
        self, source: str | Path, output: str | Path, *, max_bytes: int | None = None
    ) -> "DecodePlan":
        """Say what decoding an ``.evc`` file would write; raises as ``decode`` does."""
        from evocodec.app.file_codec import planned_decode

        limit = self._decode_limit(max_bytes)
        plan = planned_decode(str(source), str(output), max_bytes=limit)
        self._resolver.writer(plan.writer)
        return plan

    def decode(
        self,
        source: str | Path,
        output: str | Path,
        *,
        max_bytes: int | None = None,
        on_progress: "OnProgress" = lambda _what, _done, _of: None,
    ) -> "DecodeReport":
        """Decode an ``.evc`` file with the version that wrote it, in the sandbox.

        ``max_bytes`` is what it may write; None: the setting ``data.max_decode_mib``.
        """
        from evocodec.app.engine import local_launcher, make_limits
        from evocodec.app.file_codec import decode_file

        return decode_file(
            local_launcher(self.settings),
            make_limits(self.settings),
            self._resolver.writer,
            source=str(source),
            output=str(output),
            max_bytes=self._decode_limit(max_bytes),
            on_progress=on_progress,
        )

    def _decode_limit(self, max_bytes: int | None) -> int:
        if max_bytes is not None:
            return max_bytes
        return bytes_of_mib(self.settings.data.max_decode_mib)

    def brief(self) -> str:
        """The coder's current prompt as Markdown, for a person or any coding agent."""
        from evocodec.app.brief import write_brief

        view = self.view() if self.runs() else None
        events = (event for _, event in self.events(view.run_id)) if view else ()
        return write_brief(self.settings, self.champions, view, events)

    def doctor(self) -> "tuple[Check, ...]":
        """Check what this machine can and cannot do."""
        from evocodec.app.doctor import all_checks

        return all_checks(self.settings, self.workspace)

    def redteam(
        self,
        attacks: "Sequence[Attack]",
        *,
        channels: "Sequence[Channel]" = (),
        mode: "Mode | None" = None,
        preload: "Sequence[str]" = (),
        on_result: "Callable[[AttackResult], None]" = lambda _result: None,
    ) -> "RedTeamReport":
        """Mount these attacks on the sandbox that candidates get, in ``mode`` or as configured.

        ``preload``: libraries that the fork server loads besides the usual ones, such as torch.

        Raises:
            InfrastructureFailure: the sandbox does not start.
        """
        from evocodec.app.red_team import mount_attacks

        return mount_attacks(
            self.settings,
            attacks,
            channels=channels,
            mode=mode,
            preload=preload,
            on_result=on_result,
        )

    def plot(self, run_id: str | None = None) -> tuple[Path, Path]:
        """Draw the RD curves of a run's versions; returns the PNG and the SVG."""
        from evocodec.report.run_plots import plot_run

        view = self.view(run_id)
        return plot_run(view, self.workspace.run(view.run_id))
