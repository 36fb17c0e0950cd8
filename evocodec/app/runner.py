"""Wires one run: clips, anchors, engine, team, graph, ledger, listeners."""

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass

from evocodec.app.background import InBackground
from evocodec.app.clips import AnchoredClip, anchored_clips, require_clips
from evocodec.app.earlier_runs import best_of_other_runs
from evocodec.app.endpoint_check import ask_endpoints
from evocodec.app.engine import engine_options, make_policy, require_floor, wants_vmaf
from evocodec.app.held_out_clips import HeldOutMaterial, require_held_out
from evocodec.app.other_anchors import OtherAnchors, require_anchors
from evocodec.app.run_loop import RunEnd, RunLoop, RunLoopOptions, stop_when
from evocodec.app.run_plan import (
    RunPlan,
    beginning_of,
    cluster_facts,
    conflict_error,
    flat_settings,
    notice_of,
    software,
)
from evocodec.app.run_team import TeamBuilder, proposer_of
from evocodec.app.run_watch import RunWatch
from evocodec.app.stage_settings import reference_costs, stage_settings
from evocodec.champions.repository import ChampionRepository
from evocodec.codec.program import Program
from evocodec.domain.beginning import ModelBudget
from evocodec.domain.clock import utc_now
from evocodec.domain.errors import SupersededError
from evocodec.domain.events import (
    AnchorReady,
    CandidateClosed,
    Event,
    RunStarted,
    RunStopped,
    anchor_key,
    kinds_of,
    run_started_key,
)
from evocodec.domain.results import RdCurve
from evocodec.domain.vocabulary import RunOutcome
from evocodec.evaluation.screening import ScreenErrors
from evocodec.evaluation.staged import StagedEvaluator, StageSettings
from evocodec.execution.contract import EngineInfo
from evocodec.execution.engine import Engine, ray_engine
from evocodec.models.knowledge import Knowledge
from evocodec.report.run_plots import FaultPictures
from evocodec.rules.adoption import Thresholds
from evocodec.rules.held_out import HeldOutLimits
from evocodec.sandbox.parser_pool import ParserPool
from evocodec.sandbox.policy import available_imports
from evocodec.sandbox.review.analysis import Analyser
from evocodec.search.fruitless import FruitlessRow
from evocodec.search.state import new_search_state
from evocodec.store.blobs import BlobStore
from evocodec.store.journal import Journal
from evocodec.store.ledger import Ledger
from evocodec.store.programs import ProgramStore
from evocodec.store.records import RecordStore
from evocodec.telemetry.bus import EventBus
from evocodec.views.bulk import collector_paused
from graph.build import build_candidate_graph
from graph.routing import LoopBounds
from graph.services import HeldOutConfig, Services

_FINISH_SHARE = 0.25
"""Candidates in flight may go on for this share of the run's time after it is up."""


@dataclass(frozen=True, slots=True)
class RunStores:
    """Stores that a run writes to."""

    ledger: Ledger
    blobs: BlobStore
    records: RecordStore
    champions: ChampionRepository


class Runner:
    """Carries out one run; made anew for each."""

    def __init__(
        self,
        plan: RunPlan,
        stores: RunStores,
        listeners: Sequence[Callable[[Event], None]],
        stop: threading.Event,
        watch: RunWatch,
    ) -> None:
        self._plan = plan
        self._stores = stores
        self._stop = stop
        self._watch = watch
        self._bus = EventBus()
        for listener in listeners:
            self._bus.subscribe(listener)
        # With recorded replies as well: they are a model's.
        model = plan.settings.model.configured or bool(plan.settings.run.replay)
        self._uses_model = model and not plan.submission
        self._parsers = ParserPool()
        self._analyser = Analyser(make_policy(plan.settings), self._parsers)
        self._programs = ProgramStore(
            stores.blobs, lambda program: self._analyser.analyse(program).program
        )
        self._search = new_search_state(
            mode="model" if self._uses_model else "mutation",
            seed=plan.settings.run.seed,
            read_program=lambda sha256: stores.blobs.get(sha256).decode(),
            derive=lambda text: self._analyser.analyse(Program(text)).program.facts,
        )
        self._screen_errors = ScreenErrors()
        self._fruitless = FruitlessRow(
            plan.settings.run.failures_in_a_row if self._uses_model else 0
        )
        self._journal = Journal(stores.ledger, plan.run_id, self._tell)
        self._own_stop = threading.Event()
        self._closing = ExitStack()
        self._closing.callback(self._parsers.close)
        self._knowledge = Knowledge()
        self._ours = False

    def recall(self) -> Iterator[Event]:
        """Replay what a resumed run did before: one event for each step of the iterator.

        To be exhausted before ``run``: the ledger of a long run is decoded this once.
        """
        with collector_paused():
            for _, event in self._stores.ledger.events(self._plan.run_id):
                self._search.observe(event)
                self._screen_errors.observe(event)
                self._watch.observe(event)
                yield event

    def run(self) -> RunEnd:
        """Do it all; the ledger gets a RunStopped after every end but a kill."""
        stop_when(self._stop, self._own_stop)
        try:
            with self._closing:
                end = self._run()
        except SupersededError:
            raise  # how it ends is for whoever has it now to say
        except BaseException as error:
            with suppress(SupersededError):
                self._record_stop(RunEnd(RunOutcome.FAILED, f"{type(error).__name__}: {error}"))
            raise
        finally:
            self._own_stop.set()
        self._record_stop(end)
        return end

    def _tell(self, event: Event) -> None:
        """Take a recorded event into what the run knows, then hand it to the listeners."""
        self._search.observe(event)
        self._fruitless.observe(event)
        self._bus.publish(event)

    def _run(self) -> RunEnd:
        require_clips(self._plan.settings)
        require_held_out(self._plan.settings)
        require_anchors(self._plan.settings)
        # Before Ray is started: a wrong key is found out at once.
        preflight = self._preflight()
        engine = ray_engine(
            engine_options(self._plan.settings), on_given_up=self._watch.evaluation_given_up
        )
        # Starting Ray is mostly waiting, and so is x265: they are done side by side. Ray is started
        # here, because Linux ends its processes together with the thread that started them.
        anchoring = InBackground(
            lambda: anchored_clips(
                self._plan.settings,
                self._plan.workspace.cache,
                vmaf=wants_vmaf(self._plan.settings),
            )
        )
        try:
            info = engine.start()
            require_floor(info.isolation, self._plan.settings)
            anchored = anchoring.result()
            self._announce(info, anchored)
            for event in preflight:
                self._journal.publish(event)
            self._bus.subscribe(
                FaultPictures(
                    {name: anchored_clip.curve for name, anchored_clip in anchored.items()},
                    {name: anchored_clip.clip.stream for name, anchored_clip in anchored.items()},
                    self._plan.workspace.run(self._plan.run_id) / "curves",
                )
            )
            with self._watch.engine(engine):
                return self._evolve(engine, anchored)
        finally:
            anchoring.wait()
            engine.close()

    def _preflight(self) -> list[Event]:
        """Ask the endpoints whether they can be used; returns what to record of it."""
        plan, stores = self._plan, self._stores
        if not self._uses_model or plan.settings.run.replay:
            return []
        programs = [self._stores.blobs.get(sha256).decode() for sha256 in plan.baselines]
        return ask_endpoints(
            plan.settings.model,
            self._knowledge,
            run_id=plan.run_id,
            ledger=stores.ledger,
            blobs=stores.blobs,
            stop=self._own_stop,
            attempt=plan.resumed,
            programs=programs,
        )

    def _announce(self, info: EngineInfo, anchored: Mapping[str, AnchoredClip]) -> None:
        plan, settings = self._plan, self._plan.settings
        started = RunStarted(
            run_id=plan.run_id,
            at=utc_now(),
            proposer=proposer_of(plan),
            seed=settings.run.seed,
            clips=tuple(anchored),
            settings=flat_settings(settings),
            software=software(),
            isolation=dict(info.isolation.layers),
            unsafe=settings.sandbox.unsafe,
            resumed=plan.resumed,
            beginning=beginning_of(plan),
            cluster=cluster_facts(settings, info),
            budget=ModelBudget(settings.model.budget_usd, settings.model.budget_tokens),
            notice=notice_of(plan),
        )
        self._ours = self._journal.claim(started)
        if not self._ours:
            raise conflict_error(plan)
        self._journal.next_resume_key = run_started_key(plan.resumed + 1)
        for anchored_clip in anchored.values():
            self._journal.publish(
                self._ready(
                    anchored_clip, anchored_clip.curve, cached=anchored_clip.cached, primary=True
                )
            )
        others = OtherAnchors(
            settings,
            plan.workspace.cache,
            anchored,
            recorded=self._has_anchor,
            on_curve=lambda anchored_clip, curve, cached: self._journal.publish(
                self._ready(anchored_clip, curve, cached=cached, primary=False)
            ),
        )
        self._closing.callback(others.close)

    def _ready(
        self, anchored_clip: AnchoredClip, curve: RdCurve, *, cached: bool, primary: bool
    ) -> AnchorReady:
        return AnchorReady(
            run_id=self._plan.run_id,
            at=utc_now(),
            curve=curve,
            stream=anchored_clip.clip.stream,
            operating_psnr_y_db=anchored_clip.operating_psnr_y_db,
            cached=cached,
            clip_sha256=anchored_clip.clip.sha256,
            primary=primary,
        )

    def _has_anchor(self, codec: str, anchored_clip: AnchoredClip) -> bool:
        key = anchor_key(codec, anchored_clip.clip.name, anchored_clip.clip.sha256)
        return self._journal.find(key) is not None

    def _evolve(self, engine: Engine, anchored: Mapping[str, AnchoredClip]) -> RunEnd:
        plan, settings = self._plan, self._plan.settings
        slots = settings.run.slots or max(1, engine.slots())
        uses_model = self._uses_model
        stages = stage_settings(settings)
        team = TeamBuilder(
            plan,
            self._stores.ledger,
            self._stores.blobs,
            self._programs,
            self._analyser,
            self._journal.publish,
            self._own_stop,
            self._closing,
            stages.thresholds,
            self._knowledge,
        )
        bounds = LoopBounds(
            max_revisions=settings.run.max_revisions if uses_model else 0,
            max_repairs=settings.run.max_repairs if uses_model else 0,
        )
        services = Services(
            run_id=plan.run_id,
            seed=settings.run.seed,
            journal=self._journal,
            search=self._search,
            programs=self._programs,
            records=self._stores.records,
            team=team.build(self._search.archive),
            champions=self._stores.champions,
            evaluator=self._evaluator(engine, anchored, stages),
            slots=self._watch.slots(slots),
            stop=self._own_stop,
            reference_lock=threading.Lock(),
            bounds=bounds,
            history_length=settings.run.history,
            earlier_runs=best_of_other_runs(self._stores.ledger, plan.run_id),
            read_text=lambda sha256: self._stores.blobs.get(sha256).decode(),
            unsafe=settings.sandbox.unsafe,
            library_codecs_allowed=settings.sandbox.allow_library_codecs,
            imports=tuple(sorted(available_imports(make_policy(settings)))),
            baselines=tuple(map(self._programs.get, plan.baselines)),
            held_out=self._held_out(anchored, stages.thresholds),
        )
        seconds = settings.run.minutes * 60.0
        options = RunLoopOptions(
            seconds=seconds,
            candidates=len(plan.baselines) + 1 if plan.submission else settings.run.candidates,
            in_flight=slots + (settings.run.ahead if uses_model else 0),
            finish_seconds=max(30.0, _FINISH_SHARE * seconds),
        )
        return RunLoop(
            services, build_candidate_graph(services), options, fruitless=self._fruitless.why
        ).run()

    def _evaluator(
        self, engine: Engine, anchored: Mapping[str, AnchoredClip], stages: StageSettings
    ) -> StagedEvaluator:
        # The anchor's own time, of this machine and hour: its curve may come from a cache.
        costs = InBackground(lambda: reference_costs(self._plan.settings, anchored))
        self._closing.callback(costs.wait)
        return StagedEvaluator(
            engine,
            run_id=self._plan.run_id,
            clips={name: anchored_clip.clip for name, anchored_clip in anchored.items()},
            anchors={name: anchored_clip.curve for name, anchored_clip in anchored.items()},
            operating_db={
                name: anchored_clip.operating_psnr_y_db for name, anchored_clip in anchored.items()
            },
            record=self._journal.publish,
            recorded=self._journal.find,
            now=utc_now,
            settings=stages,
            stop=self._own_stop,
            store_series=self._stores.blobs.put,
            reference_costs=costs.result,
            errors=self._screen_errors,
        )

    def _held_out(
        self, anchored: Mapping[str, AnchoredClip], thresholds: Thresholds
    ) -> HeldOutConfig | None:
        settings = self._plan.settings
        if not settings.held_out.enabled:
            return None
        secret = self._stores.blobs.get(self._plan.held_out_secret)
        folder = self._plan.workspace.run(self._plan.run_id) / "held-out"
        return HeldOutConfig(
            draw=HeldOutMaterial(settings, folder, anchored, secret).draw,
            limits=HeldOutLimits(
                min_retained_share=settings.held_out.keep,
                max_excess_percent=settings.held_out.excess_percent,
                thresholds=thresholds,
            ),
        )

    def _record_stop(self, end: RunEnd) -> None:
        if not self._ours:
            return  # it did not begin here: there is nothing to end
        counts: dict[str, int] = {}
        kinds = kinds_of(CandidateClosed)
        for _, event in self._stores.ledger.events(self._plan.run_id, kinds=kinds):
            if isinstance(event, CandidateClosed):
                counts[event.status.value] = counts.get(event.status.value, 0) + 1
        self._journal.publish(
            RunStopped(
                run_id=self._plan.run_id,
                at=utc_now(),
                outcome=end.outcome,
                message=end.message,
                resumed=self._plan.resumed,
                counts=counts,
            )
        )
