"""What stands around the proxies: a private authority, the platform's canned answers, the calls of an invoicing system."""

import datetime
import json
import subprocess
from pathlib import Path

from processes import OTHER_CORES, Failure, Process, free_port

NAME = "lqpt.chinatax.gov.cn"
PREFIX = "/access/v2/invoke/202007/"
# asks for the company's own data; only asks, and is in the catalogue
READ = PREFIX + "CXNSRJBXX"
UPLOAD = PREFIX + "QDFPSC"
BALANCE = PREFIX + "CXSXED"
REQUEST_BYTES = 4096
ANSWER_BYTES = 1024

KEY = "0123456789abcdeffedcba9876543210"
UNIT = {"tax_no": "91440300MA5F00012E", "name": "深圳示例科技有限公司", "role": "access", "platform_id": "0123456789abcdef0123",
        "access_platform_id": "0123456789abcdef0123", "province_code": "14403000000", "sm4_key": KEY}
HEADERS = {"content-type": "application/json", "fwbm": "CXNSRJBXX", "nlbm": "202007", "jrdwptbh": UNIT["platform_id"],
           "sydwptbh": UNIT["platform_id"], "access_signature": "", "clientTid": "bench"}


def run(*command: str, given: bytes = b"", directory: Path | None = None) -> bytes:
    """What a command prints."""
    done = subprocess.run(command, input=given, capture_output=True, cwd=directory, check=False)
    if done.returncode != 0:
        raise Failure(f"{' '.join(command)}: {done.stderr.decode(errors='replace')}")
    return done.stdout


def encrypt(plain: str) -> str:
    """SM4 and base64, as bodies and answers carry it."""
    return run("openssl", "enc", "-sm4-ecb", "-K", KEY, "-base64", "-A", given=plain.encode()).decode().strip()


def make_certificates(directory: Path) -> None:
    """ca.pem, and one certificate for proxies and platform: server.pem, server.key, both.pem (HAProxy's form)."""
    curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
    run("openssl", "req", "-x509", *curve, "-keyout", "ca.key", "-out", "ca.pem", "-days", "30", "-subj", "/CN=benchmark CA",
        directory=directory)
    run("openssl", "req", *curve, "-keyout", "server.key", "-out", "server.csr", "-subj", f"/CN={NAME}", directory=directory)
    names = f"subjectAltName=DNS:{NAME},DNS:localhost,IP:127.0.0.1\nbasicConstraints=CA:FALSE\n"
    (directory / "names").write_text(names, encoding="utf-8")
    run("openssl", "x509", "-req", "-in", "server.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial",
        "-days", "30", "-extfile", "names", "-out", "server.pem", directory=directory)
    both = (directory / "server.pem").read_text(encoding="utf-8") + (directory / "server.key").read_text(encoding="utf-8")
    (directory / "both.pem").write_text(both, encoding="utf-8")


def request_body() -> str:
    """The encrypted body of a call that only asks, 4 KiB on the wire."""
    plain = json.dumps({"nsrsbh": UNIT["tax_no"], "bz": ""}, ensure_ascii=False)
    return encrypt(plain[:-2] + "x" * (REQUEST_BYTES * 3 // 4 - len(plain) - 1) + plain[-2:])


def envelope(data: dict, size: int = 0) -> str:
    """The platform's answer with this `Data`, about as long as `size`."""
    def write(padded: dict) -> str:
        inner = {"Response": {"RequestId": "0123456789abcdef", "Data": encrypt(json.dumps(padded))}}
        return json.dumps({"httpStatusCode": 200, "body": json.dumps(inner, separators=(",", ":"))}, separators=(",", ":"))
    empty = len(write(data | {"bz": ""}))
    return write(data | {"bz": "x" * max(0, (size - empty) * 3 // 4)})


def answers() -> dict[str, str]:
    """The canned answer of each path."""
    month = datetime.datetime.now(datetime.timezone(datetime.timedelta(hours=8))).strftime("%Y%m")
    done = {"returncode": "00", "returnmsg": "成功"}
    credit = {"ztsxbz": "N", "bysxed": "9999999999999999", "kysyed": "9999999999999999", "yxzed": "90000000000.00",
              "yxzwsyed": "90000000000.00", "sq": month}
    return {READ: envelope(done | {"nsrmc": UNIT["name"]}, ANSWER_BYTES), BALANCE: envelope(done | credit),
            UPLOAD: envelope(done | {"sllsh": "1234567890123456789012345678901234567890"}, ANSWER_BYTES)}


def write_calls(directory: Path) -> None:
    """The files that the load generators read: body, units.json, answers, wrk's script, a whole request."""
    body = request_body()
    (directory / "body").write_text(body, encoding="utf-8")
    (directory / "units.json").write_text(json.dumps([UNIT]), encoding="utf-8")
    for path, answer in answers().items():
        (directory / f"answer-{path.rpartition('/')[2]}").write_text(answer, encoding="utf-8")
    headers = "".join(f'wrk.headers["{name}"] = "{value}"\n' for name, value in HEADERS.items())
    (directory / "post.lua").write_text(f"""
wrk.method = "POST"
wrk.body = "{body}"
{headers}
function done(summary, latency, requests)
  local e = summary.errors
  io.write(string.format('\\n{{"requests": %d, "seconds": %f, "p50": %f, "p99": %f, "errors": %d}}\\n', summary.requests,
    summary.duration / 1e6, latency:percentile(50), latency:percentile(99), e.connect + e.read + e.write + e.status + e.timeout))
end
""", encoding="utf-8")
    lines = [f"POST {READ} HTTP/1.1", "Host: 127.0.0.1", f"Content-Length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in HEADERS.items()]
    (directory / "request").write_text("\r\n".join(lines) + "\r\n\r\n" + body, encoding="utf-8")


def start_platform(directory: Path) -> tuple[Process, int]:
    """nginx with canned answers: the same for every proxy, and lean."""
    port = free_port()
    def quoted(text: str) -> str:
        return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
    # clients write the path with a slash at its end or without
    places = "\n".join(f"location ~ ^{path}/?$ {{ default_type application/json; return 200 {quoted(answer)}; }}"
                       for path, answer in answers().items())
    config = directory / "platform.conf"
    config.write_text(f"""
user root; worker_processes 1; daemon off; pid platform.pid; error_log stderr warn;
events {{ worker_connections 15000; }}
http {{
  access_log off; keepalive_requests 1000000000; keepalive_timeout 600;
  client_body_temp_path platform-body; proxy_temp_path platform-proxy; fastcgi_temp_path platform-fcgi;
  uwsgi_temp_path platform-uwsgi; scgi_temp_path platform-scgi;
  server {{
    listen 127.0.0.1:{port} ssl backlog=4096; ssl_protocols TLSv1.2 TLSv1.3; ssl_session_cache shared:s:10m;
    ssl_certificate server.pem; ssl_certificate_key server.key;
    {places}
  }}
}}
""", encoding="utf-8")
    process = Process.start("platform", ["nginx", "-p", directory, "-c", config, "-e", "stderr"], directory, OTHER_CORES)
    process.wait_for_port(port)
    return process, port
