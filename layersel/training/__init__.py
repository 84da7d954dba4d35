"""The training of an adapter: Lightning's trainer, and several devices."""
