"""What a person starts: the command line, the published lab, reports, and timing of backends."""
