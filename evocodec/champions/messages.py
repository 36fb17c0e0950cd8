"""Commit messages of champions: text for people, and trailers that ``versions()`` reads.

Trailers are the last paragraph of the message, the only one that git reads them from, and every
value is one line without control characters. So text of a model cannot pass for a trailer.
"""

import re
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from pydantic_core import to_json

from evocodec.codec.program import Program
from evocodec.domain.candidate import Origin, Verdict
from evocodec.domain.results import HeldOutResult, Score, proven_percent

PROGRAM_FILE = "codec.py"
METRICS_FILE = "metrics.json"
README_FILE = "README.md"

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]+")
_MAX_TEXT = 2000
_VERSION_NUMBER = re.compile(r"[1-9]\d{0,8}", re.ASCII)
_DECIMAL = re.compile(r"-?\d{1,9}(?:\.\d{1,9})?", re.ASCII)
# Figures of an adoption, and what each is above: bits and ratios are never zero or less.
_FIGURES = {
    "Bitrate-Mbps": 0.0,
    "Evocodec-Held-Out-Bitrate-Mbps": 0.0,
    "Compression-Ratio": 0.0,
    "BD-Rate-Percent": -100.0,
    "Improvement-Percent": -1e9,
}
_OURS = frozenset(
    {
        *("Evocodec-Version", "Evocodec-Run", "Evocodec-Candidate", "Evocodec-Parent"),
        *("Evocodec-Origin", "Evocodec-Model", "Evocodec-Source-SHA256", "Compared-With"),
        *("Evocodec-Rollback-To", "Evocodec-Reason", "Improvement", *_FIGURES),
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class AdoptionEntry:
    """The next version to commit. ``at`` is UTC, ISO 8601; empty means now."""

    run_id: str
    candidate_id: str
    program: Program
    score: Score
    verdict: Verdict
    parent_id: str = ""
    origin: Origin = Origin.MODEL
    model: str = ""
    hypothesis: str = ""
    at: str = ""
    held_out: HeldOutResult | None = None


@dataclass(frozen=True, slots=True)
class Version:
    """An adopted version as its commit records it. Numbers are None where the commit lacks them."""

    version: int
    tag: str
    commit: str
    committed_at: str
    run_id: str
    candidate_id: str
    parent_id: str
    origin: str
    model: str
    source_sha256: str
    bitrate_mbps: float | None
    compression_ratio: float | None
    bd_rate_percent: float | None
    improvement_percent: float | None
    compared_with: str
    held_out_bitrate_mbps: float | None = None

    @property
    def writer_id(self) -> str:
        """Writer id in files that this version writes."""
        return f"{self.tag}+{self.commit[:8]}"


def adoption_message(entry: AdoptionEntry, version: int, source_sha256: str) -> str:
    """Return the message of an adoption."""
    score, verdict = entry.score, entry.verdict
    percent = proven_percent(verdict.improvement_percent, entry.held_out)
    improvement = _improvement(percent, verdict.compared_with)
    title = f"v{version}: {score.bitrate_mbps:.2f} Mbit/s at the quality of HEVC at 10"
    if entry.held_out is not None and entry.held_out.bitrate_mbps is not None:
        title += f" ({entry.held_out.bitrate_mbps:.2f} on held-out clips)"
    if improvement:
        title += f", {one_line(improvement)}"
    trailers = {
        "Evocodec-Version": str(version),
        "Evocodec-Run": entry.run_id,
        "Evocodec-Candidate": entry.candidate_id,
        "Evocodec-Parent": entry.parent_id,
        "Evocodec-Origin": entry.origin.value,
        "Evocodec-Model": entry.model,
        "Evocodec-Source-SHA256": source_sha256,
        "Bitrate-Mbps": f"{score.bitrate_mbps:.4f}",
        "Compression-Ratio": f"{score.compression_ratio:.4f}",
        "BD-Rate-Percent": f"{score.bd_rate_percent:.4f}",
        "Improvement": improvement,
        "Improvement-Percent": _number(percent),
        "Compared-With": verdict.compared_with,
        **_held_out_trailers(entry.held_out),
    }
    paragraphs = [entry.hypothesis, f"Verdict: {verdict.reason} ({verdict.rule})"]
    return _message(title, paragraphs, trailers)


def rollback_message(version: int, reason: str) -> str:
    """Return the message of a commit that makes an older version current again."""
    trailers = {"Evocodec-Rollback-To": str(version), "Evocodec-Reason": reason}
    return _message(f"Back to v{version}", [reason], trailers)


def read_trailers(message: str) -> tuple[dict[str, str], tuple[str, ...]]:
    """Read our trailers from a commit's message, and those of them that stand there twice.

    They are the last paragraph; its first one is the title, and no trailer.
    """
    _, blank, block = message.rstrip().rpartition("\n\n")
    found: dict[str, str] = {}
    twice: list[str] = []
    for line in re.sub(r"\n[ \t]+", " ", block).split("\n") if blank else ():
        key, colon, value = line.partition(":")
        if not colon or key not in _OURS:
            continue
        if key in found:
            twice.append(key)
        found[key] = one_line(value)
    return found, tuple(dict.fromkeys(twice))


def figure_problems(trailers: Mapping[str, str]) -> tuple[str, ...]:
    """Say which figures of an adoption are none: not finite, or out of any range."""
    problems = []
    for key, floor in _FIGURES.items():
        text = trailers.get(key, "")
        if text and _figure(text, floor) is None:
            problems.append(f"has {key} {text[:30]!r}, which is no such figure: it is left out")
    return tuple(problems)


def rollback_target(trailers: Mapping[str, str]) -> int:
    """Return the number of the version that a commit goes back to; 0 for none."""
    text = trailers.get("Evocodec-Rollback-To", "")
    return int(text) if _VERSION_NUMBER.fullmatch(text) else 0


def version_from(trailers: Mapping[str, str], commit: str, committed_at: str) -> Version | None:
    """Return the version that a commit adopted, or None when it adopted none."""
    number = trailers.get("Evocodec-Version", "")
    if not _VERSION_NUMBER.fullmatch(number):
        return None
    figures = {key: _figure(trailers.get(key), floor) for key, floor in _FIGURES.items()}
    return Version(
        version=int(number),
        tag=f"v{number}",
        commit=commit,
        committed_at=committed_at,
        run_id=trailers.get("Evocodec-Run", ""),
        candidate_id=trailers.get("Evocodec-Candidate", ""),
        parent_id=trailers.get("Evocodec-Parent", ""),
        origin=trailers.get("Evocodec-Origin", ""),
        model=trailers.get("Evocodec-Model", ""),
        source_sha256=trailers.get("Evocodec-Source-SHA256", ""),
        bitrate_mbps=figures["Bitrate-Mbps"],
        compression_ratio=figures["Compression-Ratio"],
        bd_rate_percent=figures["BD-Rate-Percent"],
        improvement_percent=figures["Improvement-Percent"],
        compared_with=trailers.get("Compared-With", ""),
        held_out_bitrate_mbps=figures["Evocodec-Held-Out-Bitrate-Mbps"],
    )


def metrics_json(entry: AdoptionEntry, version: int, source_sha256: str) -> bytes:
    """Return ``metrics.json``: provenance of the version, and its whole score with curves."""
    value: dict[str, Any] = {
        "version": version,
        "run_id": entry.run_id,
        "candidate_id": entry.candidate_id,
        "parent_id": entry.parent_id,
        "origin": entry.origin.value,
        "model": one_line(entry.model),
        "hypothesis": one_line(entry.hypothesis),
        "source_sha256": source_sha256,
        "verdict": asdict(entry.verdict) | {"reason": one_line(entry.verdict.reason)},
        "score": asdict(entry.score),
        "held_out": asdict(entry.held_out) if entry.held_out else None,
    }
    return to_json(value, indent=2, inf_nan_mode="strings") + b"\n"


def readme(versions: Sequence[Version], current: int) -> bytes:
    """Return the README with the table of versions, newest first."""
    lines = [
        "# Adopted codecs",
        "",
        "One commit per adoption, one tag per version. `codec.py` is the current version; an older",
        "one is `git show v1:codec.py`. Mbit/s are at the quality that HEVC (x265 medium) reaches",
        "at 10, and those of held-out the same on clips that nobody tuned on.",
        "",
        "| Version | Mbit/s | Held-out | Compression ratio | BD-rate % | Improvement % | Against "
        "| From |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for item in sorted(versions, key=lambda version: version.version, reverse=True):
        mark = " (current)" if item.version == current else ""
        cells = (
            f"{item.tag}{mark}",
            _number(item.bitrate_mbps),
            _number(item.held_out_bitrate_mbps),
            _number(item.compression_ratio),
            _number(item.bd_rate_percent),
            _number(item.improvement_percent),
            item.compared_with,
            f"{item.run_id} {item.candidate_id}",
        )
        lines.append(f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |")
    return ("\n".join(lines) + "\n").encode()


def one_line(text: str) -> str:
    """Return text without control characters and line breaks, at most 2000 characters."""
    return _CONTROL.sub(" ", text).strip()[:_MAX_TEXT]


def _message(title: str, paragraphs: Sequence[str], trailers: Mapping[str, str]) -> str:
    body = [textwrap.fill(one_line(text), 78) for text in paragraphs]
    block = [f"{key}: {one_line(value)}" for key, value in trailers.items() if one_line(value)]
    return "\n\n".join([title, *(text for text in body if text), "\n".join(block)]) + "\n"


def _held_out_trailers(result: HeldOutResult | None) -> dict[str, str]:
    """Return both numbers of the held-out gate; empty where it did not run."""
    if result is None:
        return {}
    interval = result.interval_percent
    return {
        "Evocodec-Held-Out-Bitrate-Mbps": _number(result.bitrate_mbps),
        "Development-Gain-Percent": _number(result.development_gain_percent),
        "Held-Out-Gain-Percent": _number(result.held_out_gain_percent),
        "Held-Out-Interval-Percent": (
            f"{interval.low:.2f} to {interval.high:.2f} at {interval.level:.0%}" if interval else ""
        ),
        "Held-Out-Clips": str(result.clips),
        "Held-Out-Seed-SHA256": result.seed_sha256,
    }


def _improvement(percent: float | None, compared_with: str) -> str:
    if percent is None:
        return ""
    return f"{abs(percent):.1f}% {'better' if percent >= 0 else 'worse'} than {compared_with}"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def _figure(text: str | None, floor: float) -> float | None:
    """Return a decimal number above ``floor``; None for anything else."""
    if not text or not _DECIMAL.fullmatch(text):
        return None
    value = float(text)
    return value if value > floor else None
