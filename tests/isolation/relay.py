"""Somebody in the gateway's place, with its certificate: an HTTPS relay that shows, keeps and alters what the gateway answers.

    relay = Relay(gateway, tls_folder).start()      # nodes are set up with relay.port
    relay.tamper = lambda ask, answer: answer       # ask.method, .path; answer.status, .headers, .body; None: the connection is dropped
    relay.seen                                      # [(path, body)] of all that went to nodes while relay.keep

Bodies given to tamper are as they travel: zstd where the gateway compresses."""

import http.client
import http.server
import os
import socketserver
import ssl
import threading
from collections import namedtuple

Ask = namedtuple("Ask", "method path headers body")
Answer = namedtuple("Answer", "status headers body")
HOP = {"connection", "host", "content-length", "transfer-encoding", "keep-alive"}
GATEWAY_S = 90  # longer than a long poll


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        relay = self.server.relay
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        ask = Ask(self.command, self.path, {k: v for k, v in self.headers.items() if k.lower() not in HOP}, body)
        upstream = relay.gateway.connect(timeout=GATEWAY_S)
        try:
            upstream.request(ask.method, ask.path, body or None, ask.headers)
            reply = upstream.getresponse()
            answer = Answer(reply.status, {k: v for k, v in reply.getheaders() if k.lower() not in HOP}, reply.read())
        except (OSError, http.client.HTTPException):
            answer = None
        finally:
            upstream.close()
        self.give(relay.through(ask, answer))

    do_POST = do_GET

    def give(self, answer):
        self.close_connection = answer is None
        if answer is None:
            return
        try:
            self.send_response_only(answer.status)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(answer.body)))
            self.end_headers()
            self.wfile.write(answer.body)
        except OSError:
            self.close_connection = True

    def log_message(self, *_):
        pass


class Relay(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads = True

    def __init__(self, gateway, tls_folder):
        super().__init__(("127.0.0.1", 0), Handler)
        self.relay, self.gateway, self.port = self, gateway, self.server_address[1]
        self.tamper, self.altered, self.keep, self.seen = None, 0, False, []
        self.lock = threading.Lock()
        self.context = None
        self.serve_as(tls_folder)

    def serve_as(self, tls_folder):
        """New connections are shown the certificate of that folder."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.load_cert_chain(os.path.join(tls_folder, "server.crt"), os.path.join(tls_folder, "server.key"))
        self.context = context

    def get_request(self):
        s, address = super().get_request()
        return self.context.wrap_socket(s, server_side=True, do_handshake_on_connect=False), address

    def handle_error(self, request, client_address):
        pass  # a node that hangs up

    def through(self, ask, answer):
        with self.lock:
            if answer is not None and self.keep:
                self.seen.append((ask.path, answer.body))
            if answer is None or self.tamper is None:
                return answer
            altered = self.tamper(ask, answer)
            self.altered += altered is not answer
            return altered

    def start(self):
        threading.Thread(target=self.serve_forever, daemon=True).start()
        return self

    def stop(self):
        self.shutdown()
        self.server_close()
