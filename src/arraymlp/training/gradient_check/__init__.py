"""Derivatives held against finite differences: which term of backpropagation is wrong, and how."""
