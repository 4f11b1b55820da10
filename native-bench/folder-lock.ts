// One run at a time in a folder: two would delete each other's spool.

import { createServer, type Server } from "node:net";

/**
 * Holds the folder until the process ends. The lock is an abstract socket (Linux), which dies with its process, so that
 * none is ever left behind. Throws when another run has it.
 */
export async function lockFolder(folder: string): Promise<Server> {
  const server = createServer((socket) => socket.destroy());
  await new Promise<void>((resolve, reject) => {
    server.once("error", (cause: NodeJS.ErrnoException) =>
      reject(cause.code === "EADDRINUSE" ? new Error(`another run uses ${folder}: wait for its end`) : cause),
    );
    server.listen({ path: `\0postern-run ${folder}` }, resolve);
  });
  server.unref();
  return server;
}
