"""Programs for maintainers: ``python -m tools.NAME``, or the make target that calls it."""
