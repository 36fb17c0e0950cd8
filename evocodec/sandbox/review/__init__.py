"""Static review: checks of a program's syntax tree."""
