"""The proxies that are compared, each with one worker, verified TLS on both sides and kept connections."""

import http.client
import os
import ssl
from pathlib import Path

from gateway import RunningGateway
from platform_side import HEADERS, NAME, READ, UNIT
from processes import PROXY_CORES, Failure, Process, free_port

NGINX_COMMON = """
user root; worker_processes 1; daemon off; pid {name}.pid; error_log stderr warn;
{modules}
events {{ worker_connections 15000; }}
http {{
  keepalive_requests 1000000000; keepalive_timeout 600;
  client_body_temp_path {name}-body; proxy_temp_path {name}-proxy; fastcgi_temp_path {name}-fcgi;
  uwsgi_temp_path {name}-uwsgi; scgi_temp_path {name}-scgi;
  {log}
  upstream leqi {{ server 127.0.0.1:{upstream}; keepalive 128; keepalive_requests 1000000000; keepalive_timeout 600; }}
  server {{
    listen 127.0.0.1:{port} ssl backlog=4096; ssl_protocols TLSv1.2 TLSv1.3; ssl_session_cache shared:s:10m;
    ssl_certificate server.pem; ssl_certificate_key server.key;
    location / {{
      proxy_pass https://leqi; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Host {platform};
      proxy_ssl_verify on; proxy_ssl_trusted_certificate ca.pem; proxy_ssl_name {platform}; proxy_ssl_server_name on;
      proxy_ssl_protocols TLSv1.2 TLSv1.3;
      {location}
    }}
  }}
}}
"""


class Proxy:
    """A running proxy."""

    name: str
    what: str
    most_connections = 12_000

    def __init__(self, directory: Path, upstream: int, name: str) -> None:
        self.name = name
        self.directory = directory
        self.upstream = upstream
        self.port = free_port()
        self.process = self.launch()
        self.process.wait_for_port(self.port)
        self.check_answer()

    def launch(self) -> Process:
        """Writes the configuration and starts the program."""
        raise NotImplementedError

    def check_answer(self) -> None:
        """Fails unless a call through it has the platform's answer to the byte."""
        context = ssl.create_default_context(cafile=self.directory / "ca.pem")
        connection = http.client.HTTPSConnection("127.0.0.1", self.port, timeout=10, context=context)
        body = (self.directory / "body").read_bytes()
        connection.request("POST", READ, body, HEADERS)
        answer = connection.getresponse()
        got, expected = answer.read(), (self.directory / "answer-CXNSRJBXX").read_bytes()
        connection.close()
        if answer.status != 200 or got != expected:
            raise Failure(f"{self.name} answers {answer.status} with {got[:300]!r}:\n{self.process.last_words()}")

    def settled(self) -> None:
        """Returns when everything that belongs to the calls so far is done."""

    def calls_done(self) -> int | None:
        """How many calls it counts itself; None when it does not count."""
        return None

    def between_rounds(self) -> None:
        """Makes room after a round."""

    def start_nginx(self, modules: str, log: str, location: str) -> Process:
        """nginx with one worker."""
        config = self.directory / f"{self.name}.conf"
        config.write_text(NGINX_COMMON.format(name=self.name, modules=modules, log=log, location=location, port=self.port,
                                              upstream=self.upstream, platform=f"{NAME}:{self.upstream}"), encoding="utf-8")
        return Process.start(self.name, ["nginx", "-p", self.directory, "-c", config, "-e", "stderr"], self.directory,
                             PROXY_CORES)


class Nginx(Proxy):
    """nginx, forward only."""

    name = "nginx"
    what = "forward only"

    def launch(self) -> Process:
        return self.start_nginx("", "access_log off;", "")


class NginxLua(Proxy):
    """nginx with lua that keeps the answer's body, and both bodies in its access log: what a company would build."""

    name = "nginx-lua"
    what = "both bodies to a flat file"

    def launch(self) -> Process:
        modules = "".join(f"load_module {path};\n" for path in (
            "/usr/lib/nginx/modules/ndk_http_module.so", "/usr/lib/nginx/modules/ngx_http_lua_module.so"))
        log = """log_format bodies escape=json '{"time":"$time_iso8601","client":"$remote_addr","uri":"$request_uri",'
    '"status":$status,"seconds":$request_time,"request":"$request_body","response":"$answer_body"}';
  access_log bodies.log bodies buffer=64k flush=1s; client_body_buffer_size 64k;"""
        location = """set $answer_body "";
      body_filter_by_lua_block {
        local got = (ngx.ctx.got or "") .. (ngx.arg[1] or "")
        ngx.ctx.got = got
        if ngx.arg[2] then ngx.var.answer_body = got end
      }"""
        return self.start_nginx(modules, log, location)

    def check_answer(self) -> None:
        super().check_answer()
        body = (self.directory / "body").read_text(encoding="utf-8")

        def written() -> bool:
            return body in (self.directory / "bodies.log").read_text(encoding="utf-8")
        self.process.wait_for("the body of a call was in its log", written)

    def between_rounds(self) -> None:
        os.truncate(self.directory / "bodies.log", 0)


class HAProxy(Proxy):
    """HAProxy, forward only."""

    name = "haproxy"
    what = "forward only"
    # it reserves two open files for each
    most_connections = 9_800

    def launch(self) -> Process:
        config = self.directory / "haproxy.cfg"
        config.write_text(f"""
global
  nbthread 1
  maxconn 9900
  ssl-default-bind-options ssl-min-ver TLSv1.2
  ssl-default-server-options ssl-min-ver TLSv1.2
defaults
  mode http
  option http-keep-alive
  http-reuse always
  timeout connect 5s
  timeout client 600s
  timeout server 600s
  timeout http-keep-alive 600s
frontend in
  bind 127.0.0.1:{self.port} ssl crt {self.directory}/both.pem backlog 4096
  default_backend out
backend out
  http-request set-header Host {NAME}:{self.upstream}
  server leqi 127.0.0.1:{self.upstream} ssl verify required ca-file {self.directory}/ca.pem sni str({NAME}) verifyhost {NAME} pool-max-conn 128
""", encoding="utf-8")
        return Process.start(self.name, ["haproxy", "-db", "-f", config], self.directory, PROXY_CORES)


class Gateway(Proxy):
    """The gateway with its request log in SQLite."""

    settings = "[runtime]\nworkers = 1"
    binary: Path

    def launch(self) -> Process:
        home = self.directory / self.name
        home.mkdir()
        self.gateway = RunningGateway(self.name, self.binary, home, f"""
[[listen]]
address = "127.0.0.1:{self.port}"
certificates = [{{ chain = "../server.pem", key = "../server.key" }}]
max_connections = 12000
header_timeout = "10m"
[admin]
address = "127.0.0.1:0"
[ops]
address = "127.0.0.1:0"
[[upstream]]
name = "leqi"
base_url = "https://{NAME}:{self.upstream}"
ca_file = "../ca.pem"
addresses = ["127.0.0.1:{self.upstream}"]
[[route]]
prefix = "/access/"
upstream = "leqi"
[store]
url = "sqlite://gateway.db"
[secrets]
master_key_file = "master.key"
{self.settings}
""", PROXY_CORES)
        self.gateway.register([UNIT])
        return self.gateway.process

    def settled(self) -> None:
        self.process.wait_for("its log was written", lambda: self.gateway.metric("request_log_queued_bytes") == 0, 60)

    def calls_done(self) -> int | None:
        return int(self.gateway.metric("requests_total", outcome="forwarded"))


class GatewayForward(Gateway):
    """The gateway with its log off for calls that only ask."""

    name = "gateway-forward"
    what = "forward only"
    settings = Gateway.settings + '\n[request_log]\nrecord = "changes"'


class GatewayCapture(Gateway):
    """The gateway as it is delivered: every exchange decoded and captured into the searchable log."""

    name = "gateway"
    what = "every exchange into the searchable log"
