"""Carries TCP connections on: `forward.py LISTEN_HOST:PORT TARGET_HOST:PORT`."""

import asyncio
import sys


async def carry(reader, writer):
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    except ConnectionError:
        pass
    finally:
        writer.close()


async def main(listen, target):
    async def connected(reader, writer):
        try:
            target_reader, target_writer = await asyncio.open_connection(*target)
        except OSError:
            writer.close()
            return
        await asyncio.gather(carry(reader, target_writer), carry(target_reader, writer))

    server = await asyncio.start_server(connected, *listen)
    await server.serve_forever()


def address(text):
    host, port = text.rsplit(":", 1)
    return host, int(port)


asyncio.run(main(address(sys.argv[1]), address(sys.argv[2])))
