"""Sources of data, readers of files, and texts as token ids."""
