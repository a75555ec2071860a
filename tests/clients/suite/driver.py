"""A client's driver as a process: clients/conformance/README.md, "The driver"."""

import asyncio
import json
import os
from itertools import count

from drivers import PYTHON_PATH

#: Longer than the longest wait that a case allows a client.
ANSWER_TIMEOUT_S = 120


class Driver:
    """One process of a driver, and the requests that it has not answered."""

    def __init__(self, process):
        self._process = process
        self._ids = count(1)
        self._unanswered = {}
        self.is_killed = False
        self._reading = asyncio.ensure_future(self._read())

    @classmethod
    async def start(cls, command, log):
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=log,
            env={**os.environ, **PYTHON_PATH},
            limit=1 << 20,
        )
        return cls(process)

    async def ask(self, request):
        """The answer; none if the process was killed before it came."""
        request_id = next(self._ids)
        answered = asyncio.get_running_loop().create_future()
        self._unanswered[request_id] = answered
        self._process.stdin.write(json.dumps({"id": request_id, **request}).encode() + b"\n")
        return await asyncio.wait_for(answered, ANSWER_TIMEOUT_S)

    async def _read(self):
        async for line in self._process.stdout:
            answer = json.loads(line)
            self._unanswered.pop(answer["id"]).set_result(answer)
        for answered in self._unanswered.values():
            answered.set_result(None)

    async def kill(self):
        self.is_killed = True
        if self._process.returncode is None:
            self._process.kill()
        await self._process.wait()
        await self._reading

    async def end(self):
        """Ends it by the end of its input, as whoever started it may. Answers its status."""
        self._process.stdin.close()
        status = await asyncio.wait_for(self._process.wait(), ANSWER_TIMEOUT_S)
        await self._reading
        return status
