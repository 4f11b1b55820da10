// The heap of another process, its threads included, without what is garbage.

import { spawn } from "node:child_process";
import { test } from "tap";
import { HeapProbe, inspectOption } from "../../native-bench/heap-probe.ts";
import { freePort } from "../../native-bench/run-config.ts";

const mib = 1_048_576;

/** Holds 16 MiB in its main thread and as much in another, and lets 64 MiB go. One line: the inspector tells it as it is. */
const program = `
  const { Worker, isMainThread, parentPort } = require("node:worker_threads");
  const fill = (mib) => Array.from({ length: mib }, () => new Array(131_072).fill(1.5));
  fill(64);
  globalThis.held = fill(16);
  if (isMainThread) new Worker(process.argv[1], { eval: true, argv: process.argv.slice(1) }).once("message", () => console.log("up"));
  else parentPort.postMessage("up");
  setInterval(() => {}, 1_000);`.replaceAll("\n", " ");

test("what is held by all threads of a process is counted, and what it let go is not", async (t) => {
  const port = await freePort(undefined);
  const child = spawn(process.execPath, [inspectOption(port), "-e", program, program], {
    env: { ...process.env, NODE_OPTIONS: "" },
    stdio: ["ignore", "pipe", "ignore"],
  });
  t.teardown(() => child.kill("SIGKILL"));
  await new Promise((resolve) => child.stdout.once("data", resolve));
  using probe = await HeapProbe.open(port);
  const held = (await probe.usedBytes()) / mib;
  t.ok(held >= 32 && held < 64, `${held.toFixed(1)} MiB are held`);
});

test("a port where nobody answers as an inspector is an error", async (t) => {
  await t.rejects(HeapProbe.open(await freePort(undefined), 100), /inspector does not answer/);
});
