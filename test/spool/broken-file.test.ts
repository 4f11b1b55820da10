// A database file whose inner pages lead nowhere: the spool fails for good, and the next opening refuses it in words.

import { closeSync, mkdtempSync, openSync, readFileSync, rmSync, writeSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "tap";
import { acceptOf, idOf, patternOf } from "../contract/spool-fixture.ts";
import { openTestSpool } from "./lmdb-fixture.ts";

const pageBytes = 4096;
const pageHeadBytes = 24;
const branchFlag = 1;
const messages = 300;

/**
 * Lets every branch page of the file point behind its end. (LMDB: offsets count from behind the page's head, and a node's
 * page number ends in the two octets at 4.)
 */
function breakBranches(file: string): number {
  const octets = readFileSync(file);
  const fd = openSync(file, "r+");
  let broken = 0;
  for (let page = 2 * pageBytes; page + pageBytes <= octets.length; page += pageBytes) {
    const lower = octets.readUInt16LE(page + 20);
    if (octets.readBigUInt64LE(page) !== BigInt(page / pageBytes)) continue;
    if (octets.readUInt16LE(page + 18) !== branchFlag || lower === 0 || lower >= pageBytes - pageHeadBytes) continue;
    for (let at = 0; at < lower; at += 2) {
      const node = page + pageHeadBytes + octets.readUInt16LE(page + pageHeadBytes + at);
      writeSync(fd, Buffer.from([0xff, 0x7f]), 0, 2, node + 4);
      broken++;
    }
  }
  closeSync(fd);
  return broken;
}

test("a spool that LMDB cannot read any more fails for good, and is not opened again without a look", async (t) => {
  const folder = mkdtempSync(join(tmpdir(), "spool-"));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  const path = join(folder, "0");
  const filling = await openTestSpool(path);
  for (let i = 1; i <= messages; i++) await filling.commit([acceptOf(i, { content: patternOf(1_000, i) })]);
  await filling.close();
  t.ok(breakBranches(join(path, "data.mdb")) > 0);

  const spool = await openTestSpool(path);
  t.throws(() => spool.readMessage(idOf(1)), /MDB_/);
  t.equal(spool.health().kind, "failed");
  await t.rejects(spool.commit([{ kind: "events", lines: "x\n" }]), /broken/);
  await spool.close();
  await t.rejects(openTestSpool(path), /cannot be read to its end|problems after a failed commit/);
});
