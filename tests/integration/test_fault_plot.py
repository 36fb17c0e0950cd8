"""A curve that cannot be compared comes with a picture."""

from fractions import Fraction
from pathlib import Path

import cv2

from evocodec.anchors.measure import operating_bits
from evocodec.curves.rd_curve import make_curve
from evocodec.domain.errors import FailureKind
from evocodec.domain.events import AttemptFailed, Evaluated, PointMeasured
from evocodec.domain.results import Quality, RatePoint, Score, Stage
from evocodec.domain.video import StreamInfo
from evocodec.report.run_plots import FaultPictures

STREAM = StreamInfo(176, 144, Fraction(30), 8)
MIDDLE = operating_bits(STREAM)


def point(steps: float, psnr_y_db: float, qp: float) -> RatePoint:
    quality = Quality(psnr_y_db, psnr_y_db, psnr_y_db, psnr_y_db, None, psnr_y_db)
    return RatePoint("a", qp, round(MIDDLE * 2**steps), 8, quality)


ANCHOR = make_curve(
    "x265-medium", "a", [point(k / 2, 36 + 1.5 * k, 26 - k) for k in (-5, -3, -1, 1, 3, 5)]
)
FALLEN = [point(-2, 31, 38), point(-1, 34, 32), point(0, 33.6, 26), point(1.5, 39, 20)]


def pictures(folder: Path) -> FaultPictures:
    listener = FaultPictures({"a": ANCHOR}, {"a": STREAM}, folder)
    for measured in FALLEN:
        listener(
            PointMeasured(
                run_id="r",
                at="",
                candidate_id="c0007",
                attempt=1,
                stage=Stage.FULL,
                task="",
                point=measured,
            )
        )
    return listener


def failed(failure: FailureKind) -> AttemptFailed:
    return AttemptFailed(
        run_id="r",
        at="",
        candidate_id="c0007",
        attempt=1,
        stage=Stage.FULL,
        failure=failure,
        message="a: the curve of c0007 is not monotonic: from qp 32 to qp 26 …",
    )


def test_a_curve_that_falls_is_drawn_with_the_fall_in_red(tmp_path: Path) -> None:
    pictures(tmp_path / "curves")(failed(FailureKind.QUALITY))
    image = cv2.imread(str(tmp_path / "curves" / "c0007-1.png"))
    assert image is not None
    assert min(image.shape[:2]) > 400
    blue, green, red = (image[..., channel].astype(int) for channel in range(3))
    assert ((red > 150) & (green < 80) & (blue < 80)).sum() > 100


def test_other_failures_and_finished_attempts_are_not_drawn(tmp_path: Path) -> None:
    pictures(tmp_path)(failed(FailureKind.CRASH))
    listener = pictures(tmp_path)
    score = Score(10.0, 50.0, 0.0, "a", 1.0, 1.0, 1.0, 1, 1, ())
    listener(Evaluated(run_id="r", at="", candidate_id="c0007", attempt=1, score=score))
    listener(failed(FailureKind.QUALITY))
    assert list(tmp_path.iterdir()) == []
