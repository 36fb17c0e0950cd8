"""A short form of the fuzzing of media: made, cut and damaged videos, from a fixed seed."""

from pathlib import Path

import pytest

from tools.fuzz_media import fuzz


@pytest.mark.parametrize("seed", [11, 12])
def test_nothing_is_read_wrong_without_a_word(seed: int, tmp_path: Path) -> None:
    fuzzer = fuzz(tmp_path, seed=seed, cases=6)
    assert fuzzer.cases == 6
    told = "\n".join(f"{finding.what}\n    {finding.recipe}" for finding in fuzzer.findings)
    assert not fuzzer.findings, told
