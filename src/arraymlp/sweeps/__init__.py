"""Many networks at once: members stacked, partitioned, swept, ranked and ensembled."""
