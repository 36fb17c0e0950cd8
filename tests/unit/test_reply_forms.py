"""Forms of replies that are read without asking again, and some that must not be."""

import html
import json

import pytest

from agents.extract import extract_program, kept_edits
from evocodec.domain.errors import CandidateFailure, FailureKind
from tests.unit.test_extract import PROGRAM, edit

DRAFT = PROGRAM.replace("STEP = 8", "STEP = 77\nLONGER = 'than the answer'")
FENCED = f"```python\n{PROGRAM}```"
FENCED_DRAFT = f"```python\n{DRAFT}```"
DOCUMENTED = f'"""A codec.\n\n```\nexample\n```\n"""\n\n{PROGRAM}'
NUMBERED = PROGRAM.rstrip("\n").split("\n")


def read(reply: str, base: str = "") -> str:
    return extract_program(reply, base).program.text


@pytest.mark.parametrize(
    "reasoning",
    [
        "<think>{}</think>\n",
        "{}\n</think>\n\n",
        "<THINK>{}</THINK>",
        "<thought>\n{}\n</thought>\n",
        "<reasoning>{}</reasoning>",
        "[THINK]{}[/THINK]",
        "<seed:think>{}</seed:think>",
        "◁think▷{}◁/think▷",
        "<|channel|>analysis<|message|>{}<|end|><|start|>assistant<|channel|>final<|message|>",
        "<|channel>thought\n{}<channel|>",
        "<unused94>thought\n{}<unused95>",
        "<|begin_of_thought|>{}<|end_of_thought|>\n<|begin_of_solution|>",
        "<|START_THINKING|>{}<|END_THINKING|><|START_RESPONSE|>",
        "analysis{}assistantfinal",
        '<details type="reasoning" done="true">{}</details>\n',
        "Here is my thought process:\n{}\nHere is my response:\n",
        "<think>half</think>{}\n</think>\n",
    ],
)
def test_a_draft_in_any_form_of_reasoning_does_not_count(reasoning: str) -> None:
    found = extract_program(reasoning.format(f"Perhaps:\n{FENCED_DRAFT}\nNo.\n") + FENCED, "")
    assert found.program.text == PROGRAM
    assert found.how == "the whole file, after its reasoning"


def test_a_token_of_the_chat_format_within_a_diff_is_a_line_of_the_program() -> None:
    base = PROGRAM.replace("STEP = 8", "STEP = 8\nEND = 'end'")
    diff = "@@ -4 +4 @@\n STEP = 8\n-END = 'end'\n+END = '<|im_end|> '\n"
    channel = (
        "<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant<|channel|>final<|message|>"
    )
    assert read(f"{channel}\n{diff}", base) == base.replace("'end'", "'<|im_end|> '")


@pytest.mark.parametrize(
    "reply",
    [
        f"<think>{FENCED}",
        f"{FENCED}\n</think>",
        f"<|channel|>analysis<|message|>{FENCED}",
    ],
)
def test_a_reply_that_only_reasons_has_no_program(reply: str) -> None:
    with pytest.raises(CandidateFailure, match="only reasoned"):
        read(reply)


def test_the_last_whole_program_wins_and_the_note_says_so() -> None:
    reply = f"Original:\n{FENCED_DRAFT}\nImproved:\n{FENCED}"
    found = extract_program(reply, "")
    assert (found.program.text, found.how) == (
        PROGRAM,
        "the whole file, the last of 2 in the reply",
    )


def test_the_given_program_quoted_after_the_answer_is_not_the_answer() -> None:
    assert read(f"{FENCED}\nFor reference, the original:\n{FENCED_DRAFT}", DRAFT) == PROGRAM


@pytest.mark.parametrize(
    "reply",
    [
        f"\ufeff{FENCED}",
        f"\u200b```python\n{PROGRAM}\u200b```",
        FENCED.replace("    ", "\u00a0\u00a0\u00a0\u00a0"),
        FENCED.replace("\nSTEP", "\n\u200bSTEP"),
        FENCED.replace("\n", "\u2028", 3).replace("\u2028", "\n", 1),
        f"```python\n{PROGRAM}``` That is all.",
        PROGRAM.replace("\n    ", "\n\u200b    ") + "\nHope this helps!",
        f"{FENCED}<|im_end|>",
        f"{FENCED}</s>",
        f"<|im_start|>assistant\n{FENCED}<|eot_id|>",
        f"{FENCED}<|im_end|>\n<|im_start|>user\nAnother:\n{FENCED_DRAFT}",
        f"```python\n{html.escape(PROGRAM + '# a > b')}\n```".replace("# a &gt; b", ""),
        json.dumps({"code": PROGRAM}),
        f"```json\n{json.dumps({'note': 'x', 'program': PROGRAM}, indent=1)}\n```",
        json.dumps(PROGRAM),
        "```python\n" + "\n".join(f"{n:3d} {x}" for n, x in enumerate(NUMBERED, 1)) + "\n```",
        "```python\n" + "\n".join(f"{n}: {x}" for n, x in enumerate(NUMBERED, 1)) + "\n```",
        "```python\n" + "\n".join(f"{n} | {x}" for n, x in enumerate(NUMBERED, 1)) + "\n```",
        "```python\n" + "\n".join(f"{n}→{x}" for n, x in enumerate(NUMBERED, 1)) + "\n```",
        "```diff\n--- /dev/null\n+++ b/codec.py\n@@ -0,0 +1,15 @@\n"
        + "\n".join(f"+{x}" for x in NUMBERED) + "\n```",
        "\n".join(f"> {x}" for x in FENCED.split("\n")),
        f"<code>\n{PROGRAM}</code>",
        f"'''python\n{PROGRAM}'''",
        f"~~~~python\n{PROGRAM}~~~~",
        f"```markdown\nText.\n```python\n{PROGRAM}```\n```",
        f"<answer>\n{FENCED}\n</answer>",
    ],
    ids=range(26),
)  # fmt: skip
def test_what_copying_and_chat_formats_add_is_taken_away(reply: str) -> None:
    assert read(reply).strip() == PROGRAM.strip()


def test_a_mark_of_reasoning_in_a_docstring_of_unfenced_code_is_no_reasoning() -> None:
    old = f"Original:\n```python\n{PROGRAM}\n```\nImproved:\n"
    new = f'"""A codec.\n\n<think>\n"""\n\n{PROGRAM}\n    label = """\n</think>\n"""\n'
    with pytest.raises(CandidateFailure, match="inside a string"):
        read(old + new)


def test_a_fence_in_a_docstring_does_not_end_the_program() -> None:
    assert read(f"Here:\n```python\n{DOCUMENTED}```\nDone.") == DOCUMENTED


def test_typographic_quotes_are_mended_outside_of_strings_only() -> None:
    program = PROGRAM.replace("STEP = 8", "STEP = 8\nNAME = “fine”\nTEXT = '“kept”'")
    found = read(f"```python\n{program}```")
    assert "NAME = \"fine\"\nTEXT = '“kept”'" in found


def test_text_that_may_be_escaped_for_html_or_not_is_refused() -> None:
    program = PROGRAM.replace("STEP = 8", "STEP = 8\nTEXT = 'a &lt; b'")
    with pytest.raises(CandidateFailure, match="two ways"):
        read(f"```python\n{program}```")


DIFF = "\n".join(
    [
        "--- a/codec.py",
        "+++ b/codec.py",
        "@@ -1,5 +1,5 @@",
        " import numpy as np",
        " ",
        "-STEP = 8",
        "+STEP = 4",
        " ",
        " ",
        "",
    ]
)


@pytest.mark.parametrize(
    "reply",
    [
        f"```diff\n{DIFF}```",
        f"Finer.\n\n{DIFF}\nThat is all.",
        "*** Begin Patch\n*** Update File: codec.py\n@@\n import numpy as np\n \n-STEP = 8\n"
        "+STEP = 4\n*** End Patch",
        edit("STEP = 8\n", "STEP = 4\n").replace("\n", "\r\n"),
        edit("STEP=8   \n", "STEP = 4\n"),
        edit("    STEP = 8\n", "    STEP = 4\n"),
        edit("STEP = 8  # the step\n", "STEP = 4\n"),
        edit("import numpy as np\nSTEP = 8\n", "import numpy as np\n\nSTEP = 4\n"),
        edit("3 STEP = 8\n4 \n", "3 STEP = 4\n4 \n"),
        edit("```python\nSTEP = 8\n```\n", "```python\nSTEP = 4\n```\n"),
        "\n".join("  " + x for x in edit("STEP = 8\n", "STEP = 4\n").splitlines()),
        edit("STEP = 8\n", "STEP = 4\n") * 2,
        "------- SEARCH\nSTEP = 8\n=======\nSTEP = 4\n+++++++ REPLACE\n",
        json.dumps({"edits": edit("STEP = 8\n", "STEP = 4\n")}),
    ],
    ids=range(14),
)  # fmt: skip
def test_an_edit_is_read_in_the_forms_in_which_models_write_it(reply: str) -> None:
    assert read(reply, PROGRAM) == PROGRAM.replace("STEP = 8", "STEP = 4")


def test_an_edit_that_the_program_has_already_is_noted_and_not_missed() -> None:
    reply = edit("import numpy as np\n\nSTEP = 9\n", "import numpy as np\n\nSTEP = 8\n") + edit(
        "    for packet in packets:\n", "    for packet in list(packets):\n"
    )
    found = extract_program(reply, PROGRAM)
    assert found.program.text == PROGRAM.replace("in packets", "in list(packets)")
    assert found.how == "2 edits of the given program, 1 of them made before"


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        (f"{FENCED}\nOops:\n```python\nSTEP = 4\n```", "changes STEP again"),
        (f"{FENCED}\nBetter:\n```python\nNAME = “fine\n```", "does not parse"),
        (
            f"{FENCED}\nBetter:\n```python\n"
            + PROGRAM.replace("\n\n\ndef d", "\n```\nand\n```python\ndef d")
            + "```",
            "in parts",
        ),
        (FENCED + "\n" + edit("STEP = 8\n", "STEP = 4\n"), "edits after it"),
        (f"{FENCED}\nBetter:\n```python\n{DRAFT[:200]}", "ends within another block"),
        (f"```python\n{PROGRAM.replace('STEP = 8', '# ... rest unchanged ...')}```", "abbreviated"),
        (f"```python\n{PROGRAM.replace('STEP = 8', '')}", "nothing defines STEP"),
        (f"{PROGRAM[:-10]}", "does not parse"),
        (f"X = 1\nHere it is:\n\n{PROGRAM}", "does not parse"),
        ("def encode(f, s, q): ...\ndef decode(p, s): ...", "without a body"),
        (edit("STEP = 8\n=======\nx\n", "STEP = 4\n"), "several lines of ======="),
        ("```diff\n@@ -1 +1 @@\n+STEP = 4\n```", "where it belongs"),
        (f"{FENCED}<|im_end|>\n{FENCED_DRAFT}", "after the end of its turn"),
        (
            f"<|channel|>final<|message|>{FENCED_DRAFT}\nx<|im_end|>\n{FENCED}",
            "after the end of its turn",
        ),
    ],
)
def test_what_can_be_read_in_two_ways_is_refused(reply: str, message: str) -> None:
    with pytest.raises(CandidateFailure, match=message) as raised:
        read(reply, "STEP = 8\n" + DRAFT)
    assert raised.value.kind is FailureKind.NO_CODE


def test_edits_that_fit_are_kept_and_the_nearest_lines_of_the_others_are_found() -> None:
    reply = edit("STEP = 8\n", "STEP = 4\n") + edit(
        "    for packet in package:\n        yield np.frombuffer(packet, np.uint8)\n", "    pass\n"
    )
    kept = kept_edits(reply, PROGRAM)
    assert kept.text == PROGRAM.replace("STEP = 8", "STEP = 4")
    assert kept.fitted == (1,)
    [misfit] = kept.misfits
    assert misfit.number == 2
    assert "    for packet in packets:\n" in misfit.nearest
