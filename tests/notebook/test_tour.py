"""The participant's notebook, as it is stored."""

import nbformat

from .kernels import PACKAGE

NOTEBOOK = PACKAGE.parent / "notebooks" / "2-participant.ipynb"


def test_tour_is_stored_without_output() -> None:
    """The notebook is valid and carries nobody's output."""
    tour = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(tour)
    code = [cell for cell in tour.cells if cell.cell_type == "code"]
    assert code
    assert all(cell.outputs == [] and cell.execution_count is None for cell in code)


def test_tour_shows_every_verb() -> None:
    """Each verb of the magic is used or named once in the tour."""
    text = NOTEBOOK.read_text()
    for verb in ("%keyguard status", "%keyguard models", "%keyguard explain", "%keyguard usage", "%%keyguard cost"):
        assert verb in text
