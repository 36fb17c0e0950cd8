"""The evaluation protocol: stages, rate plans, guards, scores."""
