"""The report of an evaluation: what it says, what it never lets through, and what it leaves out."""

import base64
import csv
import hashlib
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, replace
from enum import Enum
from fractions import Fraction
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from markupsafe import escape

from evocodec.app.comparison import Side, difference
from evocodec.cli.payload.report import report_payload
from evocodec.codec.program import Program
from evocodec.domain.errors import UserError
from evocodec.domain.results import (
    Cost,
    FrameSeries,
    Metric,
    Quality,
    RatePoint,
    RdCurve,
    Score,
)
from evocodec.domain.video import Frame, StreamInfo
from evocodec.output_file import output_file
from evocodec.report.charts import FrameValues, frame_chart, rd_chart
from evocodec.report.files import (
    COMPARISON_COLUMNS,
    POINT_COLUMNS,
    ReportFiles,
    comparison_rows,
    point_rows,
    report_files,
)
from evocodec.report.gather import (
    compare_all,
    mean_rates,
    measured_metrics,
    program_facts,
    within_range,
)
from evocodec.report.model import (
    ClipFacts,
    Codec,
    Coded,
    Environment,
    FrameCrops,
    Kind,
    Report,
    View,
    frame_values,
)
from evocodec.report.page import chart_svg, html_page
from evocodec.report.pareto import TradeOff
from evocodec.report.pictures import rgb_of, within_budget, worst_window, worth_seeing
from evocodec.report.sections import tiles

STREAM = StreamInfo(192, 176, Fraction(30), 10)
HOSTILE = '=cmd|"<script>alert(1)</script>\x1b[31m'
ATTACK = """\"'><script>alert(1)</script><b1 onload=x>{{ 7 * 7 }}{% raw %}&amp;"""
PNG = b"\x89PNG not really"


def quality(db: float, *, vmaf: float | None = None, ms_ssim: float | None = None) -> Quality:
    return Quality(db, db + 2, db + 3, db + 0.6, ms_ssim, db - 1, 3, vmaf, vmaf)


def curve(codec: str, clip: str, factor: float = 1.0, *, vmaf: bool = True) -> RdCurve:
    """Bits double every 3 dB; ``factor`` times as many as the anchor."""
    points = tuple(
        RatePoint(
            clip=clip,
            qp=40.0 - 4 * step,
            bits=int(factor * 40_000 * 2**step),
            frames=10,
            quality=quality(30.0 + 3 * step, vmaf=60.0 + 7 * step if vmaf else None),
            cost=Cost(1.0, 0.9, 0.5, 0.4, 50 << 20, 10),
        )
        for step in range(5)
    )
    return RdCurve(codec, clip, points)


def series(values: Sequence[float]) -> FrameSeries:
    flat = tuple(values)
    return FrameSeries(flat, flat, flat, (), tuple(2 * value for value in flat), ())


def files(**wanted: Path) -> ReportFiles:
    """Checked files of a report, by the option that asks for them."""
    names = {"csv": None, "html": None, "plots": None}
    given = names | {option: str(path) for option, path in wanted.items()}
    return report_files(lambda name, kind: output_file(name, kind, new_folders=True), **given)


def rows_of(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))


def report(
    *, clips: Sequence[str] = ("one", "two"), label: str = "mine", **changes: object
) -> Report:
    facts = tuple(
        ClipFacts(name, STREAM, "ab" * 32, f"origin of {name}", "CC0", 36.0) for name in clips
    )
    subject = Codec(
        label,
        Kind.PROGRAM,
        {name: curve(label, name, 1.1 + 0.1 * index) for index, name in enumerate(clips)},
        program=program_facts(Program("x = 1\n")),
    )
    anchor = Codec(
        "x265-medium", Kind.ANCHOR, {name: curve("x265-medium", name) for name in clips}, "ffmpeg Q"
    )
    metrics = measured_metrics((), [*subject.curves.values(), *anchor.curves.values()])
    compared = compare_all(subject, (anchor,), facts, metrics)
    whole = Report(
        title=label,
        subject=subject,
        references=(anchor,),
        clips=facts,
        metrics=metrics,
        comparisons=compared,
        score=None,
        environment=Environment("2026-11-23T00:00:00", "evocodec eval x", "box", {"a": "1"}, {}),
        confidence=0.9,
        means=mean_rates(compared, 0.9),
        views=(
            View(
                clips[0],
                Coded("x265-medium", 28.0, 1000, quality(36.0), series([36.0, 35.0, 37.0])),
                Coded(label, 30.0, 1010, quality(35.0), series([35.0, 34.5, 33.0])),
                (FrameCrops(2, "its worst frame", (0, 0, 192, 176), PNG, PNG, PNG, PNG),),
            ),
        ),
    )
    return replace(whole, **changes)  # type: ignore[arg-type]


class Page(HTMLParser):
    """Elements, their attributes, and whether tags are balanced."""

    VOID = frozenset({"meta", "img", "br", "input", "line", "circle", "polyline", "link"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_a_page_is_whole_and_asks_nobody_for_anything() -> None:
    text = html_page(report())
    page = Page(text)
    assert page.open == []
    for tag, attributes in page.found:
        assert tag not in {"link", "iframe", "object", "embed", "base"}
        for name in ("src", "href", "srcset", "action", "xlink:href"):
            value = attributes.get(name)
            assert value is None or value.startswith("data:image/png;base64,"), (tag, value)
        assert not any(name.startswith("on") or name == "style" for name in attributes)
    assert "url(" not in text
    assert "@import" not in text


def test_only_our_own_style_and_script_are_allowed_to_act() -> None:
    text = html_page(report())
    (policy,) = (
        attributes["content"]
        for tag, attributes in Page(text).found
        if tag == "meta" and attributes.get("http-equiv") == "Content-Security-Policy"
    )
    assert policy is not None
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe" not in policy
    for element in ("style", "script"):
        (content,) = re.findall(f"<{element}>(.*?)</{element}>", text, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"{element}-src 'sha256-{digest}'" in policy


def test_names_from_outside_stay_text(tmp_path: Path) -> None:
    hostile = report(label=HOSTILE, clips=("a<b>", "two"), notices=("<img src=x>",))
    text = html_page(hostile)
    assert "<script>alert" not in text
    assert "<img src=x>" not in text
    assert "a&lt;b&gt;" in text
    assert Page(text).open == []
    for path in files(csv=tmp_path / "table.csv").write(hostile)[0]:
        for row in rows_of(Path(path)):
            assert not any(value.startswith(("=", "+", "@")) for value in row.values())


def hostile(value: object) -> object:
    """A copy of a report's part with an attack at the end of every text, keys included."""
    match value:
        case Enum() | None | int() | float() | bytes() | Fraction():
            return value
        case str():
            return value + ATTACK
        case tuple():
            return tuple(map(hostile, value))
        case Mapping():
            return {hostile(key): hostile(item) for key, item in value.items()}
    parts = {f.name: hostile(getattr(value, f.name)) for f in fields(value)}  # type: ignore[arg-type]
    return replace(value, **parts)  # type: ignore[type-var]


def texts_of(value: object) -> Iterator[str]:
    match value:
        case Enum() | None | int() | float() | bytes() | Fraction():
            return
        case str():
            yield value
        case tuple():
            for part in value:
                yield from texts_of(part)
        case Mapping():
            for key, item in value.items():
                yield from texts_of(key)
                yield from texts_of(item)
        case _:
            for field in fields(value):  # type: ignore[arg-type]
                yield from texts_of(getattr(value, field.name))


def test_a_hostile_text_in_any_field_of_a_report_stays_text() -> None:
    bent = curve("bent", "one")
    first, *rest = bent.points
    bent = replace(bent, points=(replace(first, quality=quality(50.0, vmaf=99.0)), *rest))
    whole = report(notices=("notice",), difference="+ difference", label="mine")
    anchors = (*whole.references, Codec("bent", Kind.ANCHOR, {"one": bent}, "encode -q Q"))
    compared = compare_all(whole.subject, anchors, whole.clips, whole.metrics)
    score = Score(11.5, 40.0, 15.0, "worst", 1.3, 3.0, 25.0, 60 << 20, 4096, ())
    points = (TradeOff("mine", 1, 9), TradeOff("x265-medium", 0, 3), TradeOff("c0004", 80, 4))
    whole = replace(whole, references=anchors, comparisons=compared, score=score, trade_offs=points)
    whole = replace(whole, environment=replace(whole.environment, isolation={"seccomp": "on"}))
    attacked = hostile(whole)
    assert isinstance(attacked, Report)
    text = html_page(attacked)
    page = Page(text)
    assert page.open == []
    tags = [tag for tag, _ in page.found]
    assert (tags.count("script"), tags.count("b1")) == (1, 0)
    assert not any(name.startswith("on") for _, attributes in page.found for name in attributes)
    assert "{{ 7 * 7 }}" in text  # never run as a template
    shown = set(texts_of(attacked))
    assert len(shown) > 15
    assert {value for value in shown if str(escape(value)) not in text} == set()


def test_every_clip_metric_and_reference_has_its_figure() -> None:
    whole = report()
    assert Metric.VMAF in whole.metrics
    assert Metric.MS_SSIM not in whole.metrics  # not measured: no empty chart for it
    text = html_page(whole)
    for metric in whole.metrics:
        section = text.split(f'id="m-{metric.value}"')[1].split("</section>")[0]
        assert section.count("<svg") == 2
        assert "+10.0 %" in section
        assert "+20.0 %" in section
        assert "+15.0 %" in section  # their mean


def test_a_comparison_that_cannot_be_made_leaves_no_figure_and_says_why() -> None:
    whole = report()
    broken = replace(
        whole.subject,
        curves={**whole.subject.curves, "two": replace(whole.subject.curves["two"], points=())},
    )
    compared = compare_all(broken, whole.references, whole.clips, (Metric.PSNR_Y,))
    impossible = next(found for found in compared if found.clip == "two")
    assert impossible.bd_rate is None
    assert impossible.problem
    means = mean_rates(compared, 0.9)
    assert means[("x265-medium", Metric.PSNR_Y)].clips == 1
    assert means[("x265-medium", Metric.PSNR_Y)].percent == pytest.approx(10.0, abs=0.01)
    text = html_page(replace(whole, subject=broken, comparisons=compared, means=means))
    assert "Read with care" in text
    assert "1 of 2 clips" in text


def test_tables_hold_a_row_for_each_comparison_and_each_rate_point(tmp_path: Path) -> None:
    whole = report()
    written, _ = files(csv=tmp_path / "new" / "r.csv").write(whole)
    comparisons, points = (Path(name) for name in written)
    assert points.name == "r-points.csv"
    rows = rows_of(comparisons)
    assert len(rows) == 2 * len(whole.metrics)
    assert {(row["clip"], row["reference"]) for row in rows} == {
        ("one", "x265-medium"),
        ("two", "x265-medium"),
    }
    assert float(rows[0]["bd_rate_percent"]) == pytest.approx(10.0, abs=0.01)
    measured = rows_of(points)
    assert len(measured) == 2 * 2 * 5
    first = measured[0]
    assert float(first["kbit_per_second"]) == pytest.approx(int(first["bits"]) * 30 / 10 / 1000)
    assert first["ms_ssim"] == ""


def test_the_json_names_its_layout_and_leaves_pictures_out() -> None:
    payload = report_payload(report())
    assert payload["schema"] == "evocodec.report/1"
    assert payload["views"][0]["frames"] == [
        {"frame": 2, "why": "its worst frame", "window": [0, 0, 192, 176]}
    ]
    assert len(payload["subject"]["curves"]["one"]) == 5
    means = {(m["reference"], m["metric"]): m["bd_rate_percent"] for m in payload["means"]}
    assert means[("x265-medium", "psnr_y")] == pytest.approx(15.0, abs=0.01)


def test_plots_are_the_same_files_for_the_same_curves(tmp_path: Path) -> None:
    whole = replace(report(), metrics=(Metric.PSNR_Y,))
    png, svg = (Path(name) for name in files(plots=tmp_path / "a").write(whole)[0])
    _, again = (Path(name) for name in files(plots=tmp_path / "b").write(whole)[0])
    assert png.read_bytes().startswith(b"\x89PNG")
    assert svg.read_bytes() == again.read_bytes()
    assert "x265-medium" in svg.read_text(encoding="utf-8")


def test_output_that_cannot_be_written_is_refused_before_anything_is_measured(
    tmp_path: Path,
) -> None:
    kept = tmp_path / "kept.html"
    kept.write_text("mine")
    files(csv=tmp_path / "new" / "r.csv")
    assert not (tmp_path / "new").exists()
    for wrong, why in (
        ({"html": kept}, "not a report of evocodec"),
        ({"html": tmp_path}, "is a folder"),
        ({"csv": kept / "below.csv"}, "cannot write"),
        ({"plots": kept}, "is a file"),
        ({"csv": tmp_path / "a", "html": tmp_path / "a-points.csv"}, "two outputs"),
    ):
        with pytest.raises(UserError, match=why):
            files(**wrong)
    assert kept.read_text() == "mine"


def test_one_file_that_cannot_be_written_does_not_take_the_others_along(tmp_path: Path) -> None:
    wanted = files(csv=tmp_path / "r.csv", html=tmp_path / "r.html")
    (tmp_path / "r.csv").mkdir()
    written, failed = wanted.write(report())
    assert written == (str(tmp_path / "r-points.csv"), str(tmp_path / "r.html"))
    assert "the finished file is kept as" in str(failed)


def test_a_report_is_written_again_over_itself(tmp_path: Path) -> None:
    for _ in range(2):
        wanted = files(csv=tmp_path / "r.csv", html=tmp_path / "r.html", plots=tmp_path / "p")
        assert wanted.write(replace(report(), metrics=(Metric.PSNR_Y,)))[1] is None


def test_a_name_that_is_no_text_is_told_by_its_escape(tmp_path: Path) -> None:
    whole = replace(report(label="bad\udcff $x$"), metrics=(Metric.PSNR_Y,))
    wanted = files(csv=tmp_path / "r.csv", html=tmp_path / "r.html", plots=tmp_path / "p")
    assert wanted.write(whole)[1] is None
    assert "bad\\udcff" in (tmp_path / "r.html").read_text()
    assert "bad\\udcff $x$" in (tmp_path / "p" / "rd-psnr_y.svg").read_text()


def test_a_curve_that_is_none_is_dotted_and_not_interpolated() -> None:
    def drawn(whole: RdCurve) -> str:
        chart = rd_chart([(0, whole)], Metric.PSNR_Y, STREAM, title="t", mark_kbps=None)
        assert chart is not None
        return chart_svg(chart)

    good = curve("c", "one")
    first, *rest = good.points
    bent = replace(good, points=(replace(first, quality=quality(50.0)), *rest))
    assert "broken" not in drawn(good)
    assert "broken" in drawn(bent)
    assert drawn(good).count("<circle") == drawn(bent).count("<circle") == 5


def test_better_quality_is_drawn_higher_and_more_bits_further_right() -> None:
    lines = [FrameValues("c", 0, (30.0, 40.0))]
    (trace,) = frame_chart(lines, title="t", y_label="dB", shown_frames=()).traces
    places = [(dot.x, dot.y) for dot in trace.dots]
    (x0, y0), (x1, y1) = places
    assert x1 > x0
    assert y1 < y0


def test_the_frames_shown_are_the_worst_and_the_one_furthest_behind() -> None:
    reference, subject = series([40.0, 30.0, 40.0]), series([36.0, 29.0, 39.0])
    assert [index for index, _ in worth_seeing(reference, subject)] == [1, 0]
    assert [index for index, _ in worth_seeing(reference, reference)] == [1, 0]
    assert [index for index, _ in worth_seeing(series([40.0, 40.0]), series([39.0, 30.0]))] == [1]


def test_a_large_picture_is_cut_to_where_the_error_is() -> None:
    error = np.zeros((720, 1280), np.uint8)
    error[500:520, 900:930] = 90
    x, y, width, height = worst_window(error)
    assert x <= 900
    assert x + width >= 930
    assert y <= 500
    assert y + height >= 520
    assert (x % 2, y % 2) == (0, 0)
    assert worst_window(error[:100, :150]) == (0, 0, 150, 100)


@pytest.mark.parametrize(
    ("yuv", "rgb"),
    [
        ((16, 128, 128), (0, 0, 0)),
        ((235, 128, 128), (255, 255, 255)),
        ((63, 102, 240), (255, 0, 0)),  # BT.709 limited: red
        ((32, 240, 118), (0, 0, 255)),
    ],
)
def test_pictures_have_the_colours_that_bt709_means(
    yuv: tuple[int, int, int], rgb: tuple[int, int, int]
) -> None:
    y, u, v = (
        np.full((4, 4) if plane == 0 else (2, 2), value, np.uint8)
        for plane, value in enumerate(yuv)
    )
    assert np.abs(rgb_of(Frame(y, u, v)).astype(int) - np.array(rgb)).max() <= 2


def test_per_frame_figures_have_the_units_of_their_means() -> None:
    whole = FrameSeries((30.0,), (32.0,), (40.0,), (0.99,), (80.0,), (79.0,))
    assert frame_values(whole, Metric.PSNR_611) == (pytest.approx((180 + 72) / 8),)
    assert frame_values(whole, Metric.MS_SSIM) == (pytest.approx(20.0),)
    assert frame_values(whole, Metric.VMAF_NEG) == (79.0,)


def test_the_difference_of_two_programs_is_counted_and_cut() -> None:
    assert difference(
        Side("a", Program("x = 1\n")), Side("b", Program("x = 2\ny = 3\n"))
    ).startswith("2 lines added, 1 removed")
    assert "the same" in difference(Side("a", Program("x")), Side("b", Program("x")))
    assert difference(Side("a", Program("x")), Side("b")) == ""
    long = "\n".join(f"x{number} = 1" for number in range(2000))
    assert "lines left out" in difference(Side("a", Program("")), Side("b", Program(long)))


def test_an_anchors_points_beyond_the_primary_are_left_out_while_four_remain() -> None:
    primary = curve("x265-medium", "one")  # 30 to 42 dB
    lossless = tuple(
        replace(primary.points[0], qp=float(step), bits=10**7 + step, quality=quality(60.0 + step))
        for step in range(2)
    )
    wide = replace(primary, codec="svt", points=(*primary.points, *lossless))
    assert within_range(wide, primary).points == primary.points
    short = replace(wide, points=(*primary.points[:2], *lossless))
    assert within_range(short, primary).points == short.points


def test_further_pictures_are_kept_only_while_they_are_small_together() -> None:
    whole = report().views[0]
    (picture,) = whole.pictures
    views = [replace(whole, clip=name, pictures=(picture, picture)) for name in ("a", "b")]
    kept = within_budget(views, 3 * picture.size_bytes)
    assert [len(view.pictures) for view in kept] == [2, 1]
    assert [len(view.pictures) for view in within_budget(views, 0)] == [1, 1]


def test_the_wheel_has_what_a_page_is_made_of() -> None:
    root = Path(__file__).parents[2]
    settings = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
    package = root / "evocodec"
    shipped = {
        path
        for pattern in settings["tool"]["setuptools"]["package-data"]["evocodec"]
        for path in package.glob(pattern)
    }
    inside = (package / "report").rglob("*")
    parts = {path for path in inside if path.suffix in {".j2", ".css", ".js"}}
    assert len(parts) > 10
    assert parts <= shipped


def test_both_tables_of_csv_the_page_and_the_json_of_a_report_have_it() -> None:
    plain = report()
    whole = replace(plain, subject=replace(plain.subject, held_out_bitrate_mbps=12.36))
    for columns, rows in (
        (COMPARISON_COLUMNS, comparison_rows(whole)),
        (POINT_COLUMNS, point_rows(whole)),
    ):
        table = [dict(zip(columns, row, strict=True)) for row in rows]
        assert {row["held_out_bitrate_mbps"] for row in table} <= {12.36, ""}
        assert table[0]["held_out_bitrate_mbps"] == 12.36
    assert "12.36" in [tile.figure for tile in tiles(whole)]
    payload = report_payload(whole)
    assert payload["subject"]["held_out_bitrate_mbps"] == 12.36
    assert payload["references"][0]["held_out_bitrate_mbps"] is None
