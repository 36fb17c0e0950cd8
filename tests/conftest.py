"""What all tests need of the process that they run in."""

import signal
import threading

# A shell has what it starts in the background ignore Ctrl-C, and children inherit that.
if (
    threading.current_thread() is threading.main_thread()
    and signal.getsignal(signal.SIGINT) is signal.SIG_IGN
):
    signal.signal(signal.SIGINT, signal.default_int_handler)
