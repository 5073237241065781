"""Runs graphs op by op with PyTorch, on whatever PyTorch knows: CPUs, CUDA, MPS and XPU."""
