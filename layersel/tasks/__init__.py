"""LightningModules around the backbone, and what turns vectors into scores."""

from layersel.tasks.baseline import tfidf_scores
from layersel.tasks.contrastive import ContrastiveScreening, Screening
from layersel.tasks.head import LogisticHead
from layersel.tasks.loss import pairwise_contrastive_loss

__all__ = ["ContrastiveScreening", "LogisticHead", "Screening", "pairwise_contrastive_loss", "tfidf_scores"]
