"""Archive, parent selection, novelty, the mutation proposer."""
