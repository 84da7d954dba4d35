"""A cell of a grid: its options, which of them fit together, and what it does."""
