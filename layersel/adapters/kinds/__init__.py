"""One module for each kind of adapter, with one dataclass and one file of the same name in `conf/adapter/`."""
