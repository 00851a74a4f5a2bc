import { every, get, may, send } from "./api.js";
import { action, facts, field, h, toast } from "./dom.js";
import { measurements } from "./measure.js";

export async function show(place) {
  const now = h("div", { class: "card" });
  const diff = h("div", { role: "status" });
  let tuning = await get("/tuning");
  const keys = { interval: tuning.keys.detection_interval, size: tuning.keys.search_max_side_px, threshold: tuning.keys.similarity_min };
  const slider = (min, max, step, value) => {
    const shown = h("output", {}, String(value));
    const input = h("input", { type: "range", min, max, step, disabled: !may("admin") });
    input.value = value;
    // Its scale is coarser and shorter than what may be in force: only what is moved is a change.
    let start = input.value;
    input.addEventListener("input", () => { shown.textContent = input.value; });
    return { input, shown, moved: () => input.value !== start, rest: () => { start = input.value; } };
  };
  const interval = slider(1, 30, 1, tuning.detection_interval);
  const size = slider(80, 1920, 20, tuning.search_max_side_px || 640);
  const threshold = slider(0, 1, 0.005, tuning.similarity_min);
  const changes = () => {
    const found = {};
    if (interval.moved()) found[keys.interval] = Number(interval.input.value);
    if (size.moved()) found[keys.size] = Number(size.input.value);
    if (threshold.moved()) found[keys.threshold] = Number(threshold.input.value);
    if (!Object.keys(found).length) throw new Error("nothing was moved");
    return { changes: found };
  };
  const measured = async () => {
    tuning = await get("/tuning");
    const known = tuning.calibration;
    now.replaceChildren(h("h2", {}, "In force, and measured now"), facts([
      ["N (one frame in N is searched)", `${tuning.detection_interval}${tuning.auto ? ", adapted by itself" : ""}`],
      ["Searched image, longer side", tuning.search_max_side_px === null ? "whole" : `${tuning.search_max_side_px} px`],
      ["Threshold (cosine)", `${tuning.similarity_min.toFixed(3)}, from the ${tuning.similarity_from}`],
      ["Calibrated FPIR", known ? `${(100 * known.fpir).toFixed(2)} % (95 %: ${(100 * known.low).toFixed(2)} to ${(100 * known.high).toFixed(2)} %)` : "not calibrated: jetson-face calibrate --write"],
      ...Object.entries(tuning.rates).map(([name, value]) => [`Rate, ${name}`, `${value.toFixed(1)} /s`]),
      ...Object.entries(tuning.stages_p95_ms).map(([name, value]) => [`Stage ${name}, p95`, `${value.toFixed(1)} ms`]),
    ]));
  };
  const meaning = h("p", { role: "status" });
  const curve = await get("/tuning/thresholds").catch((error) => ({ problem: error.message }));
  const week = new Date(Date.now() - 7 * 86400e3).toISOString();
  const strangers = await every(`/events?kind=left&state=unknown&limit=500&since=${week}`).then((found) => found.length, () => 0);
  const percent = (rate) => `${(100 * rate.share).toFixed(1)} % (95 %: ${(100 * rate.low).toFixed(1)} to ${(100 * rate.high).toFixed(1)})`;
  const mean = () => {
    const wanted = Number(threshold.input.value);
    const point = curve.points?.reduce((best, one) => (Math.abs(one.similarity_min - wanted) < Math.abs(best.similarity_min - wanted) ? one : best));
    if (!point?.fpir) meaning.textContent = curve.problem || "Enrol two people or more to see what a threshold means here.";
    else {
      meaning.textContent = `At ${point.similarity_min.toFixed(2)}, strangers who get a name (FPIR): ${percent(point.fpir)} of ${point.fpir.faces} faces`
        + `, about ${(point.fpir.share * strangers).toFixed(1)} false names a week at the ${strangers} unknown visits of the last one.`
        + (point.correctly_identified ? ` Correctly identified: ${percent(point.correctly_identified)} of ${point.correctly_identified.faces} faces.` : "")
        + " Measured on the enrolled faces, each person a stranger to the others; a site's own strangers are asked by jetson-face calibrate.";
    }
  };
  threshold.input.addEventListener("input", mean);
  mean();
  const apply = action("Apply", async () => {
    const done = await send("POST", "/settings", changes());
    toast(done.message);
    for (const one of [interval, size, threshold]) one.rest();
    diff.replaceChildren();
    await measured();
  }, "main");
  const check = action("Compare", async () => {
    const told = await send("POST", "/settings/check", changes());
    diff.replaceChildren(h("ul", {}, told.diff.map((one) => h("li", {}, `${one.key}: ${one.before} → ${one.after}`)), told.errors.map((text) => h("li", { class: "bad" }, text))));
  });
  await measured();
  place.append(h("div", { class: "grid" }, now, h("div", { class: "card" }, h("h2", {}, "Change"),
    field("Detection interval N: lower finds faces sooner and costs more", interval.input), interval.shown,
    tuning.search_max_side_px ? [field("Searched image, longer side in pixels: larger finds smaller faces and costs more", size.input), size.shown] : null,
    field("Threshold, cosine: higher names strangers less often and misses more", threshold.input), threshold.shown, meaning,
    may("admin") ? h("p", { class: "row" }, check, apply) : h("p", { class: "soft" }, "Changing needs the role admin."), diff)));
  const endMeasuring = await measurements(place);
  const timer = setInterval(() => measured().catch(() => {}), 3000);
  return () => { clearInterval(timer); endMeasuring(); };
}
