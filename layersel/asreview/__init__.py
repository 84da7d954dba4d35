"""An extension of ASReview 3, which finds it by the entry points of this package: an encoder and a classifier."""
