"""Commands that show a program's text: whatever it holds, they end soon and print no control."""

import resource
import subprocess
import sys
from pathlib import Path

import pytest

EVOCODEC = Path(sys.executable).with_name("evocodec")
SIZE = 256 << 10
CODEC = (Path(__file__).parents[1] / "data" / "toy_codec.py").read_text()
HOSTILE = {
    "sequences that never end": "\x9d" * (SIZE // 2),
    "a few lines many times": "".join(f"# {number % 101}\n" for number in range(SIZE // 6)),
    "empty lines": "\n" * SIZE,
    "one long line": "a." * (SIZE // 2),
    "brackets": "(" * SIZE,
    "decorators": "@" * SIZE,
    "escapes": ("\x1b]0;title\x07\x1b[2J\x1b[31mred\u202e\u2066\x9b1A\r" * 2000),
}
CPU_SECONDS = 60
MEMORY_BYTES = 4 << 30
CONTROL = ("\x1b", "\x9b", "\x9d", "\x07", "\r", "\u202e", "\u2066")


def limited() -> None:
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))


SHOW_ALL = """
import sys
from evocodec.app import Laboratory
from evocodec.app.comparison import Side, difference
from evocodec.cli.render.program_lines import ProgramSource
from evocodec.cli.session import make_console
from evocodec.codec.program import Program
from pathlib import Path

texts = [path.read_bytes().decode() for path in sorted(Path(sys.argv[1]).glob("*.py"))]
console = make_console()
plain = Program("x = 1\\n")
for text in texts:
    console.print(ProgramSource(text), soft_wrap=True)
    print(difference(Side("a", plain), Side("b", Program(text))))
    print(difference(Side("a", Program(text)), Side("b", Program(text[::-1]))))
"""


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hostile")
    for number, text in enumerate(HOSTILE.values()):
        (folder / f"p{number}.py").write_text(text, newline="")
    (folder / "plain.py").write_text(CODEC)
    return folder


def output_of(*command: str, colour: bool = False) -> str:
    done = subprocess.run(
        command,
        capture_output=True,
        check=False,
        preexec_fn=limited,
        env={"PATH": "/usr/bin:/bin", "HOME": "/nonexistent"}
        | ({"FORCE_COLOR": "1", "TERM": "xterm-256color"} if colour else {}),
    )
    assert done.returncode == 0, (command[1:], done.returncode, done.stderr[-2000:])
    return done.stdout.decode()


@pytest.mark.parametrize("name", ["sequences that never end", "a few lines many times", "escapes"])
def test_a_diff_of_any_text_ends_and_prints_no_control(programs: Path, name: str) -> None:
    text = output_of(
        *(str(EVOCODEC), "--workspace", str(programs / "w"), "diff", str(programs / "plain.py")),
        str(programs / f"p{list(HOSTILE).index(name)}.py"),
    )
    assert "+++" in text
    for control in CONTROL:
        assert control not in text


def test_the_source_of_a_version_and_a_report_of_two_show_any_text(programs: Path) -> None:
    text = output_of(sys.executable, "-c", SHOW_ALL, str(programs))
    for control in CONTROL:
        assert control not in text
    coloured = output_of(sys.executable, "-c", SHOW_ALL, str(programs), colour=True)
    assert "\x1b]0;" not in coloured
    assert "\x1b[2J" not in coloured
