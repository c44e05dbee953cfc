"""What makes features of a table's columns."""
