// Reads the arguments of MAIL and RCPT with the parameters of the extensions that we offer: SIZE (RFC 1870),
// BODY (RFC 6152), SMTPUTF8 (RFC 6531), DSN (RFC 3461 section 4) and AUTH (RFC 4954 section 5).

import type { Envelope, Notify } from "../core/envelope.ts";
import { type Mailbox, parseForwardPath, parseReversePath } from "../smtp/path.ts";
import { decodeXtext } from "../smtp/xtext.ts";
import { reply, type SmtpReply } from "./replies.ts";

export interface MailArguments {
  readonly kind: "mail";
  /** undefined for the null reverse-path. */
  readonly mailbox: Mailbox | undefined;
  /** Octets that the client says it will send; 0 when it does not. */
  readonly sizeBytes: number;
  readonly smtpUtf8: boolean;
  readonly ret: Envelope["ret"];
  readonly envid: string | undefined;
}

export interface RcptArguments {
  readonly kind: "rcpt";
  readonly mailbox: Mailbox;
  readonly notify: Notify;
  readonly orcpt: string | undefined;
}

export interface RefusedArguments {
  readonly kind: "refused";
  readonly reply: SmtpReply;
}

/** RFC 3461 section 4.4: at most 100 characters, encoded. */
const envidCharactersMax = 100;
/** RFC 3461 section 4.2: at most 500 characters with its keyword. */
const orcptCharactersMax = 500;

/** `text` is what follows `MAIL`. */
export function parseMail(text: string): MailArguments | RefusedArguments {
  const path = /^ +from:(.*)$/i.exec(text);
  if (path === null) return refused(reply(501, "5.5.4", "Syntax: MAIL FROM:<address> [parameters]"));
  const parsed = parseReversePath(path[1] as string);
  if (parsed.kind === "refused") return refused(reply(501, "5.1.7", `Bad reverse-path: ${parsed.reason}`));
  const parameters = splitParameters(parsed.parameters);
  if (!(parameters instanceof Map)) return refused(parameters);
  let sizeBytes = 0;
  let smtpUtf8 = false;
  let ret: Envelope["ret"];
  let envid: string | undefined;
  for (const [keyword, value] of parameters) {
    switch (keyword) {
      case "SIZE":
        if (value === undefined || !/^\d{1,20}$/.test(value)) return badParameter("SIZE is a number of octets");
        sizeBytes = Number(value);
        break;
      case "BODY":
        // What the content really holds is looked at later; BINARYMIME would need CHUNKING.
        if (!/^(?:7BIT|8BITMIME)$/i.test(value ?? "")) return badParameter("BODY is 7BIT or 8BITMIME");
        break;
      case "SMTPUTF8":
        if (value !== undefined) return badParameter("SMTPUTF8 takes no value");
        smtpUtf8 = true;
        break;
      case "RET":
        if (/^full$/i.test(value ?? "")) ret = "full";
        else if (/^hdrs$/i.test(value ?? "")) ret = "hdrs";
        else return badParameter("RET is FULL or HDRS");
        break;
      case "ENVID":
        envid = value === undefined || value.length > envidCharactersMax ? undefined : decodeXtext(value);
        if (envid === undefined || !isPrintable(envid)) return badParameter("ENVID is 1 to 100 characters of xtext");
        break;
      case "AUTH":
        // RFC 4954 section 5: must be taken with AUTH. We pass no identity on, which that section allows.
        if (value === undefined || decodeXtext(value) === undefined) return badParameter("AUTH is a mailbox in xtext");
        break;
      default:
        return refused(reply(555, "5.5.4", "MAIL FROM parameter not recognized"));
    }
  }
  if (parsed.mailbox?.needsSmtpUtf8 && !smtpUtf8) {
    // RFC 6531 section 3.5.
    return refused(reply(550, "5.6.7", "A non-ASCII reverse-path needs the SMTPUTF8 parameter"));
  }
  return { kind: "mail", mailbox: parsed.mailbox, sizeBytes, smtpUtf8, ret, envid };
}

/** `text` is what follows `RCPT`. `smtpUtf8`: MAIL had that parameter. */
export function parseRcpt(text: string, smtpUtf8: boolean): RcptArguments | RefusedArguments {
  const path = /^ +to:(.*)$/i.exec(text);
  if (path === null) return refused(reply(501, "5.5.4", "Syntax: RCPT TO:<address> [parameters]"));
  const parsed = parseForwardPath(path[1] as string);
  if (parsed.kind === "refused") return refused(reply(501, "5.1.3", `Bad forward-path: ${parsed.reason}`));
  if (parsed.mailbox === undefined) return refused(reply(501, "5.1.3", "Bad forward-path: it is empty"));
  const parameters = splitParameters(parsed.parameters);
  if (!(parameters instanceof Map)) return refused(parameters);
  let notify: Notify;
  let orcpt: string | undefined;
  for (const [keyword, value] of parameters) {
    switch (keyword) {
      case "NOTIFY":
        notify = parseNotify(value);
        if (notify === undefined) return badParameter("NOTIFY is NEVER, or a list of SUCCESS, FAILURE and DELAY");
        break;
      case "ORCPT":
        orcpt = parseOrcpt(value);
        if (orcpt === undefined) return badParameter("ORCPT is an address type, a semicolon and an address in xtext");
        break;
      default:
        return refused(reply(555, "5.5.4", "RCPT TO parameter not recognized"));
    }
  }
  if (parsed.mailbox.needsSmtpUtf8 && !smtpUtf8) {
    return refused(reply(553, "5.6.7", "A non-ASCII forward-path needs the SMTPUTF8 parameter of MAIL"));
  }
  return { kind: "rcpt", mailbox: parsed.mailbox, notify, orcpt };
}

/** RFC 5321 section 4.1.2: esmtp-keyword["=" esmtp-value], each at most once. */
function splitParameters(text: string): Map<string, string | undefined> | SmtpReply {
  const parameters = new Map<string, string | undefined>();
  if (text === "") return parameters;
  for (const part of text.split(/ +/)) {
    const match = /^([A-Za-z0-9][A-Za-z0-9-]*)(?:=([^\u0000-\u0020\u007f=]+))?$/.exec(part);
    if (match === null) return reply(501, "5.5.4", "Parameters are KEYWORD or KEYWORD=value");
    const keyword = (match[1] as string).toUpperCase();
    if (parameters.has(keyword)) return reply(501, "5.5.4", `${keyword} is given twice`);
    parameters.set(keyword, match[2]);
  }
  return parameters;
}

function parseNotify(value: string | undefined): Notify {
  const words = (value ?? "").toLowerCase().split(",");
  if (words.length === 1 && words[0] === "never") return [];
  const notify: ("success" | "failure" | "delay")[] = [];
  for (const word of words) {
    if (word !== "success" && word !== "failure" && word !== "delay") return undefined;
    if (!notify.includes(word)) notify.push(word);
  }
  return notify;
}

/** RFC 3461 section 4.2. A utf-8 address (RFC 6533 section 3) is kept in the encoding that the client gave it. */
function parseOrcpt(value: string | undefined): string | undefined {
  if (value === undefined || value.length + "ORCPT=".length > orcptCharactersMax) return undefined;
  const match = /^([A-Za-z0-9][A-Za-z0-9-]*);(.+)$/.exec(value);
  if (match === null) return undefined;
  const type = (match[1] as string).toLowerCase();
  const encoded = match[2] as string;
  // RFC 6533 section 3: utf-8-addr-xtext and utf-8-addr-unitext may hold `\x{...}` and non-ASCII octets.
  const address = type === "utf-8" && /[^!-~]/.test(encoded) ? encoded : decodeXtext(encoded);
  return address !== undefined && isPrintable(address) ? `${type};${address}` : undefined;
}

/** xtext can hide line ends (`+0D+0A`), which must not get into a reply, a log or a report. */
function isPrintable(text: string): boolean {
  return (
    text !== "" && text.isWellFormed() && !/[\u0000-\u001f\u007f-\u009f\u2028-\u202e\u2066-\u2069\ufffd]/.test(text)
  );
}

function badParameter(text: string): RefusedArguments {
  return refused(reply(501, "5.5.4", text));
}

function refused(smtpReply: SmtpReply): RefusedArguments {
  return { kind: "refused", reply: smtpReply };
}
