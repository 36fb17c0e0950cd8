"""Surrogate model of the bitrate: additive effects and pairwise interactions of tunables.

Bayesian linear regression on log bitrate. A point gives every tunable a value. Its features are
measured from a baseline point (the seed's values), so the baseline has none: one per other value of
a choice, displacement and squared displacement of a number, and products of two such features of
different tunables. Weights have independent Gaussian priors. Posterior samples are drawn by
Matheron's rule: a draw from the prior, corrected by its errors at the observations.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from evocodec.codec.tunables import Tunable, canonical

Vector = npt.NDArray[np.float64]
Assignment = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Prior:
    """Beliefs before any measurement, in natural-log units (0.01 is about 1 %).

    Choices are listed from plain to elaborate by convention: one that comes after the baseline's is
    expected to save a little, one before it to cost a little. Numbers are expected to be near
    their best already.
    """

    later_mean: float = -0.02
    earlier_mean: float = 0.03
    effect_sd: float = 0.05
    slope_sd: float = 0.025
    curvature_mean: float = 0.03
    curvature_sd: float = 0.02
    interaction_sd: float = 0.012
    screen_noise_sd: float = 0.012
    full_noise_sd: float = 0.006
    level_sd: float = 0.05


@dataclass(frozen=True, slots=True)
class Observation:
    """A measured assignment: its log bitrate against the baseline's."""

    assignment: Assignment
    log_ratio: float
    full: bool


class FeatureMap:
    """Turns assignments into feature vectors, for one set of tunables and one baseline."""

    def __init__(self, tunables: Sequence[Tunable], baseline: Assignment, prior: Prior) -> None:
        self._columns: dict[tuple[str, str], int] = {}
        self._numeric: dict[str, tuple[float, float, int]] = {}
        means: list[float] = []
        deviations: list[float] = []
        owners: list[int] = []
        for owner, tunable in enumerate(tunables):
            if tunable.kind == "choice":
                for value, later in _others(tunable, baseline[tunable.name]):
                    self._columns[tunable.name, value] = len(means)
                    means.append(prior.later_mean if later else prior.earlier_mean)
                    deviations.append(prior.effect_sd)
                    owners.append(owner)
            else:
                span = (tunable.high - tunable.low) / 2
                self._numeric[tunable.name] = (float(baseline[tunable.name]), span, len(means))
                means += [0.0, prior.curvature_mean]
                deviations += [prior.slope_sd, prior.curvature_sd]
                owners += [owner, owner]
        owner_of = np.array(owners, dtype=np.int64)
        first, second = np.triu_indices(len(owners), k=1)
        apart = owner_of[first] != owner_of[second]
        self._first, self._second = first[apart], second[apart]
        self._main = len(means)
        pairs = int(apart.sum())
        self.mean: Vector = np.concatenate([means, np.zeros(pairs), [0.0]])
        self.deviation: Vector = np.concatenate(
            [deviations, np.full(pairs, prior.interaction_sd), [prior.level_sd]]
        )

    def features(self, assignments: Sequence[Assignment]) -> Vector:
        """Rows of features; the last column is the common level."""
        main: Vector = np.zeros((len(assignments), self._main))
        for row, assignment in enumerate(assignments):
            for name, value in assignment.items():
                if (column := self._columns.get((name, value))) is not None:
                    main[row, column] = 1.0
                elif (known := self._numeric.get(name)) is not None:
                    centre, span, column = known
                    moved = (float(value) - centre) / span
                    main[row, column : column + 2] = moved, moved * moved
        level = np.ones((len(assignments), 1))
        return np.hstack([main, main[:, self._first] * main[:, self._second], level])


def _others(tunable: Tunable, value: str) -> Iterator[tuple[str, bool]]:
    """The other choices of a tunable, each with whether it is listed after this one."""
    listed = list(dict.fromkeys(canonical(choice) for choice in tunable.choices))
    place = listed.index(value) if value in listed else 0
    for index, other in enumerate(listed):
        if other != value:
            yield other, index > place


class SurrogateModel:
    """The posterior over weights, given what was measured."""

    def __init__(
        self,
        tunables: Sequence[Tunable],
        baseline: Assignment,
        observations: Sequence[Observation],
        prior: Prior,
    ) -> None:
        self._map = FeatureMap(tunables, baseline, prior)
        self._variance = self._map.deviation**2
        self._rows = self._map.features([seen.assignment for seen in observations])
        self._noise = np.array(
            [prior.full_noise_sd if seen.full else prior.screen_noise_sd for seen in observations]
        )
        self._targets = np.array([seen.log_ratio for seen in observations])
        spread = (self._rows * self._variance) @ self._rows.T + np.diag(self._noise**2)
        self._gain = (self._variance[:, None] * self._rows.T) @ np.linalg.inv(spread)
        self._mean = self._map.mean + self._gain @ (self._targets - self._rows @ self._map.mean)

    def sample(self, rng: np.random.Generator, *, spread: float = 1.0) -> Vector:
        """Draw weights from the posterior, its deviations scaled by ``spread``."""
        prior_draw = rng.normal(self._map.mean, self._map.deviation)
        noise = rng.normal(0.0, self._noise)
        drawn = prior_draw + self._gain @ (self._targets - self._rows @ prior_draw - noise)
        return self._mean + spread * (drawn - self._mean)

    @property
    def measured(self) -> int:
        """Number of observations."""
        return len(self._targets)

    def predict(self, weights: Vector, assignments: Sequence[Assignment]) -> Vector:
        """Log bitrate against the baseline, for given weights."""
        return self._map.features(assignments) @ weights

    def posterior(self, assignment: Assignment, against: Assignment) -> tuple[float, float]:
        """Posterior mean and standard deviation of the log ratio of two assignments."""
        first, second = self._map.features([assignment, against])
        difference = first - second
        scaled = self._variance * difference
        variance = float(difference @ scaled - (self._rows @ scaled) @ (self._gain.T @ difference))
        return float(difference @ self._mean), float(np.sqrt(max(variance, 0.0)))
