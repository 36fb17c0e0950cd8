"""Reports of measured programs: the facts, and how they become JSON, CSV, plots and HTML."""
