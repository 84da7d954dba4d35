"""Rules that give each module a rank, one module each."""
