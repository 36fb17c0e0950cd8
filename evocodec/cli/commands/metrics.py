"""``evocodec metrics``: a run's metrics out of the ledger, printed or served."""

import math
import sys
import threading
from typing import Annotated

import typer

from evocodec.cli.command import command
from evocodec.cli.complete import run_ids
from evocodec.cli.session import Session


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    command(
        app,
        "metrics",
        panel="Look",
        examples=[
            "evocodec metrics",
            "evocodec metrics --run run-20261017-013635 --port 9464",
        ],
    )(metrics)


def metrics(
    session: Session,
    run: Annotated[
        str | None, typer.Option("--run", help="the newest unless named", autocompletion=run_ids)
    ] = None,
    port: Annotated[
        int | None, typer.Option(help="serve them for Prometheus until Ctrl-C", min=1, max=65535)
    ] = None,
    bind: Annotated[str, typer.Option(help="address to serve on")] = "127.0.0.1",
) -> None:
    """Print a run's Prometheus metrics, computed from its ledger, or serve them.

    Metrics of a run in progress are updated. Slots, queues and store times are known only to the
    run itself: `evocodec run --metrics-port` serves those too.
    """
    with session.laboratory() as laboratory:
        from evocodec.app.recorded_metrics import RecordedMetrics

        run_id = laboratory.resolver.run_id(run)
        recorded = RecordedMetrics(
            laboratory.ledger, run_id, is_gone=lambda: laboratory.resolver.is_gone(run_id)
        )
        if port is not None:
            from evocodec.telemetry.server import MetricsServer

            registry, refresh = recorded.registry, recorded.refresh
            with MetricsServer(registry, host=bind, port=port, refresh=refresh) as server:
                session.err.print(f"{recorded.run_id}: {server.url}; Ctrl-C ends it")
                threading.Event().wait()
        elif session.json:
            samples = [
                {
                    "name": sample.name,
                    "labels": sample.labels,
                    "value": sample.value if math.isfinite(sample.value) else None,
                }
                for family in recorded.registry.collect()
                for sample in family.samples
            ]
            session.emit({"run_id": recorded.run_id, "samples": samples})
        else:
            sys.stdout.write(recorded.exposition().decode())
