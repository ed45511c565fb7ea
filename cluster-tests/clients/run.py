#!/usr/bin/env python3
"""Runs the client suite: real clients against the real binary. `run.py NAME...` picks checks.

Prints one line per check, and last `N passed, N failed`.
"""

import inspect
import os
import pathlib
import sys
import time
import traceback

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

import auth_checks  # noqa: E402,F401
import copy_checks  # noqa: E402,F401
import copy_part_checks  # noqa: E402,F401
import crash_checks  # noqa: E402,F401
import damage_checks  # noqa: E402,F401
import edge_checks  # noqa: E402,F401
import flip_checks  # noqa: E402,F401
import list_checks  # noqa: E402,F401
import log_checks  # noqa: E402,F401
import multipart_checks  # noqa: E402,F401
import object_checks  # noqa: E402,F401
import project_checks  # noqa: E402,F401
import race_checks  # noqa: E402,F401
import repair_checks  # noqa: E402,F401
import tag_checks  # noqa: E402,F401
import tls_checks  # noqa: E402,F401
import tool_checks  # noqa: E402,F401
import version_checks  # noqa: E402,F401
if os.geteuid() == 0:
    import failing_disk_checks  # noqa: F401
    import fault_checks  # noqa: F401
    import return_checks  # noqa: F401
else:
    print("not run: fault_checks, failing_disk_checks and return_checks, which mount file systems and so need root", flush=True)
from harness import BINARY, CHECKS, Server, equal  # noqa: E402


def attempt(function, shared):
    began = time.monotonic()
    try:
        function(shared) if inspect.signature(function).parameters else function()
        verdict = "ok"
    except Exception as error:
        verdict = "FAILED"
        traceback.print_exception(error, limit=-4, chain=False)
    print(f"{verdict:6} {function.__name__} ({time.monotonic() - began:.1f} s)", flush=True)
    return verdict == "ok"


def main():
    wanted = sys.argv[1:]
    chosen = [function for function in CHECKS
              if not wanted or any(name in function.__name__ for name in wanted)]
    if not chosen:
        sys.exit(f"no check is named like {' or '.join(wanted)}")
    if not BINARY.exists():
        sys.exit(f"{BINARY} is not there: cargo build --release first")
    results = []
    try:
        with Server() as shared:
            for function in chosen:
                results.append(attempt(function, shared))
            equal(shared.process.poll(), None, "exit code of the shared server before its end")
    except AssertionError as error:
        print(f"FAILED the shared server: {error}", flush=True)
        results.append(False)
    passed = sum(results)
    print(f"{passed} passed, {len(results) - passed} failed", flush=True)
    sys.exit(0 if all(results) else 1)


main()
