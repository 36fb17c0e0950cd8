"""Other walls round the same guest: tools that build a sandbox and run the fork server in it."""
