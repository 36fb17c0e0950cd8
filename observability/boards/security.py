"""Security dashboard: what programs tried, and what refused it."""

from observability.panels import GREEN, RED, Board, Panel, Query, Section
from observability.queries import grown, of

BOARD = Board(
    "evocodec-security",
    "Evocodec: security",
    "What programs tried, what stopped them, and whether every layer was there.",
    (
        Section(
            "Floor",
            (
                Panel(
                    "Below the floor",
                    "1 when the run was allowed to go on with less isolation (--unsafe).",
                    "none",
                    [Query(f"max({of('run_unsafe')})")],
                    width=4,
                    kind="number",
                    thresholds=((None, GREEN), (1.0, RED)),
                    decimals=0,
                ),
                Panel(
                    "Forbidden operations",
                    "Programs that the sandbox ended for one, in the time shown.",
                    "none",
                    [
                        Query(
                            "sum("
                            + grown(
                                "sandbox_violations_total", 'kind="forbidden"', window="$__range"
                            )
                            + ")"
                        )
                    ],
                    width=4,
                    kind="number",
                    thresholds=((None, GREEN), (1.0, RED)),
                    decimals=0,
                ),
                Panel(
                    "Layers on",
                    "That a worker reported when the run began.",
                    "none",
                    [Query(f"{of('sandbox_layer')} == 1", "{{layer}}")],
                    width=16,
                    kind="names",
                ),
            ),
        ),
        Section(
            "Violations",
            (
                Panel(
                    "Stopped by the sandbox",
                    "By kind: a forbidden operation, or a limit.",
                    "none",
                    [Query(f"sum by (kind) ({grown('sandbox_violations_total')})", "{{kind}}")],
                    kind="bars",
                ),
                Panel(
                    "Objections before running",
                    "Findings of the static gate by rule, and of a reviewing model.",
                    "none",
                    [
                        Query(
                            f"sum by (rule) ({grown('review_findings_total', window='$__range')})",
                            "{{rule}}",
                        )
                    ],
                    kind="ranking",
                ),
                Panel(
                    "Attempts refused or ended",
                    "Failures that may be attempts to cheat: wrong output, two different decodes.",
                    "none",
                    [
                        Query(
                            "sum by (failure) ("
                            + grown(
                                "attempt_failures_total",
                                'failure=~"review|forbidden|bad_output|nondeterministic'
                                '|output_limit"',
                            )
                            + ")",
                            "{{failure}}",
                        )
                    ],
                    kind="bars",
                ),
                Panel(
                    "Overfitted",
                    "Gains that were gone on held-out clips, and candidates that the gate dropped.",
                    "none",
                    [
                        Query(
                            "sum(" + grown("verdicts_total", 'rule="overfitted"') + ")",
                            "overfitted",
                        ),
                        Query(
                            "sum("
                            + grown("stages_total", 'stage="held_out"', 'outcome="dropped"')
                            + ")",
                            "dropped by the gate",
                        ),
                    ],
                    kind="bars",
                ),
            ),
        ),
    ),
)
