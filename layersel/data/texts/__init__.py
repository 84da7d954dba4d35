"""Texts with what there is to learn from them: labels, answers, or nothing but the texts."""
