"""The git repository of adopted versions."""
