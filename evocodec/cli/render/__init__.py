"""Text output of commands: tables, pages, summaries."""
