"""Readers of model replies: text in, a program or an opinion out; no calls, no state."""
