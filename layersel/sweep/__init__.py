"""Grids of cells: run, resumed, collected, compared."""
