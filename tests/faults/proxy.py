"""A TCP proxy that misbehaves on command: every fault of a network between two processes.

One event loop in one thread serves all proxies of a test run.
"""

import asyncio
import socket
import struct
import threading
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal

from tests.waiting import PATIENCE_S

CHUNK = 65_536
BODY = 1000  # bytes that come at once: more than headers alone
HOST = "127.0.0.1"
Direction = Literal["request", "reply"]  # from the client, or back to it


class Trap:
    """Holds the traffic at a chosen point, does something there, and lets it go on.

    `spring` is called once, in a thread of its own, when `pattern` passes in a request; with
    `after` it is called when the reply to that request comes instead.
    """

    def __init__(self, pattern: bytes, spring: Callable[[], object], after: bool) -> None:
        self.pattern = pattern
        self.after = after
        self.sprung = threading.Event()
        self._spring = spring
        self._taken = threading.Lock()

    async def take(self) -> None:
        if self._taken.acquire(blocking=False):
            await asyncio.to_thread(self._spring)
            self.sprung.set()


class FaultProxy:
    """Forwards connections to `upstream` (host, port); listens at `port` on loopback.

    Every method may be called from any thread and takes effect at once.
    """

    def __init__(self, upstream: tuple[str, int]) -> None:
        self._upstream = upstream
        self._listener = socket.create_server((HOST, 0), backlog=512)
        self.port: int = self._listener.getsockname()[1]
        self.truncated = self.corrupted = 0  # pieces of traffic so far
        self._flowing = True
        self._rate: float | None = None
        self._answer: bytes | None = None
        self._budget: dict[Direction, int] = {}
        self._corrupting: Direction | None = None
        self._traps: list[Trap] = []
        self._writers: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None
        _wait(self._listen(self._listener))

    # Faults

    def pause(self) -> None:
        """Nothing passes any more; connections stay open and new ones are accepted."""
        self._flowing = False

    def refuse(self) -> None:
        """Close every connection and accept no new one."""
        _wait(self._close())

    def cut(self) -> None:
        """Close every connection; new ones work."""
        _wait(self._drop(reset=False))

    def reset(self) -> None:
        """End every connection by a TCP reset; new ones work."""
        _wait(self._drop(reset=True))

    def throttle(self, bytes_per_s: float) -> None:
        """Let no more than this pass, for each direction of a connection."""
        self._rate = bytes_per_s

    def truncate(self, direction: Direction, size: int) -> None:
        """From now on a connection breaks off when `size` bytes have passed this way."""
        self._budget = {direction: size}

    def corrupt(self, direction: Direction) -> None:
        """From now on the last byte of every piece of at least BODY bytes is another one."""
        self._corrupting = direction

    def answer(self, reply: bytes) -> None:
        """Every request gets this reply, and does not reach the server."""
        self._answer = reply

    def heal(self) -> None:
        """No fault any more."""
        self._flowing, self._rate, self._answer, self._budget = True, None, None, {}
        self._corrupting, self._traps = None, []
        if self._server is None:
            self._listener = socket.create_server((HOST, self.port), backlog=512)
            _wait(self._listen(self._listener))

    def trap(self, pattern: bytes, spring: Callable[[], object], after: bool = False) -> Trap:
        """Call `spring` when a request with these bytes passes, or when its reply does."""
        trap = Trap(pattern, spring, after)
        self._traps.append(trap)
        return trap

    def close(self) -> None:
        self._flowing = True
        _wait(self._close())

    # The traffic

    async def _listen(self, listener: socket.socket) -> None:
        self._server = await asyncio.start_server(self._serve, sock=listener)

    async def _close(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        await self._drop(reset=False)

    async def _drop(self, reset: bool) -> None:
        for writer in list(self._writers):
            if reset:
                plug = writer.get_extra_info("socket")
                plug.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            if self._answer is not None:
                await self._reply(reader, writer, self._answer)
                return
            there, back = await asyncio.open_connection(*self._upstream)
            self._writers.add(back)
            awaited: list[Trap] = []
            pumps = [
                asyncio.ensure_future(self._pump("request", reader, back, awaited)),
                asyncio.ensure_future(self._pump("reply", there, writer, awaited)),
            ]
            try:
                await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for pump in pumps:
                    pump.cancel()
                await asyncio.gather(*pumps, return_exceptions=True)
                self._writers.discard(back)
                back.transport.abort() if self._budget else back.close()
        except OSError:
            pass  # the server is away: the client sees its connection end
        finally:
            self._writers.discard(writer)
            writer.close()

    async def _reply(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, answer: bytes
    ) -> None:
        await reader.read(CHUNK)
        writer.write(answer)
        await writer.drain()

    async def _pump(
        self,
        direction: Direction,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        awaited: list[Trap],
    ) -> None:
        passed = 0
        while chunk := await reader.read(CHUNK):
            await self._springs(direction, chunk, awaited)
            while not self._flowing:
                await asyncio.sleep(0.02)
            if self._answer is not None and direction == "request":
                return  # a kept-alive connection ends; the next one is answered
            if direction == self._corrupting and len(chunk) >= BODY:
                self.corrupted += 1
                chunk = chunk[:-1] + bytes([chunk[-1] ^ 1])
            budget = self._budget.get(direction)
            if budget is not None and passed + len(chunk) >= budget:
                self.truncated += 1
                writer.write(chunk[: max(0, budget - passed)])
                await writer.drain()
                return
            passed += len(chunk)
            await self._write(writer, chunk)

    async def _write(self, writer: asyncio.StreamWriter, chunk: bytes) -> None:
        if self._rate is None:
            writer.write(chunk)
            await writer.drain()
            return
        piece = max(1, int(self._rate / 20))
        for start in range(0, len(chunk), piece):
            writer.write(chunk[start : start + piece])
            await writer.drain()
            if self._rate is not None:
                await asyncio.sleep(0.05)

    async def _springs(self, direction: Direction, chunk: bytes, awaited: list[Trap]) -> None:
        if direction == "reply":
            while awaited:
                await awaited.pop().take()
            return
        for trap in self._traps:
            if not trap.sprung.is_set() and trap.pattern in chunk:
                if trap.after:
                    awaited.append(trap)
                else:
                    await trap.take()


@contextmanager
def harm(links: Sequence[FaultProxy], fault: Callable[[FaultProxy], object]) -> Iterator[None]:
    """A fault of all these links, healed when the block ends."""
    try:
        for link in links:
            fault(link)
        yield
    finally:
        for link in links:
            link.heal()


_LOOP = asyncio.new_event_loop()
_THREAD = threading.Thread(target=_LOOP.run_forever, name="fault-proxies", daemon=True)
_STARTING = threading.Lock()


def _wait(work: Coroutine[Any, Any, None]) -> None:
    with _STARTING:
        if not _THREAD.is_alive():
            _THREAD.start()
    asyncio.run_coroutine_threadsafe(work, _LOOP).result(PATIENCE_S)
