"""Every renderer shows the same run: on a terminal, in a log, for machines."""

import io
import json
from typing import get_args

import pytest
from rich.console import Console

from evocodec.cli.display.json import JsonDisplay
from evocodec.cli.display.lines import describe
from evocodec.cli.display.live import LiveDisplay
from evocodec.cli.display.plain import PlainDisplay
from evocodec.domain.events import Event
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
    assert "HEVC 10.00 → v1 11.24 → v2 9.60" in text
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
