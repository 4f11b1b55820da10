// Postern in the middle: started with a config for the run, and given each submitter's mail.

import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { epochMs, pause } from "../../native-bench/clock.ts";
import { EventLogReader } from "../../native-bench/event-log.ts";
import { PosternProcess } from "../../native-bench/postern-process.ts";
import { freePort } from "../../native-bench/run-config.ts";
import { hashPassword } from "../../src/ingest/password.ts";
import { type Message, recipientCount } from "./corpus.ts";
import type { SubmissionPlace, Submitter } from "./peer.ts";
import { placeOf, type Running } from "./places.ts";
import type { Report } from "./report.ts";
import { dnsAddress, hostname, type SigningEntry } from "./world.ts";

const readyMs = 30_000;
const stopMs = 15_000;
const logMs = 10_000;
const pollMs = 100;
const login = { user: "peers", password: "correct-horse-7" };

export interface PosternWorld {
  readonly folder: string;
  readonly dnsPort: number;
  readonly deliveryPort: number;
  readonly signing: readonly SigningEntry[];
  readonly certificate: string;
  readonly key: string;
}

/** All submitters at once. The mail of each goes to a port of trusted clients, or to one that wants STARTTLS and AUTH. */
export async function submitToPostern(
  corpus: readonly Message[],
  submitters: readonly Submitter[],
  world: PosternWorld,
  report: Report,
  running: Running,
): Promise<void> {
  const { folder } = world;
  const openPort = await freePort(2587);
  const loginPort = await freePort(2588);
  const admin = `127.0.0.1:${await freePort(8587)}`;
  const configFile = join(folder, "postern.yaml");
  // JSON is YAML.
  writeFileSync(configFile, JSON.stringify(await configOf(world, openPort, loginPort, admin)));
  const postern = new PosternProcess({ configFile, admin, logFile: join(folder, "postern.log") });
  running.add(() => postern.stop(stopMs));
  if (!(await postern.ready(readyMs))) throw new Error(`Postern ended\n${postern.logTail()}`);

  const submit = async (submitter: Submitter, loggedIn: boolean): Promise<void> => {
    const own = corpus.filter((message) => message.submitter === submitter.name && message.loggedIn === loggedIn);
    if (own.length === 0) return;
    const place: SubmissionPlace = {
      ...placeOf(
        `${submitter.name}-${loggedIn ? "login" : "open"}`,
        "127.0.0.1",
        loggedIn ? loginPort : openPort,
        folder,
      ),
      login: loggedIn ? login : undefined,
    };
    const from = epochMs();
    const problems = await submitter.submit(own, place);
    const how = loggedIn ? " by STARTTLS and AUTH" : "";
    const seconds = ((epochMs() - from) / 1_000).toFixed(1);
    report.check(`${submitter.name} submits ${own.length} messages${how} # ${seconds} s`, problems);
  };
  await Promise.all(submitters.flatMap((submitter) => [submit(submitter, false), submit(submitter, true)]));
}

/** Postern's own log, which may come a little later, must say the same: each recipient delivered once, none given up. */
export async function checkEvents(corpus: readonly Message[], folder: string, report: Report): Promise<void> {
  const recipients = recipientCount(corpus);
  const wanted: Readonly<Record<string, number>> = { reception: recipients, delivery: recipients };
  const unwanted = ["bounce", "expiration", "cancellation", "unknown-outcome"];
  const log = new EventLogReader(join(folder, "events"));
  const counts: Record<string, number> = {};
  const until = epochMs() + logMs;
  for (;;) {
    for (const { kind } of log.poll()) counts[kind] = (counts[kind] ?? 0) + 1;
    const problems = [...Object.keys(wanted), ...unwanted]
      .filter((kind) => (counts[kind] ?? 0) !== (wanted[kind] ?? 0))
      .map((kind) => `${counts[kind] ?? 0} events of kind ${kind}, not ${wanted[kind] ?? 0}`);
    if (problems.length === 0 || epochMs() > until) {
      return report.check("Postern's log tells of one delivery for each recipient", problems);
    }
    await pause(pollMs);
  }
}

async function configOf(
  { folder, dnsPort, deliveryPort, signing, certificate, key }: PosternWorld,
  openPort: number,
  loginPort: number,
  admin: string,
): Promise<unknown> {
  const longLines = { line_bytes_max: "64KiB" };
  return {
    hostname,
    spool: { path: join(folder, "spool"), free_space_min: "64MiB", map_size: "4GiB" },
    ingest: {
      smtp: [
        { listen: `127.0.0.1:${openPort}`, trust: ["127.0.0.0/8"], auth: "off", ...longLines },
        {
          listen: `127.0.0.1:${loginPort}`,
          trust: [],
          auth: "required",
          tls: { cert: certificate, key, mode: "starttls" },
          ...longLines,
        },
      ],
    },
    users: { [login.user]: { password_scrypt: await hashPassword(login.password) } },
    dns: { servers: [`${dnsAddress}:${dnsPort}`], timeout: "2s" },
    delivery: { port: deliveryPort, internal_networks_allowed: ["127.0.0.0/8"], ip: [4] },
    streams: { mail: { class: "batch", expire: "10m", retry: ["1s", "2s", "3s"] } },
    sites: { defaults: { connections_max: 10, connection_rate: "unlimited", rate: "unlimited" } },
    signing,
    events: { path: join(folder, "events") },
    admin: { listen: admin },
  };
}
