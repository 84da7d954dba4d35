"""One module for each score, of the score's name; every one holds a single subclass of `Score`."""
