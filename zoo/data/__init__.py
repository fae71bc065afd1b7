"""Pictures in, batches out: picture files, the bundled photographs, bursts, pairs, samplers."""

from __future__ import annotations

from zoo.data.bundled import sample_files, samples_dir
from zoo.data.bursts import frame_count, list_bursts, read_burst
from zoo.data.course import DataError, read_pairs, write_pairs
from zoo.data.crops import Crops, Photographs, read_photographs, to_unit
from zoo.data.images import list_images, read_image, write_image
from zoo.data.pairs_of_files import paired_files
from zoo.data.picture import ImageError, Picture, quantise, with_channels
from zoo.data.samplers import Batch, FixedSampler, PairSampler, make_tiles, turn
from zoo.data.synthetic_bursts import Burst, SyntheticBursts

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
    "paired_files",
    "DataError",
    "read_pairs",
    "write_pairs",
    # bursts
    "list_bursts",
    "frame_count",
    "read_burst",
    "Burst",
    "SyntheticBursts",
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
