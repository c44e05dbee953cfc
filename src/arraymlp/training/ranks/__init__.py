"""One training by several processes: what they say to each other, and what must be alike."""
