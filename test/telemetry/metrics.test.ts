// The instruments: their names, their bounded labels, and the merge of several shards.

import { Registry } from "prom-client";
import { test } from "tap";
import { labelValuesMax, makeMetrics, mergeMetrics, readMetrics } from "../../src/telemetry/metrics.ts";

test("every instrument of the contract is there with its labels", async (t) => {
  const registry = new Registry();
  const metrics = makeMetrics(registry);
  metrics.queueRecipients("news", "ready", 7);
  metrics.acceptToDelivery("news", 0.2);
  metrics.deliveryAttempt("google", "a1", "delivered");
  metrics.deliveryConnections("google", "a1", 3);
  metrics.spoolCommit(0.003);
  metrics.spoolFigures({ fileBytes: 4096, liveBytes: 1024, freeBytesOnDisk: 9 });
  metrics.eventLoopLag(0.012);
  metrics.eventLoopDelay(0.004);
  metrics.ingestMessage("news", 10_240);
  metrics.ingestRejection("auth");
  metrics.ingestConnections(2);
  metrics.signing(0.001);
  metrics.eventsOutboxBytes(77);
  const text = await registry.metrics();
  for (const line of [
    'postern_queue_recipients{stream="news",state="ready"} 7',
    'postern_accept_to_delivery_seconds_bucket{le="0.25",stream="news"} 1',
    'postern_accept_to_delivery_seconds_bucket{le="0.1",stream="news"} 0',
    'postern_delivery_attempts_total{site="google",source="a1",kind="delivered"} 1',
    'postern_delivery_connections{site="google",source="a1"} 3',
    "postern_spool_commit_seconds_count 1",
    "postern_spool_bytes 4096",
    "postern_event_loop_lag_seconds 0.012",
    'postern_event_loop_delay_seconds_bucket{le="0.005"} 1',
    'postern_ingest_messages_total{stream="news"} 1',
    "postern_ingest_content_bytes_total 10240",
    'postern_ingest_rejections_total{reason="auth"} 1',
    "postern_ingest_connections 2",
    "postern_signing_seconds_count 1",
    "postern_events_outbox_bytes 77",
  ]) {
    t.ok(text.split("\n").includes(line), line);
  }
  const names = (await registry.getMetricsAsJSON()).map((metric) => metric.name);
  t.same(
    names.filter((name) => !/^postern_[a-z]+(_[a-z]+)+$/.test(name)),
    [],
    "all are named postern_<room>_<noun>_<unit>",
  );
});

test("the site label is bounded: the 501st operator counts as other", async (t) => {
  const registry = new Registry();
  const metrics = makeMetrics(registry);
  for (let i = 0; i < labelValuesMax + 20; i++) metrics.deliveryAttempt(`site-${i}`, "a1", "delivered");
  metrics.deliveryAttempt("site-0", "a1", "delivered");
  metrics.deliveryAttempt("", "", "transient");
  const text = await registry.metrics();
  t.match(text, 'postern_delivery_attempts_total{site="site-499",source="a1",kind="delivered"} 1');
  t.notMatch(text, 'site="site-500"');
  t.match(text, 'postern_delivery_attempts_total{site="other",source="a1",kind="delivered"} 20');
  t.match(text, 'postern_delivery_attempts_total{site="none",source="none",kind="transient"} 1');
  t.match(text, 'postern_delivery_attempts_total{site="site-0",source="a1",kind="delivered"} 2');
});

test("single metrics can be read by name, without the labels of all others", async (t) => {
  const registry = new Registry();
  const metrics = makeMetrics(registry);
  metrics.deliveryAttempt("google", "a1", "delivered");
  metrics.eventLoopLag(0.5);
  metrics.spoolCommit(0.003);
  const names = ["postern_event_loop_lag_seconds", "postern_spool_commit_seconds", "no_such_metric"];
  const read = structuredClone(await readMetrics(registry, [...names, ...names]));
  t.same(
    read.map(({ name }) => name),
    names.slice(0, 2),
  );
  const text = await mergeMetrics([read, await readMetrics(new Registry(), names)]);
  t.match(text, "postern_event_loop_lag_seconds 0.5");
  t.match(text, 'postern_spool_commit_seconds_bucket{le="0.005"} 1');
  t.equal((await readMetrics(registry, [])).length, (await registry.getMetricsAsJSON()).length);
});

test("two shards become one text: counters and buckets add up, lag is the worst, free space the least", async (t) => {
  const one = new Registry();
  const two = new Registry();
  const first = makeMetrics(one);
  const second = makeMetrics(two);
  first.ingestMessage("news", 10);
  second.ingestMessage("news", 10);
  second.ingestMessage("receipts", 10);
  first.acceptToDelivery("news", 0.2);
  second.acceptToDelivery("news", 2);
  first.eventLoopLag(0.001);
  second.eventLoopLag(0.5);
  first.spoolFigures({ fileBytes: 100, liveBytes: 1, freeBytesOnDisk: 50 });
  second.spoolFigures({ fileBytes: 200, liveBytes: 2, freeBytesOnDisk: 40 });
  // Between threads the figures travel as a structured clone.
  const jsons = [structuredClone(await one.getMetricsAsJSON()), structuredClone(await two.getMetricsAsJSON())];
  const text = await mergeMetrics(jsons);
  for (const line of [
    'postern_ingest_messages_total{stream="news"} 2',
    'postern_ingest_messages_total{stream="receipts"} 1',
    'postern_accept_to_delivery_seconds_count{stream="news"} 2',
    'postern_accept_to_delivery_seconds_bucket{le="0.25",stream="news"} 1',
    "postern_event_loop_lag_seconds 0.5",
    "postern_spool_bytes 300",
    "postern_spool_disk_free_bytes 40",
  ]) {
    t.ok(text.split("\n").includes(line), line);
  }
});
