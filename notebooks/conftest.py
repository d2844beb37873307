"""With `pytest --nbval notebooks solutions`: outputs that a lesson does not show are compared all the same, and the last
test of each notebook is of the memory that its kernel needed."""

from pathlib import Path

import pytest

from metarim_lite.errors import UserError
from metarim_lite.course.report import MEMORY, peak_memory
from metarim_lite.course.withheld import kept_outputs, put_back

class PeakMemory(pytest.Item):
    """Runs after a notebook's last cell, while its kernel is still there."""

    def runtest(self) -> None:
        peak = peak_memory(self.parent.kernel.km.provisioner.pid)
        if peak is None:
            pytest.skip("this system does not say how much memory a process needed")
        said = f"{self.path.name} needed {peak / 1e9:.2f} GB of memory, allowed are {MEMORY / 1e9:.2f}"
        print(said)
        if peak > MEMORY:
            pytest.fail(said, pytrace=False)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    cells = [item for item in items if type(item).__name__ == "IPyNbCell"]
    for notebook in {cell.parent for cell in cells if cell.path.parent == Path(__file__).parent}:
        try:
            put_back(notebook.nb.cells, kept_outputs(notebook.path), notebook.path.name)  # nbval compares with these
        except UserError as error:
            raise pytest.UsageError(str(error)) from None
    last_cells = {item.parent: item for item in cells}
    for notebook, cell in last_cells.items():
        items.insert(items.index(cell) + 1, PeakMemory.from_parent(notebook, name="peak memory"))
