"""asyncserf against one node: host, port and token are the arguments."""

import sys

import anyio
from asyncserf import serf_client
from asyncserf.exceptions import SerfError

HOST, PORT, TOKEN = sys.argv[1], int(sys.argv[2]), sys.argv[3]


def expect(found, wanted):
    assert found == wanted, f"{found!r} instead of {wanted!r}"


async def first(stream):
    async for record in stream:
        return record


async def answer(stream):
    """Answers the first query that the stream shows."""
    record = await first(stream)
    expect((record.event, record.name, record.payload), ("query", "load", b"now"))
    await record.respond(b"0.5")


async def check(client):
    members = (await client.members()).body[b"Members"]
    expect([m[b"Name"] for m in members], [b"alpha"])
    expect(members[0][b"Addr"], HOST.encode())
    expect(members[0][b"Tags"], {b"role": b"web"})
    try:
        await client.members(name="al(")
        raise AssertionError("a bad expression was taken")
    except SerfError as error:
        assert "Failed to compile regex" in str(error), error
    # The connection goes on.
    expect(len((await client.members(name="al.*")).body[b"Members"]), 1)
    expect((await client.stats()).body[b"agent"], {b"name": b"alpha"})

    async with client.stream("user") as stream:
        await client.event("hello", b"\xff\x00", coalesce=False)
        record = await first(stream)
        expect((record.event, record.name, record.payload), ("user", "hello", b"\xff\x00"))

    async with client.stream("query:load") as stream:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(answer, stream)
            async with client.query("load", payload=b"now", timeout=10) as query:
                records = [(r.type, getattr(r, "from", None), r.payload) async for r in query]
    assert ("response", "alpha", b"0.5") in records, records


async def main():
    done = False
    try:
        async with serf_client(host=HOST, port=PORT, rpc_auth=TOKEN) as client:
            await check(client)
            done = True
    except Exception:
        # A client that closes sends `leave`, and asyncserf stumbles over the end of the
        # connection that follows.
        if not done:
            raise
    print("all is well")


anyio.run(main)
