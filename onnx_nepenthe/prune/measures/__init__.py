"""Measures of a network while it is pruned, one a file."""
