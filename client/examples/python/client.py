#!/usr/bin/env python3
"""Muster from Python: list members, send an event and see it, resolve a role.

    pip install -r requirements.txt
    muster proto proto
    python -m grpc_tools.protoc -I proto --python_out=. --grpc_python_out=. \\
        $(cd proto && find muster -name '*.proto')
    python client.py unix:/run/muster/api.sock ROLE
"""

import sys
import threading

import grpc

from muster.v1 import common_pb2 as common
from muster.v1 import event_service_pb2 as events
from muster.v1 import event_service_pb2_grpc as events_grpc
from muster.v1 import membership_service_pb2 as members
from muster.v1 import membership_service_pb2_grpc as members_grpc
from muster.v1 import resolver_service_pb2 as resolver
from muster.v1 import resolver_service_pb2_grpc as resolver_grpc

# A call that may wait for other members.
TIMEOUT_SECONDS = 30


def list_members(channel):
    """Names and states from one snapshot."""
    stub = members_grpc.MembershipServiceStub(channel)
    request = members.WatchMembersRequest(snapshot_only=True)
    found = []
    for message in stub.WatchMembers(request, timeout=TIMEOUT_SECONDS):
        if message.WhichOneof("event") == "snapshot_part":
            found += [(m.name, m.status) for m in message.snapshot_part.members]
    return found


def send_and_see(channel, name, payload):
    """Sends one event, waits for its receipts, and for the event itself."""
    stub = events_grpc.EventServiceStub(channel)
    watch = stub.WatchEvents(events.WatchEventsRequest(names=[name]), timeout=TIMEOUT_SECONDS)
    # The first message is always `begin`: from here on nothing is missed.
    assert next(watch).WhichOneof("event") == "begin"

    done = threading.Event()

    def requests():
        yield events.SendEventRequest(
            sequence=1,
            name=name,
            payload=payload,
            receipt=events.RECEIPT_LEVEL_REPLICATED,
        )
        done.wait()

    receipts = []
    for receipt in stub.SendEvent(requests(), timeout=TIMEOUT_SECONDS):
        receipts.append(receipt.WhichOneof("receipt"))
        if receipts[-1] != "accepted":
            break
    done.set()

    for message in watch:
        if message.WhichOneof("event") == "item":
            watch.cancel()
            return receipts, message.item


def resolve(channel, role):
    """Where the role is served now, oldest member first."""
    stub = resolver_grpc.ResolverServiceStub(channel)
    request = resolver.ResolveRoleRequest(role=role, once=True)
    message = next(iter(stub.ResolveRole(request, timeout=TIMEOUT_SECONDS)))
    return [(e.member, e.address, e.port) for e in message.set.endpoints]


def main():
    if len(sys.argv) != 3:
        sys.exit("usage: client.py unix:/PATH ROLE")
    target, role = sys.argv[1:]
    with grpc.insecure_channel(target) as channel:
        for name, status in list_members(channel):
            print(f"member {name} {common.MemberStatus.Name(status)}")
        receipts, event = send_and_see(channel, "hello", b"from Python")
        print(f"receipts {' '.join(receipts)}")
        print(f"event {event.name} {event.payload.decode()}")
        for member, address, port in resolve(channel, role):
            print(f"endpoint {member} {address}:{port}")


if __name__ == "__main__":
    main()
