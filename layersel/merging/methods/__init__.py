"""One module for each way to merge adapters, with one dataclass and one file of the same name in conf/merging/."""
