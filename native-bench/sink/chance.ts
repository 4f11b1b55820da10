// Chance that can be drawn again from its seed, and a stable hash for properties that belong to a name.

/** A number in [0, 1). */
export type Chance = () => number;

/** A generator of 32-bit state (a Weyl sequence through a multiply-xorshift mixer). Same seed, same numbers. */
export function seededChance(seed: number): Chance {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x9e3779b9) >>> 0;
    return mix(state) / 0x1_0000_0000;
  };
}

/** A number in [0, 1): draw `no` of the sequence of `seed`, without those before it. */
export function chanceAt(seed: number, no: number): number {
  return mix((seed + Math.imul(no + 1, 0x9e3779b9)) >>> 0) / 0x1_0000_0000;
}

/** Lognormal with the given median; `sigma` is the spread of the logarithm. */
export function lognormal(chance: Chance, median: number, sigma: number): number {
  const radius = Math.sqrt(-2 * Math.log(1 - chance()));
  return median * Math.exp(sigma * radius * Math.cos(2 * Math.PI * chance()));
}

/** A number in [0, 1) that depends on nothing but `seed` and `text`. */
export function shareOf(seed: number, text: string): number {
  let hash = mix(seed >>> 0);
  for (let i = 0; i < text.length; i++) hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193) >>> 0;
  return mix(hash) / 0x1_0000_0000;
}

function mix(value: number): number {
  let x = value;
  x = Math.imul(x ^ (x >>> 16), 0x7feb352d);
  x = Math.imul(x ^ (x >>> 15), 0x846ca68b);
  return (x ^ (x >>> 16)) >>> 0;
}
