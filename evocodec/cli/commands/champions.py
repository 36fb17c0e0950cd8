"""``evocodec champions``: the adopted versions, and how to go back to one."""

from collections.abc import Collection
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from evocodec.cli.command import command
from evocodec.cli.payload.run import Json, plain
from evocodec.cli.render.tables import add, facts, make_table, spaced
from evocodec.cli.render.text import sanitize, versus_hevc
from evocodec.cli.session import Session
from evocodec.domain.errors import UserError
from evocodec.file_kinds import PROGRAM
from evocodec.formatting import number, percent, plural
from evocodec.output_file import is_stdout

if TYPE_CHECKING:
    from evocodec.champions.messages import Version
    from evocodec.champions.repository import ChampionRepository

PANEL = "Use it"
UNVOUCHED = "as its commit says; this workspace's ledger has not recorded that adoption"
Number = Annotated[str, typer.Argument(metavar="VERSION", help="v3, 3 or current")]

group = typer.Typer(
    no_args_is_help=True,
    help="Adopted versions: list, show, export, rollback.",
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def register(app: typer.Typer) -> None:
    """Add the group of commands to the application."""
    command(group, "list", panel=PANEL, examples=["evocodec champions list"])(list_versions)
    command(
        group,
        "show",
        panel=PANEL,
        examples=["evocodec champions show v2", "evocodec champions show current --source"],
    )(show_version)
    command(
        group, "export", panel=PANEL, examples=["evocodec champions export codec.py --version v2"]
    )(export_version)
    command(
        group,
        "rollback",
        panel=PANEL,
        examples=['evocodec champions rollback v1 --reason "v2 is too slow for us"'],
    )(rollback)
    app.add_typer(group, name="champions", rich_help_panel=PANEL)


def list_versions(session: Session) -> None:
    """List all adopted versions, of all runs, oldest first."""
    with session.laboratory() as laboratory:
        from evocodec.app.champion_ledger import vouched_versions

        champions = laboratory.champions
        versions, current = champions.versions(), champions.current()
        path, problems = champions.path, champions.problems()
        known = vouched_versions(laboratory.ledger, champions)
    if session.json:
        rows = [version_payload(version, current, known) for version in versions]
        body = {"repository": str(path), "versions": rows, "problems": list(problems)}
        session.emit_pretty(body)
        return
    for problem in problems:
        session.err.print(Text(f"warning: {sanitize(problem)}", style="yellow"), soft_wrap=True)
    if not versions:
        session.show(Text("No version has been adopted yet; begin with: evocodec run"))
        return
    table = make_table(
        "version", "Mbit/s", "held-out", "vs HEVC", "gain", "ratio", "BD-rate", "candidate",
        "commit",
        left=(0, 7, 8),
    )  # fmt: skip
    for version in versions:
        used = current is not None and version.version == current.version
        add(
            table,
            Text(
                f"{version.tag}{'' if version.version in known else ' ?'}{' ←' if used else ''}",
                style="bold green" if used else "default",
            ),
            number(version.bitrate_mbps),
            number(version.held_out_bitrate_mbps),
            percent(versus_hevc(version.bitrate_mbps)),
            percent(version.improvement_percent),
            number(version.compression_ratio, 1),
            percent(version.bd_rate_percent),
            sanitize(f"{version.run_id}/{version.candidate_id}"),
            version.commit[:8],
        )
    session.show(spaced(table))
    if any(version.version not in known for version in versions):
        session.show(Text(f"? {UNVOUCHED}", "dim"))
    session.show(Text(f"← in use · {plural(len(versions), 'version')} in {path} (git)", "dim"))


def show_version(
    session: Session,
    version: Number = "current",
    source: Annotated[bool, typer.Option("--source", help="print the program too")] = False,
) -> None:
    """Show one version: its numbers, where it comes from, and its program."""
    with session.laboratory() as laboratory:
        from evocodec.app.champion_ledger import vouched_versions

        champions = laboratory.champions
        found = find_version(champions, version)
        current, known = champions.current(), vouched_versions(laboratory.ledger, champions)
        program = champions.program(found.version).text if source else ""
    if session.json:
        body = version_payload(found, current, known)
        session.emit_pretty(body | ({"source": program} if source else {}))
        return
    session.show(facts(version_rows(found, current, known)))
    if source:
        session.show()
        from evocodec.cli.render.program_lines import ProgramSource

        session.show(ProgramSource(program), soft_wrap=True)


def export_version(
    session: Session,
    file: Annotated[str, typer.Argument(help="where to write the program; - for stdout")],
    version: Annotated[str, typer.Option(help="v3, 3 or current")] = "current",
    force: Annotated[bool, typer.Option("--force", help="replace the file")] = False,
) -> None:
    """Write a version's program, one Python file, to wherever it is needed."""
    from evocodec.app.output_places import OutputPlaces

    if is_stdout(file):
        session.leave_stdout()
    with session.laboratory() as laboratory:
        output = OutputPlaces(laboratory).output(file, PROGRAM, force=force)
        found = find_version(laboratory.champions, version)
        output.write(laboratory.champions.program(found.version).data)
    if session.json:
        session.emit_pretty({"version": found.tag, "file": file, "commit": found.commit})
    else:
        session.show(Text(f"{found.tag} written to {sanitize(file)}"))


def rollback(
    session: Session,
    version: Number,
    reason: Annotated[str, typer.Option(help="kept in the commit; required")],
) -> None:
    """Make an older version current again, in a new commit; nothing is deleted."""
    with session.laboratory() as laboratory:
        from evocodec.app.champion_ledger import vouched_versions

        champions = laboratory.champions
        found = find_version(champions, version)
        used = champions.rollback(found.version, reason)
        known = vouched_versions(laboratory.ledger, champions)
    if session.json:
        session.emit_pretty(version_payload(used, used, known))
    else:
        session.show(Text(f"{used.tag} is the current version again", style="green"))


def find_version(champions: "ChampionRepository", ref: str) -> "Version":
    """Return the version that a person means.

    Raises:
        UserError: there is none of that name.
    """
    versions = champions.versions()
    current = champions.current()
    if ref == "current" and current is not None:
        return current
    for version in versions:
        if ref in {version.tag, str(version.version)}:
            return version
    if not versions:
        raise UserError("no version has been adopted yet; begin with: evocodec run")
    known = ", ".join(version.tag for version in versions)
    raise UserError(f"there is no version {ref!r}; choose one of: {known}")


def version_payload(version: "Version", current: "Version | None", known: Collection[int]) -> Json:
    """Return one version of the repository, for ``--json``; ``known`` are those of the ledger."""
    used = current is not None and version.version == current.version
    return {
        **plain(asdict(version)),
        "writer_id": version.writer_id,
        "current": used,
        "in_ledger": version.version in known,
    }


def version_rows(
    version: "Version", current: "Version | None", known: Collection[int]
) -> list[tuple[str, str]]:
    """Return a version as names and values; ``known`` are those of the ledger."""
    used = current is not None and version.version == current.version
    rows = _version_rows(version, used=used)
    return rows if version.version in known else [*rows, ("figures", UNVOUCHED)]


def _version_rows(version: "Version", *, used: bool) -> list[tuple[str, str]]:
    return [
        ("version", f"{version.tag}{' (in use)' if used else ''}"),
        ("bitrate", f"{number(version.bitrate_mbps)} Mbit/s at equal quality; HEVC is 10"),
        ("held-out", held_out_text(version)),
        ("gain", fewer_text(version.improvement_percent, version.compared_with)),
        ("ratio", f"{number(version.compression_ratio, 1)} raw bits a bit"),
        ("BD-rate", f"{percent(version.bd_rate_percent)} against HEVC"),
        ("candidate", f"{version.run_id}/{version.candidate_id}"),
        ("proposer", " ".join(filter(None, (version.origin, version.model)))),
        ("adopted", version.committed_at),
        ("commit", version.commit),
        ("program", f"sha256 {version.source_sha256}"),
    ]


def held_out_text(version: "Version") -> str:
    """Return the bitrate on held-out clips, or that there is none."""
    if version.held_out_bitrate_mbps is None:
        return "not recorded: adopted by the development clips alone, or before 0.2"
    return f"{number(version.held_out_bitrate_mbps)} Mbit/s on clips that nobody tuned on"


def fewer_text(improvement_percent: float | None, compared_with: str) -> str:
    """Return an improvement as text that also reads well below zero; empty without a number."""
    if improvement_percent is None:
        return ""
    word = "fewer" if improvement_percent >= 0 else "more"
    return f"{abs(improvement_percent):.1f} % {word} bits than {compared_with}"
