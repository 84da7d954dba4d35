"""Which layers of a pretrained transformer need an adapter for this task?"""
