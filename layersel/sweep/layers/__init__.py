"""What the cells of a grid say of scores: whether they agree, and how near they come to what layers are worth."""
