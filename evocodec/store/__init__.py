"""Ledger and blobs: protocols, SQLite and files."""
