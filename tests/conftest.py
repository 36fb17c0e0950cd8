"""What all tests need of the process that they run in."""

import signal
import sys
import threading
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from tests.support.long_files import SECONDS
from tests.support.markers import MARKERS, module_markers

# Properties hold on a busy machine too: no example is too slow, and none is drawn too slowly. What
# failed is printed so that it can be repeated where no database of examples is kept. Each run draws
# the same examples, so that a change is judged by what it changed; new ones are tried by
# `python -m tools.fuzz_replies` and its kin.
settings.register_profile(
    "evocodec",
    deadline=None,
    derandomize=True,
    print_blob=True,
    suppress_health_check=(HealthCheck.too_slow,),
)
settings.load_profile("evocodec")

# A shell has what it starts in the background ignore Ctrl-C, and `nohup` has it ignore the end of a
# terminal. Children inherit that, and tests send both signals.
if threading.current_thread() is threading.main_thread():
    for number, usual in (
        (signal.SIGINT, signal.default_int_handler),
        (signal.SIGHUP, signal.SIG_DFL),
    ):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, usual)


def pytest_configure(config: pytest.Config) -> None:
    """Make the markers known: `pytest --markers` lists them."""
    for name, meaning in MARKERS.items():
        config.addinivalue_line("markers", f"{name}: {meaning}")


@pytest.fixture(autouse=True)
def _ray_is_left_alone(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail a test that starts Ray in this process and is not marked ``ray``."""
    yield
    ray = sys.modules.get("ray")
    if ray is not None and request.node.get_closest_marker("ray") is None:
        assert not ray.is_initialized(), "Ray was started: see NEEDS in tests/support/markers.py"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark tests by what their modules import, and put the modules that take longest first."""
    for item in items:
        for name in module_markers(item.path):
            item.add_marker(name)
    items.sort(key=lambda item: -SECONDS.get(item.path.stem, 0))
