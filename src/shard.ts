// The thread of one shard: an engine, and the calls that the main thread makes to it.

import { parentPort, workerData } from "node:worker_threads";
import type { Config } from "./config/config.ts";
import { assert } from "./core/assert.ts";
import { Engine } from "./engine.ts";
import type { FromShard, ShardData, ToShard } from "./shard-calls.ts";
import { makeLog } from "./telemetry/log.ts";

assert(parentPort !== null, "a shard runs in a thread of its own");
const port = parentPort;
const data = workerData as ShardData;
const log = makeLog(data.config.log.level, { name: "postern", shard: data.shard });

function send(message: FromShard): void {
  port.postMessage(message);
}

async function call(engine: Engine, message: ToShard): Promise<unknown> {
  const { operations } = engine;
  switch (message.method) {
    case "queues":
      return operations.queues(message.args[0]);
    case "lanes":
      return operations.lanes();
    case "explain":
      return operations.explain(message.args[0]);
    case "hold":
      return operations.hold(...message.args);
    case "release":
      return operations.release(...message.args);
    case "cancel":
      return operations.cancel(...message.args);
    case "retry":
      return operations.retry(...message.args);
    case "holds":
      return operations.holds();
    case "metrics":
      return engine.metrics(message.args[0]);
    case "health":
      return engine.health();
    case "reload":
      return engine.reload(message.args[0] as Config);
    case "stop":
      return engine.stop();
  }
}

try {
  const engine = await Engine.open({
    ...data,
    log,
    onFatal: (error) => {
      log.fatal({ err: error }, "the spool failed: stopping, so that nothing is promised that is not on the disk");
      send({ kind: "fatal", message: error.message });
    },
  });
  port.on("message", (message: ToShard) => {
    call(engine, message).then(
      (value) => {
        send({ kind: "answer", id: message.id, value });
        if (message.method === "stop") port.close();
      },
      (error: unknown) =>
        send({ kind: "error", id: message.id, message: error instanceof Error ? error.message : String(error) }),
    );
  });
  send({ kind: "opened", addresses: engine.addresses });
} catch (error) {
  send({ kind: "failed", message: error instanceof Error ? error.message : String(error) });
  port.close();
}
