"""One rule or one function at a time: no files, no processes, no servers."""
