// The life of one connection of a lane: connecting, busy, idle, closed.

import type { ClientSession } from "../smtp/client-session.ts";
import { Deadline } from "../smtp/deadline.ts";
import { ConnectControl, type ConnectParts, connect } from "./connect.ts";
import type { LaneConnection } from "./delivery.ts";
import { type DialogueParts, MailDialogue } from "./transaction.ts";

type State =
  | { readonly kind: "connecting"; readonly control: ConnectControl }
  | { readonly kind: "busy"; readonly session: ClientSession; readonly dialogue: MailDialogue }
  | {
      readonly kind: "idle";
      readonly session: ClientSession;
      readonly dialogue: MailDialogue;
      /** Ends the rest: true when there may be work. */
      readonly resume: (woken: boolean) => void;
    }
  | { readonly kind: "closed" };

/** One connection. It lives from its making until it calls `feed.closed()`. */
export class OutboundConnection implements LaneConnection {
  readonly #parts: ConnectParts & DialogueParts;
  readonly #idleDeadline: Deadline;
  #state: State;

  constructor(parts: ConnectParts & DialogueParts) {
    this.#parts = parts;
    const { idleMs } = parts.timeouts;
    this.#idleDeadline = new Deadline(parts.clock, idleMs, () => this.#endIdle());
    this.#state = { kind: "connecting", control: new ConnectControl() };
  }

  get state(): LaneConnection["state"] {
    return this.#state.kind;
  }

  wake(): void {
    if (this.#state.kind === "idle") this.#state.resume(true);
  }

  drain(): void {
    switch (this.#state.kind) {
      case "connecting":
        this.#state.control.cancel();
        this.#close();
        break;
      case "busy":
        this.#state.dialogue.stop();
        break;
      case "idle":
        this.#state.dialogue.stop();
        this.#state.resume(false);
        break;
      case "closed":
        break;
    }
  }

  breakOff(): void {
    if (this.#state.kind === "busy") this.#state.session.fail("broken off, since the server stops");
    else this.drain();
  }

  /** The whole life. Never rejects but for a bug. */
  async run(): Promise<void> {
    if (this.#state.kind !== "connecting") return;
    const result = await connect(this.#parts, this.#state.control);
    const { feed } = this.#parts;
    switch (result.kind) {
      case "cancelled":
        return;
      case "failed":
        feed.failed(result.fault, result.remote);
        return this.#close();
      case "ready": {
        const { session, peer } = result;
        // Drained between the end of the greeting and this turn.
        if (this.state === "closed") return session.close();
        const dialogue = new MailDialogue(session, peer, this.#parts);
        this.#state = { kind: "busy", session, dialogue };
        feed.opened({ remote: { name: peer.name, address: peer.address }, tls: peer.tls });
        return await this.#work(session, dialogue);
      }
    }
  }

  async #work(session: ClientSession, dialogue: MailDialogue): Promise<void> {
    while (session.fault === undefined) {
      await dialogue.run();
      if (session.fault !== undefined || dialogue.isUsedUp) break;
      if (!(await this.#rest(session, dialogue))) break;
    }
    // RFC 5321 section 4.1.1.10.
    if (session.fault === undefined) await session.quit();
    else session.close();
    this.#close();
  }

  /** Waits for `wake`. Returns false when the connection is to end instead. */
  async #rest(session: ClientSession, dialogue: MailDialogue): Promise<boolean> {
    const isWoken = await new Promise<boolean>((resolve) => {
      const resume = (woken: boolean) => {
        this.#state = { kind: "busy", session, dialogue };
        resolve(woken);
      };
      this.#state = { kind: "idle", session, dialogue, resume };
      session.onEnd = () => resume(false);
      this.#idleDeadline.set(this.#parts.timeouts.idleMs);
    });
    this.#idleDeadline.clear();
    session.onEnd = () => {};
    const { fault } = session;
    // A peer that closes an idle connection does no more than it may; a 421 may tell why (RFC 5321 section 3.8).
    if (fault?.kind === "reply") this.#parts.feed.closedByPeer(fault);
    return isWoken && fault === undefined;
  }

  #endIdle(): void {
    if (this.#state.kind === "idle") this.#state.resume(false);
  }

  #close(): void {
    if (this.#state.kind === "closed") return;
    this.#state = { kind: "closed" };
    this.#idleDeadline.close();
    this.#parts.feed.closed();
  }
}
