"""The output on the terminal: help, errors, notes, tables, progress, figures."""
