"""Adoption and held-out rules: pure functions of measured numbers."""
