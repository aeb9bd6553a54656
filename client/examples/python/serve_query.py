#!/usr/bin/env python3
"""Answers queries from Python: a handler as a client of the daemon.

    pip install -r requirements.txt
    muster proto proto
    python -m grpc_tools.protoc -I proto --python_out=. --grpc_python_out=. \\
        $(cd proto && find muster -name '*.proto')
    python serve_query.py unix:/run/muster/api.sock uptime
    muster query uptime            # in another terminal, on any host

Prints `serving` once it is registered, and a line per query.
"""

import queue
import sys
import time

import grpc

from muster.v1 import query_service_pb2 as queries
from muster.v1 import query_service_pb2_grpc as queries_grpc

# Replies that wait for the connection; the daemon bounds what it hands out.
REPLIES_MAX = 256


def answer(query):
    """The payload of the answer. An exception is told to whoever asked."""
    if query.payload == b"fail":
        raise ValueError("told to fail")
    return b"up for %d s, asked with %r by %s" % (
        time.monotonic(),
        query.payload.decode(errors="replace"),
        query.id.origin.encode(),
    )


def serve(channel, names):
    """Registers for the names, then answers until the daemon goes away."""
    replies = queue.Queue(REPLIES_MAX)
    replies.put(
        queries.ServeQueriesRequest(registration=queries.QueryRegistration(names=names))
    )
    stub = queries_grpc.QueryServiceStub(channel)
    for message in stub.ServeQueries(iter(replies.get, None)):
        if message.WhichOneof("message") == "registered":
            print("serving", flush=True)
            continue
        query = message.query
        reply = queries.QueryReply(id=query.id)
        try:
            reply.payload = answer(query)
        except Exception as error:  # Whatever it is, the asker is told.
            reply.error = str(error)
        replies.put(queries.ServeQueriesRequest(reply=reply))
        print(f"answered {query.name} of {query.id.origin}", flush=True)


def main():
    if len(sys.argv) < 3:
        sys.exit("usage: serve_query.py unix:/PATH NAME...")
    with grpc.insecure_channel(sys.argv[1]) as channel:
        serve(channel, sys.argv[2:])


if __name__ == "__main__":
    main()
