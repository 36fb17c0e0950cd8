"""Read models: runs and candidates folded from events."""
