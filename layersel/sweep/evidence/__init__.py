"""A page of evidence: questions, and the tables of grids that answer them."""
