"""The one training loop and what it is given: batches, the parts of a recipe, the run folder."""
