"""Refusals and error pages in place of an answer, told apart in words."""

import re

from agents.reading.reasoning import answer_in

_REFUSAL = re.compile(
    r"\b(?:I(?:['’]m| am) (?:sorry|unable|not able)|I (?:can(?:no|['’])t|won['’]t|must decline)|"
    r"as an AI|cannot (?:help|assist|comply))\b",
    re.IGNORECASE,
)
_PAGE = re.compile(r"\A\s*(?:<!doctype html|<html|<\?xml)", re.IGNORECASE)
_ERROR = re.compile(
    r"\A\W*(?:error\b|(?:internal )?server error|rate limit|too many requests|upstream|bad gateway|"
    r"service unavailable|gateway time-?out|quota|unauthori[sz]ed|forbidden)", re.IGNORECASE
)  # fmt: skip


def is_refusal(answer: str) -> bool:
    """Whether an answer begins by declining the work."""
    return _REFUSAL.search(answer[:600]) is not None


def no_answer(reply: str, missing: str) -> str:
    """Say what a reply is that lacks what was asked for; ``missing`` says what that was."""
    answer = answer_in(reply)
    if not answer.text.strip():
        only = f"it only reasons ({len(reply)} characters)" if answer.reasoned else "it is empty"
        return f"{only}: there is {missing}"
    if _PAGE.match(answer.text):
        return f"it is a web page: there is {missing}"
    if _ERROR.match(answer.text):
        return f"it is an error message: there is {missing}"
    if is_refusal(answer.text):
        return f"it declines the work: there is {missing}"
    if answer.text.count("{") > answer.text.count("}"):
        return f"its JSON is cut off: there is {missing}"
    return f"there is {missing}"
