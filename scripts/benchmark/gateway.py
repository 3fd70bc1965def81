"""A running gateway: its addresses, its management API, its metrics."""

import json
import re
import subprocess
import urllib.error
import urllib.request
from pathlib import Path

from processes import Failure, Process

UNIT_FIELDS = ("tax_no", "name", "role", "platform_id", "province_code", "sm4_key")


class RunningGateway:
    """`serve` with a configuration of its own in a directory of its own."""

    def __init__(self, name: str, binary: Path, home: Path, config: str, cores: set[int]) -> None:
        (home / "gateway.toml").write_text(config, encoding="utf-8")
        token = subprocess.run([binary, "token", "create", "--config", "gateway.toml", "--role", "admin", "--name", name],
                               cwd=home, capture_output=True, text=True, check=False)
        if token.returncode != 0:
            raise Failure(f"the gateway does not take its configuration: {token.stderr}")
        self.token = token.stdout.strip()
        self.process = Process.start(name, [binary, "serve", "--config", "gateway.toml"], home, cores)
        ready = re.compile(r"^ready data=https://\S+:(\d+) .*admin=(\S+) ops=(\S+)", re.MULTILINE)
        self.process.wait_for("it was ready", lambda: ready.search(self.process.log.read_text(encoding="utf-8")))
        port, self.admin, self.ops = ready.search(self.process.log.read_text(encoding="utf-8")).groups()
        self.port = int(port)

    def register(self, units: list[dict]) -> None:
        """Tells it the units, access units first, with their keys."""
        access = {unit["platform_id"]: unit["tax_no"] for unit in units if unit["role"] == "access"}
        for unit in sorted(units, key=lambda unit: unit["role"]):
            body = {field: unit[field] for field in UNIT_FIELDS if unit.get(field)}
            if unit["role"] == "using":
                body["access_unit"] = access[unit["access_platform_id"]]
            request = urllib.request.Request(f"{self.admin}/api/v1/units", json.dumps(body).encode(), method="POST", headers={
                "authorization": f"Bearer {self.token}", "content-type": "application/json"})
            try:
                urllib.request.urlopen(request, timeout=10).close()
            except urllib.error.HTTPError as error:
                raise Failure(f"a unit cannot be registered: {error.read().decode()}") from error

    def metrics(self) -> list[tuple[str, dict[str, str], float]]:
        """Every sample: its name without the prefix, its labels, its value."""
        with urllib.request.urlopen(f"{self.ops}/metrics", timeout=10) as answer:
            text = answer.read().decode()
        found = []
        for line in text.splitlines():
            sample = re.match(r'leqi_gateway_(\w+)(?:\{(.*)\})? (\S+)$', line)
            if sample:
                name, labels, value = sample.groups()
                found.append((name, dict(re.findall(r'(\w+)="([^"]*)"', labels or "")), float(value)))
        return found

    def metric(self, name: str, **labels: str) -> float:
        """The sum of a metric's samples with these labels."""
        return sum(value for sample, its, value in self.metrics() if sample == name and labels.items() <= its.items())
