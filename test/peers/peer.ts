// What a peer is: real mail software that nobody here wrote, as a submitter, a receiver, or a verifier of signatures.

import type { Message } from "./corpus.ts";

interface Peer {
  readonly name: string;
  /** The Debian package, or the npm package, that it comes in. */
  readonly package: string;
  /** It runs in a mount namespace, which only root may make. */
  readonly needsRoot?: true;
  /** Whether that package is installed (or unpacked in `packages`). */
  isInstalled(packages: string): boolean | Promise<boolean>;
}

/** `host` and `port` of a server, and a folder of the peer's own for what it must write. */
export interface Place {
  readonly host: string;
  readonly port: number;
  readonly folder: string;
  /** Folder of unpacked Debian packages, one folder each. */
  readonly packages: string;
}

/** `login`: take STARTTLS and then AUTH. Certificates are nobody's and are not to be looked at. */
export interface SubmissionPlace extends Place {
  readonly login: { readonly user: string; readonly password: string } | undefined;
}

/** `certificate` and `key`: PEM files for STARTTLS. */
export interface ReceiverPlace extends Place {
  readonly certificate: string;
  readonly key: string;
}

export interface Submitter extends Peer {
  /** Messages that it gets out of the whole; programs that start once for each message get fewer. */
  readonly share: number;
  readonly smtpUtf8: boolean;
  /** Whether it knows STARTTLS and AUTH. */
  readonly canLogIn: boolean;
  readonly recipientsMax: number;
  /** Changes a body (from the empty line on) that it would not send as it is. Default: it sends all. */
  readonly adapt?: (body: Buffer) => Buffer;
  /** Longest line without CRLF that it sends unchanged. */
  readonly lineBytesMax: number;
  /** Submits all; resolves to what went wrong, in words, or nothing. */
  submit(messages: readonly Message[], place: SubmissionPlace): Promise<readonly string[]>;
}

export interface Copy {
  readonly forwardPaths: readonly string[];
  /** With CRLF, and with the fields that the receiver put on top. */
  readonly content: Buffer;
}

export interface Receiver extends Peer {
  /** On 127.0.0.0/8. Postern delivers to one port everywhere, so that the addresses tell receivers apart. */
  readonly address: string;
  readonly smtpUtf8: boolean;
  /** Whether its mail comes by STARTTLS, which its Received field must then say. */
  readonly tls: boolean;
  readonly lineBytesMax: number;
  /** Names in lower case of the fields that it adds, and of those that it takes out. */
  readonly addedFields: readonly string[];
  readonly removedFields: readonly string[];
  start(place: ReceiverPlace): Promise<RunningReceiver>;
}

export interface RunningReceiver {
  copies(): Promise<Copy[]>;
  stop(): Promise<void>;
}

export interface DkimRecords {
  /** Full name of the TXT record, to its strings. */
  readonly records: Readonly<Record<string, string>>;
  readonly dnsServer: string;
  readonly dnsPort: number;
}

export interface Verifier extends Peer {
  /** One entry per content: what is wrong with its signatures, or undefined when all that it knows are good. */
  verify(
    contents: readonly Buffer[],
    dkim: DkimRecords,
    place: { readonly folder: string },
  ): Promise<readonly (string | undefined)[]>;
}
