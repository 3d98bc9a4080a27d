import assert from "node:assert/strict";
import { test } from "node:test";
import { compact, count, fixed, parse, placesFor, short } from "../src/core/format";

test("a minus sign is one, and a rounded nothing has none", () => {
  assert.equal(fixed(-0.5, 2), "\u22120.50");
  assert.equal(fixed(-0.001, 2), "0.00");
  assert.equal(fixed(NaN, 2), "–");
  assert.equal(fixed(-Infinity, 1), "\u2212∞");
});

test("short keeps about three digits of any size", () => {
  assert.equal(short(0.0123456), "0.0123");
  assert.equal(short(1234.5), "1235");
  assert.equal(short(0), "0");
  assert.equal(short(0.5), "0.5");
  assert.equal(short(3e-4), "3e\u22124".replace("3e", "3.0e"));
  assert.equal(short(-2.5e7), "\u22122.5e7");
});

test("what short and fixed write, parse reads", () => {
  for (const x of [0, 0.25, -13.5, 412, -0.0025, 6.25e-5, 3.2e8]) assert.equal(parse(short(x, 6)), x);
  assert.equal(parse("0,5"), 0.5);
  assert.ok(Number.isNaN(parse("")));
  assert.ok(Number.isNaN(parse("a lot")));
});

test("thousands are set apart", () => {
  assert.equal(count(1234567), "1\u202f234\u202f567");
  assert.equal(count(999), "999");
  assert.equal(compact(12_345), "12.3k");
  assert.equal(compact(2_500_000), "2.5M");
});

test("a grid's numbers have as many places as fit in a cell", () => {
  assert.deepEqual([0, 0.7, 12, 130].map(placesFor), [2, 2, 1, 0]);
});
