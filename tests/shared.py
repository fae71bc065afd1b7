"""The shared folder: photographs and reference numbers that are too large for the project."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
SHARED = Path(os.environ.get("MINIGRAD_SHARED", ROOT.parent / "shared"))
"""`MINIGRAD_SHARED`, or the folder `shared` beside the project, wherever pytest is started."""
NOISE2NOISE = SHARED / "reference" / "noise2noise"
"""Tensors of the noise2noise networks, of optimisers and of schedules."""
PATCH_CRAFT = SHARED / "reference" / "patch_craft"
"""Tensors of DnCNN, the bias-free networks and patch-craft training."""
DBSN = SHARED / "reference" / "dbsn"
"""Tensors of D-BSN, its losses and training steps, and MWCNN."""
HDN = SHARED / "reference" / "hdn"
"""Tensors of HDN, DivNoising and their noise models."""
PSL_AE = SHARED / "reference" / "psl_ae"
"""Released weights of PSL-AE, its activations, losses, training steps and pictures."""


def shared_folder() -> Path:
    """The shared folder, for a test that needs it.

    Where it is absent the test is skipped and says so; with `CI` set it fails instead, because
    there nothing may be left out.
    """
    if SHARED.is_dir():
        return SHARED
    reason = f"the shared folder {SHARED} is absent: set MINIGRAD_SHARED"
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


def stored_index(name: str, folder: Path = NOISE2NOISE) -> Any:
    """The content of `<name>.json` in `folder`; where there is no shared folder, nothing.

    To be called when tests are collected; a test that needs the folder asks `shared_folder`.
    """
    if not SHARED.is_dir():
        return {}
    return json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
