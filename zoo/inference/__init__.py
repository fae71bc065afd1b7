"""Pictures of any size through a network: its receptive field, and tiles that equal the whole."""
