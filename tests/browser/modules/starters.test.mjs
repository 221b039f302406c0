import assert from "node:assert/strict";
import test from "node:test";

const { startersFor } = await import(`${process.env.PAGE}/model/starters.js`);

test("the demo model is offered what it knows, others what any model might", () => {
  assert.ok(startersFor("demo").includes("What is a KV cache?"));
  assert.ok(!startersFor("demo").some((text) => startersFor("phi").includes(text)));
  assert.equal(startersFor(null), startersFor("phi"));
});
