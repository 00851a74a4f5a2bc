import { get, may, send } from "./api.js";
import { action, facts, h, time } from "./dom.js";
import { plot } from "./plot.js";

const plain = (value) => (value !== null && typeof value === "object" ? JSON.stringify(value) : value);
const section = (title, content) => h("section", { class: "card" }, h("h2", {}, title), content);
const pairs = (object) => facts(Object.entries(object || {}).map(([name, value]) => [name, plain(value)]));
const clock = (s) => new Date(1000 * s).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });

async function charts(place) {
  const { samples } = await get("/health/day");
  if (samples.length < 2) { place.replaceChildren(h("p", { class: "soft" }, "A sample a minute: come back in two.")); return; }
  const step = Math.max(1, Math.ceil(samples.length / 360));
  const thin = samples.filter((_, i) => i % step === 0 || i === samples.length - 1);
  const ticks = thin.filter((_, i) => i % Math.ceil(thin.length / 8) === 0).map((one) => one.time);
  const of = (title, unit, value) => {
    const points = thin.map((one) => [one.time, value(one)]).filter((p) => p[1] !== null);
    return points.length ? h("figure", { class: "card" }, h("figcaption", {}, `${title}, ${unit}: ${points[points.length - 1][1].toFixed(1)} now`), plot(title, "", unit, points, { label: clock, ticks })) : null;
  };
  place.replaceChildren(...[
    of("Decision rate", "frames /s", (one) => one.decided), of("Processor", "% of all cores", (one) => 100 * one.cpu),
    of("Temperature", "°C", (one) => one.temperature), of("Waiting events", "events", (one) => one.queue),
  ].filter((one) => one));
}

function doctor() {
  const said = h("div", { role: "status" });
  return [action("Ask the doctor", async () => {
    said.replaceChildren(h("p", {}, "asking…"));
    const found = await send("POST", "/health/doctor").catch((error) => { said.replaceChildren(); throw error; });
    said.replaceChildren(h("ul", {}, found.findings.map((one) => h("li", { class: { problem: "bad", missing: "warn", ok: "good" }[one.state] || "" }, `${one.state}: ${one.topic}: ${one.text}`, one.fix ? h("div", { class: "soft" }, one.fix) : null))));
  }), said];
}

function log() {
  const lines = h("pre", { tabindex: "0", role: "region", "aria-label": "Log" });
  return [action("Show the last lines", async () => {
    const found = await get("/health/log");
    lines.textContent = found.lines.map((one) => `${one.time} ${one.level} ${one.message}`).reverse().join("\n") || "nothing was logged";
  }), lines];
}

export async function show(place) {
  const grid = h("div", { class: "grid" });
  const day = h("div", { class: "grid" });
  const errors = h("div");
  const draw = async () => {
    const now = await get("/health");
    grid.replaceChildren(
      section("Service", [h("p", { class: now.ready && now.alive ? "good" : "bad" }, now.status), facts([["Version", now.version], ["Up", `${Math.round(now.uptime_s / 60)} min`], ["Last reload", now.reload?.error || now.reload?.message || "none"]])]),
      ...Object.entries(now.cameras || {}).map(([name, camera]) => section(`Camera ${name}`, pairs(camera))),
      section("Engines", pairs(now.engines)), section("Canary", pairs(now.canary)), section("Gallery", pairs(now.gallery)),
      section("Rates, per second", pairs(now.rates)), section("Stages, p95 in ms", pairs(now.stages_p95_ms)),
      section("Events on the disk", pairs(now.outbox)), section("Board", pairs(now.board)), section("Consents", pairs(now.consents)),
      ...Object.entries(now.sinks || {}).map(([name, sink]) => section(`Sink ${name}`, pairs(sink))));
    errors.replaceChildren(h("h2", {}, "Last errors"), now.last_errors?.length ? h("ul", {}, now.last_errors.map((line) => h("li", {}, time(line.time), ` ${line.level}: ${line.message}`))) : h("p", {}, "none"));
  };
  await draw();
  place.append(grid, h("h2", {}, "The last day"), day, h("section", { class: "card" }, errors));
  if (may("operator")) place.append(h("h2", {}, "Doctor"), h("section", { class: "card" }, doctor()), h("h2", {}, "Log"), h("section", { class: "card" }, log()));
  await charts(day).catch((error) => day.replaceChildren(h("p", { class: "soft" }, error.message)));
  const timer = setInterval(() => draw().catch(() => {}), 5000);
  const minute = setInterval(() => charts(day).catch(() => {}), 60000);
  return () => { clearInterval(timer); clearInterval(minute); };
}
