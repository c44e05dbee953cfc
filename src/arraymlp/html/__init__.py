"""Markup out of plain numbers and texts: charts, tables, pictures and pages, without a library."""
