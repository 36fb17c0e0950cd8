"""The four roles, one per file: planner, coder, reviewer, judge."""
