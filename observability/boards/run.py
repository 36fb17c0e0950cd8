"""Run dashboard: progress of the codec."""

from observability.panels import GREEN, RED, YELLOW, Board, Panel, Query, Section
from observability.queries import grown, of, percentile

HEVC_MBPS = 10.0
PRIMARY = 'anchor=~"x265-medium.*"'

BOARD = Board(
    "evocodec-run",
    "Evocodec: run",
    "How far the codec is: bitrate at HEVC's quality, versions, and what became of candidates.",
    (
        Section(
            "Against HEVC",
            (
                Panel(
                    "Bitrate",
                    "Of the current version at the quality that HEVC reaches at 10 Mbit/s.",
                    "Mbits",
                    [Query(of("champion_bitrate_mbps"))],
                    width=4,
                    kind="number",
                    thresholds=((None, GREEN), (9.0, YELLOW), (HEVC_MBPS, RED)),
                    decimals=2,
                ),
                Panel(
                    "Saved over HEVC",
                    "Bits saved at equal quality; below 0 HEVC is still better.",
                    "percent",
                    [Query(of("champion_hevc_saving_percent"))],
                    width=4,
                    kind="number",
                    thresholds=((None, RED), (0.0, YELLOW), (10.0, GREEN)),
                    decimals=1,
                    floor=None,
                ),
                Panel(
                    "BD-rate",
                    "Bits over the whole range of qualities, against HEVC; below 0 is better.",
                    "percent",
                    [Query(of("champion_bd_rate_percent", PRIMARY), "{{anchor}}")],
                    width=4,
                    kind="number",
                    thresholds=((None, GREEN), (-10.0, YELLOW), (0.0, RED)),
                    decimals=1,
                    floor=None,
                ),
                Panel(
                    "Compression",
                    "Raw bits over the version's bits at that quality.",
                    "none",
                    [Query(of("champion_compression_ratio"))],
                    width=4,
                    kind="number",
                    decimals=1,
                ),
                Panel(
                    "Version",
                    "Number of the current version; 0 before the first adoption.",
                    "none",
                    [Query(of("champion_version"))],
                    width=4,
                    kind="number",
                    decimals=0,
                ),
                Panel(
                    "State",
                    "Of the run; endpoint_gone, budget, no_progress and failed want somebody "
                    "to look.",
                    "none",
                    [Query(f"{of('run_state')} == 1", "{{state}}")],
                    width=4,
                    kind="names",
                ),
                Panel(
                    "Bitrate at equal quality",
                    "HEVC is 10 by definition; 9 is the line for the first adoption.",
                    "Mbits",
                    [
                        Query(of("champion_bitrate_mbps"), "current version"),
                        Query(of("champion_held_out_bitrate_mbps"), "on held-out clips"),
                        Query(of("best_bitrate_mbps"), "best candidate"),
                        Query(f"vector({HEVC_MBPS:g})", "HEVC"),
                    ],
                    width=16,
                    thresholds=((None, GREEN), (9.0, YELLOW)),
                ),
                Panel(
                    "Versions",
                    "Each step is an adoption.",
                    "none",
                    [Query(of("champion_version"), "version")],
                    width=8,
                    decimals=0,
                ),
                Panel(
                    "BD-rate by anchor",
                    "Of the current version against each encoder that the run has curves of; "
                    "below 0 it needs fewer bits.",
                    "percent",
                    [Query(of("champion_bd_rate_percent"), "{{anchor}}")],
                    kind="ranking",
                    thresholds=((None, GREEN), (0.0, RED)),
                    width=8,
                    decimals=1,
                    floor=None,
                ),
                Panel(
                    "Clips behind each BD-rate",
                    "Fewer than the run has: on the others the curves share too little quality.",
                    "none",
                    [Query(of("champion_bd_rate_clips"), "{{anchor}}")],
                    kind="ranking",
                    width=8,
                    decimals=0,
                ),
                Panel(
                    "BD-rate over time",
                    "Of the version that was current then, against each encoder.",
                    "percent",
                    [Query(of("champion_bd_rate_percent"), "{{anchor}}")],
                    width=8,
                    decimals=1,
                    floor=None,
                ),
            ),
        ),
        Section(
            "Candidates",
            (
                Panel(
                    "Outcomes",
                    "Candidates that ended, by how.",
                    "none",
                    [Query(f"sum by (status) ({grown('candidates_total')})", "{{status}}")],
                    kind="bars",
                ),
                Panel(
                    "Stages",
                    "Candidates that passed, were dropped or failed, by stage, in the time shown.",
                    "none",
                    [
                        Query(
                            f"sum by (stage, outcome) ({grown('stages_total', window='$__range')})",
                            "{{stage}} {{outcome}}",
                        )
                    ],
                    kind="ranking",
                ),
                Panel(
                    "Verdicts",
                    "Rules that decided, in the time shown.",
                    "none",
                    [
                        Query(
                            f"sum by (rule) ({grown('verdicts_total', window='$__range')})",
                            "{{rule}}",
                        )
                    ],
                    kind="ranking",
                    width=8,
                ),
                Panel(
                    "Failures",
                    "Why attempts ended without metrics, in the time shown.",
                    "none",
                    [
                        Query(
                            "topk(8, sum by (failure) "
                            f"({grown('attempt_failures_total', window='$__range')}))",
                            "{{failure}}",
                        )
                    ],
                    kind="ranking",
                    width=8,
                ),
                Panel(
                    "In flight",
                    "Candidates opened and not closed.",
                    "none",
                    [Query(of("candidates_in_flight"), "candidates")],
                    width=8,
                ),
                Panel(
                    "Time in a stage",
                    "Nine of ten candidates were faster.",
                    "s",
                    [Query(percentile(0.9, "stage_seconds", "stage"), "{{stage}}")],
                ),
                Panel(
                    "Improvement",
                    "Bits that the current version saves over the one before.",
                    "percent",
                    [Query(of("champion_improvement_percent"), "over the version before")],
                    floor=None,
                ),
            ),
        ),
    ),
)
