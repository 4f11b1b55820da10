// The spool against kill -9, a failing disk, a slow disk, and a second opener.

import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Test, test } from "tap";
import { checkSpool, SpoolInUseError } from "../../src/spool/spool.ts";
import { idOf, patternOf } from "../contract/spool-fixture.ts";
import { openTestSpool } from "./lmdb-fixture.ts";

const child = join(import.meta.dirname, "crash-child.ts");

async function folderOf(t: Test): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "spool-"));
  t.teardown(() => rm(folder, { recursive: true, force: true }));
  return folder;
}

interface Running {
  readonly process: ChildProcess;
  readonly lines: string[];
  /** Resolves at the first line that begins so; rejects when the child ends first. */
  until(beginning: string): Promise<string>;
  readonly ended: Promise<void>;
}

function run(args: readonly string[], env: Record<string, string> = {}): Running {
  const started = spawn(process.execPath, [child, ...args], { env: { ...process.env, ...env } });
  const lines: string[] = [];
  let rest = "";
  let look = () => {};
  started.stdout.setEncoding("utf8");
  started.stdout.on("data", (text: string) => {
    const parts = (rest + text).split("\n");
    // What the kill cut off was not said.
    rest = parts.pop() ?? "";
    lines.push(...parts);
    look();
  });
  const ended = new Promise<void>((resolve) => started.on("close", () => resolve()));
  return {
    process: started,
    lines,
    ended,
    until(beginning) {
      return new Promise((resolve, reject) => {
        look = () => {
          const found = lines.find((line) => line.startsWith(beginning));
          if (found !== undefined) resolve(found);
        };
        look();
        void ended.then(() => reject(new Error(`ended before "${beginning}": ${lines.slice(-5).join(" | ")}`)));
      });
    },
  };
}

function numbersOf(lines: readonly string[], word: string): Set<number> {
  return new Set(lines.filter((line) => line.startsWith(`${word} `)).map((line) => Number(line.split(" ")[1])));
}

test("kill -9 at any moment loses nothing that was acknowledged, and the next process opens at once", async (t) => {
  const path = join(await folderOf(t), "0");
  const accepted = new Set<number>();
  const finished = new Set<number>();
  const cycles = 5;
  for (let cycle = 0; cycle < cycles; cycle++) {
    const running = run([path, String(cycle * 1_000_000 + 1)]);
    await running.until("accepted");
    await new Promise((resolve) => setTimeout(resolve, 20 + cycle * 37));
    running.process.kill("SIGKILL");
    await running.ended;
    for (const number of numbersOf(running.lines, "accepted")) accepted.add(number);
    for (const number of numbersOf(running.lines, "finished")) finished.add(number);
  }
  const check = await checkSpool(path);
  t.equal(check.problemCount, 0, JSON.stringify(check.problems.slice(0, 3)));
  const spool = await openTestSpool(path);
  const events = spool.readOutbox(0, 100_000).map(({ lines }) => lines.toString());
  const noted = numbersOf(events.join("").split("\n"), "accept");
  let lost = 0;
  let revived = 0;
  let unnoted = 0;
  for (const number of accepted) {
    const isThere = spool.readMessage(idOf(number)) !== undefined;
    if (!noted.has(number)) unnoted++;
    if (finished.has(number)) revived += isThere ? 1 : 0;
    else if (!isThere && number % 3 !== 0) lost++;
    else if (isThere) {
      const content = Buffer.concat([...spool.readContent(idOf(number))]);
      if (!content.equals(patternOf(2_000 + (number % 7) * 1_500, number))) lost++;
    }
  }
  await spool.close();
  t.ok(accepted.size > 100, `${accepted.size} accepted, ${finished.size} finished in ${cycles} cycles`);
  t.equal(lost, 0, "none lost");
  t.equal(revived, 0, "none finished and yet there");
  t.equal(unnoted, 0, "every acceptance has its event");
});

test("a second opener is told who has the spool, in this process and in another", async (t) => {
  const path = join(await folderOf(t), "0");
  const running = run([path, "1", "0"]);
  await running.until("closed");
  await running.ended;
  const spool = await openTestSpool(path);
  await t.rejects(openTestSpool(path), SpoolInUseError);
  await t.rejects(checkSpool(path), new RegExp(`spool .* is in use by process ${process.pid}`));
  const second = spawn(process.execPath, [child, path], { stdio: ["ignore", "ignore", "pipe"] });
  let complaint = "";
  second.stderr.on("data", (text: Buffer) => {
    complaint += text.toString();
  });
  const code = await new Promise((resolve) => second.on("close", resolve));
  t.not(code, 0);
  t.match(complaint, `is in use by process ${process.pid}`);
  await spool.close();
  await (await openTestSpool(path)).close();
});

/** The library that spoils fdatasync, or undefined where there is no compiler. */
async function faultLibrary(t: Test): Promise<string | undefined> {
  const library = join(await folderOf(t), "fault.so");
  try {
    const source = join(import.meta.dirname, "fdatasync-fault.c");
    execFileSync("gcc", ["-shared", "-fPIC", "-o", library, source, "-ldl"], { stdio: "ignore" });
    return library;
  } catch {
    return undefined;
  }
}

test("when the disk fails, waiting commits reject, none is taken after, and nothing of it is kept", async (t) => {
  const library = await faultLibrary(t);
  if (library === undefined) {
    t.plan(0, "no gcc to build the library that makes fdatasync fail");
    return;
  }
  const path = join(await folderOf(t), "0");
  const running = run([path, "1"], { LD_PRELOAD: library, FAULT_AFTER: "30" });
  await running.ended;
  const accepted = numbersOf(running.lines, "accepted");
  t.ok(accepted.size > 0, `${accepted.size} before the fault`);
  t.ok(running.lines.includes("health failed"), running.lines.slice(-4).join(" | "));
  t.ok(
    running.lines.some((line) => line.startsWith("refused")),
    "and no further change is taken",
  );
  t.ok(running.lines.includes("closed"), "it can still be closed");
  const spool = await openTestSpool(path);
  const finished = numbersOf(running.lines, "finished");
  const kept = [...accepted].filter((number) => spool.readMessage(idOf(number)) !== undefined);
  t.same(kept.length, accepted.size - finished.size, "after the restart exactly what was acknowledged is there");
  const places = spool.countQueue({ stream: "news", domain: "example.com" });
  t.equal(places, kept.length, "and not one entry more");
  await spool.close();
});

test("nothing is acknowledged before fdatasync has returned", async (t) => {
  const library = await faultLibrary(t);
  if (library === undefined) {
    t.plan(0, "no gcc to build the library that delays fdatasync");
    return;
  }
  const path = join(await folderOf(t), "0");
  await (await openTestSpool(path)).close();
  const running = run([path, "1", "1"], { LD_PRELOAD: library, FAULT_DELAY_MS: "400" });
  await running.until("open");
  const openedAt = performance.now();
  await running.until("accepted");
  const ms = performance.now() - openedAt;
  t.ok(ms >= 350, `acknowledged after ${Math.round(ms)} ms`);
  running.process.kill("SIGKILL");
  await running.ended;
});
