"""Passages of the Python language reference (PSF-2.0)."""
