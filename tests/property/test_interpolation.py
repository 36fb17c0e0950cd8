"""The interpolants are those of SciPy, wherever its own are defined."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.interpolate import Akima1DInterpolator, PchipInterpolator

from evocodec.curves.interpolation import Array, Cubic, akima, pchip

PAIRS = [(pchip, PchipInterpolator), (akima, Akima1DInterpolator)]


@st.composite
def points(draw: st.DrawFn, *, rising: bool = False) -> tuple[Array, Array]:
    steps = draw(
        st.lists(
            st.tuples(st.floats(0.05, 5), st.floats(0.01 if rising else -3, 3)),
            min_size=2,
            max_size=8,
        )
    )
    # Thousandths: differences near the smallest float overflow in SciPy itself.
    x, y = np.cumsum(np.round(np.array(steps), 3), axis=0).T
    return x, y


@pytest.mark.parametrize(("ours", "theirs"), PAIRS)
@given(points(), st.floats(0, 1), st.floats(0, 1))
def test_values_slopes_and_areas_agree_with_scipy(
    ours: type[Cubic],
    theirs: type[PchipInterpolator],
    xy: tuple[Array, Array],
    one: float,
    two: float,
) -> None:
    x, y = xy
    mine, reference = ours(x, y), theirs(x, y)  # type: ignore[call-arg]
    low, high = (min(x[-1], x[0] + share * (x[-1] - x[0])) for share in sorted((one, two)))
    scale = 1 + np.abs(y).max()
    assert mine.at(np.linspace(x[0], x[-1], 50)) == pytest.approx(
        reference(np.linspace(x[0], x[-1], 50)), abs=1e-9 * scale
    )
    assert mine.slope(low) == pytest.approx(float(reference.derivative()(low)), abs=1e-6 * scale)
    area = float(np.asarray(reference.integrate(low, high)))
    assert mine.integral(low, high) == pytest.approx(area, abs=1e-9 * scale * (1 + high - low))


@given(points(rising=True), st.floats(0, 1))
def test_the_inverse_of_a_rising_curve_finds_the_value_again(
    xy: tuple[Array, Array], share: float
) -> None:
    curve = pchip(*xy)
    wanted = float(curve.y[0] + share * (curve.y[-1] - curve.y[0]))
    assert curve.value(curve.inverse(wanted)) == pytest.approx(wanted, abs=1e-9)


def test_an_area_beyond_the_points_is_refused() -> None:
    curve = pchip(np.array([0.0, 1.0]), np.array([0.0, 1.0]))
    with pytest.raises(ValueError, match="outside"):
        curve.integral(0.5, 1.5)


@pytest.mark.parametrize("x", [[1.0], [1.0, 1.0], [2.0, 1.0, 3.0]])
def test_points_that_do_not_rise_are_refused(x: list[float]) -> None:
    with pytest.raises(ValueError, match=r"rise|two points"):
        pchip(np.array(x), np.zeros(len(x)))
