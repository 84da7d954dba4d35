"""The names of the ways to write an example for a language model."""

AUTO, CHAT, ALPACA, PLAIN = "auto", "chat", "alpaca", "plain"
TEMPLATES = (AUTO, CHAT, ALPACA, PLAIN)
