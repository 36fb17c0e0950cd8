"""Control flow only: state, nodes, routing, build."""
