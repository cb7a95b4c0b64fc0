"""A bad line between a node and its gateway: a TCP relay that delays, throttles, loses and cuts.

    line = Line(gateway.port); line.start()      # nodes are set up with line.port
    line.set(delay_s=1.5, rate=2000, loss=0.3)   # each way; rate in bytes per second, shared by all connections
    line.cut(); line.mend()                      # cut: every connection is reset, new ones are refused
    line.break_after(5)                          # cut when 5 more segments have gone through; line.broke tells; None mends

What loss means to a stream, which TCP hides from the programs: a lost segment comes one retransmission later (200 ms, doubled for
each further loss in a row), and a connection whose opening is lost five times in a row fails. Nothing is reordered or altered.
"""
import asyncio
import random
import socket
import threading

SEGMENT = 1400
RETRANSMIT_S = 0.2
TRIES = 5


def through(invite, line):
    """The invite as of a gateway behind the line."""
    words = invite.split(":")
    words[-3] = str(line.port)
    return ":".join(words)


class Line:
    def __init__(self, target, seed=1):
        self.target, self.rng = target, random.Random(seed)
        self.delay_s = self.rate = self.loss = 0
        self.down, self.bytes, self.lost, self.cuts, self.connections = False, 0, 0, 0, 0
        self.left, self.broke = None, False
        self.writers, self.free_at = set(), {"up": 0.0, "down": 0.0}
        self.loop = asyncio.new_event_loop()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.thread = threading.Thread(target=self._run, daemon=True)

    def start(self):
        self.thread.start()
        return self

    def set(self, delay_s=0, rate=0, loss=0):
        self.delay_s, self.rate, self.loss = delay_s, rate, loss

    def cut(self):
        self.down = True
        self.cuts += 1
        self.loop.call_soon_threadsafe(self._abort)

    def mend(self):
        self.down = False

    def break_after(self, segments):
        self.left, self.broke, self.down = segments, False, False

    def stop(self):
        self.down = True
        self.loop.call_soon_threadsafe(self._abort)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(10)

    def _abort(self):
        for writer in list(self.writers):
            writer.transport.abort()

    def _run(self):
        asyncio.set_event_loop(self.loop)
        server = self.loop.run_until_complete(asyncio.start_server(self._accept, sock=self.listener))
        self.loop.run_forever()
        server.close()
        tasks = asyncio.all_tasks(self.loop)
        for task in tasks:
            task.cancel()
        self.loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        self.loop.run_until_complete(self.loop.shutdown_asyncgens())
        self.loop.close()

    def _losses(self):
        """How often in a row the same segment is lost."""
        n = 0
        while n < TRIES and self.rng.random() < self.loss:
            n += 1
        self.lost += n
        return n

    async def _accept(self, reader, writer):
        self.connections += 1
        n = self._losses()
        await asyncio.sleep(2 * self.delay_s + RETRANSMIT_S * (2 ** n - 1))
        if self.down or n == TRIES:
            writer.transport.abort()
            return
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:
            writer.transport.abort()
            return
        pair = {writer, far_writer}
        self.writers |= pair
        await asyncio.gather(self._way(reader, far_writer, pair, "up"), self._way(far_reader, writer, pair, "down"))
        self.writers -= pair
        for w in pair:
            w.transport.abort()

    async def _way(self, reader, writer, pair, way):
        """One direction: in order, each segment no earlier than the line lets it through."""
        queue = asyncio.Queue()
        sender = asyncio.ensure_future(self._send(queue, writer, pair))
        last, data = 0.0, b"-"
        while data:
            try:
                data = await reader.read(SEGMENT)
            except OSError:
                data = b""
            at = self.loop.time()
            if self.rate:
                at = self.free_at[way] = max(self.free_at[way], at) + len(data) / self.rate
            last = max(last, at + self.delay_s + RETRANSMIT_S * (2 ** self._losses() - 1))
            queue.put_nowait((last, data))
            await asyncio.sleep(max(0, at - self.loop.time()) if self.rate else 0)
        await sender

    async def _send(self, queue, writer, pair):
        try:
            while True:
                at, data = await queue.get()
                await asyncio.sleep(max(0, at - self.loop.time()))
                if not data:
                    writer.write_eof()
                    return
                if self.left is not None:
                    self.left -= 1
                    if self.left < 0:
                        self.broke = self.down = True
                        self._abort()
                if self.down:
                    raise OSError("the line is cut")
                self.bytes += len(data)
                writer.write(data)
                await writer.drain()
        except (OSError, RuntimeError):
            for w in pair:
                w.transport.abort()
