// `npm run test:peers`: mail from real submitters through Postern to real receivers, found through a real DNS server.
//
// 2,000 messages drawn from a seed must arrive byte for byte but for the added fields, each once for each recipient, and
// every signature must be good in the eyes of real verifiers. A peer whose package is not installed is skipped with a
// line that says so; with --all it is a failure. --direct leaves Postern out: it shows what the peers do by themselves.

import { chmodSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { epochMs, pause } from "../../native-bench/clock.ts";
import { freePort } from "../../native-bench/run-config.ts";
import { differenceOf, idOf, withChangedSubject, withoutReceiverFields, withoutSignatures } from "./compare.ts";
import { drawCorpus, idField, type Message } from "./corpus.ts";
import { dnsPackage, isDnsInstalled, startDns } from "./dns-server.ts";
import type { Copy, Receiver, RunningReceiver, Submitter, Verifier } from "./peer.ts";
import { makeFolder, packages, placeOf, Running } from "./places.ts";
import { run } from "./processes.ts";
import { aiosmtpd } from "./receivers/aiosmtpd.ts";
import { exim } from "./receivers/exim.ts";
import { opensmtpd } from "./receivers/opensmtpd.ts";
import { postfix } from "./receivers/postfix.ts";
import { smtpSink } from "./receivers/smtp-sink.ts";
import { Report } from "./report.ts";
import { curl } from "./submitters/curl.ts";
import { msmtp } from "./submitters/msmtp.ts";
import { nodemailer } from "./submitters/nodemailer.ts";
import { smtpSource } from "./submitters/smtp-source.ts";
import { smtplib } from "./submitters/smtplib.ts";
import { swaks } from "./submitters/swaks.ts";
import { submitToPostern } from "./through-postern.ts";
import { dkimpy } from "./verifiers/dkimpy.ts";
import { mailauth } from "./verifiers/mailauth.ts";
import { opendkim } from "./verifiers/opendkim.ts";
import { dnsAddress, domainOf, hostname, makeKeys } from "./world.ts";

const allSubmitters: readonly Submitter[] = [smtpSource, swaks, msmtp, curl, smtplib, nodemailer];
const allReceivers: readonly Receiver[] = [smtpSink, postfix, exim, opensmtpd, aiosmtpd];
const allVerifiers: readonly Verifier[] = [mailauth, dkimpy, opendkim];

const opensslMs = 30_000;
const arrivalMs = 180_000;
/** No new copy for so long: the rest does not come. */
const standstillMs = 30_000;
const pollMs = 1_000;

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
      if (await peer.isInstalled(packages)) found.push(peer);
      else report.missing(peer.name, peer.package, chosen.all);
    }
    return found;
  };
  const submitters = await present(allSubmitters);
  const receivers = await present(allReceivers);
  const verifiers = chosen.direct ? [] : await present(allVerifiers);
  if (!isDnsInstalled()) {
    report.missing("the DNS server", dnsPackage, chosen.all);
    return;
  }

  const { certificate, key } = await makeCertificate(folder);
  const deliveryPort = await freePort(2825);
  const started: { receiver: Receiver; running: RunningReceiver }[] = [];
  for (const receiver of receivers) {
    try {
      const started1 = await receiver.start({
        ...placeOf(receiver.name, receiver.address, deliveryPort, folder),
        certificate,
        key,
      });
      running.add(() => started1.stop());
      started.push({ receiver, running: started1 });
    } catch (error) {
      report.fail(`${receiver.name} starts`, [(error as Error).message]);
    }
  }
  const { signing, records } = await makeKeys(join(folder, "keys"));
  const dnsPort = await freePort(5453);
  const dns = await startDns(makeFolder(folder, "dns"), dnsPort, { receivers, records });
  running.add(() => dns.stop());

  const corpus = await drawCorpus({
    seed: chosen.seed,
    count: chosen.messages,
    submitters,
    receivers: started.map(({ receiver }) => receiver),
  });
  report.comment(`${corpus.length} messages, ${recipientCount(corpus)} recipients, seed ${chosen.seed}`);
  const submitted = chosen.direct
    ? await submitDirectly(corpus, submitters, started, deliveryPort, folder, report)
    : await submitToPostern(
        corpus,
        submitters,
        { folder, dnsPort, deliveryPort, signing, certificate, key },
        report,
        running,
      );
  const copies = await arrivals(submitted, started, chosen.direct, report);
  compareAll(submitted, submitters, started, copies, !chosen.direct, report);
  for (const verifier of verifiers) {
    // A verifier that finds everything good would prove nothing.
    const sound = withoutReceiverFields([...copies.values()].flat()[0]?.content ?? Buffer.alloc(0));
    const [bare, changed] = await verifier.verify(
      [withoutSignatures(sound), withChangedSubject(sound)],
      { records, dnsServer: dnsAddress, dnsPort },
      { folder: makeFolder(folder, `${verifier.name}-controls`) },
    );
    report.check(`${verifier.name} refuses a message without signature`, bare === undefined ? ["it does not"] : []);
    report.check(`${verifier.name} refuses a changed message`, changed === undefined ? ["it does not"] : []);
    for (const { receiver } of started) {
      const contents = (copies.get(receiver.name) ?? []).map(({ content }) => withoutReceiverFields(content));
      const from = epochMs();
      const verdicts = await verifier.verify(
        contents,
        { records, dnsServer: dnsAddress, dnsPort },
        { folder: makeFolder(folder, `${verifier.name}-${receiver.name}`) },
      );
      const bad = verdicts.flatMap((verdict, i) =>
        verdict === undefined ? [] : [`message ${idOf(contents[i] as Buffer, idField)}: ${verdict}`],
      );
      const seconds = ((epochMs() - from) / 1_000).toFixed(1);
      const what = `every signature in ${contents.length} messages at ${receiver.name} is good for ${verifier.name}`;
      report.check(`${what} # ${seconds} s`, contents.length === 0 ? ["no message"] : bad);
    }
  }
}

function recipientCount(messages: readonly Message[]): number {
  return messages.reduce((sum, { forwardPaths }) => sum + forwardPaths.length, 0);
}

/** One for all servers: nobody checks it. */
async function makeCertificate(folder: string): Promise<{ certificate: string; key: string }> {
  const certificate = join(folder, "cert.pem");
  const key = join(folder, "key.pem");
  const kind = ["-x509", "-newkey", "rsa:2048", "-nodes", "-days", "30", "-subj", `/CN=${hostname}`];
  const made = await run(
    { command: "openssl", args: ["req", ...kind, "-keyout", key, "-out", certificate] },
    "",
    opensslMs,
  );
  if (made.code !== 0) throw new Error(`openssl (package openssl) makes no certificate: ${made.stderr}`);
  return { certificate, key };
}

/** Each message straight to its receivers: one submission for each, as Postern would do it. */
async function submitDirectly(
  corpus: readonly Message[],
  submitters: readonly Submitter[],
  started: readonly { readonly receiver: Receiver }[],
  deliveryPort: number,
  folder: string,
  report: Report,
): Promise<readonly Message[]> {
  for (const { receiver } of started) {
    for (const submitter of submitters) {
      const own = corpus.flatMap((message) => {
        const forwardPaths = pathsTo(message, receiver);
        return message.submitter === submitter.name && forwardPaths.length > 0 ? [{ ...message, forwardPaths }] : [];
      });
      const place = { ...placeOf(submitter.name, receiver.address, deliveryPort, folder), login: undefined };
      report.check(
        `${submitter.name} submits ${own.length} messages to ${receiver.name}`,
        await submitter.submit(own, place),
      );
    }
  }
  return corpus.map((message) => ({
    ...message,
    fields: Buffer.concat([Buffer.from(message.labels), message.fields]),
  }));
}

function pathsTo(message: Message, receiver: Receiver): string[] {
  return message.forwardPaths.filter((path) => path.endsWith(`@${domainOf(receiver)}`));
}

type Copies = ReadonlyMap<string, readonly Copy[]>;

/** Waits until as many copies are there as there are recipients, or no more come. */
async function arrivals(
  messages: readonly Message[],
  started: readonly { readonly receiver: Receiver; readonly running: RunningReceiver }[],
  direct: boolean,
  report: Report,
): Promise<Copies> {
  const from = epochMs();
  const wanted = recipientCount(messages);
  let progressAt = from;
  let count = -1;
  for (;;) {
    const copies = new Map<string, readonly Copy[]>();
    for (const { receiver, running } of started) copies.set(receiver.name, await running.copies());
    const now = [...copies.values()].flat().reduce((sum, { forwardPaths }) => sum + forwardPaths.length, 0);
    if (now !== count) progressAt = epochMs();
    count = now;
    if (count >= wanted || epochMs() - from > arrivalMs || epochMs() - progressAt > standstillMs) {
      report.comment(
        `${count} of ${wanted} copies${direct ? "" : " through Postern"}, ${((epochMs() - from) / 1_000).toFixed(1)} s after the last submission`,
      );
      return copies;
    }
    await pause(pollMs);
  }
}

/** One check for each way from a submitter to a receiver. */
function compareAll(
  messages: readonly Message[],
  submitters: readonly Submitter[],
  started: readonly { readonly receiver: Receiver }[],
  copies: Copies,
  byPostern: boolean,
  report: Report,
): void {
  for (const { receiver } of started) {
    const byId = new Map<number, Copy[]>();
    const strangers: string[] = [];
    for (const copy of copies.get(receiver.name) ?? []) {
      const id = idOf(copy.content, idField);
      if (id === undefined) strangers.push(copy.content.toString("latin1", 0, 300));
      else byId.set(id, [...(byId.get(id) ?? []), copy]);
    }
    report.check(`${receiver.name} got nothing that was not sent`, strangers);
    for (const submitter of submitters) {
      const problems: string[] = [];
      let sent = 0;
      for (const message of messages) {
        const paths = pathsTo(message, receiver);
        if (message.submitter !== submitter.name || paths.length === 0) continue;
        sent++;
        const own = byId.get(message.id) ?? [];
        const got = own.flatMap(({ forwardPaths }) => forwardPaths).sort();
        if (got.join() !== [...paths].sort().join())
          problems.push(
            `message ${message.id} (${message.form}) for ${paths.join()} came for ${got.join() || "nobody"}`,
          );
        for (const { content } of own) {
          const difference = differenceOf(message, content, {
            receiverFields: receiver.addedFields,
            removedFields: receiver.removedFields,
            tls: receiver.tls && byPostern,
            postern: byPostern ? { loggedIn: message.loggedIn } : undefined,
          });
          if (difference !== undefined) problems.push(`message ${message.id} (${message.form}): ${difference}`);
        }
      }
      report.check(`${sent} messages from ${submitter.name} are at ${receiver.name} byte for byte`, problems);
    }
  }
}

process.exitCode = await main();
