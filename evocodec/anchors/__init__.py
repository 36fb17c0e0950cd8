"""Real encoders to compare with: command lines, rate ladders, cached curves."""
