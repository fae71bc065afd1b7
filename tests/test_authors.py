"""The authors' weights give the figures that PyTorch gives with them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.shared import PATCH_CRAFT, shared_folder
from validation.authors import BAR, ROWS, Row, as_page, run_authors
from validation.report import UsageError

WEIGHTS, EXPECTED = PATCH_CRAFT / "weights", PATCH_CRAFT / "psnr_measured.json"


def judged(row: str, most: int) -> None:
    data = shared_folder() / "data"
    (case,) = run_authors(WEIGHTS, data, expected=EXPECTED, only=row, most=most)
    assert case.passed, case.detail
    assert case.figures["worst difference"] <= BAR
    assert len(case.figures["pictures"]) == most


@pytest.mark.parametrize(
    "name",
    [
        "dncnn_s25 Set12 gaussian:25",
        "kair_dncnn_25 BSD68 gaussian:25",
        "bf_unet_biasfree_0-100 Set12 gaussian:50",
        "pcst_unet_sig20.0_ker2 CBSD68 correlated:20:kernel=2",
    ],
)
def test_a_picture_of_some_rows(name: str) -> None:
    judged(name, 1)


@pytest.mark.proof
@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_pictures_of_every_row(row: Row) -> None:
    judged(row.name, 2)


def test_every_expected_table_has_a_row() -> None:
    shared_folder()
    known = json.loads(EXPECTED.read_text())
    gray = {("gray", w, key) for w, tables in known["gray"].items() for key in tables}
    colour = {("colour", key) for key in known["colour"]}
    assert {row.key for row in ROWS} == gray | colour
    for row in ROWS:
        table = known
        for part in row.key:
            table = table[part]
        sets = {"Set12": 12, "BSD68": 68, "CBSD68": 68}
        assert len(table) == len(range(0, sets[row.folder], row.every)[: row.first])


def test_a_difference_fails_and_names_the_picture(tmp_path: Path) -> None:
    data = shared_folder() / "data"
    row = next(row for row in ROWS if row.name == "bf_unet_biasfree_0-100 Set12 gaussian:25")
    known = json.loads(EXPECTED.read_text())
    known[row.key[0]][row.key[1]][row.key[2]]["01.png"]["clip"] += 0.02
    wrong = tmp_path / "wrong.json"
    wrong.write_text(json.dumps(known))
    (case,) = run_authors(WEIGHTS, data, expected=wrong, only=row.name, most=1)
    assert case.passed is False and "01.png" in case.detail and "PyTorch" in case.detail
    page = as_page([case])
    assert "| bf_unet_biasfree_0-100 | gaussian:25 | Set12, 1 of 12 |" in page


def test_what_is_missing_is_said(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--only nothing: no row of that name"):
        run_authors(tmp_path, tmp_path, only="nothing")
    with pytest.raises(UsageError, match=r"dncnn_s15\.safetensors: does not exist"):
        run_authors(tmp_path, tmp_path)
    (tmp_path / "bad.json").write_text("{")
    with pytest.raises(UsageError, match="--expected: .*bad.json"):
        run_authors(tmp_path, tmp_path, expected=tmp_path / "bad.json")
