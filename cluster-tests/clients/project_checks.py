"""The README's commands do what it says, and dependencies are those that may come in."""

import json
import os
import re
import shutil
import subprocess
import tempfile
import tomllib

from harness import ROOT, TOOLS, check, equal, free_port


def blocks(text):
    """The shell blocks of the README."""
    return re.findall(r"^```sh\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


@check
def the_readmes_commands_work():
    """All of them, in order, with a port and a directory of their own; but not the test command,
    which is what runs this check."""
    commands = "\n".join(blocks((ROOT / "README.md").read_text()))
    equal(commands.count("scripts/test\n"), 1, "the README names the test command")
    for start in ("scripts/run\n", "sarsen server "):
        equal(start in commands, True, f"the README says {start!r}")
    home, port = tempfile.mkdtemp(prefix="sarsen-readme-"), free_port()
    commands = (commands.replace("scripts/test\n", "")
                .replace("scripts/run\n", f"scripts/run --address 127.0.0.1:{port} --data {home}/data\n")
                .replace("127.0.0.1:9000", f"127.0.0.1:{port}")
                .replace("127.0.0.1:9100", f"127.0.0.1:{free_port()}")
                .replace("sarsen-data", f"{home}/data").replace("target/release/", f"{os.environ.get('CARGO_TARGET_DIR', 'target')}/release/"))
    try:
        environment = {**os.environ, "PATH": f"{TOOLS}:{os.environ['PATH']}"}
        done = subprocess.run(["bash", "-euxo", "pipefail", "-c", commands], cwd=ROOT, env=environment, timeout=900,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace")
        equal(done.returncode, 0, f"exit of the README's commands\n{done.stdout[-3000:]}")
        for said in ("bytes came back", "minio_"):
            equal(said in done.stdout, True, f"the commands print {said!r}")
    finally:
        subprocess.run(["bash", "-c", f"kill $(cat {home}/data/*.pid)"], stderr=subprocess.DEVNULL)
        shutil.rmtree(home, ignore_errors=True)


@check
def the_demo_stores_fetches_and_stops():
    home = tempfile.mkdtemp(prefix="sarsen-demo-")
    try:
        done = subprocess.run([ROOT / "scripts/run", "--demo", "--address", f"127.0.0.1:{free_port()}", "--data", f"{home}/data"],
                              timeout=900, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        equal((done.returncode, "bytes came back" in done.stdout, "stopped" in done.stdout), (0, True, True), done.stdout[-1000:])
        equal(os.path.exists(f"{home}/data/server.pid"), False, "the process id is left")
    finally:
        shutil.rmtree(home, ignore_errors=True)


def permitted(expression, allowed):
    """Whether an SPDX expression can be met with the allowed licences."""
    words = re.findall(r"\(|\)|AND|OR|[^\s()]+(?: WITH [^\s()]+)?", expression.replace("/", " OR "))

    def either():
        met = both()
        while words and words[0] == "OR":
            words.pop(0)
            met = both() or met
        return met

    def both():
        met = one()
        while words and words[0] == "AND":
            words.pop(0)
            met = one() and met
        return met

    def one():
        word = words.pop(0)
        if word != "(":
            return word in allowed
        met = either()
        words.pop(0)
        return met

    return either()


@check
def dependencies_are_those_that_may_come_in():
    rules = tomllib.loads((ROOT / "deny.toml").read_text())
    done = subprocess.run(["cargo", "metadata", "--format-version", "1", "--locked"], cwd=ROOT, check=True, stdout=subprocess.PIPE)
    allowed, banned = set(rules["licenses"]["allow"]), {ban["crate"] for ban in rules["bans"]["deny"]}
    sources = {f"registry+{registry}" for registry in rules["sources"]["allow-registry"]}
    equal(permitted("MIT AND GPL-3.0", allowed) or permitted("LGPL-2.1-or-later", allowed), False, "the check can fail")
    for package in json.loads(done.stdout)["packages"]:
        name = package["name"]
        equal(permitted(package["license"] or "none", allowed), True, f"licence of {name}, {package['license']}, may come in")
        equal(name in banned, False, f"{name} is banned")
        equal(package["source"] is None or package["source"] in sources, True, f"source of {name}, {package['source']}, may come in")
