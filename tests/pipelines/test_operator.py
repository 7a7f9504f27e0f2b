"""Who is written down as the one who acted."""

import os
import pwd
import subprocess
import sys

UNNAMED = 54_321

SCRIPT = f"""
import os
from pipelines.operator import operator, user
if os.geteuid() == 0:
    os.setuid({UNNAMED})  # as a container does that runs under a number the machine does not know
print(user())
print(operator())
"""


def test_an_account_without_a_name_is_told_by_its_number() -> None:
    named = ("LOGNAME", "USER", "LNAME", "USERNAME")
    environment = {name: value for name, value in os.environ.items() if name not in named}
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, sys.path))
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], env=environment, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    user, operator = done.stdout.splitlines()
    uid = UNNAMED if os.geteuid() == 0 else os.getuid()
    names = [entry.pw_name for entry in pwd.getpwall() if entry.pw_uid == uid]
    own = names[0] if names else f"uid {uid}"
    assert user == own
    assert operator.startswith(f"{own}@")
    assert " pid " in operator
