"""``evocodec redteam``: attack the sandbox of this machine, and say what held."""

from contextlib import AbstractContextManager, nullcontext
from importlib.util import find_spec
from itertools import groupby
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.padding import Padding
from rich.text import Text

from evocodec.cli.command import command
from evocodec.cli.exits import ExitCode
from evocodec.cli.render.tables import add, facts, make_table, spaced
from evocodec.cli.render.text import sanitize, shorten
from evocodec.cli.session import Session
from evocodec.domain.errors import UserError
from evocodec.domain.vocabulary import AttackOutcome
from evocodec.formatting import plural
from evocodec.sandbox.policy import LIBRARY_IMPORTS, Mode

if TYPE_CHECKING:
    from evocodec.sandbox.redteam.attack import Attack
    from evocodec.sandbox.redteam.capacity import Capacity, Channel, ChannelResult
    from evocodec.sandbox.redteam.report import AttackResult, RedTeamReport

STYLES = {
    AttackOutcome.HELD: "green",
    AttackOutcome.BROKEN: "bold red",
    AttackOutcome.UNCLEAR: "bold yellow",
    AttackOutcome.DOCUMENTED: "yellow",
}


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    command(
        app,
        "redteam",
        panel="Look after it",
        examples=[
            "evocodec redteam",
            "evocodec redteam --only files --only fork",
            "evocodec redteam --only capacity",
            "evocodec redteam --mode pod --json",
            "evocodec redteam --preload torch",
            "evocodec redteam --list",
        ],
    )(attack_the_sandbox)


def attack_the_sandbox(
    session: Session,
    only: Annotated[
        list[str] | None,
        typer.Option(metavar="THEME|NAME", help="these attacks only; repeatable"),
    ] = None,
    mode: Annotated[
        Mode | None,
        typer.Option(help="instead of sandbox.mode; pod: without namespaces, as in a container"),
    ] = None,
    preload: Annotated[
        list[str] | None,
        typer.Option(metavar="LIBRARY", help="load this too before attacking; repeatable"),
    ] = None,
    list_attacks: Annotated[bool, typer.Option("--list", help="list, attack nothing")] = False,
) -> None:
    """Attack the sandbox of this machine, and say what held.

    Every attack is a candidate that tries one forbidden thing, past the static gate, and is judged
    from outside. Exit 1 when one gets through, or proves nothing.
    """
    from evocodec.sandbox.redteam.attacks import select_attacks
    from evocodec.sandbox.redteam.capacity_channels import select_channels

    attacks, channels = select_attacks(only or ()), select_channels(only or ())
    for name in preload or ():
        if name not in LIBRARY_IMPORTS or find_spec(name) is None:
            known = ", ".join(sorted(LIBRARY_IMPORTS))
            raise UserError(f"--preload {name}: not installed, or none of {known}")
    if list_attacks:
        show_list(session, attacks, channels)
        return
    with session.laboratory() as laboratory:
        from evocodec.app.red_team import mount_attacks

        working: AbstractContextManager[object] = nullcontext()
        if session.live and not session.json:
            working = session.err.status(f"mounting {plural(len(attacks), 'attack')}")
        with working:
            report = mount_attacks(
                laboratory.settings,
                attacks,
                channels=channels,
                mode=mode,
                preload=preload or (),
                on_result=lambda _result: None,
            )
    if session.json:
        session.emit_pretty(report_payload(report))
    else:
        show_report(session, report)
    if not report.ok:
        raise typer.Exit(ExitCode.FAILED)


def show_list(
    session: Session, attacks: "tuple[Attack, ...]", channels: "tuple[Channel, ...]"
) -> None:
    """Print names and what must not be possible."""
    if session.json:
        keys = ("name", "theme", "what", "layer")
        payload = {"attacks": [{k: str(getattr(a, k)) for k in keys} for a in attacks]}
        listed = [{k: getattr(c, k) for k in ("name", "what", "limit_bits")} for c in channels]
        session.emit_pretty(payload | {"channels": listed})
        return
    names = [(f"{attack.theme}/{attack.name}", attack.what) for attack in attacks]
    names += [(f"capacity/{channel.name}", channel.what) for channel in channels]
    session.show(facts(names))
    counts = f"{plural(len(attacks), 'attack')}, {plural(len(channels), 'channel')}"
    session.show(Text(f"\n{counts}", style="dim"))


def show_report(session: Session, report: "RedTeamReport") -> None:
    """Print one line for each attack, by theme, and then what needs attention."""
    width = session.out.width
    for theme, results in groupby(report.results, key=lambda result: result.attack.theme):
        rows = list(results)
        table = make_table(
            theme, "", "by", "gate", "s", "must not be possible to", left=(0, 1, 2, 3, 5)
        )
        for row in rows:
            verdict = row.finding.verdict
            add(
                table,
                row.attack.name,
                Text(verdict, style=STYLES[verdict]),
                row.finding.layer,
                "refuses" if row.gate_rules else "",
                f"{row.seconds:.1f}",
                shorten(row.attack.what, max(24, width - 72)),
            )
        session.show(spaced(table))
    for row in report.results:
        if row.finding.verdict is not AttackOutcome.HELD:
            show_trouble(session, row)
    if report.channels:
        show_channels(session, report.channels)
    show_summary(session, report)


def show_channels(session: Session, channels: "tuple[ChannelResult, ...]") -> None:
    """Print what each channel carries: an estimate, and in brackets its bounds of 95 %."""
    left = (0, 1, 2, 6)
    table = make_table(
        *("capacity", "", "errors", "bits an encode", "when verified", "s", "an encoder could"),
        left=left,
    )
    for row in channels:
        verdict = row.verdict
        add(
            table,
            row.channel.name,
            Text(verdict, style=STYLES[verdict]),
            f"{row.first.errors}/{row.first.sent}",
            describe_capacity(row.first),
            describe_capacity(row.repeated),
            f"{row.seconds:.1f}",
            shorten(row.channel.what, max(24, session.out.width - 90)),
        )
    session.show(spaced(table))


def describe_capacity(capacity: "Capacity") -> str:
    """Return mutual information and the bounds of the symmetric channel."""
    low, high = capacity.interval_bits()
    return f"{capacity.mutual_information_bits:.1f} [{low:.1f}–{high:.1f}]"


def show_trouble(session: Session, row: "AttackResult") -> None:
    """Print what got through, and how it was noticed."""
    verdict = row.finding.verdict
    line = Text(f"{verdict} ", style=STYLES[verdict])
    line.append(f"{row.attack.theme}/{row.attack.name}", style="default bold")
    line.append(f"  it must not be possible to {sanitize(row.attack.what)}", style="default")
    session.show(line)
    seen = f"{row.finding.layer}: {sanitize(row.finding.detail)}"
    session.show(Padding(Text(seen, style="dim"), (0, 0, 1, 2)))


def show_summary(session: Session, report: "RedTeamReport") -> None:
    """Print the counts, and which layers did the work."""
    held = ", ".join(f"{layer} {count}" for layer, count in report.layers_that_held())
    absent = [name for name, state in report.layers.layers.items() if state.startswith("off")]
    gate = sum(bool(result.gate_rules) for result in report.results)
    session.show(
        facts(
            [
                ("held by", held),
                ("layers off", ", ".join(absent) or "none"),
                ("static gate", f"would have refused {gate} of {len(report.results)} beforehand"),
                ("took", f"{report.seconds:.0f} s"),
            ]
        )
    )
    counts = [(count, name) for name in STYLES if (count := report.count_of(name))]
    message = ", ".join(f"{count} {name}" for count, name in counts)
    if report.channels:
        open_ones = [
            row.channel.name for row in report.channels if row.verdict is not AttackOutcome.HELD
        ]
        message += f"{', ' if message else ''}{plural(len(report.channels), 'channel')} measured"
        message += f" (open: {', '.join(open_ones)})" if open_ones else ""
    session.show(Text(f"\n{message}", style="bold green" if report.ok else "bold red"))


def report_payload(report: "RedTeamReport") -> dict[str, Any]:
    """Return the report for machines."""
    return {
        "ok": report.ok,
        "seconds": round(report.seconds, 3),
        "layers": dict(report.layers.layers),
        "counts": {name: report.count_of(name) for name in STYLES},
        "attacks": [
            {
                "name": row.attack.name,
                "theme": str(row.attack.theme),
                "what": row.attack.what,
                "verdict": str(row.finding.verdict),
                "layer": row.finding.layer,
                "detail": row.finding.detail,
                "seconds": round(row.seconds, 3),
                "gate": list(row.gate_rules),
            }
            for row in report.results
        ],
        "channels": [
            {
                "name": row.channel.name,
                "what": row.channel.what,
                "verdict": str(row.verdict),
                "layer": row.layer,
                "refusal": row.refusal,
                "bits_sent_per_encode": row.channel.bits,
                "accepted_bits_per_encode": row.channel.limit_bits,
                "first": capacity_payload(row.first),
                "repeated": capacity_payload(row.repeated),
                "seconds": round(row.seconds, 3),
            }
            for row in report.channels
        ],
    }


def capacity_payload(capacity: "Capacity") -> dict[str, Any]:
    """Return a measured capacity for machines; bits are bits an encode."""
    low, high = capacity.interval_bits()
    return {
        "bits": capacity.sent,
        "errors": capacity.errors,
        "mutual_information_bits": round(capacity.mutual_information_bits, 3),
        "symmetric_channel_bits": round(capacity.symmetric_bits, 3),
        "lower_bound_bits": round(low, 3),
        "upper_bound_bits": round(high, 3),
    }
