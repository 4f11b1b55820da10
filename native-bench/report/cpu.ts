// CPU time for each message, and what a bare signature takes of it.

import { generateKeyPairSync, sign } from "node:crypto";
import type { Cpu } from "../process-usage.ts";
import type { CpuReport } from "./report.ts";

/** What the processes used for so many messages. */
export function cpuReport(
  used: { readonly server: Cpu; readonly source: Cpu; readonly receivers: Cpu },
  messages: number,
): CpuReport {
  const us = (seconds: number): number => (1e6 * seconds) / Math.max(1, messages);
  const whole = ({ userSeconds, systemSeconds }: Cpu): number => us(userSeconds + systemSeconds);
  return {
    serverUsPerMessage: whole(used.server),
    serverUsBesideSignature: whole(used.server),
    serverUserUsPerMessage: us(used.server.userSeconds),
    serverSystemUsPerMessage: us(used.server.systemSeconds),
    sourceUsPerMessage: whole(used.source),
    receiversUsPerMessage: whole(used.receivers),
  };
}

const signatureRounds = 200;

/** CPU time of one RSA-2048 signature of 1 KB on this machine, in microseconds. */
export function bareSignatureUs(): number {
  const { privateKey } = generateKeyPairSync("rsa", { modulusLength: 2_048 });
  const text = Buffer.alloc(1_024, "x");
  for (let i = 0; i < 20; i++) sign("sha256", text, privateKey);
  const before = process.cpuUsage();
  for (let i = 0; i < signatureRounds; i++) sign("sha256", text, privateKey);
  const { user, system } = process.cpuUsage(before);
  return (user + system) / signatureRounds;
}

/** A signature of a mail may cost so many bare ones: hashes, canonical forms, and the way to another thread and back. */
const signatureAllowance = 1.3;

/** The same, with what a bare signature cost before and after the run. */
export function cpuWithSignatures(cpu: CpuReport, bareUs: readonly [before: number, after: number]): CpuReport {
  const bareSignatureUs = (bareUs[0] + bareUs[1]) / 2;
  const serverUsBesideSignature = cpu.serverUsPerMessage - signatureAllowance * bareSignatureUs;
  return { ...cpu, bareSignatureUs, serverUsBesideSignature };
}
