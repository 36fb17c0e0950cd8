"""Chat models, budgets, record and replay."""
