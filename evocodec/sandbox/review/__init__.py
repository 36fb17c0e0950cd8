"""Static review: what a program may say, checked on its syntax tree."""
