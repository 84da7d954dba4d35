"""Classification of texts and of pairs of them, and regression of a number: a linear head beside the adapter."""
