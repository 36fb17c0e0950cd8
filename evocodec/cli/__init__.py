"""The command line.

What is set here holds for the process of a command, before anything large is imported.
"""

import gc
import os

# Imports make hundreds of thousands of objects that stay; looking through them for cycles after
# every 700 takes a tenth of their time. Not seldom altogether: a cycle may hold a clip's frames.
gc.set_threshold(10_000, 10, 10)
# pydantic reads the metadata of all installed packages for plugins; how settings are checked is
# nobody else's affair.
os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
