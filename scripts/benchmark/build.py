"""Builds the gateway and the load generator as they are released."""

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def binaries() -> dict[str, Path]:
    """The built files by their cargo names: leqi-gateway, load."""
    command = ["cargo", "build", "--release", "--locked", "--bin", "leqi-gateway", "--bench", "load",
               "--message-format=json-render-diagnostics"]
    built = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, check=False)
    if built.returncode != 0:
        sys.exit("the build failed: see cargo's message above")
    found = {}
    for line in built.stdout.splitlines():
        message = json.loads(line)
        if message.get("executable"):
            found[message["target"]["name"]] = Path(message["executable"])
    return found


def commit() -> str:
    """The commit that is measured, with + when files differ from it."""
    def git(*args: str) -> str:
        done = subprocess.run(["git", *args], cwd=ROOT, capture_output=True, text=True, check=False)
        return done.stdout.strip()
    name = git("rev-parse", "--short", "HEAD") or "unknown"
    return name + ("+" if git("status", "--porcelain", "--untracked-files=no") else "")


def machine() -> dict[str, str]:
    """What it is measured on."""
    cpu = "unknown"
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            cpu = line.split(":", 1)[1].strip()
            break
    kernel = os.uname()
    return {"cpu": cpu, "cores": str(os.cpu_count()), "kernel": f"{kernel.sysname} {kernel.release}"}
