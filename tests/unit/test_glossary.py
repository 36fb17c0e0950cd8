"""The glossary explains each term once, in short sentences, and names modules that exist."""

import re
from pathlib import Path

import pytest

_TREE = Path(__file__).parents[2]
_ROW = re.compile(r"^\| (?P<terms>[^|]+) \| (?P<meaning>[^|]+) \| `(?P<module>[^`|]+)` \|$", re.M)
_LONGEST_SENTENCE_WORDS = 25
_EXPECTED = (
    *("bitstream", "packet", "GOP", "rate point", "RD curve", "BD-rate", "anchor", "candidate"),
    *("program", "tunable", "incumbent", "archive", "screen", "smoke", "held-out gate", "provider"),
    *("launcher", "fork server", "path broker", "journal", "ledger", "event key", "view"),
    *("proposer", "run loop", "slot"),
)


def _rows() -> list[re.Match[str]]:
    rows = list(_ROW.finditer((_TREE / "docs" / "glossary.md").read_text(encoding="utf-8")))
    assert len(rows) > 80
    return rows


def test_every_module_that_the_glossary_names_exists() -> None:
    named = {row["module"] for row in _rows()}

    assert [module for module in sorted(named) if not (_TREE / module).is_file()] == []


def test_every_line_of_a_table_has_a_term_a_meaning_and_a_module() -> None:
    text = (_TREE / "docs" / "glossary.md").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    heads = [line for line in lines if line == "| term | meaning | module |"]

    assert len(lines) - len(heads) == len(_rows())


def test_a_term_is_explained_once() -> None:
    terms = [row["terms"] for row in _rows()]

    assert sorted(set(terms)) == sorted(terms)


@pytest.mark.parametrize("term", _EXPECTED)
def test_a_word_that_a_newcomer_meets_is_explained(term: str) -> None:
    assert [row for row in _rows() if term in row["terms"]]


def test_meanings_are_at_most_three_short_sentences() -> None:
    long = [
        row["terms"]
        for row in _rows()
        if len(sentences := re.split(r"(?<=[.]) (?=[A-Z])", row["meaning"])) > 3
        or any(len(sentence.split()) > _LONGEST_SENTENCE_WORDS for sentence in sentences)
    ]

    assert long == []
