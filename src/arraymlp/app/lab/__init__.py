"""The published MNIST lab: its runs, how they are judged, and the report on them."""
