"""The parts of ci/bench: what is measured, beside what, in which rounds, and the tables of it."""
