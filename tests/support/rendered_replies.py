"""Replies made at random that all mean one program: what a reader must give, or refuse.

``reply_cases`` draws a program, the program that edits refer to, and a reply: the program in one of
the forms in which models answer, changed by what copying and chat formats do, between prose,
drafts and reasoning.
"""

import ast
import difflib
import html
import io
import json
import tokenize
from collections.abc import Callable
from dataclasses import dataclass

from hypothesis import strategies as st

_ODD = [
    "plain words",
    "```",
    "```python",
    "~~~",
    "</think>",
    "<think>",
    "<|im_end|>",
    "</s>",
    "<<<<<<< SEARCH",
    "=======",
    ">>>>>>> REPLACE",
    "a &lt; b &amp; c",
    "“curly” quotes and it’s",
    "wide\u00a0space",
    "\u200bnothing",
    "@@ -1,2 +1,2 @@",
    "- a list",
    "1. a list",
    "# a heading",
    "def encode(frames, stream, qp):",
    "import numpy as np",
    "I'm sorry, I can't.",
]
_PROSE = [
    "",
    "Here is the program:",
    "Sure! I halve the step (STEP = 4), which should save bits.",
    "**Changes**\n\n- finer steps\n- a better bias\n\nThat is all.",
    "## Improved codec\n\nIt's good.",
    "First a test:\n```bash\npython codec.py --qp 30\n```",
    "The form is:\n```python\ndef encode(frames, stream, qp): ...\n"
    "def decode(packets, stream): ...\n```",
    "I close with `</think>` as asked.",
]
_AFTER = [
    "",
    "Hope this helps!",
    "Use it so:\n```python\nfor packet in encode(frames, stream, 30):\n    print(packet)\n```",
    "The key line:\n```python\nSTEP = 8\n```",
    "It saves 3 % of the bits (STEP is finer).\n\nEnjoy.",
    '```json\n{"note": "done"}\n```',
]
_ENDS = ["", "<|im_end|>", "</s>", "<|eot_id|>", "<｜end▁of▁sentence｜>", "<end_of_turn>",
         "<|endoftext|>", "<|return|>"]  # fmt: skip


@dataclass(frozen=True)
class ReplyCase:
    """A reply, the program that it means, and the program that edits refer to."""

    reply: str
    program: str
    base: str

    def __repr__(self) -> str:
        return f"base:\n{self.base}\nprogram:\n{self.program}\nreply:\n{self.reply}"


@st.composite
def programs(draw: st.DrawFn, step: int) -> str:
    """A small whole program; ``step`` tells two of them apart."""
    odd = st.sampled_from(_ODD)
    parts = []
    if draw(st.booleans()):
        parts.append('"""A codec.\n\n' + "\n".join(draw(st.lists(odd, max_size=3))) + '\n"""\n')
    parts.append("import numpy as np\n")
    note = draw(odd)
    parts.append(
        f"STEP = {step}  # evolve: int 1..64 -- {draw(st.sampled_from(['step', 'width']))}"
    )
    parts.append(f"NOTE = {json.dumps(note, ensure_ascii=False)}")
    if draw(st.booleans()):
        parts.append(f"# {draw(odd)}")
    helper = (
        f"\ndef quantise(plane, bias={draw(st.integers(0, 3))}):\n"
        f"    if bias < {draw(st.integers(1, 9))} and STEP > 1:\n"
        f"        return (plane - 1 + bias) // STEP\n    return plane\n"
    )
    encode = (
        "\ndef encode(frames, stream, qp):\n"
        "    for frame in frames:\n"
        + (f"        # {draw(odd)}\n" if draw(st.booleans()) else "")
        + "        yield quantise(frame.y).tobytes()\n"
    )
    decode = (
        "\ndef decode(packets, stream):\n    for packet in packets:\n"
        f"        plane = np.frombuffer(packet, np.uint8) * STEP + {draw(st.integers(0, 5))}\n"
        + ('        label = """\n' + draw(odd) + '\n"""\n' if draw(st.booleans()) else "")
        + "        yield plane\n"
    )
    functions = [encode, decode]
    functions.insert(draw(st.integers(0, 2)), helper)
    return "\n".join([*parts, *functions])


def _fenced(draw: st.DrawFn, program: str) -> str:
    opening = draw(st.sampled_from(["```python", "```", "```py", "~~~python", "````python",
                                    "```Python title=codec.py", "\ufeff```python"]))  # fmt: skip
    mark = opening.strip("\ufeff")[0] * (4 if "````" in opening else 3)
    closing = mark + draw(st.sampled_from(["", "", " ", " That is it.", "\u200b"]))
    margin = draw(st.sampled_from(["", "", "   ", "\t"]))
    lines = [opening, *program.rstrip("\n").split("\n"), closing]
    return "\n".join(margin + line if line else line for line in lines)


def _numbered(draw: st.DrawFn, program: str) -> str:
    form = draw(st.sampled_from(["{n:4d} {line}", "{n}: {line}", "{n:3d} | {line}", "{n}\t{line}",
                                 "{n}→{line}"]))  # fmt: skip
    lines = program.rstrip("\n").split("\n")
    return _fenced(draw, "\n".join(form.format(n=n, line=line) for n, line in enumerate(lines, 1)))


def _escaped(draw: st.DrawFn, program: str) -> str:
    return _fenced(draw, html.escape(program, quote=draw(st.booleans())))


def _quoted(draw: st.DrawFn, program: str) -> str:
    key = draw(st.sampled_from(["code", "program", "content"]))
    return json.dumps({"note": "done", key: program}, ensure_ascii=draw(st.booleans()))


def _bare(draw: st.DrawFn, program: str) -> str:
    return program


def _blocks(draw: st.DrawFn, program: str) -> str:
    pieces = program.split("\n\ndef ")
    texts = [pieces[0], *("def " + piece for piece in pieces[1:])]
    return "\n".join(f"Part:\n```python\n{text}\n```" for text in texts)


_WHOLE: list[Callable[[st.DrawFn, str], str]] = [
    _fenced, _fenced, _fenced, _numbered, _escaped, _quoted, _bare, _blocks
]  # fmt: skip


def _search_replace(draw: st.DrawFn, base: str, program: str) -> str:
    old, new = base.split("\n"), program.split("\n")
    blocks = []
    around = draw(st.integers(0, 3))
    matcher = difflib.SequenceMatcher(None, old, new, autojunk=False)
    for group in matcher.get_grouped_opcodes(around):
        search = old[group[0][1] : group[-1][2]]
        replace = new[group[0][3] : group[-1][4]]
        if draw(st.booleans()):
            search = [_drifted(draw, line) for line in search]
        body = ["<<<<<<< SEARCH", *search, "=======", *replace, ">>>>>>> REPLACE"]
        if draw(st.booleans()):
            body = ["```python", *body, "```"]
        blocks.append("\n".join(body))
    return "\n\n".join(blocks)


def _drifted(draw: st.DrawFn, line: str) -> str:
    how = draw(st.sampled_from(["", "end", "tabs", "wide"]))
    if how == "end":
        return line + "  "
    if how == "tabs" and '"' not in line:
        return line.replace("    ", "\t")
    if how == "wide":
        body = line.lstrip(" ")
        return "\u00a0" * (len(line) - len(body)) + body
    return line


def _unified(draw: st.DrawFn, base: str, program: str) -> str:
    lines = difflib.unified_diff(
        base.split("\n"), program.split("\n"), "a/codec.py", "b/codec.py",
        n=draw(st.integers(1, 4)), lineterm="",
    )  # fmt: skip
    text = "\n".join(lines)
    return f"```diff\n{text}\n```" if draw(st.booleans()) else text


def _with_odd_characters(draw: st.DrawFn, program: str) -> str:
    """What copying from a page or a word processor does, outside of strings and comments."""
    kind = draw(st.sampled_from(["nbsp", "zero", "quotes", "minus"]))
    lines = program.split("\n")
    inside: set[int] = set()
    tokens = list(tokenize.generate_tokens(io.StringIO(program).readline))
    for token in tokens:
        inside |= (
            set(range(token.start[0], token.end[0])) if token.type == tokenize.STRING else set()
        )
    if kind in {"nbsp", "zero"}:
        for number, line in enumerate(lines):
            if number in inside or not line.strip():
                continue
            body = line.lstrip(" ")
            width = len(line) - len(body)
            lines[number] = "\u00a0" * width + body if kind == "nbsp" else "\u200b" + line
        return "\n".join(lines)
    for token in reversed(tokens):
        row, column = token.start[0] - 1, token.start[1]
        if kind == "minus" and token.type == tokenize.OP and token.string == "-":
            lines[row] = lines[row][:column] + "\u2212" + lines[row][column + 1 :]
        single = token.start[0] == token.end[0] and not token.string.startswith('"""')
        if kind == "quotes" and token.type == tokenize.STRING and single:
            curly = "“" + token.string[1:-1] + "”"
            lines[row] = lines[row][:column] + curly + lines[row][token.end[1] :]
    return "\n".join(lines)


def _reasoning(draw: st.DrawFn, draft: str) -> str:
    inner = f"Let me try.\n```python\n{draft}\n```\nNo. {draw(st.sampled_from(_PROSE[:3]))}"
    if draw(st.booleans()):
        inner = draft
    forms = [
        "<think>{}</think>\n",
        "{}\n</think>\n\n",
        "<THINK>\n{}\n</THINK>\n",
        "<thinking>{}</thinking>",
        "<thought>{}</thought>\n",
        "<reasoning>\n{}</reasoning>\n",
        "[THINK]{}[/THINK]",
        "<seed:think>{}</seed:think>\n",
        "◁think▷{}◁/think▷",
        "<|channel|>analysis<|message|>{}<|end|><|start|>assistant<|channel|>final<|message|>",
        "<|channel>thought\n{}<channel|>",
        "<unused94>thought\n{}<unused95>",
        "<|begin_of_thought|>\n{}\n<|end_of_thought|>\n\n<|begin_of_solution|>\n",
        "<|START_THINKING|>{}<|END_THINKING|><|START_RESPONSE|>",
        '<details type="reasoning" done="true">\n<summary>Thought</summary>\n{}\n</details>\n',
    ]
    return draw(st.sampled_from(forms)).format(inner)


@st.composite
def reply_cases(draw: st.DrawFn) -> ReplyCase:
    """A reply that means one program, in one of the forms and wrappings that are seen."""
    base, program = draw(programs(16)), draw(programs(8))
    draft = draw(programs(32))
    end = draw(st.sampled_from(_ENDS))
    kind = draw(st.sampled_from(["whole", "whole", "odd", "edits", "diff"]))
    if kind == "edits":
        body = _search_replace(draw, base, program)
    elif kind == "diff":
        body = _unified(draw, base, program)
    else:
        text = _with_odd_characters(draw, program) if kind == "odd" else program
        body = draw(st.sampled_from(_WHOLE))(draw, text)
    before, after = draw(st.sampled_from(_PROSE)), draw(st.sampled_from(_AFTER))
    if draw(st.booleans()) and kind in {"whole", "odd"}:
        before += f"\nOriginal:\n```python\n{draw(st.sampled_from([base, draft]))}\n```\nImproved:"
    reply = "\n".join(part for part in (before, body, after) if part)
    reply += end
    if draw(st.booleans()):
        reply = _reasoning(draw, draft) + reply
    if draw(st.booleans()):
        reply += "\n<|im_end|>\n<|im_start|>user\nAnother one:\n```python\n" + draft + "\n```"
    if draw(st.integers(0, 5)) == 0:
        reply = reply.replace("\n", "\r\n")
    return ReplyCase(reply, program, base)


def same_program(first: str, second: str) -> bool:
    """Whether two texts are the same program, but for remarks and docstrings."""
    return _meaning(first) == _meaning(second)


def _meaning(text: str) -> str:
    tree = ast.parse(text)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.FunctionDef) and ast.get_docstring(node, clean=False):
            node.body = node.body[1:]
    return ast.dump(tree)
