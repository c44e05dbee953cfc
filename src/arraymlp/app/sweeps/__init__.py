"""The command ``arraymlp sweep``: its options, its tables and its report."""
