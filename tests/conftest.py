"""What all tests need of the process that they run in."""

import signal
import threading

from hypothesis import HealthCheck, settings

# Properties hold on a busy machine too: no example is too slow, and none is drawn too slowly. What
# failed is printed so that it can be repeated where no database of examples is kept.
settings.register_profile(
    "evocodec",
    deadline=None,
    print_blob=True,
    suppress_health_check=(HealthCheck.too_slow,),
)
settings.load_profile("evocodec")

# A shell has what it starts in the background ignore Ctrl-C, and children inherit that.
if (
    threading.current_thread() is threading.main_thread()
    and signal.getsignal(signal.SIGINT) is signal.SIG_IGN
):
    signal.signal(signal.SIGINT, signal.default_int_handler)
