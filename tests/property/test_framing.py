"""The message reader survives every way of cutting, and every way of lying."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evocodec.guest.framing import HEADER, FramingError, Message, MessageReader, Tag, pack_header

LIMIT = 4096
messages = st.lists(
    st.tuples(st.sampled_from(Tag), st.binary(max_size=300)).map(
        lambda pair: Message(pair[0], bytearray(pair[1]))
    ),
    max_size=12,
)


def check(_tag: Tag, length: int) -> None:
    if length > LIMIT:
        raise FramingError("too long")


def feed(reader: MessageReader, data: bytes, steps: list[int]) -> list[Message]:
    """Hand ``data`` over in pieces no longer than the reader's space and the next step."""
    received, at, turn = [], 0, 0
    while at < len(data):
        space = reader.space()
        assert space.nbytes > 0
        step = min(steps[turn % len(steps)], space.nbytes, len(data) - at)
        space[:step] = data[at : at + step]
        space.release()
        message = reader.filled(step)
        if message is not None:
            received.append(message)
        at, turn = at + step, turn + 1
    return received


@given(messages, st.lists(st.integers(1, 400), min_size=1, max_size=8))
def test_messages_survive_any_cutting(sent: list[Message], steps: list[int]) -> None:
    reader = MessageReader(check)
    data = b"".join(pack_header(m.tag, len(m.payload)) + m.payload for m in sent)
    assert feed(reader, data, steps) == sent
    assert reader.idle


@given(st.binary(max_size=2000), st.lists(st.integers(1, 64), min_size=1, max_size=4))
def test_arbitrary_bytes_give_messages_within_bounds_or_a_framing_error(
    data: bytes, steps: list[int]
) -> None:
    reader = MessageReader(check)
    try:
        received = feed(reader, data, steps)
    except FramingError:
        return
    assert all(len(message.payload) <= LIMIT for message in received)
    assert sum(HEADER.size + len(message.payload) for message in received) <= len(data)


@given(st.sampled_from(Tag), st.integers(LIMIT + 1, 2**32 - 1))
def test_an_announced_length_is_refused_before_anything_is_stored(tag: Tag, length: int) -> None:
    reader = MessageReader(check)
    with pytest.raises(FramingError):
        feed(reader, pack_header(tag, length), [HEADER.size])


@given(messages.filter(bool), st.data())
def test_an_end_inside_a_message_is_noticed(sent: list[Message], data: st.DataObject) -> None:
    reader = MessageReader(check)
    raw = b"".join(pack_header(m.tag, len(m.payload)) + m.payload for m in sent)
    cut = data.draw(st.integers(1, HEADER.size + len(sent[-1].payload) - 1))
    feed(reader, raw[:-cut], [7])
    assert not reader.idle
