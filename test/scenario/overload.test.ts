// What a machine that is too small does to a server: it takes less mail for a while, and goes on.

import { createConnection, type Socket } from "node:net";
import { setTimeout as pause } from "node:timers/promises";
import { test } from "tap";
import { Life, Receiver, submit, until } from "./life.ts";

const filesMax = 120;
/** More than there are descriptors for. */
const sessions = 150;
/** The server looks at its descriptors twice a second. */
const lookMs = 1_200;

test("a server with few file descriptors refuses for a while instead of ending", async (t) => {
  const receiver = await Receiver.listen(t);
  const life = new Life(t, receiver.port);
  const run = await life.start({}, filesMax);
  t.match(await submit(run.smtpPort, "before"), /^250 /);
  const sockets: Socket[] = [];
  for (let i = 0; i < sessions; i++) {
    const socket = createConnection({ host: "127.0.0.1", port: run.smtpPort });
    socket.on("error", () => undefined);
    socket.resume();
    sockets.push(socket);
  }
  await pause(lookMs);
  t.equal(run.process.exitCode, null, "it lives");
  for (const socket of sockets) socket.destroy();
  await pause(lookMs);
  t.ok(await until(() => receiver.copies.includes("before")));
  t.match(await submit(run.smtpPort, "after"), /^250 /, "and takes mail again by itself");
  t.ok(await until(() => receiver.copies.includes("after")));
  t.same(receiver.copies, ["before", "after"]);
  t.equal((await run.end("SIGTERM")).status, 0);
});
