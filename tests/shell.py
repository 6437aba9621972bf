"""The command line in processes that share one start: each command runs in a fork that has imported all it needs."""

import json
import subprocess
import sys

FORKS = """
import json, os, sys, tempfile
import temperax.command.shell
from temperax.command.cli import app

found = []
for arguments in json.loads(sys.argv[1]):
    with tempfile.TemporaryFile("w+") as said:
        child = os.fork()
        if not child:
            os.dup2(said.fileno(), 2)
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            sys.argv = ["temperax", *arguments]
            app()
        _, status = os.waitpid(child, 0)
        said.seek(0)
        found.append([os.waitstatus_to_exitcode(status), said.read()])
print(json.dumps(found))
"""


def said(commands, **where):
    """Exit status and standard error of each of several commands, which share nothing but what they import."""
    command = [sys.executable, "-c", FORKS, json.dumps(commands)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, **where)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
