"""The commands from a table to a model in use: train, predict, evaluate, show, export."""
