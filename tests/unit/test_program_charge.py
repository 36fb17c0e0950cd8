"""When a program's bytes are charged to the streams."""

import pytest

from evocodec.config import Settings, load_settings
from evocodec.rules.program_charge import ChargeMode, ProgramCharge

FREE = 20 * 1024
STREAM = 8 * 13_000.0  # bits: the built-in clips at HEVC's operating quality, in the mean


@pytest.mark.parametrize(
    ("mode", "packed", "charged"),
    [
        (ChargeMode.NEVER, 200_000, 0),
        (ChargeMode.ALWAYS, 2_400, 2_400),
        (ChargeMode.AUTO, FREE, 0),
        (ChargeMode.AUTO, FREE + 260, 0),
        (ChargeMode.AUTO, FREE + 261, 261),
        (ChargeMode.AUTO, 120_000, 120_000 - FREE),
    ],
)
def test_auto_charges_what_is_beyond_the_free_size_where_it_is_much_beside_the_stream(
    mode: ChargeMode, packed: int, charged: int
) -> None:
    assert ProgramCharge(mode, FREE).charged_bytes(packed, STREAM) == charged


def test_beside_a_long_stream_auto_charges_nothing() -> None:
    assert ProgramCharge(ChargeMode.AUTO, FREE).charged_bytes(32 * 1024, 8 * 1e6) == 0


@pytest.mark.parametrize(
    ("text", "value"), [("true", True), ("false", False), ("auto", "auto"), ("1", True)]
)
def test_the_setting_takes_its_old_values_too(text: str, value: object) -> None:
    settings = load_settings(flags={"limits.charge_program": text})
    assert settings.limits.charge_program == value
    assert Settings().limits.charge_program == "auto"
