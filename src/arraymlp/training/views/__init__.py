"""What notebooks show of a run and its parts, as HTML."""
