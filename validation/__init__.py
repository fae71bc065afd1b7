"""Every claim against PyTorch: layers, networks, training, devices, speed.

`python -m validation layers|models|training|devices|bench` prints a table, or JSON with `--json`.
This package and the tests are the only places that import torch.
"""
