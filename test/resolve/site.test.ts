// The site that a set of exchangers makes.

import { test } from "tap";
import type { SitesConfig } from "../../src/config/config.ts";
import { makeSiteNamer } from "../../src/resolve/site.ts";

const limits = {
  connectionsMax: 1,
  connectionRate: undefined,
  messagesPerConnectionMax: 1,
  rate: undefined,
  recipientsPerMessageMax: 1,
  tls: undefined,
};
const site = (name: string, ...exchangers: string[]) => ({ ...limits, name, exchangers, where: `${name}:1` });
const sites: SitesConfig = {
  defaults: limits,
  named: [
    site("google", "*.Google.com", "*.googlemail.com."),
    site("outlook", "*.mail.protection.outlook.com"),
    site("one", "mx.one.example"),
    site("everything-at-two", "*.two.example"),
    site("shadowed", "mx.two.example"),
    site("nothing"),
  ],
};
const siteOf = makeSiteNamer(sites);
const explicit = (...hosts: string[]) => siteOf({ domain: "d.example", hosts, isImplicit: false });

test("a named site takes a domain when every exchanger matches", async (t) => {
  t.equal(explicit("aspmx.l.google.com", "alt1.aspmx.l.google.com", "aspmx2.googlemail.com"), "google");
  t.equal(explicit("d-example.mail.protection.outlook.com"), "outlook");
  t.equal(explicit("mx.one.example"), "one");
  t.equal(explicit("mx.two.example"), "everything-at-two", "the first match wins");
  t.match(explicit("aspmx.l.google.com", "mx.elsewhere.example"), /^aspmx\.l\.google\.com\+1~/);
});

test("a pattern keeps to its boundaries", async (t) => {
  t.equal(explicit("google.com"), "google.com", "*.google.com is below google.com");
  t.equal(explicit("mx.notgoogle.com"), "mx.notgoogle.com");
  t.equal(explicit("mx.google.com.evil.example"), "mx.google.com.evil.example");
  t.equal(explicit("sub.mx.one.example"), "sub.mx.one.example");
});

test("derived names are readable, and the same for the same set in any order", async (t) => {
  t.equal(explicit("mx.a.example"), "mx.a.example");
  const several = explicit("mx2.a.example", "mx1.a.example", "mx3.a.example");
  t.match(several, /^mx1\.a\.example\+2~[0-9a-f]{6}$/);
  t.equal(explicit("mx3.a.example", "mx1.a.example", "mx2.a.example", "mx1.a.example"), several);
  t.not(explicit("mx1.a.example", "mx2.a.example", "mx4.a.example"), several);
  t.equal(siteOf({ domain: "d.example", hosts: ["d.example"], isImplicit: true }), "d.example");
});

test("nobody joins a named site by the name of his exchanger", async (t) => {
  t.equal(explicit("google"), "google~");
  t.equal(siteOf({ domain: "outlook", hosts: ["outlook"], isImplicit: true }), "outlook~");
});
