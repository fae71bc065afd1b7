"""Pictures in, batches out: picture files, the bundled photographs, pair files, samplers."""

from __future__ import annotations

from zoo.data.bundled import sample_files, samples_dir
from zoo.data.course import DataError, read_pairs, write_pairs
from zoo.data.crops import Crops, Photographs, read_photographs, to_unit
from zoo.data.images import list_images, read_image, write_image
from zoo.data.picture import ImageError, Picture, quantise, with_channels
from zoo.data.samplers import Batch, FixedSampler, PairSampler, make_tiles, turn

__all__ = [
    # files
    "Picture",
    "ImageError",
    "read_image",
    "write_image",
    "list_images",
    "quantise",
    "with_channels",
    "samples_dir",
    "sample_files",
    "read_photographs",
    "DataError",
    "read_pairs",
    "write_pairs",
    # batches
    "Batch",
    "PairSampler",
    "FixedSampler",
    "make_tiles",
    "Photographs",
    "Crops",
    "to_unit",
    "turn",
]
