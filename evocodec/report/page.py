"""The HTML report: one file that opens from disk, asks nobody for anything, and prints."""

import base64
import hashlib
from collections.abc import Iterator
from functools import cache
from html import escape
from importlib import resources

from evocodec.report import sections, views
from evocodec.report.model import Report

Section = Iterator[str]


def html_page(report: Report) -> str:
    """The whole report as one HTML document."""
    style, script = _asset("report.css"), _asset("report.js")
    # Nothing but this style, this script and embedded images may load or run, whatever the names
    # of clips and programs contain.
    policy = (
        f"default-src 'none'; style-src {_hash(style)}; script-src {_hash(script)}; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )
    body = "\n".join(
        part
        for section in (
            sections.head,
            sections.summary,
            sections.rate_distortion,
            views.frames,
            sections.cost,
            sections.problems,
            sections.program_difference,
            sections.clips,
            sections.method,
        )
        for part in section(report)
    )
    return (
        "<!DOCTYPE html>\n"
        '<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="referrer" content="no-referrer">\n'
        f"<title>{escape(report.title)} – Evocodec report</title>\n"
        f"<style>{style}</style>\n</head>\n"
        f"<body>\n<main>\n{body}\n</main>\n<script>{script}</script>\n</body>\n</html>\n"
    )


@cache
def _asset(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text("utf-8")


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
