// One SMTP submission session: the dialogue of RFC 5321 and RFC 6409 on top of smtp-server's connection.
//
// What is taken from smtp-server 3.21.6: sockets, STARTTLS with its clean break, the SASL exchanges, closing with a
// half-closed socket. What is overridden here, and why:
// - `init`, `_sendGreeting`: a fixed wait of 100 ms before the greeting; the check for early talkers needs none.
// - `_createParser`: see command-stream.ts.
// - `send`: one write for each reply; ours sends the replies to a pipelined group together.
// - `_armTimeout`, `_onTimeout`: a timer for each socket that any octet resets; one sweep over all sessions also
//   ends a command line or a content that trickles in.
// - `_onCommand` and the command handlers but AUTH and STARTTLS: addresses rewritten to U-labels, parameters not
//   checked, a turn of the event loop for each command.
// test/ingest/smtp-server-contract.test.ts fails when the package no longer is what this file was written against.

import type { Socket } from "node:net";
import type { TLSSocket } from "node:tls";
import { SMTPConnection, type SMTPConnectionOptions } from "smtp-server/lib/smtp-connection.js";
import type { UserConfig } from "../config/config.ts";
import type { Recipient } from "../core/envelope.ts";
import { isLoopbackAddress } from "../core/ip-address.ts";
import type { Millis } from "../core/time.ts";
import { authLineBytesMax, type CommandSink, CommandStream, commandBytesMax } from "./command-stream.ts";
import { ContentReader } from "./content-reader.ts";
import type { IntakeFacts } from "./intake.ts";
import type { ListenerSettings, SubmissionListener } from "./listener.ts";
import { type MailArguments, parseMail, parseRcpt } from "./parameters.ts";
import { faultReply, submit } from "./reception.ts";
import * as replies from "./replies.ts";
import { cleanText, reply, replyLine, type SmtpReply } from "./replies.ts";
import { addressGroup, isInNetworks, mayUseReversePath } from "./submission-policy.ts";

interface Transaction {
  readonly mail: MailArguments;
  /** undefined for a trusted network. */
  readonly user: UserConfig | undefined;
  readonly reversePath: string;
  /** By forward-path: a recipient given twice gets the message once. */
  readonly recipients: Map<string, Recipient>;
  hasUtf8Address: boolean;
  /** RCPT commands refused, or repeated. They are no errors of the dialogue: lists hold bad addresses. */
  vainRecipients: number;
  tooManyNoted: boolean;
}

/** What a command is answered with: undefined when that was done or comes later. */
type Answer = SmtpReply | { readonly goodbye: SmtpReply } | undefined;

/** Commands that move nothing (NOOP, RSET, VRFY, EHLO...) between two messages. */
const idleCommandsMax = 1_000;
/** Recipients refused or given again in one transaction, where the listener's limit of recipients is smaller. */
const vainRecipientsMax = 1_000;
/** A content that is refused is still read to its end, but not for ever. */
const refusedContentFactorMax = 4;
/** A client may begin slowly; after this long its rate counts. */
const dataRateGraceMsMax: Millis = 30_000;

export class SubmissionSession extends SMTPConnection implements CommandSink {
  readonly #listener: SubmissionListener;
  #transaction: Transaction | undefined;
  /** Replies not written yet. */
  #out = "";
  #errors = 0;
  #idleCommands = 0;
  /** A command waits for us, so the client owes nothing. */
  #busy = false;
  /** When the client began to owe us a command, or its content. */
  #owedSinceMs: Millis;
  #lastOctetMs: Millis;
  #contentSinceMs: Millis = 0;
  #counted = true;

  constructor(listener: SubmissionListener, socket: Socket | TLSSocket, options?: SMTPConnectionOptions | null) {
    super(listener, socket, options);
    this.#listener = listener;
    this.#owedSinceMs = this.#lastOctetMs = listener.shared.clock.monotonicMs();
    listener.shared.meter.sessionOpened();
  }

  // --- what smtp-server calls ---

  override init(): void {
    this._setListeners(() => this.connectionReady());
  }

  /** Called by smtp-server's constructor: no private field exists yet. */
  override _createParser(): CommandStream {
    return new CommandStream(this);
  }

  override _sendGreeting(): void {
    if (this._closing || this._closed) return;
    this.#owedSinceMs = this.#listener.shared.clock.monotonicMs();
    // RFC 2034 section 4: no enhanced status code in a greeting.
    this.#out += `220 ${this.#config.hostname} ESMTP Postern\r\n`;
    this.#flush();
  }

  /** Replies of the package's own code (AUTH, STARTTLS, refusals): see `#reply` for ours. */
  override send(code: number, data?: string | string[] | null, context?: string | false): void {
    const text = cleanText(Array.isArray(data) ? data.join(" ") : (data ?? ""));
    const hasEnhanced = /^[245]\.\d+\.\d+ /.test(text);
    const enhanced = hasEnhanced ? "" : this._getEnhancedStatusCode(code, context);
    if (this.#countsTooManyErrors(code)) {
      this.#goodbye(replies.tooManyErrors);
      return;
    }
    this.#out += `${code} ${enhanced}${enhanced === "" ? "" : " "}${text}\r\n`;
    if (code === 421) this.close();
  }

  override _resetSession(): void {
    super._resetSession();
    this.#transaction = undefined;
  }

  override upgrade(callback: () => void, secureCallback?: () => void): void {
    this.#flush();
    const accepted = this._socket;
    super.upgrade(callback, secureCallback);
    this.#listener.forgetWhenClosed(accepted);
  }

  override close(): void {
    this.#flush();
    this.#reader?.dispose();
    super.close();
  }

  override _armTimeout(): void {}

  override _onClose(): void {
    this.#reader?.dispose();
    super._onClose();
    if (!this.#counted) return;
    this.#counted = false;
    this.#listener.shared.meter.sessionClosed();
  }

  // --- what the command stream calls ---

  get isGreeted(): boolean {
    return this._ready;
  }

  onEarlyInput(): void {
    this.#goodbye(reply(421, "4.5.0", "You talk too soon: wait for the greeting"));
  }

  onBadLine(reason: "bare-line-end" | "too-long"): void {
    // A line of an AUTH exchange that is broken ends the exchange.
    this._nextHandler = false;
    this.#give(reason === "too-long" ? lineTooLong : replies.bareLineEnd);
    this.#owedSinceMs = this.#listener.shared.clock.monotonicMs();
  }

  onEndlessLine(): void {
    this.#goodbye(replies.tooManyErrors);
  }

  onCommand(line: Buffer, more: boolean): void {
    this.#owedSinceMs = this.#listener.shared.clock.monotonicMs();
    const handler = this._nextHandler;
    if (handler !== false) {
      this._nextHandler = false;
      this.#runLater((done) => handler.call(this, line, done));
      return;
    }
    const text = textOf(line);
    if (text === undefined) this.#give(reply(500, "5.5.2", "A command is US-ASCII or UTF-8"));
    else this.#give(this.#obey(text, line, more));
  }

  onContentOctets(): void {
    this.#lastOctetMs = this.#listener.shared.clock.monotonicMs();
    const content = this.#reader;
    if (content?.fault === undefined) return;
    if (content.rawBytes > refusedContentFactorMax * this.#limits.messageBytesMax) {
      this.#goodbye(reply(421, "4.3.4", faultReply(content.fault, this.#limits).text));
    }
  }

  onContentEnd(): void {
    const reader = this.#reader;
    const transaction = this.#transaction;
    this.#reader = undefined;
    this.#transaction = undefined;
    if (reader === undefined || transaction === undefined) throw new Error("content ended outside of a transaction");
    this.#idleCommands = 0;
    if (reader.fault !== undefined) {
      reader.dispose();
      this.#refuseMessage(transaction, faultReply(reader.fault, this.#limits));
      this.#afterMessage();
      return;
    }
    this.#runLater((done) => {
      void this.#accept(reader, transaction).then(() => {
        reader.dispose();
        this.#afterMessage();
        done();
      });
    });
  }

  onInputDone(): Promise<void> | undefined {
    this.#flush();
    const socket = this._socket;
    if (!socket.writableNeedDrain || socket.destroyed) return undefined;
    // A client that sends without reading replies would make us keep them all.
    const { promise, resolve } = Promise.withResolvers<void>();
    const done = (): void => {
      socket.off("drain", done);
      socket.off("close", done);
      resolve();
    };
    socket.on("drain", done);
    socket.on("close", done);
    return promise;
  }

  // --- what the listener calls ---

  /** Ends the session when the client owed us something for too long. */
  checkTime(nowMs: Millis): void {
    if (this.#busy || this._closing || this._upgrading || !this._ready) {
      // A handshake or an answer of ours that hangs is bounded elsewhere, but not the wait for a handshake.
      if (this._upgrading && nowMs - this.#owedSinceMs > this.#limits.idleTimeoutMs) this._socket.destroy();
      return;
    }
    const limits = this.#limits;
    const reader = this.#reader;
    if (reader === undefined) {
      if (nowMs - this.#owedSinceMs > limits.idleTimeoutMs) this.#goodbye(replies.idleTooLong);
      return;
    }
    const spentMs = nowMs - this.#contentSinceMs;
    if (nowMs - this.#lastOctetMs > limits.idleTimeoutMs) this.#goodbye(replies.idleTooLong);
    else if (
      spentMs > Math.min(limits.idleTimeoutMs, dataRateGraceMsMax) &&
      reader.rawBytes < (limits.dataRateMinBytesPerSecond * spentMs) / 1_000
    ) {
      this.#goodbye(replies.dataTooSlow);
    }
  }

  /** Says goodbye unless a transaction runs, which may end first. */
  drain(): void {
    if (this.#transaction === undefined && !this.#busy) this.abort();
  }

  /** Says goodbye at once. */
  abort(): void {
    this.#goodbye(replies.shuttingDown);
  }

  // --- the dialogue ---

  #reader: ContentReader | undefined;

  get #stream(): CommandStream | undefined {
    return this._parser instanceof CommandStream ? this._parser : undefined;
  }

  get #config() {
    return this.#listener.settings.config;
  }

  get #limits() {
    return this.#listener.settings.listener;
  }

  #obey(text: string, line: Buffer, more: boolean): Answer {
    const blank = text.indexOf(" ");
    const verb = (blank === -1 ? text : text.slice(0, blank)).toUpperCase();
    const rest = blank === -1 ? "" : text.slice(blank);
    if (line.length > commandBytesMax && verb !== "AUTH") return lineTooLong;
    switch (verb) {
      case "MAIL":
        return this.#mail(rest);
      case "RCPT":
        return this.#rcpt(rest);
      case "DATA":
        return this.#data(rest, more);
      case "EHLO":
      case "HELO":
        return this.#hello(verb, rest.trim(), more);
      case "RSET":
        this.#transaction = undefined;
        return this.#idleReply(reply(250, "2.0.0", "OK"));
      case "NOOP":
        return this.#idleReply(reply(250, "2.0.0", "OK"));
      case "QUIT":
        return goodbye(reply(221, "2.0.0", `${this.#config.hostname} closing`));
      case "VRFY":
        // RFC 5321 section 3.5.3: no promise, and the same for everyone.
        if (rest.trim() === "") return reply(501, "5.5.4", "Syntax: VRFY address");
        return this.#idleReply(reply(252, "2.5.0", "Send the mail and see"));
      case "EXPN":
        return reply(502, "5.5.1", "EXPN is not implemented");
      case "HELP":
        return this.#idleReply(reply(214, "2.0.0", "See RFC 5321 and RFC 6409"));
      case "STARTTLS":
        return this.#startTls(rest, line);
      case "AUTH":
        return this.#auth(rest, line, more);
      default:
        // A web page that makes a browser talk to us (RFC 9110 methods) never sends a mail.
        if (/^(?:GET|HEAD|POST|PUT|DELETE|CONNECT|OPTIONS|TRACE|PATCH)$/.test(verb) && / HTTP\/\d/.test(rest)) {
          return goodbye(reply(421, "4.7.0", "This is not an HTTP server"));
        }
        return reply(500, "5.5.2", "Command not recognized");
    }
  }

  #hello(verb: "EHLO" | "HELO", name: string, more: boolean): Answer {
    // RFC 2920 section 3.1: the client must see this reply before it may send more.
    if (more) return goodbye(replies.outOfStep);
    if (name === "" || name.length > heloCharactersMax || !/^[!-~]+$/.test(name)) {
      return reply(501, "5.5.4", `Syntax: ${verb} hostname`);
    }
    this.openingCommand = verb;
    this.hostNameAppearsAs = name;
    // RFC 5321 section 4.1.4: as RSET.
    this.#transaction = undefined;
    if (!this.#mayIdle()) return goodbye(tooIdle);
    const greeting = `${this.#config.hostname} greets ${cleanText(name)}`;
    if (verb === "HELO") {
      this.#out += `250 ${greeting}\r\n`;
      return undefined;
    }
    const lines = [greeting, "PIPELINING", `SIZE ${this.#limits.messageBytesMax}`, "8BITMIME", "SMTPUTF8"];
    lines.push("ENHANCEDSTATUSCODES", "DSN");
    if (!this.secure && this.#listener.settings.hasStartTls) lines.push("STARTTLS");
    if (this.#mayAuthHere() && this.#userName === undefined) lines.push("AUTH PLAIN LOGIN");
    const last = lines.pop() as string;
    for (const text of lines) this.#out += `250-${text}\r\n`;
    this.#out += `250 ${last}\r\n`;
    return undefined;
  }

  #mail(rest: string): Answer {
    if (this.hostNameAppearsAs === false) return replies.needEhlo;
    if (this.#transaction !== undefined) return replies.nestedMail;
    const shared = this.#listener.shared;
    if (this.#listener.isDraining) return goodbye(replies.shuttingDown);
    const user = this.#user();
    const isTrusted = user === undefined && this.#isTrusted();
    const parsed = parseMail(rest);
    const reversePath = parsed.kind === "mail" ? (parsed.mailbox?.text ?? "") : undefined;
    if (user === undefined && !isTrusted) return this.#refuse(replies.authenticationRequired, reversePath);
    if (parsed.kind === "refused") return parsed.reply;
    if (parsed.sizeBytes > this.#limits.messageBytesMax)
      return this.#refuse(faultReply("message-too-big", this.#limits), reversePath);
    if (user !== undefined && !mayUseReversePath(user, reversePath as string)) {
      return this.#refuse(reply(550, "5.7.1", `${user.name} may not send as <${reversePath}>`), reversePath);
    }
    const pressure = shared.intake.pressure();
    if (pressure.kind === "refuse") return this.#refuse(reply(452, "4.3.1", pressure.text), reversePath);
    if (!shared.budget.fits(parsed.sizeBytes)) return this.#refuse(replies.noMemory, reversePath);
    this.#transaction = {
      mail: parsed,
      user,
      reversePath: reversePath as string,
      recipients: new Map(),
      hasUtf8Address: parsed.mailbox?.needsSmtpUtf8 ?? false,
      vainRecipients: 0,
      tooManyNoted: false,
    };
    return senderOk;
  }

  #rcpt(rest: string): Answer {
    const transaction = this.#transaction;
    if (transaction === undefined) return replies.needMail;
    const parsed = parseRcpt(rest, transaction.mail.smtpUtf8);
    if (parsed.kind === "refused") return this.#refuseRecipient(transaction, parsed.reply);
    const { mailbox, notify, orcpt } = parsed;
    // RFC 5321 section 4.5.1: a bare postmaster is ours.
    const forwardPath = mailbox.domain === "" ? `${mailbox.text}@${this.#config.hostname}` : mailbox.text;
    const recipients = transaction.recipients;
    if (recipients.size >= this.#limits.recipientsMax && !recipients.has(forwardPath)) {
      // RFC 5321 section 4.5.3.1.10: those taken stay, the client sends the rest in another transaction.
      const refusal = reply(
        452,
        "4.5.3",
        `Too many recipients: at most ${this.#limits.recipientsMax} in a transaction`,
      );
      if (!transaction.tooManyNoted) this.#note(refusal, transaction.reversePath, forwardPath);
      transaction.tooManyNoted = true;
      return this.#refuseRecipient(transaction, refusal);
    }
    // Without an end to the repeats a flight of RCPT commands, each of them answered, could go on for ever.
    if (recipients.has(forwardPath) && this.#isTooVain(transaction)) return goodbye(replies.tooManyErrors);
    recipients.set(forwardPath, { forwardPath, orcpt, notify });
    if (mailbox.needsSmtpUtf8) transaction.hasUtf8Address = true;
    return recipientOk;
  }

  #data(rest: string, more: boolean): Answer {
    const transaction = this.#transaction;
    const stream = this.#stream;
    let refusal: SmtpReply | undefined;
    if (transaction === undefined) refusal = replies.needMail;
    else if (transaction.recipients.size === 0) refusal = replies.needRcpt;
    else if (rest.trim() !== "") refusal = reply(501, "5.5.4", "DATA takes no arguments");
    if (refusal !== undefined || stream === undefined) {
      // What was sent behind a DATA that we refuse is content: it must not be taken for commands.
      return more ? goodbye(replies.outOfStep) : (refusal ?? replies.needMail);
    }
    const reader = new ContentReader(this.#limits, this.#listener.shared.budget);
    this.#reader = reader;
    stream.startContent(reader);
    this.#contentSinceMs = this.#lastOctetMs = this.#owedSinceMs;
    this.#out += "354 End data with <CR><LF>.<CR><LF>\r\n";
    return undefined;
  }

  #startTls(rest: string, line: Buffer): Answer {
    if (this.secure) return reply(503, "5.5.1", "TLS is active already");
    if (!this.#listener.settings.hasStartTls) return reply(502, "5.5.1", "STARTTLS is not offered");
    if (rest.trim() !== "") return reply(501, "5.5.4", "STARTTLS takes no arguments");
    // What came behind it in clear is dropped with the old command stream.
    this.#runLater((done) => this.handler_STARTTLS(line, done));
    return undefined;
  }

  #auth(rest: string, line: Buffer, more: boolean): Answer {
    if (this.#limits.auth === "off") return reply(502, "5.5.1", "AUTH is not offered");
    if (this.hostNameAppearsAs === false) return replies.needEhlo;
    // RFC 4954 section 4: not during a transaction, and only once.
    if (this.#transaction !== undefined) return reply(503, "5.5.1", "A transaction is in progress");
    if (!this.#mayAuthHere()) return reply(538, "5.7.11", "Encryption is required first: use STARTTLS");
    if (this.#isAuthBlocked()) return goodbye(replies.tooManyAuthFailures);
    if (more) return goodbye(replies.outOfStep);
    if (rest.length > authLineBytesMax) return lineTooLong;
    this.#runLater((done) => this.handler_AUTH(line, done));
    return undefined;
  }

  async #accept(reader: ContentReader, transaction: Transaction): Promise<void> {
    let answer: SmtpReply;
    try {
      answer = await submit(this.#listener.shared.intake, reader.content(), this.#intakeFacts(transaction));
    } catch (error) {
      this.#listener.shared.log.error({ err: error, sessionId: this.id }, "a message could not be stored");
      answer = replies.spoolFailed;
    }
    if (answer.code !== 250) {
      this.#refuseMessage(transaction, answer);
      return;
    }
    this.#errors = 0;
    this.#out += replyLine(answer);
  }

  #intakeFacts(transaction: Transaction): IntakeFacts {
    const { intake, clock } = this.#listener.shared;
    return {
      config: this.#config,
      user: transaction.user,
      reversePath: transaction.reversePath,
      recipients: [...transaction.recipients.values()],
      ret: transaction.mail.ret,
      envid: transaction.mail.envid,
      smtpUtf8: transaction.mail.smtpUtf8,
      hasUtf8Address: transaction.hasUtf8Address,
      headerSectionBytesMax: this.#limits.headerSectionBytesMax,
      queueId: intake.reserveId(),
      receivedAt: clock.now(),
      sessionId: this.id,
      helo: this.hostNameAppearsAs === false ? undefined : this.hostNameAppearsAs,
      remoteAddress: this.remoteAddress,
      extended: this.openingCommand === "EHLO",
      tls: this.#tlsFacts(),
    };
  }

  /** RFC 5321 section 3.8: when we shut down, the session ends with its transaction. */
  #afterMessage(): void {
    this.#owedSinceMs = this.#listener.shared.clock.monotonicMs();
    if (this.#listener.isDraining) this.abort();
  }

  // --- rights ---

  get #userName(): string | undefined {
    const user: unknown = this.session.user;
    return typeof user === "string" ? user : undefined;
  }

  /** The user as the config has it now: one that a reload took away may no longer submit. */
  #user(): UserConfig | undefined {
    return this.#userName === undefined ? undefined : this.#config.users.get(this.#userName);
  }

  /** With `auth: required` the network alone is not enough. */
  #isTrusted(): boolean {
    const settings = this.#listener.settings;
    if (this.#trustAskedOf !== settings) {
      this.#trustAskedOf = settings;
      this.#trusted = isInNetworks(this.remoteAddress, settings.trust);
    }
    return this.#limits.auth !== "required" && this.#trusted;
  }

  /** The answer is kept until a reload brings other settings. */
  #trustAskedOf: ListenerSettings | undefined;
  #trusted = false;

  /** RFC 4954 section 4 and RFC 8314: no passwords in clear but within the machine. */
  #mayAuthHere(): boolean {
    return this.#limits.auth !== "off" && (this.secure || isLoopbackAddress(this.remoteAddress));
  }

  #isAuthBlocked(): boolean {
    return this.#listener.shared.guard.failures(addressGroup(this.remoteAddress)) >= this.#limits.authFailuresMax;
  }

  #tlsFacts(): { version: string; cipher: string } | undefined {
    if (!this.secure || !("getCipher" in this._socket)) return undefined;
    return { version: this._socket.getProtocol() ?? "TLS", cipher: this._socket.getCipher()?.name ?? "unknown" };
  }

  // --- replies ---

  #refuseRecipient(transaction: Transaction, smtpReply: SmtpReply): Answer {
    if (this.#isTooVain(transaction)) return goodbye(replies.tooManyErrors);
    this.#out += replyLine(smtpReply);
    return undefined;
  }

  /** Counts a RCPT command that adds no recipient. */
  #isTooVain(transaction: Transaction): boolean {
    transaction.vainRecipients++;
    return transaction.vainRecipients > Math.max(vainRecipientsMax, this.#limits.recipientsMax);
  }

  #give(answer: Answer): void {
    if (answer === undefined) return;
    if ("goodbye" in answer) this.#goodbye(answer.goodbye);
    else if (this.#countsTooManyErrors(answer.code)) this.#goodbye(replies.tooManyErrors);
    else this.#out += replyLine(answer);
  }

  /** For commands that move nothing: there is an end to them. */
  #idleReply(smtpReply: SmtpReply): Answer {
    return this.#mayIdle() ? smtpReply : goodbye(tooIdle);
  }

  #mayIdle(): boolean {
    this.#idleCommands++;
    return this.#idleCommands <= idleCommandsMax;
  }

  #countsTooManyErrors(code: number): boolean {
    if (code < 500) return false;
    this.#errors++;
    return this.#errors > this.#limits.errorsMax;
  }

  /** Refuses a command for a reason that the delivery log shows. */
  #refuse(smtpReply: SmtpReply, reversePath: string | undefined): Answer {
    this.#note(smtpReply, reversePath, undefined);
    return smtpReply;
  }

  /** A content refused is no error of the dialogue: it is not counted as one. */
  #refuseMessage(transaction: Transaction, smtpReply: SmtpReply): void {
    const only = transaction.recipients.size === 1 ? transaction.recipients.keys().next().value : undefined;
    this.#note(smtpReply, transaction.reversePath, only);
    this.#out += replyLine(smtpReply);
  }

  #note(smtpReply: SmtpReply, reversePath: string | undefined, forwardPath: string | undefined): void {
    const { meter, intake, strangerNotes, clock } = this.#listener.shared;
    meter.refused(smtpReply.code);
    const isStranger = this.#user() === undefined && !this.#isTrusted();
    if (isStranger && !strangerNotes.take(clock.monotonicMs())) return;
    intake.rejected({
      reversePath,
      forwardPath,
      remote: { name: this.hostNameAppearsAs === false ? "" : this.hostNameAppearsAs, address: this.remoteAddress },
      sessionId: this.id,
      reply: smtpReply,
    });
  }

  #goodbye(smtpReply: SmtpReply): void {
    if (this._closing || this._closed) return;
    this.#out += replyLine(smtpReply);
    this.close();
  }

  /** Stops reading commands until `work` calls its argument. */
  #runLater(work: (done: () => void) => void): void {
    const stream = this.#stream;
    if (stream === undefined) return;
    this.#busy = true;
    stream.pauseCommands();
    work(() => {
      this.#busy = false;
      this.#owedSinceMs = this.#listener.shared.clock.monotonicMs();
      stream.resumeCommands();
      this.#flush();
    });
  }

  #flush(): void {
    // During a handshake the socket is still the one in clear: nothing may be written into it.
    if (this.#out === "" || this._upgrading) return;
    const out = this.#out;
    this.#out = "";
    if (!this._socket.destroyed && this._socket.writable) this._socket.write(out, "latin1");
  }
}

const heloCharactersMax = 255;
const tooIdle = reply(421, "4.7.0", "Too many commands without mail, closing");
const lineTooLong = reply(500, "5.5.2", "Line too long");
const senderOk = reply(250, "2.1.0", "Sender OK");
const recipientOk = reply(250, "2.1.5", "Recipient OK");

function goodbye(smtpReply: SmtpReply): Answer {
  return { goodbye: smtpReply };
}

/** The line as text, or undefined when it is not UTF-8. */
function textOf(line: Buffer): string | undefined {
  for (let at = 0; at < line.length; at++) {
    if ((line[at] as number) > 127) {
      const text = line.toString("utf8");
      return text.includes("\ufffd") ? undefined : text;
    }
  }
  return line.toString("latin1");
}
