"""A cell of a grid: its options, which of them fit together, and what it does."""

from layersel.cell.finding import Finder
from layersel.cell.members import name_a_review
from layersel.cell.options import Cell
from layersel.cell.rules import validate
from layersel.cell.run import run_cell, train

__all__ = ["Cell", "Finder", "name_a_review", "run_cell", "train", "validate"]
