"""Candidate graph: state, nodes, routing."""
