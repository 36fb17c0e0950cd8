"""The parts of the HTML report, each a generator of markup; words from outside are escaped."""

from collections.abc import Callable, Iterator, Sequence
from html import escape

from evocodec.anchors.measure import operating_bits
from evocodec.domain.results import Comparison, Cost, Metric, RatePoint
from evocodec.report.charts import rd_chart
from evocodec.report.format import DASH, interval, number, percent, same_hour, sense, size
from evocodec.report.markup import figure, table
from evocodec.report.model import METRIC_NAMES, ClipFacts, Codec, Report, metric_unit
from evocodec.report.trade_off_chart import trade_off_chart

_SLOTS = 9  # colours in the style sheet


def head(report: Report) -> Iterator[str]:
    """Title, verdict, figures, and what a reader must know first."""
    date = report.environment.measured_at[:10]
    yield f'<p class="kicker">Evocodec report · {escape(date)}</p>'
    yield f"<h1>{escape(report.title)}</h1>"
    yield f'<p class="lead">{_verdict(report)}</p>'
    yield f'<dl class="tiles">{"".join(_tiles(report))}</dl>'
    if report.notices:
        items = "".join(f"<li>{escape(notice)}</li>" for notice in report.notices)
        yield f'<div class="notices" role="note"><ul>{items}</ul></div>'


def _verdict(report: Report) -> str:
    reference = report.references[0]
    mean = report.means.get((reference.name, Metric.PSNR_Y))
    against = f"<b>{escape(reference.name)}</b>"
    if mean is None:
        return f"No comparison with {against} was possible: the reasons are below."
    more = "more" if mean.percent > 0 else "fewer"
    clips = f"{mean.clips} clip{'s' if mean.clips != 1 else ''}"
    words = (
        f'<b class="{sense(mean.percent)}">{number(abs(mean.percent), 1)} % {more} bits</b> than '
        f"{against} at equal PSNR-Y: the mean BD-rate over {clips}"
    )
    if mean.interval is not None:
        level = f"{100 * mean.interval.level:.0f} %"
        words += f", {interval(mean.interval)} with {level} confidence"
    return words + "."


def _tiles(report: Report) -> Iterator[str]:
    score, subject = report.score, report.subject
    if score is not None:
        spread = score.bitrate_interval_mbps
        note = "HEVC is 10.00 by definition"
        if spread is not None:
            note = f"{number(spread.low)} … {number(spread.high)}; HEVC is 10.00"
        yield _tile("at equal quality", f"{number(score.bitrate_mbps)} <small>Mbit/s</small>", note)
        worst = percent((score.worst_clip_ratio - 1) * 100)
        yield _tile(
            "compression",
            f"{number(score.compression_ratio, 1)} <small>: 1</small>",
            f"worst clip {escape(score.worst_clip)}, {worst}",
        )
    for metric in (Metric.VMAF, Metric.MS_SSIM):
        mean = report.means.get((report.references[0].name, metric))
        if mean is not None:
            yield _tile(
                f"BD-rate, {METRIC_NAMES[metric]}", percent(mean.percent), interval(mean.interval)
            )
    cost = subject.cost
    if cost.encode_wall_seconds > 0:
        decoded = _rate(cost.frames, cost.decode_wall_seconds)
        yield _tile(
            "encodes",
            f"{_rate(cost.frames, cost.encode_wall_seconds)} <small>frames/s</small>",
            f"decodes {decoded} frames/s",
        )
    if subject.program is not None:
        yield _tile(
            "program",
            size(subject.program.source_bytes),
            f"{size(subject.program.packed_bytes)} compressed",
        )


def _tile(name: str, value: str, note: str) -> str:
    return f"<div><dt>{name}</dt><dd>{value}<span>{note}</span></dd></div>"


def summary(report: Report) -> Iterator[str]:
    """Mean BD-rate against every reference, for every metric."""
    yield "<h2>Against every reference</h2>"
    level = f"{100 * report.confidence:.0f} %"
    caption = (
        f"Mean BD-rate of {escape(report.subject.name)} over clips: how many per cent more (+) or "
        "fewer (−) bits it needs at equal quality. Below each figure, where the mean lies with "
        f"{level} confidence (bootstrap over clips)."
    )
    heads = ["reference", *(METRIC_NAMES[metric] for metric in report.metrics)]
    rows = []
    for reference in report.references:
        cells = [f'<th scope="row">{escape(reference.name)}</th>']
        for metric in report.metrics:
            mean = report.means.get((reference.name, metric))
            if mean is None:
                cells.append(f"<td>{DASH}</td>")
                continue
            clips = (
                ""
                if mean.clips == len(report.clips)
                else f"{mean.clips} of {len(report.clips)} clips"
            )
            below = "".join(
                f"<small>{words}</small>" for words in (interval(mean.interval), clips) if words
            )
            cells.append(f'<td class="{sense(mean.percent)}">{percent(mean.percent)}{below}</td>')
        rows.append("".join(cells))
    yield table(heads, rows, caption)


def rate_distortion(report: Report) -> Iterator[str]:
    """Curves and BD-rates, a tab for each metric."""
    yield "<h2>Rate and quality</h2>"
    yield (
        '<p class="note">Dots are measured; between them, what BD-rate integrates. A dotted line '
        "joins points that are no usable curve. The dashed line is the operating rate, 0.1608 bits "
        "a luma sample (10 Mbit/s at 1080p30).</p>"
    )
    yield _legend(report)
    yield "<div data-tabs>"
    for metric in report.metrics:
        name = METRIC_NAMES[metric]
        yield f'<section class="metric" id="m-{metric}" data-name="{name}"><h3>{name}</h3>'
        yield '<div class="grid3">'
        for clip in report.clips:
            yield from _clip_chart(report, clip, metric)
        yield "</div>"
        yield _ratestable(report, metric)
        yield "</section>"
    yield "</div>"


def _legend(report: Report) -> str:
    items = "".join(
        f'<li class="s{index % _SLOTS}"><i></i><b>{escape(codec.name)}</b></li>'
        for index, codec in enumerate(report.codecs)
    )
    return f'<ul class="legend" aria-label="colours">{items}</ul>'


def _clip_chart(report: Report, clip: ClipFacts, metric: Metric) -> Iterator[str]:
    lines = [
        (index % _SLOTS, codec.curves[clip.name])
        for index, codec in enumerate(report.codecs)
        if clip.name in codec.curves
        and all(p.quality.value(metric) is not None for p in codec.curves[clip.name].points)
        and codec.curves[clip.name].points
    ]
    if not lines:
        return
    scale = float(clip.stream.fps) / clip.stream.frame_count / 1000
    chart = rd_chart(
        lines,
        value=_value_of(metric),
        kbps=lambda point: point.bits * scale,
        title=f"{METRIC_NAMES[metric]} over bitrate on {clip.name}",
        y_label=f"{METRIC_NAMES[metric]} {metric_unit(metric)}".strip(),
        mark=(operating_bits(clip.stream) * scale, 0.0),
    )
    size_words = f"{clip.stream.width}×{clip.stream.height}, {clip.stream.frame_count} frames"
    yield figure(chart, f"<b>{escape(clip.name)}</b> · {size_words}")


def _value_of(metric: Metric) -> Callable[[RatePoint], float]:
    def value(point: RatePoint) -> float:
        found = point.quality.value(metric)
        return 0.0 if found is None else found

    return value


def _ratestable(report: Report, metric: Metric) -> str:
    caption = (
        f"BD-rate at equal {METRIC_NAMES[metric]} (Akima). Below: the share of the reference's "
        "quality range that both reach. † is explained under “Read with care”."
    )
    heads = ["reference", *(escape(clip.name) for clip in report.clips), "mean"]
    rows = []
    for reference in report.references:
        cells = [f'<th scope="row">{escape(reference.name)}</th>']
        cells += [
            _rate_cell(report.comparison(reference.name, clip.name, metric))
            for clip in report.clips
        ]
        mean = report.means.get((reference.name, metric))
        below = "" if mean is None else interval(mean.interval)
        value = None if mean is None else mean.percent
        cells.append(f'<td class="{sense(value)}">{percent(value)}<small>{below}</small></td>')
        rows.append("".join(cells))
    return table(heads, rows, caption)


def _rate_cell(found: Comparison | None) -> str:
    if found is None:
        return f"<td>{DASH}</td>"
    flag = "<sup>†</sup>" if found.problem else ""
    if found.bd_rate is None:
        return f'<td title="{escape(found.problem)}">{DASH}{flag}</td>'
    rate = found.bd_rate
    return (
        f'<td class="{sense(rate.akima_percent)}">{percent(rate.akima_percent)}{flag}'
        f"<small>{rate.overlap:.0%} shared</small></td>"
    )


def cost(report: Report) -> Iterator[str]:
    """What coding takes, beside the first reference."""
    yield "<h2>Cost</h2>"
    base = report.references[0].cost
    caption = (
        "All rate points together, one core each. CPU seconds are a frame's. Ratios are to "
        f"{escape(report.references[0].name)}; figures of anchors may come from the cache, "
        "measured earlier on this machine (--repeat measures them again)."
    )
    heads = ["codec", "encode", "CPU s", "ratio", "decode", "CPU s", "ratio", "memory", "program"]
    rows = [_cost_row(codec, base, subject=codec is report.subject) for codec in report.codecs]
    yield table(heads, rows, caption)
    yield from (f'<p class="note">{escape(words)}</p>' for words in same_hour(report))
    yield from _trade_offs(report)


def _trade_offs(report: Report) -> Iterator[str]:
    if len(report.trade_offs) < 2:
        return
    base = report.references[0].name
    named = {codec.name: index % _SLOTS for index, codec in enumerate(report.codecs)}
    chart = trade_off_chart(
        report.trade_offs, named, base=base, title="Bits over decode time of every codec"
    )
    shown = {point.label for point in report.trade_offs}
    missing = [codec.name for codec in report.codecs if codec.name not in shown]
    words = (
        "<b>Bits against decode time</b> · mean BD-rate at equal PSNR-Y; CPU time of all rate "
        "points. Lower and further left is better; the line joins those that no other one beats on "
        "both."
    )
    if shown - set(named):
        words += " Small dots: the other candidates of the same run."
    if missing:
        words += f" Not shown, for want of a figure on every clip: {escape(', '.join(missing))}."
    yield f'<div class="grid2">{figure(chart, words)}</div>'


def _cost_row(codec: Codec, base: Cost, *, subject: bool) -> str:
    found = codec.cost
    program = DASH
    if codec.program is not None:
        packed = size(codec.program.packed_bytes)
        program = f"{size(codec.program.source_bytes)}<small>{packed} packed</small>"
    memory = size(found.peak_memory_bytes) if found.peak_memory_bytes else DASH
    name = f"<b>{escape(codec.name)}</b>" if subject else escape(codec.name)
    return (
        f'<th scope="row">{name}</th>'
        f"<td>{_rate(found.frames, found.encode_wall_seconds)} fps</td>"
        f"<td>{number(_each(found, 'encode'), 4)}</td>"
        f"<td>{_times(_each(found, 'encode'), _each(base, 'encode'))}</td>"
        f"<td>{_rate(found.frames, found.decode_wall_seconds)} fps</td>"
        f"<td>{number(_each(found, 'decode'), 4)}</td>"
        f"<td>{_times(_each(found, 'decode'), _each(base, 'decode'))}</td>"
        f"<td>{memory}</td><td>{program}</td>"
    )


def problems(report: Report) -> Iterator[str]:
    """Comparisons that could not be made, and those to be read with care."""
    if not report.problems:
        return
    yield "<h2>Read with care</h2>"
    missing = [found for found in report.problems if found.bd_rate is None]
    doubtful = [found for found in report.problems if found.bd_rate is not None]
    if missing:
        yield _problem_table(missing, "No figure was possible.")
    if doubtful:
        many = f"{len(doubtful)} figure{'s' if len(doubtful) != 1 else ''}"
        yield f"<details><summary>{many} with a warning</summary>"
        yield _problem_table(doubtful, "")
        yield "</details>"


def _problem_table(found: Sequence[Comparison], caption: str) -> str:
    rows = [
        f'<th scope="row">{escape(one.clip)}</th><td class="text">{escape(one.anchor)}</td>'
        f'<td class="text">{METRIC_NAMES[one.metric]}</td>'
        f'<td class="text">{escape(one.problem)}</td>'
        for one in found
    ]
    return table(["clip", "reference", "metric", "what to know"], rows, caption, text=(1, 2, 3))


def program_difference(report: Report) -> Iterator[str]:
    """What differs between two programs."""
    if report.difference:
        yield "<h2>Programs</h2>"
        yield f"<pre>{escape(report.difference)}</pre>"


def clips(report: Report) -> Iterator[str]:
    """What was coded."""
    yield "<h2>Clips</h2>"
    rows = [
        f'<th scope="row">{escape(clip.name)}</th>'
        f"<td>{clip.stream.width}×{clip.stream.height}</td><td>{clip.stream.frame_count}</td>"
        f"<td>{float(clip.stream.fps):.4g}</td><td>{number(clip.operating_psnr_y_db)} dB</td>"
        f'<td class="text">{escape(clip.origin)}<small>{escape(clip.licence)}</small>'
        f"<small>sha256 <code>{clip.sha256}</code></small></td>"
        for clip in report.clips
    ]
    heads = ["clip", "size", "frames", "fps", "operating PSNR-Y", "origin, licence, samples"]
    yield table(
        heads,
        rows,
        "The hash is of size, rate, count and all samples as they were coded.",
        text=(5,),
    )


def method(report: Report) -> Iterator[str]:
    """How to get the same numbers."""
    environment = report.environment
    yield "<h2>How it was measured</h2>"
    yield f'<pre class="wrap">{escape(environment.command)}</pre>'
    facts = [
        ("measured", environment.measured_at),
        ("machine", environment.machine),
        ("software", ", ".join(f"{name} {value}" for name, value in environment.versions.items())),
        ("sandbox", ", ".join(f"{name} {state}" for name, state in environment.isolation.items())),
    ]
    if report.subject.program is not None:
        program = report.subject.program
        facts.insert(0, ("program", f"sha256 {program.sha256}, {program.lines} lines"))
    rows = "".join(f"<dt>{name}</dt><dd>{escape(value)}</dd>" for name, value in facts)
    yield f'<dl class="facts">{rows}</dl>'
    commands = [codec for codec in report.codecs if codec.command]
    if commands:
        yield "<h3>Anchors</h3>"
        yield (
            '<p class="note">Raw frames go in; Q is the rate. A raw stream comes out, and its size '
            "is the bit count.</p>"
        )
        for codec in commands:
            yield f"<p><b>{escape(codec.name)}</b></p>"
            yield f'<pre class="wrap">{escape(codec.command)}</pre>'
    yield (
        "<p>PSNR is the mean over frames of each frame's PSNR: 8 bits, 4:2:0, BT.709 limited. "
        "A program's bits are its whole file, header included; it was encoded and decoded in "
        "separate sandboxes, and scored outside them. Nothing is extrapolated. The protocol is "
        "docs/evaluation.md of Evocodec.</p>"
    )


def _rate(frames_coded: int, seconds: float) -> str:
    return number(frames_coded / seconds, 1) if seconds > 0 else DASH


def _each(found: Cost, phase: str) -> float | None:
    """CPU seconds a frame, None where they were not measured."""
    seconds = found.encode_cpu_seconds if phase == "encode" else found.decode_cpu_seconds
    return seconds / found.frames if found.frames and seconds > 0 else None


def _times(ours: float | None, base: float | None) -> str:
    return DASH if ours is None or base is None else f"{ours / base:.3g}×"
