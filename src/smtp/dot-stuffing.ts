// Transparency (RFC 5321 section 4.5.2): in DATA a line that begins with a dot gets a second one.

const crlfDot = Buffer.from("\r\n.");
const cr = 13;
const lf = 10;
const dot = 46;

/** Where the next chunk begins: at the start of a line, between CR and LF, or elsewhere. */
type Edge = "line" | "cr" | "inside";

/** Stuffs one content, chunk by chunk. A chunk without dot lines is returned as it is, else one copy of it is made. */
export class DotStuffer {
  #edge: Edge = "line";

  /** The chunk as it goes over the wire. */
  stuff(chunk: Buffer): Buffer {
    if (chunk.length === 0) return chunk;
    const places = dotLines(chunk, this.#edge);
    this.#edge = edgeAfter(chunk, this.#edge);
    if (places.length === 0) return chunk;
    const out = Buffer.allocUnsafe(chunk.length + places.length);
    let from = 0;
    let to = 0;
    for (const place of places) {
      to += chunk.copy(out, to, from, place);
      out[to++] = dot;
      from = place;
    }
    chunk.copy(out, to, from);
    return out;
  }
}

/** Whether a line of the content begins with a dot; `chunks` are its parts in order. */
export function hasDotLines(chunks: readonly Buffer[]): boolean {
  let edge: Edge = "line";
  for (const chunk of chunks) {
    if (chunk.length === 0) continue;
    if (startsWithDotLine(chunk, edge) || chunk.includes(crlfDot)) return true;
    edge = edgeAfter(chunk, edge);
  }
  return false;
}

function startsWithDotLine(chunk: Buffer, edge: Edge): boolean {
  return edge === "line" ? chunk[0] === dot : edge === "cr" && chunk[0] === lf && chunk[1] === dot;
}

/** The places of the dots that begin a line. */
function dotLines(chunk: Buffer, edge: Edge): number[] {
  const places: number[] = [];
  if (startsWithDotLine(chunk, edge)) places.push(edge === "line" ? 0 : 1);
  for (let at = chunk.indexOf(crlfDot); at !== -1; at = chunk.indexOf(crlfDot, at + 3)) places.push(at + 2);
  return places;
}

function edgeAfter(chunk: Buffer, before: Edge): Edge {
  const last = chunk[chunk.length - 1];
  if (last === cr) return "cr";
  const beforeLast = chunk.length > 1 ? chunk[chunk.length - 2] === cr : before === "cr";
  return last === lf && beforeLast ? "line" : "inside";
}
