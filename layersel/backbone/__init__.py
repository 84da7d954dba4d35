"""The pretrained transformer: loading, its layers and projections, pooling, frozen prefix and adapted suffix."""
