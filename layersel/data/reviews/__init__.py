"""Records of systematic reviews: readers, the catalogue of published ones, and the sources that a user can name."""
