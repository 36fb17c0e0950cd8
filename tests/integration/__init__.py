"""Real processes, sandboxes, Ray, git and servers."""
