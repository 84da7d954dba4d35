"""The embedded review's file and its attribution."""
