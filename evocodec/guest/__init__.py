"""The little that runs inside the sandbox beside the candidate."""
