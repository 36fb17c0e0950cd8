"""The command line.

What is set here holds for the process of a command, before anything large is imported.
"""

import gc
import os

# Imports make hundreds of thousands of objects that stay; looking through them for cycles after
# every 700 takes a seventh of the time that a command needs to begin.
gc.set_threshold(100_000, 10, 10)
# pydantic reads the metadata of all installed packages for plugins; how settings are checked is
# nobody else's affair.
os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
