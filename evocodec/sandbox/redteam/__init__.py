"""Red team: attacks that the sandbox must stop, run for real and judged from outside."""
