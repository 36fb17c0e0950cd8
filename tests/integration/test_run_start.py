"""What is wrong with a run's settings is said before anything slow begins, and leaves no run."""

from pathlib import Path

import pytest

from evocodec.app.clips import require_clips
from evocodec.app.runs import perform_run
from evocodec.domain.errors import SourceError, UserError
from tests.support.toy_laboratory import laboratory


def test_a_missing_clip_is_told_before_ray_starts(tmp_path: Path) -> None:
    with laboratory(tmp_path / "w", evaluation__clips=[str(tmp_path / "none.mp4")]) as lab:
        with pytest.raises(SourceError, match=r"none\.mp4"):
            require_clips(lab.settings)
        with pytest.raises(SourceError, match=r"none\.mp4"):
            perform_run(lab)
        assert lab.ledger.runs() == ()


def test_a_run_that_cannot_be_replayed_begins_no_other(tmp_path: Path) -> None:
    with laboratory(tmp_path / "w", run__replay="nosuch") as lab:
        with pytest.raises(UserError, match="no recorded model replies"):
            perform_run(lab)
        assert lab.ledger.runs() == ()
