"""``evocodec cluster``: is a Kubernetes cluster ready for the chart?"""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer
from rich.text import Text

from evocodec import __version__
from evocodec.cli.command import command
from evocodec.cli.exits import ExitCode
from evocodec.cli.payload.run import check_payload
from evocodec.cli.render.checks import checks_table
from evocodec.cli.render.text import sanitize
from evocodec.cli.session import Session
from evocodec.domain.check import CheckState
from evocodec.domain.errors import UserError
from evocodec.formatting import plural

if TYPE_CHECKING:
    from evocodec.cluster.report import ClusterReport

PANEL = "Look after it"
STATE_LABELS: Final[dict[CheckState, str]] = {
    "ok": "pass",
    "warn": "warn",
    "fail": "fail",
    "skip": "skip",
}
"""What the states are called here, in a terminal and in JSON."""

group = typer.Typer(
    no_args_is_help=True,
    help="A Kubernetes cluster: is it ready?",
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def register(app: typer.Typer) -> None:
    """Add the group of commands to the application."""
    command(
        group,
        "check",
        panel=PANEL,
        examples=[
            "evocodec cluster check",
            "evocodec cluster check --no-probe",
            "evocodec cluster check --context prod --namespace codecs --gpus 1",
            "evocodec cluster check --image registry.example.com/evocodec-sandbox:0.2.0 --json",
        ],
    )(check)
    app.add_typer(group, name="cluster", rich_help_panel=PANEL)


def check(
    session: Session,
    namespace: Annotated[
        str, typer.Option("--namespace", "-n", help="where the chart goes")
    ] = "evocodec",
    kube_context: Annotated[
        str | None,
        typer.Option(
            "--context", metavar="NAME", help="of the kubeconfig, instead of the current one"
        ),
    ] = None,
    probe: Annotated[
        bool, typer.Option("--probe/--no-probe", help="start four pods, or only look")
    ] = True,
    image: Annotated[
        str, typer.Option(metavar="IMAGE", help="sandbox image that the pods run")
    ] = f"evocodec-sandbox:{__version__}",
    pull_secret: Annotated[
        str, typer.Option(metavar="NAME", help="secret with which nodes pull it")
    ] = "",
    runtime_class: Annotated[
        str, typer.Option(metavar="NAME", help="runtime class of the worker's pod")
    ] = "",
    node: Annotated[
        list[str] | None,
        typer.Option(metavar="LABEL=VALUE", help="nodes for the worker's pod; repeatable"),
    ] = None,
    gpus: Annotated[int, typer.Option(min=0, help="GPUs of the worker's pod")] = 0,
    timeout: Annotated[
        float, typer.Option(min=10, metavar="SECONDS", help="for all pods together")
    ] = 300,
) -> None:
    """Check a cluster before and after the chart is installed, and say what to do.

    Probe pods try names, network policies and the sandbox, and are deleted again, also after
    Ctrl-C. Exit 1 when something fails, or the cluster does not answer.
    """
    from evocodec.cluster.api import connect
    from evocodec.cluster.check import check_cluster
    from evocodec.cluster.probe_pods import ProbeOptions

    options = ProbeOptions(
        image=image,
        pull_secret=pull_secret,
        runtime_class=runtime_class,
        node_labels=tuple(_label(text) for text in node or ()),
        gpus=gpus,
        timeout_seconds=timeout,
    )
    wanted = options if probe else None
    api = connect(context=kube_context)
    with _terminated_like_interrupted():
        if session.live and not session.json:
            with session.err.status("asking the cluster") as status:
                report = check_cluster(
                    api, namespace=namespace, probes=wanted, progress=status.update
                )
        else:
            report = check_cluster(api, namespace=namespace, probes=wanted)
    if session.json:
        session.emit_pretty(report_payload(report))
    else:
        show(session, report)
    if not report.ok:
        raise typer.Exit(ExitCode.FAILED)


def _label(text: str) -> tuple[str, str]:
    name, sign, value = text.partition("=")
    if not (name and sign):
        raise UserError(f"--node {text}: not LABEL=VALUE; try --node kubernetes.io/hostname=NAME")
    return name, value


def show(session: Session, report: "ClusterReport") -> None:
    """Print one line for each check, and what to do where it is not as it should be."""
    session.show(Text(f"{sanitize(report.server)}, namespace {sanitize(report.namespace)}\n"))
    session.show(checks_table(report.checks, state_labels=STATE_LABELS))
    session.show(Text(f"\n{_summary(report)}", style="bold green" if report.ok else "bold red"))


def _summary(report: "ClusterReport") -> str:
    failed, warned = report.count_of("fail"), report.count_of("warn")
    if failed:
        return f"{plural(failed, 'problem')} to solve"
    return f"ready, with {plural(warned, 'warning')}" if warned else "ready"


def report_payload(report: "ClusterReport") -> dict[str, Any]:
    """Return the report for machines."""
    return {
        "ok": report.ok,
        "server": report.server,
        "namespace": report.namespace,
        "counts": {word: report.count_of(state) for state, word in STATE_LABELS.items()},
        "findings": [
            {**check_payload(check), "state": STATE_LABELS[check.state]} for check in report.checks
        ],
    }


@contextmanager
def _terminated_like_interrupted() -> Iterator[None]:
    """Let SIGTERM unwind as Ctrl-C does: what was made in the cluster must be deleted."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
