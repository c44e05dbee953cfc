"""Tables in memory, whatever library they came from."""
