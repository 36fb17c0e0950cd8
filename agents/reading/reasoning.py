"""Reasoning and control tokens in a reply, cut so that only the answer is left.

Models mark their reasoning in many ways, and servers pass on what their parser did not know: tags
of any case, tags whose opening was part of the prompt, channels, control tokens of the chat format.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

Span = tuple[int, int]

_WORD = r"(?:think|thinking|thoughts?|reasoning|reason|analysis|scratchpad|reflection|monologue)"
_NAME = rf"(?:[\w-]+[:_.])?{_WORD}"
_TAGS = re.compile(
    rf"(?P<close></{_NAME}\s*>|\[/{_WORD}\]|◁/{_WORD}▷|</\|{_WORD}\|>|<\|/{_WORD}\|>"
    rf"|<\|end_of_{_WORD}\|>|<\|end_{_WORD}\|>|<\|{_WORD}_end\|>|<\|inner_suffix\|>"
    rf"|<unused95>|<channel\|>|<\|(?:begin_of_solution|START_RESPONSE|START_TEXT)\|>)"
    rf"|(?P<open><{_NAME}(?:\s[^<>\n]{{0,120}})?>|\[{_WORD}\]|◁{_WORD}▷|<\|{_WORD}\|>"
    rf"|<\|begin_of_{_WORD}\|>|<\|start_{_WORD}\|>|<\|{_WORD}_start\|>|<\|inner_prefix\|>"
    rf"|<unused94>|<\|channel>[ \t]*(?:{_WORD})"
    rf"|<details\b[^<>\n]*(?:reasoning|thinking)[^<>\n]*>|^Here is my thought process:)"
    rf"|(?P<paired></details>|^Here is my response:)",
    re.IGNORECASE | re.MULTILINE,
)
_FINAL_CHANNEL = re.compile(r"<\|channel\|>\s*(?:final|answer|response)\b[^<\n]*(?:<\|constrain\|>"
                            r"[^<\n]*)?<\|message\|>", re.IGNORECASE)  # fmt: skip
_CHANNEL = re.compile(r"<\|channel\|>\s*\w+", re.IGNORECASE)
_PLAIN_CHANNELS = re.compile(r"\A\s*analysis.*assistant\s?final", re.DOTALL)
_TURN_ENDS = re.compile(
    r"<\|(?:im_end|endoftext|end_of_text|eot_id|eom_id|eot|end|return|end_of_solution|call"
    r"|END_RESPONSE|END_TEXT|END_OF_TURN_TOKEN|end_of_sentence)\|>"
    r"|<｜end▁of▁sentence｜>|<end_of_turn>|<turn\|>|<eos>|</s>",
    re.IGNORECASE,
)
_NEXT_END = re.compile(r"\s*(?:" + _TURN_ENDS.pattern + ")", re.IGNORECASE)
_OTHER_TURN = re.compile(
    r"(?:<\|im_start\|>|<\|start_header_id\|>|<start_of_turn>|<\|start\|>|<｜|<s>|\[INST\])?\s*"
    r"(?:(?:user|human|system)\b|<\|user\|>|｜User｜>|\[INST\])",
    re.IGNORECASE,
)
_CODE = re.compile(r"(?:^|\\n)\s*(?:```|~~~|<{5,9} ?SEARCH|def \w|import \w|@@ )", re.MULTILINE)
_TURN_BEGINS = re.compile(
    r"\A\s*(?:(?:<\|im_start\|>|<\|start\|>|<start_of_turn>)\s*(?:assistant|model)?[ \t]*\n?"
    r"|<\|start_header_id\|>\s*assistant\s*<\|end_header_id\|>|<\|assistant\|>|<｜Assistant｜>"
    r"|<\|begin_of_text\|>|<｜begin▁of▁sentence｜>|<bos>|<s>|\[/INST\]|<\|message\|>)+"
)
_WRAPPER = re.compile(r"<(answer|response|final|final_answer|output)>", re.IGNORECASE)
_LINE_SEEN = 200  # characters before a tag: more of them are no margin


@dataclass(frozen=True, slots=True)
class AnswerText:
    """The answer in a reply; ``reasoned`` says that reasoning stood beside it."""

    text: str
    reasoned: bool = False
    unclosed: bool = False
    """Reasoning was opened behind the text and not closed."""
    quoted: bool = False
    """Reasoning seems to open inside a string of code, so that it may be part of a program."""
    beyond: str = ""
    """Code that follows the end of the model's turn: nobody knows whose it is."""


def answer_in(reply: str, protected: Sequence[Span] = ()) -> AnswerText:
    """Cut the reasoning and the control tokens out of a reply.

    A closing tag that was never opened ends the reasoning: all before it goes. What stands in
    ``protected`` spans (programs that have such words in their strings) marks nothing.
    """
    text, beyond = _own_turn(reply, protected)
    final = _last(_FINAL_CHANNEL, text, protected)
    if final is not None:
        # Spans are of the reply, and what was cut from its beginning moves them.
        shift = reply.find(text) + final.end()
        moved = [(first - shift, last - shift) for first, last in protected if last > shift]
        text, more = _own_turn(text[final.end() :], moved)
        beyond = more or beyond
        return AnswerText(_unwrapped(text), True, beyond=beyond)
    if _last(_CHANNEL, text, protected) is not None:
        return AnswerText("", reasoned=True)
    plain = _PLAIN_CHANNELS.match(text)
    if plain is not None:
        return AnswerText(_unwrapped(text[plain.end() :]), reasoned=True)
    kept, unclosed, quoted = _without_sections(text, protected)
    return AnswerText(_unwrapped(kept), kept != text, unclosed, quoted, beyond)


def has_marks(reply: str) -> bool:
    """Whether a reply has anything that ``answer_in`` would look at."""
    return re.search(r"[<◁\[]|\A\s*analysis|thought process", reply) is not None


def has_code(text: str) -> bool:
    """Whether something in a text looks like code, a fence or an edit."""
    return _CODE.search(text) is not None


def _without_sections(text: str, protected: Sequence[Span]) -> tuple[str, bool, bool]:
    """Drop what stands between the tags, and all before a closing tag that was not opened.

    Also says whether a section is open at the end, and whether one opens inside a string.
    """
    kept: list[str] = []
    position, inside, quoted = 0, False, False
    for tag in _TAGS.finditer(text):
        if _is_protected(tag, text, protected):
            continue
        if tag["open"] is not None:
            if not inside and _begins_line(text, tag.start()):
                kept.append(text[position : tag.start()])
                quoted = quoted or _is_in_a_string("".join(kept))
                inside = True
            continue
        if not inside:
            if tag["paired"] is not None:
                continue  # it closes something else
            kept.clear()
        position, inside = tag.end(), False
    if not inside:
        kept.append(text[position:])
    return "".join(kept), inside, quoted


def _is_in_a_string(before: str) -> bool:
    """Whether a string of several lines is open behind this text."""
    return before.count('"""') % 2 == 1 or before.count("'''") % 2 == 1


def _own_turn(text: str, protected: Sequence[Span]) -> tuple[str, str]:
    """What the model said in its own turn; some go on to write the next question themselves."""
    begin = _TURN_BEGINS.match(text)
    start = begin.end() if begin else 0
    for token in _TURN_ENDS.finditer(text, start):
        if _is_protected(token, text, protected):
            continue
        end = token.end()
        while (again := _NEXT_END.match(text, end)) is not None:
            end = again.end()
        rest = text[end:].lstrip()
        if token[0] == "<|end|>" and "<|channel|>" in rest:
            continue  # it ends a channel, and the turn goes on
        foreign = _OTHER_TURN.match(rest) is not None or not has_code(rest)
        return text[start : token.start()], "" if foreign else rest
    return text[start:], ""


def _begins_line(text: str, at: int) -> bool:
    """Whether a line begins here, or another tag ends here."""
    before = text[max(0, at - _LINE_SEEN) : at]
    margin = before.rpartition("\n")[2]
    return before.endswith(">") or (not margin.strip() and len(margin) < _LINE_SEEN)


def _unwrapped(text: str) -> str:
    """The text without a tag round the whole of it."""
    bare = text.strip()
    opening = _WRAPPER.match(bare)
    if opening is None:
        return text
    closing = f"</{opening[1]}>"
    end = len(bare) - len(closing) if bare.lower().endswith(closing.lower()) else len(bare)
    return bare[opening.end() : end].strip("\n")


def _last(pattern: re.Pattern[str], text: str, protected: Sequence[Span]) -> "re.Match[str] | None":
    found = None
    for match in pattern.finditer(text):
        if not _is_protected(match, text, protected):
            found = match
    return found


def _is_protected(match: "re.Match[str]", text: str, protected: Sequence[Span]) -> bool:
    start, end = match.span()
    before, after = text[max(0, start - 1) : start], text[end : end + 1]
    quoted = before == after and before in {"`", '"', "'"}
    return quoted or any(first <= start and end <= last for first, last in protected)
