"""The number of CPU threads that PyTorch chooses by itself."""

import torch

OWN_THREADS = torch.get_num_threads()
"""PyTorch's own choice, read when this module is first imported: before a cell has set another."""
