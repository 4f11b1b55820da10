// How a server ends: drained by SIGTERM, hurried by a second one, cut off by a receiver that never answers.

import { once } from "node:events";
import { writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { setTimeout as pause } from "node:timers/promises";
import { test } from "tap";
import { runCli } from "../cli/run-cli.ts";
import { Life, Receiver, submit, until } from "./life.ts";

test("SIGTERM waits for a receiver that is slow to answer the final dot, and nothing comes twice", async (t) => {
  const receiver = await Receiver.listen(t);
  receiver.verdict = async () => {
    await pause(1_000);
    return "250 2.0.0 ok";
  };
  const life = new Life(t, receiver.port, "drain_timeout: 10s");
  const first = await life.start();
  t.match(await submit(first.smtpPort, "slow"), /^250 /);
  t.ok(await until(() => receiver.copies.length === 1));
  const { status } = await first.end("SIGTERM");
  t.equal(status, 0);
  receiver.verdict = async () => "250 2.0.0 ok";
  const second = await life.start();
  await submit(second.smtpPort, "next");
  t.ok(await until(() => receiver.copies.includes("next")));
  t.same(receiver.copies, ["slow", "next"]);
  t.equal((await second.end("SIGTERM")).status, 0);
});

test("a receiver that never answers the final dot holds a stop no longer than the drain time, and is on record", async (t) => {
  const receiver = await Receiver.listen(t);
  receiver.verdict = () => new Promise(() => undefined);
  const life = new Life(t, receiver.port, "drain_timeout: 500ms");
  const first = await life.start();
  const reply = await submit(first.smtpPort, "hangs");
  const queueId = reply.split(" ").at(-1);
  t.ok(await until(() => receiver.copies.length === 1));
  const { status, ms } = await first.end("SIGTERM");
  t.equal(status, 0);
  t.ok(ms < 5_000, `${Math.round(ms)} ms`);
  t.match(first.log(), "broken off");
  t.ok(
    life.events().some((event) => event.kind === "unknown-outcome" && event.queueId === queueId),
    "the second copy has its explanation before it is sent (RFC 1047)",
  );
  receiver.verdict = async () => "250 2.0.0 ok";
  const second = await life.start();
  t.ok(await until(() => receiver.copies.length === 2), "and the mail is not lost");
  t.equal((await second.end("SIGTERM")).status, 0);
});

test("a second SIGTERM ends the server at once", async (t) => {
  const receiver = await Receiver.listen(t);
  receiver.verdict = () => new Promise(() => undefined);
  const life = new Life(t, receiver.port, "drain_timeout: 60s");
  const run = await life.start();
  await submit(run.smtpPort, "hangs");
  t.ok(await until(() => receiver.copies.length === 1));
  run.process.kill("SIGTERM");
  t.ok(await until(() => run.log().includes("draining")));
  const { status, ms } = await run.end("SIGTERM");
  t.equal(status, 1);
  t.ok(ms < 3_000, `${Math.round(ms)} ms`);
});

test("a start that fails at a taken port has sent nothing of what waits in the spool", async (t) => {
  const receiver = await Receiver.listen(t);
  const life = new Life(t, 1);
  const first = await life.start();
  t.match(await submit(first.smtpPort, "waits"), /^250 /);
  t.equal((await first.end("SIGTERM")).status, 0);

  const taken = createServer().listen(0, "127.0.0.1");
  await once(taken, "listening");
  t.teardown(() => taken.close());
  const { port } = taken.address() as { port: number };
  writeFileSync(life.config, life.text(receiver.port, "", `127.0.0.1:${port}`));
  const failed = await runCli(["serve", "--config", life.config]);
  t.match(failed, { status: 1, err: /in use/ });
  t.equal(receiver.connects, 0);

  writeFileSync(life.config, life.text(receiver.port, ""));
  const second = await life.start();
  t.ok(await until(() => receiver.copies.length === 1));
  t.equal((await second.end("SIGTERM")).status, 0);
  t.same(receiver.copies, ["waits"]);
});
