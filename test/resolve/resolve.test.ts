// From a domain to its plan: RFC 5321 section 5.1 told as zones.

import { test } from "tap";
import type { SitesConfig } from "../../src/config/config.ts";
import { hourMs, minuteMs, secondMs } from "../../src/core/time.ts";
import { makePlanResolver, type Resolution, type ResolveConfig, resolveTimeoutMs } from "../../src/resolve/resolve.ts";
import { silentLog } from "../../src/telemetry/log.ts";
import { SimClock, simStart } from "../support/sim-clock.ts";
import { siteLimits } from "../support/site-limits.ts";
import { type ZoneName, ZoneResolver } from "../support/zone-resolver.ts";

const sites: SitesConfig = {
  defaults: siteLimits,
  named: [{ ...siteLimits, name: "google", exchangers: ["*.google.com"], where: "sites.yaml:1" }],
};
const config: ResolveConfig = {
  ownNames: ["MTA1.sender.example"],
  ownAddresses: ["9.9.9.1", "2A00::0:1"],
  sites,
  ip: [4, 6],
  internalNetworksAllowed: [],
};

function world(zones: Record<string, ZoneName>, changes: Partial<ResolveConfig> = {}) {
  const clock = new SimClock();
  const zone = new ZoneResolver(clock, zones);
  const plans = makePlanResolver({ resolver: zone, clock, log: silentLog }, { ...config, ...changes });
  return { clock, zone, plans };
}

function hostsOf(resolution: Resolution): string[] {
  if (resolution.kind !== "plan") return [JSON.stringify(resolution)];
  return resolution.plan.exchangers.map(
    ({ host, preference, addresses }) => `${preference} ${host} ${addresses.join(" ")}`,
  );
}

function faultOf(resolution: Resolution): string {
  if (resolution.kind === "plan") return "plan";
  const { fault } = resolution;
  return `${resolution.kind} ${fault.kind === "policy" ? fault.rule : fault.kind}`;
}

test("exchangers come by preference, their addresses in the order of the families", async (t) => {
  const { plans } = world({
    "example.com": {
      mx: [
        [20, "b.example.com"],
        [10, "a.example.com"],
        [20, "c.example.com"],
      ],
    },
    "a.example.com": { a: ["8.8.4.1"], aaaa: ["2A00:1::0001"] },
    "b.example.com": { a: ["8.8.4.2", "8.8.4.3", "8.8.4.2"] },
    "c.example.com": { aaaa: ["2a00:1::3"] },
  });
  const resolution = await plans.resolve("example.com");
  t.same(hostsOf(resolution), [
    "10 a.example.com 8.8.4.1 2a00:1::1",
    "20 b.example.com 8.8.4.2 8.8.4.3",
    "20 c.example.com 2a00:1::3",
  ]);
  t.equal(resolution.kind === "plan" && resolution.plan.until, simStart + hourMs);
});

test("IPv6 comes first where the config says so, and is not asked for where it is not in use", async (t) => {
  const zones = { "x.example": { a: ["8.8.4.1"], aaaa: ["2a00:1::1"] } };
  t.same(hostsOf(await world(zones, { ip: [6, 4] }).plans.resolve("x.example")), ["0 x.example 2a00:1::1 8.8.4.1"]);
  const only4 = world(zones, { ip: [4] });
  t.same(hostsOf(await only4.plans.resolve("x.example")), ["0 x.example 8.8.4.1"]);
  t.same(only4.zone.queries, ["MX x.example", "A x.example"]);
});

test("a domain without MX is its own exchanger, one whose MX fails is not", async (t) => {
  const { plans } = world({
    "implicit.example": { a: ["8.8.4.1"] },
    "servfail.example": { mx: "servfail", a: ["8.8.4.1"] },
    "timeout.example": { mx: "timeout", a: ["8.8.4.1"] },
    "bogus.example": { mx: "bogus", a: ["8.8.4.1"] },
    "mx-dead.example": { mx: [[10, "gone.example"]], a: ["8.8.4.1"] },
  });
  const implicit = await plans.resolve("implicit.example");
  t.same(hostsOf(implicit), ["0 implicit.example 8.8.4.1"]);
  t.equal(implicit.kind === "plan" && implicit.plan.site, "implicit.example");
  t.equal(faultOf(await plans.resolve("servfail.example")), "transient dns");
  t.equal(faultOf(await plans.resolve("timeout.example")), "transient dns");
  t.equal(faultOf(await plans.resolve("bogus.example")), "transient dns");
  t.equal(
    faultOf(await plans.resolve("mx-dead.example")),
    "permanent dns",
    "its own address does not stand in for a dead MX",
  );
});

test("what cannot be reached for ever fails at once, with the reason", async (t) => {
  const { plans } = world({
    "null.example": { mx: [[0, ""]] },
    "empty.example": {},
    "rubbish.example": {
      mx: [
        [10, "192.0.2.1"],
        [20, "bad name.example"],
        [30, "a..b"],
      ],
    },
  });
  const cases: [string, string, RegExp][] = [
    ["nowhere.example", "permanent dns", /^5\.1\.2 no such domain: nowhere\.example/],
    ["null.example", "permanent null-mx", /null MX/],
    ["empty.example", "permanent dns", /no address/],
    ["rubbish.example", "permanent dns", /^5\.1\.2/],
    ["[192.0.2.300]", "permanent dns", /literal/],
    ["[x400:abc]", "permanent dns", /literal/],
  ];
  for (const [domain, expected, message] of cases) {
    const resolution = await plans.resolve(domain);
    t.equal(faultOf(resolution), expected, domain);
    t.match(resolution.kind !== "plan" && "message" in resolution.fault && resolution.fault.message, message, domain);
  }
});

test("a null MX beside real ones counts as a dead name", async (t) => {
  const { plans } = world({
    "half.example": {
      mx: [
        [0, ""],
        [10, "mx.half.example"],
      ],
    },
    "mx.half.example": { a: ["8.8.4.1"] },
  });
  t.same(hostsOf(await plans.resolve("half.example")), ["10 mx.half.example 8.8.4.1"]);
});

test("exchangers without an address are left out; if all are, it is final only when all answers are", async (t) => {
  const { plans, clock } = world({
    "some.example": {
      mx: [
        [10, "gone.example"],
        [20, "mx.example"],
        [30, "dead.example"],
      ],
    },
    "mx.example": { a: ["8.8.4.1"] },
    "dead.example": { a: "timeout", aaaa: "timeout" },
    "none.example": {
      mx: [
        [10, "gone.example"],
        [20, "empty.example"],
      ],
    },
    "empty.example": {},
    "maybe.example": {
      mx: [
        [10, "gone.example"],
        [20, "six.example"],
      ],
    },
    "six.example": { aaaa: "servfail" },
  });
  const some = await plans.resolve("some.example");
  t.same(hostsOf(some), ["20 mx.example 8.8.4.1"]);
  t.equal(some.kind === "plan" && some.plan.until, clock.now() + minuteMs, "made again soon, for the dead one");
  t.match(some.kind === "plan" && some.plan.site, /^dead\.example\+2~[0-9a-f]{6}$/, "the site does not depend on it");
  t.equal(faultOf(await plans.resolve("none.example")), "permanent dns");
  t.equal(faultOf(await plans.resolve("maybe.example")), "transient dns");
});

test("our own name in the list ends it", async (t) => {
  const { plans } = world({
    "backup.example": {
      mx: [
        [10, "a.example"],
        [20, "mta1.sender.example"],
        [20, "b.example"],
        [30, "c.example"],
      ],
    },
    "first.example": {
      mx: [
        [10, "mta1.sender.example"],
        [20, "a.example"],
      ],
    },
    "address.example": {
      mx: [
        [10, "a.example"],
        [20, "alias.example"],
        [30, "c.example"],
      ],
    },
    "address6.example": {
      mx: [
        [10, "alias6.example"],
        [10, "a.example"],
      ],
    },
    "direct.example": { a: ["9.9.9.1"] },
    "a.example": { a: ["8.8.4.1"] },
    "b.example": { a: ["8.8.4.2"] },
    "c.example": { a: ["8.8.4.3"] },
    "alias.example": { a: ["8.8.4.4", "9.9.9.1"] },
    "alias6.example": { aaaa: ["2a00::1"] },
  });
  t.same(hostsOf(await plans.resolve("backup.example")), ["10 a.example 8.8.4.1"]);
  t.same(hostsOf(await plans.resolve("address.example")), ["10 a.example 8.8.4.1"]);
  for (const domain of ["first.example", "address6.example", "direct.example", "mta1.sender.example", "[9.9.9.1]"]) {
    t.equal(
      faultOf(await plans.resolve(domain)),
      domain === "mta1.sender.example" ? "permanent dns" : "permanent loop",
      domain,
    );
  }
});

test("internal addresses are refused unless the config allows them", async (t) => {
  const zones: Record<string, ZoneName> = {
    "lo.example": { a: ["127.0.0.1"], aaaa: ["::1"] },
    "mixed.example": {
      mx: [
        [10, "in.example"],
        [20, "out.example"],
      ],
    },
    "in.example": { a: ["10.0.0.1", "8.8.4.9"] },
    "out.example": { a: ["8.8.4.1"] },
    "nat64.example": { aaaa: ["64:ff9b::192.168.0.1"] },
    "mapped.example": { aaaa: ["::ffff:8.8.4.1"] },
    "metadata.example": { mx: [[10, "m.example"]] },
    "m.example": { a: ["169.254.169.254"] },
    "late.example": {
      mx: [
        [10, "in2.example"],
        [20, "dead.example"],
      ],
    },
    "in2.example": { a: ["10.0.0.1"] },
    "dead.example": { a: "timeout" },
  };
  const { plans } = world(zones);
  for (const domain of [
    "lo.example",
    "nat64.example",
    "mapped.example",
    "metadata.example",
    "[127.0.0.1]",
    "[IPv6:::1]",
  ]) {
    t.equal(faultOf(await plans.resolve(domain)), "permanent internal-address", domain);
  }
  t.same(hostsOf(await plans.resolve("mixed.example")), ["10 in.example 8.8.4.9", "20 out.example 8.8.4.1"]);
  t.equal(faultOf(await plans.resolve("late.example")), "transient dns", "another exchanger may yet have a public one");
  const allowed = world(zones, { internalNetworksAllowed: ["127.0.0.0/8", "10.0.0.0/30"] }).plans;
  t.same(hostsOf(await allowed.resolve("lo.example")), ["0 lo.example 127.0.0.1"]);
  t.same(hostsOf(await allowed.resolve("mixed.example")), ["10 in.example 10.0.0.1 8.8.4.9", "20 out.example 8.8.4.1"]);
});

test("an address literal is its own plan and asks no DNS", async (t) => {
  const { plans, zone } = world({});
  const four = await plans.resolve("[8.8.4.1]");
  t.same(hostsOf(four), ["0 8.8.4.1 8.8.4.1"]);
  t.equal(four.kind === "plan" && four.plan.site, "[8.8.4.1]");
  t.same(hostsOf(await plans.resolve("[ipv6:2a00:0::5]")), ["0 2a00::5 2a00::5"]);
  t.equal(faultOf(await world({}, { ip: [4] }).plans.resolve("[IPv6:2a00::5]")), "permanent dns");
  t.same(zone.queries, []);
});

test("of 500 exchangers the best 20 are considered, and of their addresses 100", async (t) => {
  const names = Array.from({ length: 500 }, (_, i) => `mx${String(i).padStart(3, "0")}.example`);
  const zones: Record<string, ZoneName> = {
    "big.example": { mx: names.map((name, i) => [500 - i, name] as const) },
  };
  for (const name of names) zones[name] = { a: Array.from({ length: 30 }, (_, i) => `8.${name.slice(2, 3)}.4.${i}`) };
  const { plans, zone } = world(zones);
  const resolution = await plans.resolve("big.example");
  t.equal(zone.queries.length, 1 + 20 * 2);
  const exchangers = resolution.kind === "plan" ? resolution.plan.exchangers : [];
  t.equal(exchangers[0]?.host, "mx499.example");
  t.equal(
    exchangers.reduce((sum, { addresses }) => sum + addresses.length, 0),
    100,
  );
});

test("lookups of one domain at one time are one, and the plan is kept for its time to live", async (t) => {
  const { plans, zone, clock } = world({ "x.example": { a: ["8.8.4.1"], ttlMs: 30 * secondMs } }, { ip: [4] });
  await Promise.all([plans.resolve("x.example"), plans.resolve("x.example"), plans.resolve("x.example")]);
  t.same(zone.queries, ["MX x.example", "A x.example"]);
  await clock.advance(30 * secondMs - 1);
  await plans.resolve("x.example");
  t.equal(zone.queries.length, 2);
  await clock.advance(1);
  await plans.resolve("x.example");
  t.equal(zone.queries.length, 4);
});

test("a failure is asked for again after a short rest", async (t) => {
  const { plans, zone, clock } = world({ "x.example": { mx: "servfail" } });
  await plans.resolve("x.example");
  await plans.resolve("x.example");
  t.equal(zone.queries.length, 1);
  zone.zones = { "x.example": { a: ["8.8.4.1"] } };
  await clock.advance(3 * secondMs);
  t.equal((await plans.resolve("x.example")).kind, "plan");
});

test("domains of one operator share the lookups of its exchangers", async (t) => {
  const { plans, zone } = world(
    {
      "one.example": { mx: [[10, "mx.google.com"]] },
      "two.example": { mx: [[10, "mx.google.com"]] },
      "mx.google.com": { a: ["8.8.4.1"] },
    },
    { ip: [4] },
  );
  const [one, two] = await Promise.all([plans.resolve("one.example"), plans.resolve("two.example")]);
  t.equal(one.kind === "plan" && one.plan.site, "google");
  t.equal(two.kind === "plan" && two.plan.site, "google");
  t.equal(zone.queries.filter((query) => query === "A mx.google.com").length, 1);
});

test("a resolver that never answers does not hang the mail", async (t) => {
  const { plans, clock } = world({
    "silent.example": { mx: "silent" },
    "half.example": { mx: [[10, "mute.example"]] },
    "mute.example": { a: "silent" },
  });
  const answers = Promise.all([plans.resolve("silent.example"), plans.resolve("half.example")]);
  await clock.advance(resolveTimeoutMs);
  t.same((await answers).map(faultOf), ["transient dns", "transient dns"]);
  t.equal(clock.pendingTimers, 0);
});

test("a resolver that breaks its word and rejects is a transient fault", async (t) => {
  const clock = new SimClock();
  const broken = () => Promise.reject(new Error("bug"));
  const plans = makePlanResolver(
    { resolver: { mx: broken, a: broken, aaaa: broken, txt: broken }, clock, log: silentLog },
    config,
  );
  t.equal(faultOf(await plans.resolve("x.example")), "transient dns");
});

test("a new config holds from the next lookup, even over one that is under way", async (t) => {
  const { plans, zone } = world({ "lo.example": { a: ["127.0.0.1"] } }, { ip: [4] });
  const old = plans.resolve("lo.example");
  plans.reconfigure({ ...config, ip: [4], internalNetworksAllowed: ["127.0.0.0/8"] });
  const fresh = plans.resolve("lo.example");
  t.equal(faultOf(await old), "permanent internal-address");
  t.equal((await fresh).kind, "plan");
  t.equal((await plans.resolve("lo.example")).kind, "plan", "the old result was not kept");
  t.same(zone.queries, ["MX lo.example", "A lo.example"], "DNS answers outlive the config");
});
