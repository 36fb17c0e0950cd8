"""Codecs: the candidate contract, the .evc container, the seed programs."""
