"""Workers: where tasks run (threads here, Ray, a Ray cluster elsewhere)."""
