"""When a team that reads a ranking may stop: a heuristic, a test and a certificate, and the sample that this needs."""
