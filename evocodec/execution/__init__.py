"""Ray tasks, slots, retries, deadlines."""
