"""Settings of all tests."""

import torch

# the tensors are tiny, and threads that wait for each other only cost time
torch.set_num_threads(1)
