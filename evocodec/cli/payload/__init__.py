"""JSON output of commands (``--json``)."""
