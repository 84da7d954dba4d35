"""What a run leaves behind: its folder and lock, fingerprints, what cells share, and where its course is logged."""
