"""PyTorch twins: the same constructor arguments, inputs and state-dict keys as ours."""
