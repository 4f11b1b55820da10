// Addresses: one text for each, and internal ones told from public ones.

import { test } from "tap";
import {
  addressFilter,
  canonicalIp,
  formatIpAddress,
  isInNetwork,
  isInternalAddress,
  isLoopbackAddress,
  parseAddressLiteral,
  parseIpAddress,
  parseIpNetwork,
} from "../../src/core/ip-address.ts";

test("every spelling of an address has one canonical text (RFC 5952)", (t) => {
  const cases: [string, string | undefined][] = [
    ["192.0.2.1", "192.0.2.1"],
    ["::", "::"],
    ["0:0:0:0:0:0:0:1", "::1"],
    ["1::", "1::"],
    ["2001:DB8:0:0:1:0:0:1", "2001:db8::1:0:0:1"],
    ["2001:db8:0:1:1:1:1:1", "2001:db8:0:1:1:1:1:1"],
    ["1:0:2:0:0:0:0:3", "1:0:2::3"],
    ["::ffff:192.0.2.1", "::ffff:c000:201"],
    ["1:2:3:4:5:6:7:8", "1:2:3:4:5:6:7:8"],
    ["fe80::1%eth0", undefined],
    ["192.0.2", undefined],
    ["192.0.2.256", undefined],
    ["0300.0.2.1", undefined],
    ["1::2::3", undefined],
    ["", undefined],
  ];
  for (const [text, expected] of cases) t.equal(canonicalIp(text), expected, text);
  t.end();
});

test("address literals have the tag for IPv6 and none for IPv4", (t) => {
  const cases: [string, string | undefined][] = [
    ["[192.0.2.1]", "192.0.2.1"],
    ["[IPv6:2001:db8::1]", "2001:db8::1"],
    ["[ipv6:::1]", "::1"],
    ["[2001:db8::1]", undefined],
    ["[IPv6:192.0.2.1]", undefined],
    ["192.0.2.1", undefined],
    ["[192.0.2.1", undefined],
    ["[]", undefined],
    ["[x:y]", undefined],
  ];
  for (const [text, expected] of cases) {
    const address = parseAddressLiteral(text);
    t.equal(address && formatIpAddress(address), expected, text);
  }
  t.end();
});

test("networks hold their addresses, to the bit", (t) => {
  const cases: [string, string, boolean][] = [
    ["192.0.2.0/24", "192.0.2.255", true],
    ["192.0.2.0/24", "192.0.3.0", false],
    ["192.0.2.77/24", "192.0.2.1", true],
    ["172.16.0.0/12", "172.31.255.255", true],
    ["172.16.0.0/12", "172.32.0.0", false],
    ["0.0.0.0/0", "8.8.8.8", true],
    ["192.0.2.1", "192.0.2.1", true],
    ["192.0.2.1", "192.0.2.2", false],
    ["::/0", "192.0.2.1", false],
    ["2001:db8::/33", "2001:db8:7fff::1", true],
    ["2001:db8::/33", "2001:db8:8000::1", false],
    ["::1/128", "::1", true],
  ];
  for (const [cidr, text, expected] of cases) {
    const network = parseIpNetwork(cidr);
    const address = parseIpAddress(text);
    t.equal(network && address && isInNetwork(address, network), expected, `${text} in ${cidr}`);
  }
  for (const bad of ["192.0.2.0/33", "::/129", "192.0.2.0/", "192.0.2.0/-1", "192.0.2.0/ 8", "x/8", "1.2.3.4/8/8"]) {
    t.equal(parseIpNetwork(bad), undefined, bad);
  }
  t.end();
});

test("internal addresses, also those inside other addresses", (t) => {
  const internal = [
    "0.1.2.3",
    "10.0.0.1",
    "100.64.0.1",
    "100.127.255.255",
    "127.0.0.2",
    "169.254.169.254",
    "172.16.0.1",
    "192.0.0.8",
    "192.168.255.1",
    "198.19.0.1",
    "203.0.113.9",
    "224.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::8.8.8.8",
    "::ffff:8.8.8.8",
    "64:ff9b::10.0.0.1",
    "64:ff9b::127.0.0.1",
    "64:ff9b:1::1",
    "2002:7f00:1::1",
    "2002:a00:1::",
    "2001::1",
    "2001:db8::1",
    "3fff::1",
    "fc00::1",
    "fdff::1",
    "fe80::1",
    "febf::1",
    "ff02::1",
  ];
  const outside = [
    "1.1.1.1",
    "100.63.255.255",
    "100.128.0.0",
    "172.15.255.255",
    "172.32.0.0",
    "198.20.0.0",
    "223.255.255.255",
    "64:ff9b::8.8.8.8",
    "2002:808:808::1",
    "2001:200::1",
    "2a00:1450::1",
    "2606:4700::1",
  ];
  const isInternal = (text: string) =>
    isInternalAddress(parseIpAddress(text) as NonNullable<ReturnType<typeof parseIpAddress>>);
  for (const text of internal) t.equal(isInternal(text), true, text);
  for (const text of outside) t.equal(isInternal(text), false, text);
  t.end();
});

test("the filter lets public and listed addresses through", (t) => {
  const isAllowed = addressFilter(["127.0.0.0/8", "fd00::/16", "rubbish"]);
  for (const text of ["127.0.0.1", "fd00::9", "8.8.8.8", "2a00::1"]) t.equal(isAllowed(text), true, text);
  for (const text of ["10.0.0.1", "fd01::1", "::1", "::ffff:127.0.0.1", "mx.example", ""]) {
    t.equal(isAllowed(text), false, text);
  }
  t.end();
});

test("loopback is what only this machine can reach, in any spelling", (t) => {
  for (const text of ["127.0.0.1", "127.255.0.9", "::1", "0:0:0:0:0:0:0:1"]) t.ok(isLoopbackAddress(text), text);
  for (const text of ["128.0.0.1", "10.0.0.1", "::", "::2", "localhost", "127.0.0", "::ffff:127.0.0.1", ""]) {
    t.notOk(isLoopbackAddress(text), text);
  }
  t.end();
});
