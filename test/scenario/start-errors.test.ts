// What keeps a server from starting: each mistake ends it promptly, with exit status 1 and a line that names what is wrong.

import { once } from "node:events";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { type AddressInfo, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "tap";
import { SystemClock } from "../../src/platform/system-clock.ts";
import { openEnvironment } from "../../src/spool/environment.ts";
import { schemaVersion, writeSchema } from "../../src/spool/recovery.ts";
import { openLmdbSpool } from "../../src/spool/spool.ts";
import { silentLog } from "../../src/telemetry/log.ts";
import { runCli } from "../cli/run-cli.ts";

/** A start takes well under a second; this bound leaves room for a machine that does much else. */
const endMs = 8_000;
const mapSizeBytes = 64 * 1024 * 1024;

interface Mistake {
  readonly what: string;
  readonly says: RegExp;
  readonly settings?: string;
  readonly smtp?: string;
  readonly admin?: string;
  readonly shards?: number;
  readonly prepare?: (folder: string) => void | Promise<void>;
}

function configText(folder: string, { settings = "", smtp, admin, shards = 1 }: Mistake): string {
  return `hostname: mta.test
shards: ${shards}
spool: { path: ${folder}/spool, free_space_min: 1MiB, map_size: 64MiB }
ingest: { smtp: [{ listen: "${smtp ?? "127.0.0.1:0"}" }] }
dns: { servers: ["127.0.0.1:1"] }
events: { path: ${folder}/events }
admin: { listen: "${admin ?? "127.0.0.1:0"}" }
${settings.replaceAll("FOLDER", folder)}
`;
}

const keyOf = (file: string): string =>
  `signing: [{ domain: e.test, keys: [{ selector: s, algorithm: rsa-sha256, key_file: FOLDER/${file} }] }]`;

function mistakes(takenPort: number): Mistake[] {
  const taken = `127.0.0.1:${takenPort}`;
  return [
    { what: "an unknown key", settings: "bogus: 1", says: /:8:1: unknown key "bogus"/ },
    { what: "a pool with an unknown source", settings: "pools: { a: { members: { no: 1 } } }", says: /no source "no"/ },
    { what: "a stream with an unknown pool", settings: "streams: { a: { pool: no } }", says: /no pool "no"/ },
    { what: "an unknown default stream", settings: "default_stream: no", says: /no stream "no"/ },
    {
      what: "a user with an unknown stream",
      settings: 'users: { u: { password_scrypt: "scrypt$16384$8$1$c2FsdA==$aGFzaA==", streams: [no] } }',
      says: /no stream "no"/,
    },
    { what: "a signing key that is not there", settings: keyOf("no.pem"), says: /no\.pem \(ENOENT\)/ },
    {
      what: "a signing key that is none",
      settings: keyOf("bad.pem"),
      prepare: (folder) => writeFileSync(join(folder, "bad.pem"), "garbage"),
      says: /bad\.pem: is no private key/,
    },
    { what: "a submission port that is taken", smtp: taken, says: new RegExp(`${taken} is in use`) },
    { what: "a submission port that is taken, of two shards", smtp: taken, shards: 2, says: /is in use/ },
    { what: "an address of another machine", smtp: "192.0.2.1:2525", says: /no address of this machine/ },
    { what: "an admin port that is taken", admin: taken, says: /admin\.listen .* is in use/ },
    {
      what: "a spool folder that is a file",
      prepare: (folder) => writeFileSync(join(folder, "spool"), ""),
      says: /spool folder .*\/spool cannot be read: ENOTDIR/,
    },
    {
      what: "a shard's folder that is a file",
      prepare: (folder) => {
        mkdirSync(join(folder, "spool"));
        writeFileSync(join(folder, "spool/shard-0"), "");
      },
      says: /spool folder .*\/shard-0 cannot be made: EEXIST/,
    },
    {
      what: "a lock that cannot be opened",
      prepare: (folder) => void mkdirSync(join(folder, "spool/shard-0/owner.lock"), { recursive: true }),
      says: /shard-0 cannot be locked: unable to open/,
    },
    {
      what: "a folder for the delivery log that is a file",
      prepare: (folder) => writeFileSync(join(folder, "events"), ""),
      says: /the delivery log cannot be opened in .*\/events: EEXIST/,
    },
    {
      what: "a database that is none",
      prepare: (folder) => {
        mkdirSync(join(folder, "spool/shard-0"), { recursive: true });
        writeFileSync(join(folder, "spool/shard-0/data.mdb"), Buffer.alloc(100_000, 7));
      },
      says: /data\.mdb is cut off or no LMDB file/,
    },
    { what: "a spool of a newer version", prepare: writeNewerSpool, says: /has schema \d+, this version knows up to/ },
  ];
}

async function writeNewerSpool(folder: string): Promise<void> {
  const path = join(folder, "spool/shard-0");
  const options = { path, mapSizeBytes, freeSpaceMinBytes: 0, commitLatencyMaxMs: 5_000, log: silentLog };
  await (await openLmdbSpool({ ...options, clock: new SystemClock() })).close();
  const environment = openEnvironment(path, mapSizeBytes);
  await writeSchema(environment, schemaVersion + 1);
  await environment.root.close();
}

test("a server that cannot start says why in one line, and ends promptly with status 1", async (t) => {
  const busy = createServer().listen(0, "127.0.0.1");
  await once(busy, "listening");
  t.teardown(() => busy.close());
  const all = mistakes((busy.address() as AddressInfo).port);
  const check = async (mistake: Mistake): Promise<void> => {
    const folder = mkdtempSync(join(tmpdir(), "postern-start-"));
    t.teardown(() => rmSync(folder, { recursive: true, force: true }));
    await mistake.prepare?.(folder);
    const config = join(folder, "postern.yaml");
    writeFileSync(config, configText(folder, mistake));
    const startedAt = performance.now();
    const { status, err } = await runCli(["serve", "--config", config]);
    const ms = Math.round(performance.now() - startedAt);
    t.equal(status, 1, mistake.what);
    t.ok(ms < endMs, `${mistake.what}: ${ms} ms`);
    // The log of what went well before is JSON.
    const lines = err.split("\n").filter((line) => line !== "" && !line.startsWith("{"));
    t.match(lines[0], mistake.says, mistake.what);
    t.equal(lines.length, 1, err);
  };
  // Two at a time: more only wait for the processors.
  const rest = [...all];
  const work = async (): Promise<void> => {
    for (let mistake = rest.shift(); mistake !== undefined; mistake = rest.shift()) await check(mistake);
  };
  await Promise.all([work(), work()]);
});
