"""Isolation probe: runs an empty job, and reports the layers that it ran behind."""

from evocodec.sandbox.launcher import IsolationReport
from evocodec.sandbox.policy import Policy
from evocodec.sandbox.providers import make_launcher


def probe(policy: Policy) -> IsolationReport:
    """Return the layers of a real job; raises InfrastructureFailure when none can be started."""
    with make_launcher(policy, preload=()) as launcher:
        return launcher.describe()
