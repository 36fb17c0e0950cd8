"""One display interface: live on a terminal, plain in a log, JSON for machines."""
