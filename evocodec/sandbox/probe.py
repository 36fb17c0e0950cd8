"""What isolation this machine offers: found by running an empty job behind it."""

from evocodec.sandbox.forkserver import ForkServerLauncher
from evocodec.sandbox.launcher import IsolationReport
from evocodec.sandbox.policy import Policy


def probe(policy: Policy | None = None) -> IsolationReport:
    """The layers of a real job; raises InfrastructureFailure when none can be started."""
    with ForkServerLauncher(policy, preload=()) as launcher:
        return launcher.describe()
