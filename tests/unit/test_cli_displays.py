"""Every renderer shows the same run: on a terminal, in a log, for machines."""

import io
import json
import math
from dataclasses import replace
from typing import get_args

import pytest
from rich.console import Console
from rich.text import Text

from evocodec.cli.display.json import JsonDisplay
from evocodec.cli.display.lines import describe
from evocodec.cli.display.live import LiveDisplay
from evocodec.cli.display.plain import PlainDisplay
from evocodec.cli.payload.run import plain
from evocodec.cli.render.event_log import EventLines
from evocodec.domain.clock import epoch_seconds
from evocodec.domain.events import CandidateOpened, Event, ModelCalled, RunStarted, StageStarted
from evocodec.domain.results import Stage
from evocodec.formatting import duration
from evocodec.store.event_json import event_from_json, event_to_ascii_json, event_to_json
from evocodec.views.candidate import CandidateFold, CandidateView
from evocodec.views.progress import Progress
from tests.support import sample_run as story


class Seconds:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def console(width: int = 80, height: int = 24, *, terminal: bool = False) -> Console:
    return Console(
        file=io.StringIO(),
        width=width,
        height=height,
        force_terminal=terminal,
        markup=False,
        emoji=False,
        highlight=False,
    )


def written(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def plain_lines(events: list[Event], *, everything: bool = False) -> list[str]:
    out = console(width=200)
    display = PlainDisplay(out, everything=everything, clock=Seconds())
    for event in events:
        display.on_event(event)
    return written(out).splitlines()


def status_panel(events: list[Event], *, width: int = 80, height: int = 24) -> list[str]:
    out = console(width, height)
    display = LiveDisplay(out, minutes=4, clock=Seconds())
    for event in events:
        display.on_event(event)
    out.print(display.status_panel())
    return written(out).splitlines()


def test_every_kind_of_event_has_a_line_of_its_own() -> None:
    told = {type(event) for event in story.finished()}
    assert told == set(get_args(Event)), "the story must hold every kind of event"
    for event in story.finished():
        line = describe(event)
        assert line.text
        assert line.text != event.kind


def test_plain_mode_tells_what_matters_and_not_each_task() -> None:
    lines = plain_lines(story.finished())
    text = "\n".join(lines)
    assert "adopted as v2" in text
    assert "9.60 Mbit/s at equal quality (−4.0 % vs HEVC)" in text
    assert "rejected: estimated 3.1 % fewer bits" in text
    assert "lost, retry 1" in text
    assert not [line for line in lines if "qp " in line]
    assert len(plain_lines(story.finished(), everything=True)) == len(story.finished())


def test_a_failure_is_told_once() -> None:
    failures = [line for line in plain_lines(story.finished()) if "IndexError" in line]
    assert len(failures) == 1


def test_plain_mode_says_what_goes_on_when_nothing_happened_for_a_while() -> None:
    clock, out = Seconds(), console(width=200)
    display = PlainDisplay(out, clock=clock, pulse_seconds=6)
    for event in story.story():
        display.on_event(event)
    before = len(written(out).splitlines())
    clock.now += 5
    display.pulse()
    assert len(written(out).splitlines()) == before
    clock.now += 2
    display.pulse()
    display.pulse()
    (pulse,) = written(out).splitlines()[before:]
    assert "c0005 full evaluation, 3 of 8 tasks" in pulse
    assert "c0006 smoke test" in pulse


def resumed(display: PlainDisplay | LiveDisplay) -> list[Event]:
    """Tell a display what a killed run did; returns the first events of the session after."""
    events = story.story()
    display.replay(events)
    started = next(event for event in events if isinstance(event, RunStarted))
    goes_on = next(e for e in events if isinstance(e, StageStarted) and e.candidate_id == "c0006")
    return [replace(started, resumed=1), replace(goes_on, stage=Stage.SCREEN)]


def pulse_of(display: PlainDisplay, clock: Seconds, out: Console) -> str:
    before = len(written(out).splitlines())
    clock.now += 7
    display.pulse()
    (pulse,) = written(out).splitlines()[before:]
    return pulse


def test_a_resume_does_not_tell_the_past_as_the_present() -> None:
    clock, out = Seconds(), console(width=200)
    display = PlainDisplay(out, clock=clock, pulse_seconds=6)
    started, goes_on = resumed(display)
    pulse = pulse_of(display, clock, out)
    assert "starting Ray" in pulse
    assert "31 tasks done before" in pulse
    assert "c0005" not in pulse
    display.on_event(started)
    pulse = pulse_of(display, clock, out)
    assert "c0005 waiting to go on · c0006 waiting to go on · 0 tasks done, 31 before" in pulse
    display.on_event(goes_on)
    pulse = pulse_of(display, clock, out)
    assert "c0005 waiting to go on · c0006 screen, 0 of 2 tasks · 0 tasks done, 31 before" in pulse


def test_the_live_picture_of_a_resume_says_that_it_gets_ready() -> None:
    out = console(width=140)
    display = LiveDisplay(out, minutes=4, clock=Seconds())
    started, _ = resumed(display)
    out.print(display.status_panel())
    assert "getting ready to go on" in written(out)
    assert "full evaluation, 3 of 8 tasks" not in written(out)
    display.on_event(started)
    out.print(display.status_panel())
    assert "4:00 left" in written(out)


def test_following_a_run_makes_no_view_of_a_candidate_until_a_picture_is_drawn(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made: list[str] = []
    view = CandidateFold.view

    def counted(fold: CandidateFold) -> CandidateView:
        if fold._view is None:
            made.append(fold.candidate_id)
        return view(fold)

    monkeypatch.setattr(CandidateFold, "view", counted)
    progress = Progress(Seconds())
    for event in story.story():
        progress.apply(event)
    assert made == ["c0001", "c0004"]  # the versions, as they were adopted
    progress.snapshot()
    drawn = len(made)
    progress.apply(
        CandidateOpened(
            run_id=story.RUN, at=story.Clock()(), candidate_id="c0007", parent_id="", number=7
        )
    )
    progress.snapshot()
    assert made[drawn:] == ["c0007"]


def test_plain_mode_pulses_by_itself_from_the_start() -> None:
    out = console(width=200)
    with PlainDisplay(out, pulse_seconds=0.05) as display:
        assert display._stopped.wait(0.3) is False
    assert written(out).count("starting Ray") >= 2


@pytest.mark.parametrize("width", [60, 80, 140])
@pytest.mark.parametrize("height", [16, 24, 50])
def test_the_live_picture_fits_the_terminal(width: int, height: int) -> None:
    for count in (1, 10, 30, len(story.story())):
        lines = status_panel(story.story()[:count], width=width, height=height)
        assert max(len(line) for line in lines) <= width
        assert len(lines) <= max(height, 20)


def test_the_live_picture_shows_the_champion_the_work_and_the_outcomes() -> None:
    text = "\n".join(status_panel(story.story(), width=140))
    assert "v2      9.60 Mbit/s at equal quality  −4.0 % vs HEVC" in text
    assert "v1 11.24 (9.87 held-out) → v2 9.60 (9.87 held-out)" in text
    assert "full evaluation, 3 of 8 tasks" in text
    assert "larger blocks where motion is smooth" in text
    assert "4 done: 2 adopted, 1 rejected, 1 failed · 31 tasks · 1 retry" in text
    assert "5.2k + 3.1k tokens · $0.0210" in text
    assert "mutation proposer, no language model" in text
    assert "4:00 left" in text


def test_before_the_first_event_the_live_picture_says_what_is_awaited() -> None:
    assert "starting Ray" in "\n".join(status_panel([]))


def test_a_notice_replaces_the_hint() -> None:
    out = console()
    display = LiveDisplay(out, minutes=4, clock=Seconds())
    display.replay(story.story())
    display.notice("stopping cleanly; resume with: evocodec run --resume r")
    out.print(display.status_panel())
    assert "stopping cleanly" in written(out)
    assert "Ctrl-C stops cleanly" not in written(out)


@pytest.mark.parametrize("everything", [False, True])
def test_no_renderer_lets_terminal_control_through(everything: bool) -> None:
    out = console(terminal=False)
    plain = PlainDisplay(out, everything=everything, clock=Seconds())
    live = LiveDisplay(out, minutes=4, clock=Seconds())
    for event in story.finished():
        plain.on_event(event)
        live.on_event(event)
        out.print(live.status_panel())
    text = written(out)
    assert "[bold red]not markup[/]" in text, "brackets are text, not markup"
    for control in ("\x1b", "\x9b", "\x07", "\r", "owned"):
        assert control not in text


def test_json_mode_writes_the_ledgers_events_one_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    err = console()
    with JsonDisplay(err) as display:
        for event in story.finished():
            display.on_event(event)
        display.notice("stopping")
    lines = capsys.readouterr().out.splitlines()
    kinds = [json.loads(line)["kind"] for line in lines]
    assert kinds == [event.kind for event in story.finished()]
    assert "".join(lines).isascii(), "no control character reaches a terminal raw"
    assert "stopping" in written(err)


def test_the_log_looks_like_the_lines_of_a_run() -> None:
    events = story.finished()
    began = epoch_seconds(events[0].at)
    assert began is not None
    for terminal in (False, True):
        log = console(width=500, terminal=terminal)
        log.print(EventLines(events, began), soft_wrap=True)
        one_by_one = console(width=500, terminal=terminal)
        for event in events:
            seconds = (epoch_seconds(event.at) or 0.0) - began
            line = describe(event).render(lead=duration(seconds))
            one_by_one.print(line, soft_wrap=True)
        shown, expected = (
            Text.from_ansi(written(out)).plain.splitlines() for out in (log, one_by_one)
        )
        assert [line.rstrip() for line in shown] == [line.rstrip() for line in expected]
    assert "\x1b[" in written(log)


def test_a_line_of_json_is_the_event_with_null_for_what_is_no_number() -> None:
    (call, *_) = (event for event in story.finished() if isinstance(event, ModelCalled))
    odd = replace(call, cost_usd=math.nan, wall_seconds=math.inf, model="a\ud800\x9b")
    read = (event_from_json(event_to_json(event)) for event in story.finished())
    events = [*(event for event in read if event is not None), odd]
    lines = [event_to_ascii_json(event) for event in events]
    expected = [json.loads(json.dumps(plain(event))) for event in events]
    expected[-1]["model"] = "a?\x9b"
    assert [json.loads(line) for line in lines] == expected
    assert json.loads(lines[-1])["cost_usd"] is None
    assert all(line.isascii() for line in lines)
