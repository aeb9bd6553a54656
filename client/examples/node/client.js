// Muster from Node: list members, send an event and see it, resolve a role.
//
//     npm install
//     muster proto proto
//     node client.js unix:/run/muster/api.sock ROLE [PROTO_DIR]
"use strict";

const path = require("node:path");
const { once } = require("node:events");
const grpc = require("@grpc/grpc-js");
const loader = require("@grpc/proto-loader");

// A call that may wait for other members.
const TIMEOUT_MS = 30_000;

// keepCase: without it every field in snake_case would be dropped in silence.
const LOAD = { keepCase: true, longs: String, enums: String, defaults: true, oneofs: true };

function load(protoDir) {
  const files = ["membership", "event", "resolver"].map((name) =>
    path.join("muster", "v1", `${name}_service.proto`),
  );
  const definition = loader.loadSync(files, { ...LOAD, includeDirs: [protoDir] });
  return grpc.loadPackageDefinition(definition).muster.v1;
}

const deadline = () => ({ deadline: Date.now() + TIMEOUT_MS });

async function listMembers(client) {
  const found = [];
  for await (const message of client.WatchMembers({ snapshot_only: true }, deadline())) {
    if (message.event === "snapshot_part") {
      found.push(...message.snapshot_part.members);
    }
  }
  return found;
}

async function sendAndSee(client, name, payload) {
  const watch = client.WatchEvents({ names: [name] }, deadline());
  // The first message is always `begin`: from here on nothing is missed.
  const [begin] = await once(watch, "data");
  if (begin.event !== "begin") {
    throw new Error(`the watch begins with ${begin.event}`);
  }
  const seen = new Promise((resolve, reject) => {
    watch.on("data", (message) => message.event === "item" && resolve(message.item));
    watch.on("error", reject);
  });

  const receipts = [];
  const call = client.SendEvent(deadline());
  call.write({ sequence: 1, name, payload, receipt: "RECEIPT_LEVEL_REPLICATED" });
  call.end();
  for await (const receipt of call) {
    receipts.push(receipt.receipt);
  }
  const event = await seen;
  watch.removeAllListeners("error");
  watch.on("error", () => {}); // The cancellation that follows.
  watch.cancel();
  return { receipts, event };
}

async function resolve(client, role) {
  for await (const message of client.ResolveRole({ role, once: true }, deadline())) {
    return message.set.endpoints;
  }
  return [];
}

async function main() {
  const [target, role, protoDir = "proto"] = process.argv.slice(2);
  if (!target || !role) {
    throw new Error("usage: client.js unix:/PATH ROLE [PROTO_DIR]");
  }
  const v1 = load(protoDir);
  const plain = grpc.credentials.createInsecure();
  const clients = [v1.MembershipService, v1.EventService, v1.ResolverService].map(
    (Service) => new Service(target, plain),
  );
  const [members, events, resolver] = clients;
  for (const member of await listMembers(members)) {
    console.log(`member ${member.name} ${member.status}`);
  }
  const { receipts, event } = await sendAndSee(events, "hello", Buffer.from("from Node"));
  console.log(`receipts ${receipts.join(" ")}`);
  console.log(`event ${event.name} ${event.payload}`);
  for (const endpoint of await resolve(resolver, role)) {
    console.log(`endpoint ${endpoint.member} ${endpoint.address}:${endpoint.port}`);
  }
  clients.forEach((client) => client.close());
}

main().catch((error) => {
  console.error(error.message);
  process.exitCode = 1;
});
