// The tomogram in three dimensions: a coarse brick first, a box in full detail on demand, cut planes. While its scan runs
// it grows, and what is shown is fetched again.

import { colour } from "./colours.js";
import { splitPicture } from "./socket.js";

const COARSE = 96, FINE = 128;
const AGAIN_MS = 3000; // after the tomogram that grows was fetched

const tag = (name, properties = {}, ...children) => {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
};

export class Scene {
  constructor(box, text, controls, connection, place) {
    Object.assign(this, { box, text, controls, connection, place, shown: "", isVisible: false, view: null });
    this.settings = { floor: 0.25, ceiling: 0.75, opacity: 0.5, x: [0, 1], y: [0, 1], z: [0, 1] };
    this.map = "grey";
    this.build();
    box.onkeydown = (event) => this.key(event);
  }

  key(event) {
    const far = event.shiftKey ? 30 : 5;
    const turn = { ArrowLeft: [-far, 0], ArrowRight: [far, 0], ArrowUp: [0, far], ArrowDown: [0, -far] }[event.key];
    const nearer = { "+": 1.2, "-": 1 / 1.2 }[event.key];
    if (!this.view || !(turn || nearer)) return;
    event.preventDefault();
    if (turn) this.view.turn(...turn);
    else this.view.zoom(nearer);
  }

  build() {
    const group = tag("fieldset", {}, tag("legend", { textContent: "Matter" }));
    group.append(this.slider("Transparent below, %", 25, (value) => (this.settings.floor = value / 100)));
    group.append(this.slider("Most opaque from, %", 75, (value) => (this.settings.ceiling = value / 100)));
    group.append(this.slider("Opacity, %", 50, (value) => (this.settings.opacity = value / 100)));
    const cuts = tag("fieldset", {}, tag("legend", { textContent: "Cut away" }));
    for (const axis of ["x", "y", "z"]) {
      cuts.append(this.slider(`${axis} from, %`, 0, (value) => (this.settings[axis][0] = Math.min(value / 100, this.settings[axis][1] - 0.01))));
      cuts.append(this.slider(`${axis} to, %`, 100, (value) => (this.settings[axis][1] = Math.max(value / 100, this.settings[axis][0] + 0.01))));
    }
    const detail = tag("fieldset", {}, tag("legend", { textContent: "Detail" }));
    this.fine = tag("button", { type: "button", textContent: "Full detail at the cross-hair", disabled: true, onclick: () => this.load(true) });
    this.coarse = tag("button", { type: "button", textContent: "Whole tomogram", disabled: true, onclick: () => this.load(false) });
    const reset = tag("button", { type: "button", textContent: "Reset the view", onclick: () => this.view?.reset() });
    detail.append(this.fine, this.coarse, reset);
    this.controls.append(group, cuts, detail);
  }

  slider(words, value, set) {
    const id = `scene-${words.replace(/\W+/g, "-")}`;
    const input = tag("input", { type: "range", min: 0, max: 100, value, id, oninput: () => {
      set(Number(input.value));
      this.apply();
    } });
    return tag("div", {}, tag("label", { htmlFor: id, textContent: words }), input);
  }

  apply() {
    this.view?.matter(this.settings.floor, Math.max(this.settings.ceiling, this.settings.floor + 0.01), this.settings.opacity, (share) => colour(this.map, share));
    this.view?.cut(this.settings.x, this.settings.y, this.settings.z);
  }

  look({ map }) {
    this.map = map === "grey inverted" ? "grey" : map;
    this.apply();
  }

  visible(is) {
    this.isVisible = is;
    if (is) this.refresh();
  }

  // The scan on show: its tomogram is on the disk, or grows, or neither.
  scan(scan) {
    const before = this.has;
    this.grows = Boolean(scan && !scan.over && !scan.tomogram_file);
    this.has = scan && (this.grows || scan.tomogram_file) ? scan.scan_id : null;
    this.fine.disabled = this.coarse.disabled = !this.has;
    if (this.has !== before) this.detailed = false;
    if (!this.has && !this.shown) this.text.textContent = scan ? "this scan has no tomogram on disk" : "no tomogram yet";
    this.refresh();
  }

  // Fetch what is not shown yet, and what has grown.
  refresh() {
    if (!this.isVisible || !this.has || this.loading) return;
    const old = this.shown !== this.has || this.shownGrowing;
    if (old && performance.now() >= (this.nextMs ?? 0)) this.load(this.detailed);
  }

  async load(fine) {
    const scanId = this.has, grows = this.grows;
    if (!scanId) return;
    if (this.loading) {
      this.wanted = fine;
      return;
    }
    this.loading = true;
    try {
      await this.fetch(scanId, grows, fine);
    } catch {
      this.text.textContent = "the server does not answer";
    } finally {
      this.loading = false;
      this.nextMs = performance.now() + (grows || this.shown !== scanId ? AGAIN_MS : 0);
    }
    const { wanted } = this;
    this.wanted = undefined;
    if (wanted !== undefined) this.load(wanted);
  }

  async fetch(scanId, grows, fine) {
    const began = performance.now();
    const query = fine ? `?most=${FINE}&${this.around()}` : `?most=${COARSE}`;
    const library = import("./vendor/volume.js"); // it is loaded while the server makes the brick
    const answer = await this.connection.fetch(`brick/${encodeURIComponent(scanId)}${query}`);
    if (!answer.ok) {
      if (this.shown !== scanId) this.text.textContent = (await answer.text()).trim();
      return;
    }
    const [header, voxels] = splitPicture(await answer.arrayBuffer());
    this.view ??= (await library).createVolumeView(this.box);
    this.box.view = this.view; // for measurements
    this.view.show(header, voxels);
    this.apply();
    [this.header, this.shown, this.shownGrowing, this.detailed] = [header, scanId, grows, fine];
    const [z, y, x] = header.shape, size = header.step > 1 ? `means of ${header.step}³ voxels` : "every voxel";
    const angles = header.grows ? `, ${header.angles} of ${header.of} angles` : "";
    this.text.textContent = `${header.scan_id}: ${x} × ${y} × ${z}, ${size}${angles}`;
    this.box.dataset.loadedMs = Math.round(performance.now() - began);
    this.box.dataset.step = header.step;
    this.box.dataset.angles = header.angles ?? "";
  }

  around() {
    const at = this.place() ?? { x: 0, y: 0, z: 0 }, whole = this.header?.whole ?? [FINE, FINE, FINE];
    return ["z", "y", "x"].map((axis, n) => {
      const first = Math.max(0, Math.min(Math.round(at[axis]) - FINE / 2, whole[n] - FINE));
      return `${axis}=${first}:${first + FINE}`;
    }).join("&");
  }
}
