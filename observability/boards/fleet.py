"""Fleet dashboard: load of the machines."""

from observability.panels import GREEN, RED, YELLOW, Board, Panel, Query, Section
from observability.queries import RANGE, grown, of, percentile

BOARD = Board(
    "evocodec-fleet",
    "Evocodec: fleet",
    "Whether the machines are busy, what waits for them, and what of ours fails.",
    (
        Section(
            "Slots and queues",
            (
                Panel(
                    "Slots in use",
                    "Share of evaluation slots with a task.",
                    "percentunit",
                    [Query(f"sum({of('slots_busy')}) / sum({of('slots')})")],
                    width=4,
                    kind="number",
                    thresholds=((None, RED), (0.3, YELLOW), (0.7, GREEN)),
                    decimals=0,
                ),
                Panel(
                    "Slots",
                    "Tasks that can run at once.",
                    "none",
                    [Query(f"sum({of('slots')})")],
                    width=4,
                    kind="number",
                    decimals=0,
                ),
                Panel(
                    "Waiting",
                    "Tasks without a slot.",
                    "none",
                    [Query(f"sum({of('tasks_waiting')})")],
                    width=4,
                    kind="number",
                    decimals=0,
                ),
                Panel(
                    "Since the last result",
                    "Time since something was measured or closed.",
                    "s",
                    [Query(f"time() - {of('last_progress_timestamp_seconds')}")],
                    width=4,
                    kind="number",
                    thresholds=((None, GREEN), (600.0, YELLOW), (1800.0, RED)),
                ),
                Panel(
                    "Ledger lag",
                    "Age of the oldest event that the ledger has not confirmed.",
                    "s",
                    [Query(of("ledger_lag_seconds"))],
                    width=4,
                    kind="number",
                    thresholds=((None, GREEN), (5.0, YELLOW), (30.0, RED)),
                ),
                Panel(
                    "Given up on",
                    "Evaluations lost through no fault of the program, in the time shown.",
                    "none",
                    [Query(f"sum({grown('infrastructure_failures_total', window='$__range')})")],
                    width=4,
                    kind="number",
                    thresholds=((None, GREEN), (1.0, RED)),
                    decimals=0,
                ),
                Panel(
                    "Slots over time",
                    "Idle slots with a queue are money spent on nothing.",
                    "none",
                    [
                        Query(f"sum({of('slots')})", "slots"),
                        Query(f"sum({of('slots_busy')})", "busy"),
                    ],
                ),
                Panel(
                    "Queues",
                    "What waits: tasks for a slot, reviewed programs for their evaluation.",
                    "none",
                    [
                        Query(f"sum({of('tasks_waiting')})", "tasks"),
                        Query(f"sum({of('proposals_waiting')})", "programs"),
                    ],
                ),
            ),
        ),
        Section(
            "Work",
            (
                Panel(
                    "Rate points",
                    "Encodes with their decode and score, a minute.",
                    "none",
                    [
                        Query(
                            f"sum by (stage) (rate({of('points_total')}[{RANGE}])) * 60",
                            "{{stage}}",
                        )
                    ],
                    width=8,
                ),
                Panel(
                    "Processors in use",
                    "CPU time that programs use, a second.",
                    "none",
                    [
                        Query(
                            f"sum by (step) (rate({of('codec_cpu_seconds_total')}[{RANGE}]))",
                            "{{step}}",
                        )
                    ],
                    width=8,
                ),
                Panel(
                    "GPUs in use",
                    "GPU time set aside for measured tasks, a second; Ray knows what they did.",
                    "none",
                    [Query(f"sum(rate({of('gpu_seconds_total')}[{RANGE}]))", "GPUs")],
                    width=8,
                ),
            ),
        ),
        Section(
            "What fails",
            (
                Panel(
                    "Tasks lost",
                    "Tried again, or given up on.",
                    "none",
                    [
                        Query(f"sum({grown('infrastructure_retries_total')})", "tried again"),
                        Query(f"sum({grown('infrastructure_failures_total')})", "given up on"),
                    ],
                    width=8,
                    kind="bars",
                ),
                Panel(
                    "Store errors",
                    "Failed calls of ledger, blobs and records.",
                    "none",
                    [
                        Query(
                            f"sum by (store, operation) ({grown('store_errors_total')})",
                            "{{store}} {{operation}}",
                        )
                    ],
                    width=8,
                    kind="bars",
                ),
                Panel(
                    "Log messages",
                    "Warnings and errors of the controller.",
                    "none",
                    [Query(f"sum by (level) ({grown('log_messages_total')})", "{{level}}")],
                    width=8,
                    kind="bars",
                ),
                Panel(
                    "Store times",
                    "Nine of ten calls were faster.",
                    "s",
                    [
                        Query(
                            percentile(0.9, "store_seconds", "store, operation"),
                            "{{store}} {{operation}}",
                        )
                    ],
                ),
                Panel(
                    "Writes to the ledger",
                    "Events a second.",
                    "ops",
                    [
                        Query(
                            "sum(rate("
                            + of("store_seconds_count", 'store="ledger"', 'operation="record"')
                            + f"[{RANGE}]))",
                            "events",
                        )
                    ],
                ),
            ),
        ),
    ),
)
