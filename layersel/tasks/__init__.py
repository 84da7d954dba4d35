"""The interface of a task, and one package for each task."""
