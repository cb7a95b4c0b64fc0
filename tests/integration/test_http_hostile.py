"""The HTTP server against clients that behave badly, over real TLS: each costs itself its connection, nobody else anything."""
import concurrent.futures
import json
import os
import select
import signal
import socket
import ssl
import subprocess
import tempfile
import time
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.environ.get("EVERWARD_BUILD", os.path.join(ROOT, "build", "asan"))
PROGRAM = os.path.join(BUILD, "tests", "http_server_for_tests")

HEADER_S = 10        # NET_HTTP_HEADER_MS
HEARTBEAT_S = 20     # NET_HTTP_STREAM_HEARTBEAT_MS
PROBE_S = 5          # NET_HTTP_PROBE_MS
BODY_GRACE_S = 5
SWEEP_S = 2.5        # the sweep runs each second; the rest is a slow machine


class Server:
    def __init__(self, *args):
        self.process = subprocess.Popen([PROGRAM, *args], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        first = json.loads(self.process.stdout.readline())
        self.port = first["port"]
        self.plain = "--plain" in args
        self.ca = first["ca"]

    def context(self):
        c = ssl.create_default_context(cadata=self.ca)
        return c

    def raw(self):
        s = socket.create_connection(("127.0.0.1", self.port), timeout=30)
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return s

    def connect(self):
        s = self.raw()
        return s if self.plain else self.context().wrap_socket(s, server_hostname="localhost")

    def say(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def ask(self, line):
        self.say(line)
        return self.process.stdout.readline().strip()

    def counts(self):
        return json.loads(self.ask("counts"))

    def stop(self, timeout=30):
        """Drains; returns the seconds it took. A crash or a sanitizer's report is a failure."""
        started = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise
        last = self.process.stdout.read().strip().splitlines()
        self.process.stdin.close()
        self.process.stdout.close()
        if self.process.returncode != 0 or not last or last[-1] != "stopped":
            raise AssertionError(f"server ended with {self.process.returncode}: {last[-3:]}")
        return time.monotonic() - started


def read_all(s, seconds=30):
    """Everything until the other side closes; raises TimeoutError if it does not."""
    data = b""
    s.settimeout(seconds)
    try:
        while piece := s.recv(65536):
            data += piece
    except (ConnectionError, ssl.SSLError, OSError) as e:
        if isinstance(e, TimeoutError):
            raise
    return data


def read_reply(s):
    """One reply with Content-Length: (status, headers, body)."""
    data = b""
    while b"\r\n\r\n" not in data:
        piece = s.recv(65536)
        if not piece:
            raise ConnectionError(f"closed after {data[:200]!r}")
        data += piece
    head, body = data.split(b"\r\n\r\n", 1)
    lines = head.decode().split("\r\n")
    headers = {k.lower(): v for k, v in (line.split(": ", 1) for line in lines[1:])}
    length = int(headers.get("content-length", 0))
    while len(body) < length:
        body += s.recv(65536)
    return int(lines[0].split()[1]), headers, body


def request(server, text):
    with server.connect() as s:
        s.sendall(text)
        return read_reply(s)


def get(path, more="", method="GET"):
    return f"{method} {path} HTTP/1.1\r\nHost: localhost\r\n{more}\r\n".encode()


def wait_until(condition, seconds):
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if condition():
            return True
        time.sleep(0.1)
    return condition()


class HttpHostile(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = Server()

    @classmethod
    def tearDownClass(cls):
        cls.server.stop()

    def tearDown(self):
        """Whatever was done: the next one is served, and no connection stays."""
        self.assertEqual(request(self.server, get("/hello", "Connection: close\r\n"))[2], b"hello\n")
        self.assertTrue(wait_until(lambda: self.server.counts()["connections"] == 0, 3), self.server.counts())

    def refused(self, text, status, code=None):
        with self.server.connect() as s:
            s.sendall(text)
            reply = read_all(s)
        head, _, body = reply.partition(b"\r\n\r\n")
        self.assertTrue(reply.startswith(b"HTTP/1.1 %d " % status), reply[:300])
        self.assertEqual(reply.count(b"HTTP/1.1 "), 1, "a smuggled request was answered")
        if code is not None:
            problem = json.loads(body)
            self.assertEqual(problem["code"], code)
            self.assertEqual(problem["status"], status)
            self.assertIn(b"X-Request-Id: " + problem["request_id"].encode(), head)
            self.assertIn(b"application/problem+json", head)

    def refused_by_the_library(self, text, status):
        """libmicrohttpd 0.9.75 writes the header of some of its own refusals twice; what counts is that it ends there."""
        with self.server.connect() as s:
            s.sendall(text)
            reply = read_all(s)
        self.assertTrue(reply.startswith(b"HTTP/1.1 %d " % status), reply[:300])
        self.assertEqual(reply.count(b"HTTP/1.1 "), reply.count(b"HTTP/1.1 %d " % status))
        self.assertNotIn(b"hello", reply)

    # Framing

    def test_a_length_together_with_chunks_is_refused(self):
        for pair in ("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
                     "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n"):
            self.refused(get("/echo", pair, "POST") + b"0\r\n\r\n" + get("/hello"), 400, "bad_header")

    def test_two_lengths_are_refused(self):
        self.refused(get("/echo", "Content-Length: 5\r\nContent-Length: 6\r\n", "POST") + b"hello", 400, "bad_header")
        self.refused(get("/echo", "Content-Length: 5\r\nContent-Length: 5\r\n", "POST") + b"hello", 400, "bad_header")
        self.refused_by_the_library(get("/echo", "Content-Length: 5, 5\r\n", "POST") + b"hello" + get("/hello"), 400)

    def test_a_length_that_is_no_number_is_refused(self):
        for length in ("-1", "+5", "0x5", "5 5", "five", ""):
            text = get("/echo", f"Content-Length: {length}\r\n", "POST") + b"hello" + get("/hello")
            self.refused_by_the_library(text, 400)
        self.refused_by_the_library(get("/echo", f"Content-Length: {2 ** 65}\r\n", "POST"), 413)

    def test_an_unknown_transfer_encoding_is_refused(self):
        for te in ("gzip", "chunked, chunked", "xchunked", "identity"):
            self.refused(get("/echo", f"Transfer-Encoding: {te}\r\n", "POST") + b"0\r\n\r\n", 400, "bad_header")

    def test_a_blank_in_a_headers_name_is_refused(self):
        self.refused(get("/echo", "Transfer-Encoding : chunked\r\n", "POST") + b"0\r\n\r\n" + get("/hello"), 400,
                     "bad_header")
        self.refused(get("/hello", "X(y): 1\r\nConnection: close\r\n"), 400, "bad_header")

    def test_a_nul_is_refused_wherever_it_stands_in_the_header(self):
        for bad in (b"GET /hello HTTP/1.1\r\nHost: localhost\r\nX: a\0b\r\n\r\n",
                    b"GET /hello HTTP/1.1\r\nHost: localhost\r\nX: a\0\r\nY: b\r\n\r\n",
                    b"GET /hello HTTP/1.1\r\nHost: localhost\r\nX\0Z: a\r\n\r\n",
                    b"GET /hello\0x HTTP/1.1\r\nHost: localhost\r\n\r\n",
                    b"GET /hello HTTP/1.1\r\nHost: localhost\0.evil\r\n\r\n",
                    b"GET /hello HTTP/1.1\r\nHost: localhost\r\n\0X: a\r\n\r\n",
                    b"GET /hello HTTP/1.1\r\n\0Host: localhost\r\n\r\n"):
            with self.server.connect() as s:
                s.sendall(bad)
                reply = read_all(s)
            self.assertNotIn(b"hello\n", reply, bad)
            self.assertTrue(reply == b"" or reply.startswith(b"HTTP/1.1 400 "), (bad, reply[:200]))

    def test_a_folded_header_is_refused(self):
        self.refused(get("/hello", "X: a\r\n b\r\nConnection: close\r\n"), 400, "bad_header")
        self.refused(get("/echo", "Transfer-Encoding:\r\n chunked\r\nContent-Length: 3\r\n", "POST") + b"abc", 400)

    def test_a_broken_chunk_ends_the_connection(self):
        for chunk in (b"zz\r\n", b"-5\r\nhello\r\n", b"5\r\nhelloXX", b"ffffffffffffffffff\r\n"):
            with self.server.connect() as s:
                s.sendall(get("/echo", "Transfer-Encoding: chunked\r\n", "POST") + chunk + get("/hello"))
                reply = read_all(s)
            self.assertTrue(reply == b"" or reply.startswith(b"HTTP/1.1 4"), reply[:200])
            self.assertNotIn(b"hello\n", reply)

    def test_pipelined_requests_are_answered_in_order(self):
        with self.server.connect() as s:
            s.sendall(get("/late?ms=200", "X-Echo: one\r\n") + get("/hello") + get("/late?ms=50", "X-Echo: three\r\n") +
                      get("/items/4", "Connection: close\r\n"))
            reply = read_all(s)
        self.assertEqual(reply.count(b"HTTP/1.1 200"), 4)
        places = [reply.index(w) for w in (b"one", b"hello\n", b"three", b'"id":"4"')]
        self.assertEqual(places, sorted(places))

    # Size

    def test_a_header_over_the_limit_is_refused(self):
        for text in (get("/hello", "X: " + "a" * 20000 + "\r\n"), get("/" + "a" * 40000),
                     get("/hello", "".join(f"X{i}: {i}\r\n" for i in range(70)) + "Connection: close\r\n"),
                     get("/hello", "X: " + "a" * 17000 + "\r\n")):
            with self.server.connect() as s:
                try:
                    s.sendall(text)
                except OSError:
                    pass
                reply = read_all(s)
            self.assertTrue(reply == b"" or reply.startswith((b"HTTP/1.1 431 ", b"HTTP/1.1 414 ", b"HTTP/1.1 413 ")),
                            reply[:200])

    def test_a_body_announced_too_large_is_refused_before_it_is_sent(self):
        started = time.monotonic()
        self.refused(get("/echo", "Content-Length: %d\r\n" % (1048576 + 65537), "POST"), 413, "too_large")
        self.assertLess(time.monotonic() - started, 2)
        self.refused(get("/hello", "Content-Length: 1\r\n") + b"x", 413, "too_large")

    def test_a_client_that_expects_100_is_refused_without_it(self):
        self.refused(get("/echo", "Content-Length: 1048577\r\nExpect: 100-continue\r\n", "POST"), 413, "too_large")

    def test_a_body_a_little_over_the_limit_is_read_so_that_its_sender_sees_the_answer(self):
        with self.server.connect() as s:
            s.sendall(get("/items/1", "Content-Length: 1025\r\nConnection: close\r\n", "PATCH") + b"x" * 500)
            s.settimeout(0.3)
            with self.assertRaises(TimeoutError):
                s.recv(1)
            s.settimeout(30)
            s.sendall(b"x" * 525)
            self.assertTrue(read_all(s).startswith(b"HTTP/1.1 413 "))

    def test_a_chunked_body_a_little_over_the_limit_is_told_so(self):
        chunk = b"%x\r\n" % 1025 + b"x" * 1025 + b"\r\n0\r\n\r\n"
        self.refused(get("/items/1", "Transfer-Encoding: chunked\r\nConnection: close\r\n", "PATCH") + chunk, 413,
                     "too_large")

    def test_a_chunked_body_without_end_is_cut_off(self):
        sent = 0
        with self.server.connect() as s:
            s.sendall(get("/items/1", "Transfer-Encoding: chunked\r\n", "PATCH"))
            try:
                while sent < 64 * 1024 * 1024:
                    s.sendall(b"4000\r\n" + b"x" * 0x4000 + b"\r\n")
                    sent += 0x4000
            except OSError:
                pass
        self.assertLess(sent, 32 * 1024 * 1024)

    def test_a_body_at_the_limit_is_taken(self):
        body = os.urandom(1024 * 1024)
        status, _, back = request(self.server, get("/echo", f"Content-Length: {len(body)}\r\n", "POST") + body)
        self.assertEqual((status, back == body), (200, True))
        text = get("/echo", "Transfer-Encoding: chunked\r\n", "POST") + b"%x\r\n" % len(body) + body + b"\r\n0\r\n\r\n"
        status, _, back = request(self.server, text)
        self.assertEqual((status, back == body), (200, True))

    # The target

    def test_paths_are_decoded_once_and_strictly(self):
        for path in ("/items/%", "/items/%2", "/items/%zz", "/items/%00", "/items/a%00b", "/items/..", "/items/%2e%2e",
                     "/items/.%2E/hello", "/items/a%2fb", "/items/%ff", "/items/%c0%af", "/items/%0d%0aX:1", "items/1",
                     "http://localhost/items/1", "/items/1?q=%", "/items/1?q=%00", "/items/1?q=%ff", "*",
                     "/items/1?" + "&".join(f"a{i}=1" for i in range(100))):
            status, headers, body = request(self.server, get(path))
            self.assertEqual((status, json.loads(body)["code"]), (400, "bad_path"), path)
        for path, id_, q in (("/items/a%20b", "a b", None), ("/items/%252e", "%2e", None), ("/items/a+b?q=a+b", "a+b", "a b"),
                             ("/items/%C3%A4?q=%2B&q=2", "ä", "+"), ("/items/1?q", "1", ""), ("/items/1?&&q=a=b", "1", "a=b")):
            status, _, body = request(self.server, get(path))
            self.assertEqual(status, 200, path)
            self.assertEqual((json.loads(body)["id"], json.loads(body)["q"]), (id_, q), path)

    def test_unknown_paths_and_methods_are_told_apart(self):
        self.assertEqual(request(self.server, get("/nothing"))[0], 404)
        self.assertEqual(request(self.server, get("/items"))[0], 404)
        self.assertEqual(request(self.server, get("/items/"))[0], 404)
        self.assertEqual(request(self.server, get("/items/1/2"))[0], 404)
        status, headers, _ = request(self.server, get("/items/1", method="DELETE"))
        self.assertEqual((status, set(headers["allow"].split(", "))), (405, {"GET", "PATCH"}))
        self.assertEqual(request(self.server, get("/items/1", method="BREW"))[0], 405)
        self.assertEqual(request(self.server, get("/items/fixed"))[2], b"fixed")

    def test_head_is_get_without_a_body(self):
        with self.server.connect() as s:
            s.sendall(get("/hello", method="HEAD") + get("/hello", "Connection: close\r\n"))
            reply = read_all(s)
        self.assertEqual(reply.count(b"HTTP/1.1 200"), 2)
        self.assertEqual(reply.count(b"hello\n"), 1)
        self.assertEqual(reply.count(b"Content-Length: 6"), 2)

    # Time

    def test_slow_clients_are_cut_at_their_deadlines_and_a_slow_answer_is_not(self):
        """All at once: they take their time."""
        def cut(name, begin, drip, at_least, at_most, pause=0.5):
            with self.server.connect() as s:
                started = time.monotonic()
                s.sendall(begin)
                try:
                    while time.monotonic() - started < 60:
                        s.sendall(drip)
                        if select.select([s], [], [], pause)[0] and not s.recv(4096):
                            break
                except OSError:
                    pass
                took = time.monotonic() - started
            if not at_least <= took <= at_most:
                raise AssertionError(f"{name}: cut after {took:.1f} s, not within {at_least} to {at_most} s")

        def handshake():
            with self.server.raw() as s:
                started = time.monotonic()
                s.sendall(b"\x16\x03\x01\x02\x00\x01")
                read_all(s)
                took = time.monotonic() - started
            if not HEADER_S - 1 <= took <= HEADER_S + SWEEP_S:
                raise AssertionError(f"half a handshake was held {took:.1f} s")

        def silent():
            with self.server.connect() as s:
                started = time.monotonic()
                read_all(s)
                took = time.monotonic() - started
            if not HEADER_S - 1 <= took <= HEADER_S + SWEEP_S:
                raise AssertionError(f"a silent connection was held {took:.1f} s")

        def slow_answer():
            status, _, body = request(self.server, get("/late?ms=14000", "X-Echo: patience\r\n"))
            if (status, body) != (200, b"patience"):
                raise AssertionError(f"a slow answer was cut: {status}")

        with concurrent.futures.ThreadPoolExecutor(10) as pool:
            jobs = [pool.submit(cut, "request line", b"GE", b"T", HEADER_S - 1, HEADER_S + SWEEP_S),
                    pool.submit(cut, "header", b"GET /hello HTTP/1.1\r\nHost: localhost\r\nX: ", b"a", HEADER_S - 1,
                                HEADER_S + SWEEP_S),
                    pool.submit(cut, "body", get("/echo", "Content-Length: 100000\r\n", "POST"), b"x", BODY_GRACE_S - 1,
                                BODY_GRACE_S + SWEEP_S),
                    pool.submit(cut, "chunked body", get("/echo", "Transfer-Encoding: chunked\r\n", "POST"),
                                b"1\r\nx\r\n", BODY_GRACE_S - 1, BODY_GRACE_S + SWEEP_S),
                    pool.submit(handshake), pool.submit(silent), pool.submit(slow_answer)]
            for job in jobs:
                job.result()

    # Who leaves

    def test_a_client_that_leaves_before_its_answer_harms_nobody(self):
        for _ in range(20):
            s = self.server.connect()
            s.sendall(get("/late?ms=300", "X-Echo: gone\r\n"))
            s.close()
        s = self.server.connect()  # with a reset instead of an end
        s.sendall(get("/late?ms=300", "X-Echo: gone\r\n"))
        s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        s.close()
        time.sleep(0.6)

    def test_a_client_that_leaves_in_its_body_harms_nobody(self):
        for _ in range(20):
            with self.server.connect() as s:
                s.sendall(get("/echo", "Content-Length: 100000\r\n", "POST") + b"x" * 5000)

    def test_garbage_on_the_tls_port_costs_only_itself(self):
        for garbage in (get("/hello"), b"\0" * 1000, b"\x16\x03\x01\xff\xff" + b"\xaa" * 500, os.urandom(4000),
                        b"\x15\x03\x03\x00\x02\x02\x28", b""):
            with self.server.raw() as s:
                try:
                    s.sendall(garbage)
                    s.shutdown(socket.SHUT_WR)
                except OSError:
                    pass  # closed already: as good
                self.assertNotIn(b"hello\n", read_all(s))

    def test_only_tls_1_3_is_spoken(self):
        context = self.server.context()
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        with self.server.raw() as s, self.assertRaises((ssl.SSLError, ConnectionError)):
            context.wrap_socket(s, server_hostname="localhost")
        with self.server.connect() as s:
            self.assertEqual(s.version(), "TLSv1.3")

    def test_a_reader_that_stops_in_a_large_answer_holds_up_nobody(self):
        with self.server.connect() as slow:
            slow.sendall(get("/large"))
            for _ in range(20):
                started = time.monotonic()
                self.assertEqual(request(self.server, get("/hello"))[0], 200)
                self.assertLess(time.monotonic() - started, 1)

    # Streams

    def open_stream(self):
        s = self.server.connect()
        s.sendall(get("/events"))
        data = b""
        while b"data: second line\n\n" not in data:
            data += s.recv(4096)
        self.assertIn(b"Content-Type: text/event-stream", data)
        self.assertIn(b"retry: ", data)
        self.assertIn(b"id: 1\nevent: hello\ndata: first line\ndata: second line\n\n", data)
        return s

    def test_a_reader_that_never_reads_is_dropped_and_the_others_get_everything(self):
        reader, sleeper = self.open_stream(), self.open_stream()
        got = b""
        reader.settimeout(20)
        for _ in range(400):
            self.assertEqual(self.server.ask("broadcast 1 30000"), "sent")
            want = got.count(b"event: row") + 1
            while got.count(b"event: row") < want or not got.endswith(b"e\n\n\r\n"):
                got += reader.recv(65536)
            if self.server.counts()["streams"] == 1:
                break
        self.assertEqual(self.server.counts()["streams"], 1, "the one that never reads is still held")
        self.assertEqual(got.count(b"event: row"), want)
        reader.close()
        sleeper.close()
        self.assertTrue(wait_until(lambda: self.server.counts()["streams"] == 0, PROBE_S + 5))

    def test_an_event_larger_than_the_queue_drops_the_stream(self):
        s = self.open_stream()
        self.server.ask("broadcast 1 100000")
        read_all(s, 5)
        s.close()
        self.assertTrue(wait_until(lambda: self.server.counts()["streams"] == 0, 3))

    def test_a_stream_whose_client_left_is_found_and_the_others_get_heartbeats(self):
        left, stays = self.open_stream(), self.open_stream()
        left.close()
        before = self.server.counts()["closed"]
        self.assertTrue(wait_until(lambda: self.server.counts()["streams"] == 1, PROBE_S + 5))
        self.assertEqual(self.server.counts()["closed"], before + 1)
        stays.settimeout(HEARTBEAT_S + 5)
        self.assertIn(b": \n\n", stays.recv(4096))
        stays.close()
        self.assertTrue(wait_until(lambda: self.server.counts()["streams"] == 0, PROBE_S + 5))

    def test_a_stream_the_server_closes_ends_and_says_nothing_to_its_user(self):
        before = self.server.counts()["closed"]
        streams = [self.open_stream() for _ in range(5)]
        self.assertEqual(self.server.ask("close streams"), "closed")
        for s in streams:
            s.settimeout(5)
            data = b""
            while not data.endswith(b"0\r\n\r\n"):
                data += s.recv(4096)
            s.sendall(get("/hello"))  # the connection is still good
            self.assertEqual(read_reply(s)[2], b"hello\n")
            s.close()
        self.assertEqual(self.server.counts()["closed"], before)

    def test_three_hundred_streams_get_a_broadcast_whole(self):
        streams = [self.open_stream() for _ in range(300)]
        self.server.ask("broadcast 5 200")
        for s in streams:
            data = b""
            s.settimeout(20)
            while data.count(b"event: row") < 5 or not data.endswith(b"e\n\n\r\n"):
                data += s.recv(65536)
            s.close()
        self.assertTrue(wait_until(lambda: self.server.counts()["streams"] == 0, PROBE_S + 5))

    # Certificate

    def test_a_new_certificate_serves_new_connections_and_old_ones_go_on(self):
        with self.server.connect() as old:
            before = old.getpeercert(binary_form=True)
            for _ in range(3):
                self.assertEqual(self.server.ask("reload"), "reloaded")
            old.sendall(get("/hello"))
            self.assertEqual(read_reply(old)[2], b"hello\n")
            with self.server.connect() as new:
                self.assertNotEqual(new.getpeercert(binary_form=True), before)

    def test_connections_of_one_address_are_limited(self):
        """1,000 of one address; the next is closed, and after they have gone one is served again."""
        held = []
        try:
            for _ in range(1000):
                held.append(self.server.raw())
            self.assertTrue(wait_until(lambda: self.server.counts()["connections"] >= 1000, 10))
            with self.server.raw() as s:
                self.assertEqual(read_all(s, 5), b"")
            self.assertEqual(self.server.counts()["connections"], 1000)
        finally:
            for s in held:
                s.close()
        self.assertTrue(wait_until(lambda: self.server.counts()["connections"] == 0, 10))


class HttpStop(unittest.TestCase):
    def test_a_stop_closes_the_idle_and_streams_and_finishes_what_is_under_way(self):
        server = Server()
        idle, busy, stream = server.connect(), server.connect(), server.connect()
        idle.sendall(get("/hello"))
        self.assertEqual(read_reply(idle)[0], 200)
        stream.sendall(get("/events"))
        stream.recv(100)
        busy.sendall(get("/late?ms=1500", "X-Echo: finished\r\n"))
        time.sleep(0.3)
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            stopping = pool.submit(server.stop)
            self.assertEqual(read_all(idle, 3), b"")
            read_all(stream, 3)
            with self.assertRaises(OSError):
                server.connect()
            status, headers, body = read_reply(busy)
            self.assertEqual((status, body, headers.get("connection")), (200, b"finished", "close"))
            self.assertLess(stopping.result(), 4)
        for s in (idle, busy, stream):
            s.close()

    def test_a_stop_does_not_wait_for_ever_and_a_late_answer_goes_nowhere(self):
        server = Server()
        with server.connect() as late, server.connect() as never_reads, server.connect() as half:
            late.sendall(get("/late?ms=8000", "X-Echo: too late\r\n"))
            never_reads.sendall(get("/large"))
            half.sendall(get("/echo", "Content-Length: 100000\r\n", "POST") + b"x" * 50000)
            time.sleep(0.3)
            took = server.stop()
        self.assertTrue(4.5 <= took <= 12, took)

    def test_plain_http_and_tls_1_2_are_served_where_asked_for(self):
        server = Server("--plain")
        self.assertEqual(request(server, get("/hello"))[2], b"hello\n")
        with server.raw() as s:
            s.sendall(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + os.urandom(512) + b"\r\n\r\n")
            try:
                s.shutdown(socket.SHUT_WR)
            except OSError:
                pass
            self.assertNotIn(b"200", read_all(s))
        self.assertEqual(request(server, get("/hello"))[2], b"hello\n")
        server.stop()
        server = Server("--tls12")
        context = server.context()
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        with server.raw() as s, context.wrap_socket(s, server_hostname="localhost") as t:
            t.sendall(get("/hello"))
            self.assertEqual(read_reply(t)[2], b"hello\n")
            self.assertIn("ECDHE", t.cipher()[0])
        server.stop()


if __name__ == "__main__":
    unittest.main()
