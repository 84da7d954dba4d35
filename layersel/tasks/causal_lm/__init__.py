"""Language models that learn to answer: the loss of the answers' tokens, held out and on texts of another domain."""
