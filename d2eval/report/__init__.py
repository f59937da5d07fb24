"""Rows of numbers become tables and curves; nothing is computed anew here."""
