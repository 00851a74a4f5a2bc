import { get, send } from "./api.js";
import { action, dialog, h, toast } from "./dom.js";
import { personField } from "./who.js";

const SECONDS = 10;
const WANTED = 2;
const QUALITY = 0.3;
const poses = [["left", (t) => t < -0.12], ["front", (t) => Math.abs(t) <= 0.12], ["right", (t) => t > 0.12]];

// Keeps, for each pose, the best faces of the track that was seen most.
export function walkPast(camera) {
  let running = true;
  const box = dialog("Enrol by walking past", (close) => {
    const [name, nameField] = personField("Name of the person", { required: true });
    const said = h("p", { role: "status" }, "One person walks past the camera, and looks to both sides.");
    const meters = poses.map(([pose]) => h("meter", { min: 0, max: WANTED, value: 0, low: 1, high: WANTED, optimum: WANTED, "aria-label": `Faces from the ${pose}` }));
    const quality = h("meter", { min: 0, max: 1, value: 0, low: QUALITY, high: 0.5, optimum: 1, "aria-label": "Quality of the face now" });
    const seen = h("ul", { class: "row plain", "aria-label": "Kept faces" });
    let kept = [];
    const enrol = action("Enrol", async () => {
      if (!name.value.trim()) throw new Error("write a name first");
      const done = await send("POST", "/people", { name: name.value.trim(), pictures: kept.map((one, i) => ({ label: `walk ${i + 1} ${one.pose}`, data: one.data })) });
      toast(done.added.length ? `${done.name} is enrolled with ${done.added.length}` : done.refused[0]?.reason || "they were there already");
      if (done.added.length) close();
    }, "main");
    enrol.disabled = true;
    const start = action("Start", async () => {
      const tracks = new Map();
      const end = performance.now() + SECONDS * 1000;
      let after = null;
      while (running && performance.now() < end) {
        const found = await get(`/cameras/${camera}/face${after === null ? "" : `?after=${after}`}`);
        const left = Math.ceil((end - performance.now()) / 1000);
        if (found.seq !== null) after = found.seq;
        if (found.several) said.textContent = `${left} s: one person at a time, please`;
        else if (!found.face) said.textContent = `${left} s: no face yet`;
        else {
          const face = found.face;
          quality.value = face.quality;
          said.textContent = `${left} s: ${face.quality >= QUALITY ? "good" : face.reasons.join(", ") || "not sharp enough"}`;
          const pose = poses.find(([, fits]) => fits(face.turn))[0];
          if (face.quality >= QUALITY && found.data) tracks.set(face.track, [...(tracks.get(face.track) || []), { pose, quality: face.quality, data: found.data }]);
        }
        const most = [...tracks.values()].sort((a, b) => b.length - a.length)[0] || [];
        kept = poses.flatMap(([one]) => most.filter((f) => f.pose === one).sort((a, b) => b.quality - a.quality).slice(0, WANTED));
        poses.forEach(([one], i) => { meters[i].value = kept.filter((f) => f.pose === one).length; });
        await new Promise((r) => setTimeout(r, 150));
      }
      seen.replaceChildren(...kept.map((one) => h("li", {}, h("img", { class: "crop", src: `data:image/jpeg;base64,${one.data}`, alt: `Face from the ${one.pose}, quality ${one.quality.toFixed(2)}` }))));
      const missing = poses.filter(([one]) => !kept.some((f) => f.pose === one)).map(([one]) => one);
      said.textContent = kept.length ? `${kept.length} faces kept${missing.length ? `; none from the ${missing.join(" and the ")}` : ""}.` : "No face was good enough: try again, nearer and with more light.";
      enrol.disabled = !kept.length;
    });
    return h("div", {}, nameField, said,
      h("div", { class: "row" }, poses.map(([pose], i) => h("span", {}, `${pose} `, meters[i])), h("span", {}, "quality ", quality)),
      seen, h("p", { class: "row" }, start, enrol));
  });
  box.addEventListener("close", () => { running = false; });
}
