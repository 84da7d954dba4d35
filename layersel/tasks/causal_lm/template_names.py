"""The names of the ways to write an example for a language model."""

AUTO, CHAT, ALPACA, PAPER, PLAIN = "auto", "chat", "alpaca", "paper", "plain"
TEMPLATES = (AUTO, CHAT, ALPACA, PAPER, PLAIN)
