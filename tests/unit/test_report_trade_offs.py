"""Bits against decode time in the report of an evaluation."""

import itertools
from dataclasses import replace

import pytest

from evocodec.cli.payload.report import report_payload
from evocodec.domain.results import (
    BdRate,
    ClipScore,
    Metric,
    RatePoint,
    Score,
)
from evocodec.report.model import Codec, Kind
from evocodec.report.page import html_page
from evocodec.report.pareto import TradeOff
from evocodec.report.trade_off_chart import trade_off_chart
from evocodec.report.trade_offs import codec_trade_offs, run_trade_offs
from evocodec.views.candidate import CandidateView
from evocodec.views.run import AnchorView, RunView
from tests.unit.test_report import STREAM, Page, curve, report


def decoding(codec: Codec, ms: float) -> Codec:
    """The same curves, decoded in so many CPU milliseconds a frame."""

    def changed(point: RatePoint) -> RatePoint:
        return replace(point, cost=replace(point.cost, decode_cpu_seconds=ms / 100))

    curves = {
        clip: replace(one, points=tuple(map(changed, one.points)))
        for clip, one in codec.curves.items()
    }
    return replace(codec, curves=curves)


def test_every_codec_with_a_figure_on_every_clip_stands_in_bits_against_decode_time() -> None:
    whole = report()
    subject = decoding(whole.subject, 20.0)
    quick = Codec("quick", Kind.ANCHOR, {"one": curve("quick", "one"), "two": curve("q", "two", 2)})
    partial = Codec("partial", Kind.ANCHOR, {"one": curve("partial", "one", 0.5)})
    base = decoding(whole.references[0], 40.0)
    found = codec_trade_offs(subject, (base, decoding(quick, 5.0), partial), whole.clips)
    assert {point.label: round(point.decode_ms, 6) for point in found} == {
        "x265-medium": 40.0,
        "mine": 20.0,
        "quick": 5.0,
    }
    by_name = {point.label: point.bd_rate_percent for point in found}
    assert by_name["x265-medium"] == 0.0
    assert by_name["mine"] == pytest.approx(whole.means["x265-medium", Metric.PSNR_Y].percent)
    assert by_name["quick"] == pytest.approx(50.0, abs=0.1)  # the same bits, and twice as many


def test_the_page_draws_the_trade_offs_and_says_who_is_missing() -> None:
    whole = report()
    unmeasured = Codec("lame", Kind.ANCHOR, {})
    references = (*whole.references, unmeasured)
    points = (
        *codec_trade_offs(whole.subject, references, whole.clips),
        TradeOff("c0004 (v1)", 80.0, 3.0),
    )
    text = html_page(replace(whole, references=references, trade_offs=points))
    Page(text)  # raises when tags are not balanced
    assert "Not shown, for want of a figure on every clip: lame." in text
    assert "c0004 (v1) · +80.0 % bits against x265-medium · 3 CPU ms a frame" in text
    assert '<g class="other">' in text
    assert 'class="front"' in text
    assert 'class="front"' not in html_page(replace(whole, trade_offs=points[:1]))


@pytest.mark.parametrize(("worst", "axis"), [(60.0, "BD-rate against a, %"), (900.0, "bits, % of")])
def test_a_codec_far_behind_does_not_squeeze_the_others(worst: float, axis: str) -> None:
    points = [TradeOff("a", 0, 1), TradeOff("b", -20, 9), TradeOff("behind", worst, 30)]
    chart = trade_off_chart(points, {"a": 1, "b": 2, "behind": 0}, base="a", title="t")
    assert axis in chart.y_axis.label
    ys = {dot.tip.split(" ")[0]: dot.y for trace in chart.traces for dot in trace.dots}
    assert ys["behind"] < ys["a"] < ys["b"]
    assert ys["b"] - ys["a"] > 15


def test_names_in_the_trade_offs_do_not_lie_on_each_other() -> None:
    points = [TradeOff(f"encoder-{n}", -30 + 0.1 * n, 10 + 0.01 * n) for n in range(5)]
    chart = trade_off_chart(points, {p.label: n for n, p in enumerate(points)}, base="a", title="t")
    heights = sorted(name.y for name in chart.names)
    assert len(heights) == 5
    assert all(b - a >= 9 for a, b in itertools.pairwise(heights))


def test_only_candidates_measured_on_the_same_samples_stand_beside_a_program() -> None:
    primary = {"one": curve("x265-medium", "one")}
    bd_rate = BdRate(5.0, 5.0, 1.0)
    score = Score(
        *(10.5, 50.0, 5.0, "one", 1.05, 1.0, 25.0, 1, 1),
        (ClipScore("one", curve("c", "one"), bd_rate, 36.0, 1.0, 1.0, 1.0, 50.0),),
    )
    candidates = tuple(CandidateView(name, score=score) for name in ("c0001", "c0002"))
    anchors = (AnchorView(primary["one"], STREAM, 36.0, True),)
    run = RunView("run-1", anchors=anchors, candidates=(*candidates, CandidateView("c0003")))
    (other,) = run_trade_offs(run, "c0002", primary)
    assert (other.label, other.bd_rate_percent, other.decode_ms) == ("c0001", 5.0, 40.0)
    assert run_trade_offs(run, "c0002", {"one": curve("x265-medium", "one", 1.01)}) == ()
    assert run_trade_offs(run, "c0002", {**primary, "two": curve("x265-medium", "two")}) == ()


def test_times_over_the_anchors_are_told_of_programs_that_have_them() -> None:
    whole = report()
    assert "times the CPU time" not in html_page(whole)
    timed = replace(whole.subject, encode_time_ratio=41.26, decode_time_ratio=12.0)
    text = html_page(replace(whole, subject=timed))
    assert "mine takes 41.3 times the CPU time of HEVC (x265 medium) to encode and 12 times" in text
    (payload,) = [report_payload(replace(whole, subject=timed))["subject"]]
    assert (payload["encode_time_ratio"], payload["decode_time_ratio"]) == (41.26, 12.0)
