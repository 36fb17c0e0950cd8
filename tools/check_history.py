"""Check that Python parses in every commit: ``python -m tools.check_history [--staged | --all]``.

Commits since the branch left origin/main are checked, or the last fifty where it did not. A commit
that does not parse stops ``git bisect``. Only what a shallow clone has is checked there.
"""

import argparse
import ast
import subprocess
import sys
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

LAST = 50
# Made before this check was. Whoever bisects skips them: git bisect skip COMMIT.
KNOWN = frozenset(
    {
        "37afe42a",
        "1cd3da5a",
        "7df16885",
    }
)


def git(folder: Path, *words: str) -> bytes:
    """Return what git prints; raises CalledProcessError where it fails."""
    done = subprocess.run(["git", "-C", str(folder), *words], check=True, capture_output=True)
    return done.stdout


def commits(folder: Path, *, every: bool) -> list[str]:
    """Return the commits to check, the newest first."""
    if every:
        return git(folder, "rev-list", "HEAD").decode().split()
    last = ["rev-list", f"--max-count={LAST}", "HEAD"]
    try:
        base = git(folder, "merge-base", "HEAD", "origin/main").decode().strip()
    except subprocess.CalledProcessError:
        return git(folder, *last).decode().split()  # no such remote, or it is not in this clone
    return (
        git(folder, "rev-list", f"{base}..HEAD").decode().split()
        or git(folder, *last).decode().split()
    )


def changed(folder: Path, commit: str) -> Iterator[tuple[str, str]]:
    """Yield (blob, path) of the Python files that a commit added or changed."""
    words = ("diff-tree", "--root", "-m", "-r", "-z", "--no-commit-id", "--diff-filter=ACMRT")
    fields = git(folder, *words, "--no-renames", commit).decode().split("\0")
    for about, path in zip(fields[::2], fields[1::2], strict=False):
        if path.endswith(".py"):
            yield about.split()[3], path


def staged(folder: Path) -> Iterator[tuple[str, str]]:
    """Yield (blob, path) of the Python files that the next commit adds or changes."""
    words = ("diff", "--cached", "--raw", "-z", "--no-renames", "--no-abbrev")
    fields = git(folder, *words, "--diff-filter=ACMRT").decode().split("\0")
    for about, path in zip(fields[::2], fields[1::2], strict=False):
        if path.endswith(".py"):
            yield about.split()[3], path


def mistake(folder: Path, blob: str, path: str) -> str:
    """Return what is wrong with a file, or nothing."""
    with warnings.catch_warnings(action="ignore", category=SyntaxWarning):
        try:
            ast.parse(git(folder, "cat-file", "blob", blob), path)
        except (SyntaxError, ValueError) as error:
            line = getattr(error, "lineno", None) or 1
            return f"{path}:{line}: {getattr(error, 'msg', error)}"
    return ""


def mistakes(folder: Path, *, every: bool = False) -> Iterator[str]:
    """Yield every file of every commit that does not parse, but for known commits."""
    right: set[str] = set()
    for commit in commits(folder, every=every):
        if commit[:8] in KNOWN:
            continue
        for blob, path in changed(folder, commit):
            if blob in right:
                continue
            wrong = mistake(folder, blob, path)
            if wrong:
                yield f"{commit[:8]} {wrong}"
            else:
                right.add(blob)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print what does not parse; the exit code says whether there was anything."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--staged", action="store_true", help="what is about to be committed")
    which.add_argument("--all", action="store_true", help="every commit there is")
    given = parser.parse_args(arguments)
    folder = Path.cwd()
    try:
        git(folder, "rev-parse", "--verify", "HEAD")
    except (subprocess.CalledProcessError, FileNotFoundError):
        sys.stderr.write("there is no history of git here: nothing to check\n")
        return 0
    if given.staged:
        found = [wrong for each in staged(folder) if (wrong := mistake(folder, *each))]
    else:
        found = list(mistakes(folder, every=given.all))
    for wrong in found:
        sys.stderr.write(f"does not parse: {wrong}\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
