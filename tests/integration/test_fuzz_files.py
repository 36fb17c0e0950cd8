"""The short form of tools/fuzz_files.py: random names and files, given to real commands."""

import sys
from pathlib import Path

import pytest

from evocodec import output_file
from tools.fuzz_files import Samples, one_try

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the sandbox is made of Linux")

TRIES = 30


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Samples:
    return Samples(tmp_path_factory.mktemp("samples"))


def test_no_name_destroys_or_surprises(samples: Samples) -> None:
    assert [found for seed in range(TRIES) if (found := one_try(samples, seed))] == []


def test_a_writer_that_asks_nothing_is_found(
    samples: Samples, monkeypatch: pytest.MonkeyPatch
) -> None:
    def allow(_name: str, _place: Path, _kind: object, *, force: bool) -> None:
        assert force in (True, False)

    monkeypatch.setattr(output_file, "_require_kind", allow)
    found = next(found for seed in range(3000) if (found := one_try(samples, seed)))
    assert "was replaced without --force" in found.what
