// `npm run test:peers`: mail from real submitters through Postern to real receivers, found through a real DNS server.
//
// 2,000 messages drawn from a seed must arrive byte for byte but for the added fields, each once for each recipient, and
// every signature must be good in the eyes of real verifiers. A peer whose package is not installed is skipped with a
// line that says so; with --all it is a failure. --direct leaves Postern out: it shows what the peers do by themselves.

import { chmodSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { freePort } from "../../native-bench/run-config.ts";
import { arrivals, checkComparison, compareAll } from "./arrivals.ts";
import { makeCertificate } from "./certificate.ts";
import { drawCorpus, recipientCount } from "./corpus.ts";
import { submitDirectly } from "./directly.ts";
import { dnsPackage, isDnsInstalled, startDns } from "./dns-server.ts";
import type { Receiver, RunningReceiver, Submitter, Verifier } from "./peer.ts";
import { makeFolder, packages, placeOf, Running } from "./places.ts";
import { aiosmtpd } from "./receivers/aiosmtpd.ts";
import { exim } from "./receivers/exim.ts";
import { opensmtpd } from "./receivers/opensmtpd.ts";
import { postfix } from "./receivers/postfix.ts";
import { smtpSink } from "./receivers/smtp-sink.ts";
import { Report } from "./report.ts";
import { verifyAll } from "./signatures.ts";
import { curl } from "./submitters/curl.ts";
import { msmtp } from "./submitters/msmtp.ts";
import { nodemailer } from "./submitters/nodemailer.ts";
import { smtpSource } from "./submitters/smtp-source.ts";
import { smtplib } from "./submitters/smtplib.ts";
import { swaks } from "./submitters/swaks.ts";
import { checkEvents, submitToPostern } from "./through-postern.ts";
import { dkimpy } from "./verifiers/dkimpy.ts";
import { mailauth } from "./verifiers/mailauth.ts";
import { opendkim } from "./verifiers/opendkim.ts";
import { dnsAddress, makeKeys } from "./world.ts";

const allSubmitters: readonly Submitter[] = [smtpSource, swaks, msmtp, curl, smtplib, nodemailer];
const allReceivers: readonly Receiver[] = [smtpSink, postfix, exim, opensmtpd, aiosmtpd];
const allVerifiers: readonly Verifier[] = [mailauth, dkimpy, opendkim];

interface Options {
  readonly messages: number;
  readonly seed: number;
  readonly all: boolean;
  readonly direct: boolean;
  readonly keep: boolean;
}

function options(): Options {
  const { values } = parseArgs({
    options: {
      messages: { type: "string", default: "2000" },
      seed: { type: "string", default: "1" },
      all: { type: "boolean", default: false },
      direct: { type: "boolean", default: false },
      keep: { type: "boolean", default: false },
    },
  });
  return { ...values, messages: Number(values.messages), seed: Number(values.seed) };
}

async function main(): Promise<number> {
  const chosen = options();
  const report = new Report();
  const running = new Running();
  const folder = mkdtempSync(join(tmpdir(), "postern-peers-"));
  // Receivers work in it as users of their own.
  chmodSync(folder, 0o711);
  const end = async (status: number): Promise<never> => {
    await running.stopAll();
    if (chosen.keep) report.comment(`what was written is in ${folder}`);
    else rmSync(folder, { recursive: true, force: true });
    process.exit(status);
  };
  for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, () => void end(1));
  try {
    await meet(chosen, folder, report, running);
  } catch (error) {
    report.fail("the run", [error instanceof Error ? (error.stack ?? error.message) : String(error)]);
  }
  report.end();
  return end(report.isGood ? 0 : 1);
}

async function meet(chosen: Options, folder: string, report: Report, running: Running): Promise<void> {
  const present = async <Peer extends Submitter | Receiver | Verifier>(peers: readonly Peer[]): Promise<Peer[]> => {
    const found: Peer[] = [];
    for (const peer of peers) {
      if (!(await peer.isInstalled(packages))) report.skip(peer.name, notInstalled(peer.package), chosen.all);
      else if (peer.needsRoot && process.getuid?.() !== 0) report.skip(peer.name, "it needs root", chosen.all);
      else found.push(peer);
    }
    return found;
  };
  const submitters = await present(allSubmitters);
  const receivers = await present(allReceivers);
  const verifiers = await present(allVerifiers);
  if (!isDnsInstalled()) return report.skip("the DNS server", notInstalled(dnsPackage), chosen.all);

  const certificate = await makeCertificate(folder);
  const deliveryPort = await freePort(2825);
  const started = await startAll(receivers, { folder, deliveryPort, ...certificate }, report, running);
  if (started.length === 0) return report.fail("receivers", ["there is none"]);
  const { signing, records } = await makeKeys(join(folder, "keys"));
  const dnsPort = await freePort(5453);
  const dns = await startDns(makeFolder(folder, "dns"), dnsPort, { receivers, records });
  running.add(() => dns.stop());

  const drawn = { seed: chosen.seed, count: chosen.messages, submitters };
  const corpus = await drawCorpus({ ...drawn, receivers: started.map(({ receiver }) => receiver) });
  report.comment(`${corpus.length} messages, ${recipientCount(corpus)} recipients, seed ${chosen.seed}`);
  if (chosen.direct) {
    const submitted = await submitDirectly(corpus, submitters, started, deliveryPort, folder, report);
    compareAll(submitted, submitters, started, await arrivals(submitted, started, report), false, report);
    return;
  }
  const world = { folder, dnsPort, deliveryPort, signing, ...certificate };
  await submitToPostern(corpus, submitters, world, report, running);
  const copies = await arrivals(corpus, started, report);
  compareAll(corpus, submitters, started, copies, true, report);
  checkComparison(corpus, started, copies, report);
  await checkEvents(corpus, folder, report);
  await verifyAll(verifiers, copies, { records, dnsServer: dnsAddress, dnsPort }, folder, report);
}

interface Surroundings {
  readonly folder: string;
  readonly deliveryPort: number;
  readonly certificate: string;
  readonly key: string;
}

interface Started {
  readonly receiver: Receiver;
  readonly running: RunningReceiver;
}

async function startAll(
  receivers: readonly Receiver[],
  { folder, deliveryPort, certificate, key }: Surroundings,
  report: Report,
  running: Running,
): Promise<Started[]> {
  const started: Started[] = [];
  for (const receiver of receivers) {
    const place = placeOf(receiver.name, receiver.address, deliveryPort, folder);
    try {
      const up = await receiver.start({ ...place, certificate, key });
      running.add(() => up.stop());
      started.push({ receiver, running: up });
    } catch (error) {
      report.fail(`${receiver.name} starts`, [(error as Error).message]);
    }
  }
  return started;
}

function notInstalled(packageName: string): string {
  return `package ${packageName} is not installed`;
}

process.exitCode = await main();
