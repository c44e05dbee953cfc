"""Pages to play with: a model and how it learned, in one HTML file that needs no server."""
