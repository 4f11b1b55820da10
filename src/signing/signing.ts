// The signing room's door: DKIM signatures (RFC 6376, RFC 8463) for messages that lie in the spool.

import type { Domain, QueueId } from "../core/ids.ts";
import type { Instant } from "../core/time.ts";

export { windowBytes } from "./canonicalization.ts";
export { signContent } from "./dkim-signature.ts";
export {
  type DomainKeys,
  domainKeys,
  type KeyProblem,
  type KeySet,
  keysFor,
  loadKeySet,
  type SigningKey,
  SigningKeyError,
} from "./key-store.ts";
export { generatePrivateKey, type KeyAlgorithm, type KeyRecord, keyRecord } from "./keygen.ts";

export interface SignRequest {
  readonly queueId: QueueId;
  /** Chooses the keys: the signing domain equal to it or the nearest parent of it (RFC 6376 section 3.10 alignment). */
  readonly fromDomain: Domain | undefined;
  /** Becomes t=, so that a message signed twice gets the same octets. */
  readonly signedAt: Instant;
}

export interface Signatures {
  /** DKIM-Signature fields, each folded and ended by CRLF, to stand before the stored content; empty when none. */
  readonly headers: Buffer;
  /** `selector._domainkey.domain` of each. */
  readonly signedBy: readonly string[];
}

export interface Signer {
  /** True when keys are configured for the domain: without them a message goes out unsigned, at once. */
  signs(fromDomain: Domain | undefined): boolean;
  /** Rejects when the message cannot be signed though keys are configured for it: it must then not be sent. */
  sign(request: SignRequest): Promise<Signatures>;
}
