"""Plugins of pytest, found by their own names: this folder is put on its path."""
