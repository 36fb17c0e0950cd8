"""The tests: a package, so that they name each other and their helpers in full."""
