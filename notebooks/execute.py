"""Execute the notebooks in place, so that their pictures and figures are those of this version.

``python notebooks/execute.py [NAME …]``
"""

import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient

HERE = Path(__file__).parent


def main() -> None:
    """Run each notebook; a failing cell stops with its traceback."""
    for path in [HERE / name for name in sys.argv[1:]] or sorted(HERE.glob("*.ipynb")):
        notebook = nbformat.read(path, as_version=4)
        NotebookClient(notebook, timeout=600, kernel_name="python3", resources={"metadata": {"path": HERE}}).execute()
        for cell in notebook.cells:  # when it ran is of no interest in a difference
            cell.metadata.pop("execution", None)
        nbformat.write(notebook, path)
        print(f"executed {path.name}")


if __name__ == "__main__":
    main()
