"""Execution of rate jobs: tasks, slots, retries, deadlines, workers."""
