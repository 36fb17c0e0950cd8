"""Seed programs: the codecs that evolution starts from, each one self-contained file."""
