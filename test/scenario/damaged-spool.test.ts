// A spool that went bad on the disk: no wrong octet goes out, nothing goes out again and again, and the rest is delivered.

import { once } from "node:events";
import { closeSync, openSync, readFileSync, writeFileSync, writeSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import { type Test, test } from "tap";
import { Arena } from "../../src/spool/arena.ts";
import { firstKey, openEnvironment, recordsIn } from "../../src/spool/environment.ts";
import { parsePlaceKey, placeKeyOf } from "../../src/spool/keys.ts";
import { encodeEmpty, recordKind } from "../../src/spool/record-codec.ts";
import { runCli } from "../cli/run-cli.ts";
import { Life, Receiver, submit, until } from "./life.ts";

const mapSizeBytes = 64 * 1024 * 1024;

/** A stopped server with these names in its spool; returns their queue ids. */
async function fill(life: Life, names: readonly string[]): Promise<Map<string, string>> {
  const run = await life.start();
  const ids = new Map<string, string>();
  for (const name of names) ids.set(name, (await submit(run.smtpPort, name)).split(" ").at(-1) ?? "");
  await run.end("SIGTERM");
  return ids;
}

/** A port where nobody listens. */
async function deadPort(t: Test): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as { port: number };
  t.teardown(() => server.close());
  server.close();
  return port;
}

test("a message whose place in the queue is not its own is never sent twice, and the other mail goes", async (t) => {
  const receiver = await Receiver.listen(t);
  const life = new Life(t, await deadPort(t));
  const ids = await fill(life, ["sound", "misplaced", "also sound"]);

  const environment = openEnvironment(join(life.folder, "spool/shard-0"), mapSizeBytes);
  for (const { key } of recordsIn(environment.queue, firstKey(), undefined, 100)) {
    const place = parsePlaceKey(key);
    if (place === undefined || place.position.queueId !== ids.get("misplaced")) continue;
    const { stream, domain } = place.queue;
    // As a bit that flips in the due time does.
    const moved = placeKeyOf(stream, domain, place.position.dueAt - 4_096, place.position.queueId, 0);
    await environment.queue.remove(key);
    await environment.queue.put(moved, encodeEmpty(new Arena(), recordKind.place, moved));
  }
  await environment.root.close();

  writeFileSync(life.config, life.text(receiver.port, ""));
  for (let start = 0; start < 2; start++) {
    const run = await life.start();
    t.ok(await until(() => receiver.copies.includes("sound") && receiver.copies.includes("also sound")));
    if (start === 0) t.ok(await until(() => run.log().includes("quarantined")), run.log());
    t.equal((await run.end("SIGTERM")).status, 0, "the server goes on");
  }
  t.same([...receiver.copies].sort(), ["also sound", "sound"]);
  const check = await runCli(["spool", "check", "--config", life.config, "--json"]);
  t.equal(JSON.parse(check.out).shards[0].quarantined, 1, "it is kept for a person to look at");
});

test("a content with a flipped bit is never sent, and the other mail goes", async (t) => {
  const receiver = await Receiver.listen(t);
  const life = new Life(t, await deadPort(t));
  await fill(life, ["sound", "flipped", "also sound"]);
  const file = join(life.folder, "spool/shard-0/data.mdb");
  const octets = readFileSync(file);
  const fd = openSync(file, "r+");
  for (let at = octets.indexOf("X-Name: flipped"); at !== -1; at = octets.indexOf("X-Name: flipped", at + 1)) {
    writeSync(fd, "X-Name: flopped", at);
  }
  closeSync(fd);
  const check = await runCli(["spool", "check", "--config", life.config]);
  t.match(check, { status: 1, err: /problem/ });

  writeFileSync(life.config, life.text(receiver.port, ""));
  const run = await life.start();
  t.ok(await until(() => receiver.copies.length >= 2 && run.log().includes("quarantined")));
  t.equal((await run.end("SIGTERM")).status, 0);
  t.same([...receiver.copies].sort(), ["also sound", "sound"]);
});
