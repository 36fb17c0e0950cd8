"""Module docstrings name their subject in the first words: a list of modules can be read."""

import ast
import re

import pytest

from tests.support.source_trees import ROOT, tree_of

_ROOMS = ["evocodec", "agents", "graph", "observability", "tools", "benchmarks"]
_QUESTION = re.compile(r"(What|Which|How|Where|Who|Whose|Whether|When|Why)\b")
_LONGEST_SENTENCE = 100


def _modules() -> list[str]:
    found = [
        str(path.relative_to(ROOT))
        for room in _ROOMS
        for path in sorted((ROOT / room).rglob("*.py"))
    ]
    assert found
    return found


def fault_of(docstring: str | None) -> str:
    """What is wrong with a module's docstring, or nothing."""
    if not docstring:
        return "there is no docstring"
    if _QUESTION.match(docstring):
        return "begins with a question word: name the thing that the module holds"
    paragraph = " ".join(docstring.split("\n\n")[0].split())
    sentence = re.split(r"(?<=[.?!]) (?=[A-Z])", paragraph)[0]
    if len(sentence) > _LONGEST_SENTENCE:
        return f"the first sentence has {len(sentence)} characters, at most {_LONGEST_SENTENCE}"
    return ""


@pytest.mark.parametrize("module", _modules())
def test_a_module_docstring_names_its_subject_in_a_short_first_sentence(module: str) -> None:
    assert fault_of(ast.get_docstring(tree_of(ROOT / module))) == ""


def test_every_room_has_modules() -> None:
    assert [room for room in _ROOMS if not list((ROOT / room).rglob("*.py"))] == []


@pytest.mark.parametrize(
    ("docstring", "fault"),
    [
        (None, "no docstring"),
        ("", "no docstring"),
        ("Where things lie below the workspace folder.", "question word"),
        ("Who watches a run from outside: its metrics and its log.", "question word"),
        ("A " + "very " * 20 + "long sentence. A short one.", "116 characters"),
    ],
)
def test_docstrings_that_make_a_reader_guess_are_found(docstring: str | None, fault: str) -> None:
    assert fault in fault_of(docstring)
