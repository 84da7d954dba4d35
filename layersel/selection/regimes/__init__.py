"""Ways to train the adapted layers in turns: one module and one file in conf/regime/ each."""
