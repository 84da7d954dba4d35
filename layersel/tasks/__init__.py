"""LightningModules around the backbone, and what turns vectors into scores."""
