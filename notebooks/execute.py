"""Execute the notebooks in place, so that their pictures and figures are those of this version.

``python notebooks/execute.py [NAME …]``
"""

import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient

HERE = Path(__file__).parent
#: How a progress bar is kept in a notebook.
WIDGET = "application/vnd.jupyter.widget-view+json"


def main() -> None:
    """Run each notebook; a failing cell stops with its traceback."""
    for path in [HERE / name for name in sys.argv[1:]] or sorted(HERE.glob("*.ipynb")):
        notebook = nbformat.read(path, as_version=4)
        NotebookClient(notebook, timeout=600, kernel_name="python3", resources={"metadata": {"path": HERE}}).execute()
        notebook.metadata.pop("widgets", None)
        for cell in notebook.cells:  # when it ran is of no interest in a difference, nor are the bars that were there
            cell.metadata.pop("execution", None)
            if cell.cell_type == "code":
                cell["outputs"] = [output for output in cell["outputs"] if WIDGET not in output.get("data", {})]
        nbformat.write(notebook, path)
        print(f"executed {path.name}")


if __name__ == "__main__":
    main()
