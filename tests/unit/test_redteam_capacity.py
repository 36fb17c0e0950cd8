"""How many bits a channel carries, estimated from what arrived, and when that is too many."""

import math

import pytest

from evocodec.domain.errors import UserError
from evocodec.domain.vocabulary import AttackOutcome
from evocodec.sandbox.redteam.attacks import select_attacks
from evocodec.sandbox.redteam.capacity import Capacity, Channel, ChannelResult, error_interval
from evocodec.sandbox.redteam.capacity_channels import CHANNELS, select_channels

PERFECT = Capacity((128, 0, 0, 128), 64)
USELESS = Capacity((64, 64, 64, 64), 64)


def result(first: Capacity, repeated: Capacity, limit_bits: float = 0.0) -> ChannelResult:
    channel = Channel("name", "what", "program", 64, limit_bits=limit_bits)
    return ChannelResult(channel, first, repeated, 1.0)


def test_no_error_in_256_bits_bounds_their_rate_as_the_textbook_says() -> None:
    low, high = error_interval(0, 256, 0.95)
    assert low == 0.0
    assert high == pytest.approx(1 - 0.025 ** (1 / 256))
    assert error_interval(256, 256, 0.95) == (pytest.approx(0.025 ** (1 / 256)), 1.0)
    assert error_interval(8, 20, 0.95) == pytest.approx((0.1912, 0.6395), abs=1e-4)


def test_a_perfect_channel_carries_what_was_sent_and_a_useless_one_nothing() -> None:
    assert PERFECT.symmetric_bits == 64
    assert PERFECT.mutual_information_bits == pytest.approx(64, rel=0.01)
    low, high = PERFECT.interval_bits()
    assert 55 < low < 64 == high
    assert USELESS.symmetric_bits == USELESS.mutual_information_bits == 0.0
    assert USELESS.interval_bits()[0] == 0.0
    assert 0 < USELESS.interval_bits()[1] < 2


def test_a_channel_that_inverts_or_is_partly_right_is_counted() -> None:
    assert Capacity((0, 128, 128, 0), 64).symmetric_bits == 64
    eleven_percent = Capacity((89, 11, 11, 89), 100)
    entropy = -0.11 * math.log2(0.11) - 0.89 * math.log2(0.89)
    assert eleven_percent.symmetric_bits == pytest.approx(100 * (1 - entropy))
    assert eleven_percent.mutual_information_bits == pytest.approx(100 * (1 - entropy), abs=0.5)


def test_a_decoder_that_always_says_the_same_knows_nothing() -> None:
    assert Capacity((40, 0, 24, 0), 64).mutual_information_bits == 0.0


def test_it_is_broken_only_when_more_than_is_documented_arrives_both_times() -> None:
    assert result(PERFECT, PERFECT).verdict is AttackOutcome.BROKEN
    assert result(PERFECT, USELESS).verdict is AttackOutcome.HELD
    assert result(USELESS, USELESS).verdict is AttackOutcome.HELD
    assert result(PERFECT, PERFECT, limit_bits=64).verdict is AttackOutcome.DOCUMENTED
    assert result(PERFECT, PERFECT, limit_bits=8).verdict is AttackOutcome.BROKEN


def test_channels_are_chosen_by_name_and_by_family() -> None:
    assert select_channels(()) == select_channels(["capacity"]) == CHANNELS
    assert [c.name for c in select_channels(["capacity/names", "clock"])] == ["names", "clock"]
    assert select_channels(["network"]) == ()
    assert select_attacks(["capacity"]) == select_attacks(["names"]) == ()
    with pytest.raises(UserError, match="no attack or theme 'nams'"):
        select_attacks(["nams"])


@pytest.mark.parametrize("channel", CHANNELS, ids=lambda channel: channel.name)
def test_its_program_compiles(channel: Channel) -> None:
    compile(channel.program.replace("@BITS@", "8"), "candidate.py", "exec")
