// The system's Python: the one that Debian's modules belong to, whatever else is first on the path.

import { run } from "./processes.ts";

export const python = "/usr/bin/python3";

const importMs = 20_000;

export async function hasPythonModule(name: string): Promise<boolean> {
  return (await run({ command: python, args: ["-c", `import ${name}`] }, "", importMs)).code === 0;
}
