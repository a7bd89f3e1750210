"""Settings of all tests."""

import os
import signal

import torch

# a shell's background job ignores what tests send to their processes, and these inherit it
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)

# the tensors are tiny, and threads that wait for each other only cost time; so in their processes
torch.set_num_threads(1)
os.environ["OMP_NUM_THREADS"] = "1"
