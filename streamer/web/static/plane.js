// One plane: its picture with contrast and colours, cross-hair, scale bar, and what the hand does to it.

import { lookup } from "./colours.js";

export const AXES = { xy: ["x", "y", "z"], xz: ["x", "z", "y"], yz: ["y", "z", "x"] };
const LINES = { x: "#ff9f6b", y: "#7ddc8a", z: "#6cc0f0" };
const TITLES = { xy: "Level (x, y)", xz: "Upright (x, z)", yz: "Upright (y, z)", free: "Free plane",
  raw: "Newest frame", projection: "Newest projection", sinogram: "Sinogram" };

const tag = (name, properties = {}, ...children) => {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
};

export class PlaneView {
  // moved(name, change): the hand moved something; change is {x, y, z} or {free: {azimuth_deg, tilt_deg, offset}}, in part
  constructor(name, look, moved) {
    Object.assign(this, { name, look, moved, header: null, grey: null, place: null, volume: null });
    this.canvas = tag("canvas", { width: 1, height: 1 });
    this.over = tag("canvas", { className: "over" });
    this.stage = tag("div", { className: "stage", tabIndex: 0 }, this.canvas, this.over);
    this.stage.setAttribute("role", "group");
    this.stage.setAttribute("aria-label", TITLES[name] ?? name);
    this.note = tag("span", { textContent: "–" });
    this.read = tag("p", { className: "read" });
    const title = tag("h2", { textContent: TITLES[name] ?? name });
    this.figure = tag("figure", { id: `plane-${name}` }, tag("div", { className: "top" }, title, this.note), this.stage);
    this.controls = {};
    if (name === "free") {
      this.control("azimuth_deg", "turn, °", -180, 180, 1);
      this.control("tilt_deg", "tilt, °", 0, 180, 1);
      this.control("offset", "offset, px", -100, 100, 1);
    } else if (name in AXES) this.control(AXES[name][2], `${AXES[name][2]}, px`, 0, 1, 1);
    this.figure.append(this.read);
    this.listen();
    new ResizeObserver(() => this.drawOver()).observe(this.stage);
  }

  control(axis, words, min, max, step) {
    const slider = tag("input", { type: "range", min, max, step, id: `${this.name}-${axis}`, disabled: true });
    const number = tag("input", { type: "number", min, max, step: "any", disabled: true });
    number.setAttribute("aria-label", `${TITLES[this.name]}: ${words}`);
    slider.oninput = () => this.set(axis, Number(slider.value));
    number.onchange = () => number.value !== "" && this.set(axis, Number(number.value));
    this.figure.append(tag("div", { className: "control" }, tag("label", { htmlFor: slider.id, textContent: words }), slider, number));
    this.controls[axis] = [slider, number];
  }

  set(axis, value) {
    this.moved(this.name === "free" ? { free: { [axis]: value } } : { [axis]: value });
  }

  // Where the planes are, and whether the hand may move them.
  follow(place, volume, movable) {
    Object.assign(this, { place, volume, movable });
    for (const [axis, inputs] of Object.entries(this.controls)) {
      const value = this.name === "free" ? place?.free?.[axis] : place?.[axis];
      for (const input of inputs) {
        input.disabled = !movable;
        if (volume && axis === "offset") [input.min, input.max] = [-volume.columns, volume.columns];
        if (volume && axis in LINES) input.max = (axis === "z" ? volume.rows : volume.columns) - 1;
        if (value !== undefined && document.activeElement !== input) input.value = Math.round(value * 10) / 10;
      }
    }
    this.drawOver();
  }

  async show(header, jpeg) {
    const number = (this.asked = (this.asked ?? 0) + 1);
    const picture = await createImageBitmap(new Blob([jpeg], { type: "image/jpeg" }));
    if (number < (this.drawnNumber ?? 0)) return;
    this.drawnNumber = number;
    const [rows, columns] = header.shape;
    const scratch = new OffscreenCanvas(columns, rows).getContext("2d", { willReadFrequently: true });
    scratch.drawImage(picture, 0, 0);
    picture.close();
    this.pixels = scratch.getImageData(0, 0, columns, rows);
    const data = this.pixels.data, grey = (this.grey = new Uint8Array(rows * columns));
    for (let at = 0; at < grey.length; at++) grey[at] = data[4 * at];
    this.header = header;
    this.note.textContent = header.past ? "from the tomogram" : (header.note ?? `${header.angles} of ${header.of} angles${header.coarse ? ", coarse" : ""}`);
    this.stage.setAttribute("aria-label", `${TITLES[this.name] ?? this.name}, ${this.note.textContent}`);
    this.draw();
    this.drawOver();
    this.canvas.dataset.drawn = Number(this.canvas.dataset.drawn ?? 0) + 1;
    this.canvas.dataset.place = JSON.stringify(header.place?.origin ?? null);
    this.point();
  }

  stale(is) {
    this.figure.classList.toggle("stale", is);
  }

  draw() {
    if (!this.grey) return;
    const [rows, columns] = this.header.shape;
    if (this.canvas.width !== columns || this.canvas.height !== rows) [this.canvas.width, this.canvas.height] = [columns, rows];
    const table = lookup(this.look.map, this.look.low, this.look.high);
    const colours = new Uint32Array(this.pixels.data.buffer);
    for (let at = 0; at < this.grey.length; at++) colours[at] = table[this.grey[at]];
    this.canvas.getContext("2d").putImageData(this.pixels, 0, 0);
  }

  // The picture's part of the stage: left, top, and pixels of the screen for a voxel.
  frame() {
    const [rows, columns] = this.header?.shape ?? [1, 1];
    const { clientWidth: width, clientHeight: height } = this.stage;
    const scale = Math.min(width / columns, height / rows);
    return { left: (width - columns * scale) / 2, top: (height - rows * scale) / 2, scale: scale / (this.header?.bin ?? 1) };
  }

  drawOver() {
    const ratio = devicePixelRatio, { clientWidth: width, clientHeight: height } = this.stage;
    [this.over.width, this.over.height] = [width * ratio, height * ratio];
    const paint = this.over.getContext("2d");
    paint.scale(ratio, ratio);
    if (!this.header) return;
    const { left, top, scale } = this.frame(), [rows, columns] = this.header.shape, bin = this.header.bin;
    if (this.name in AXES && this.place) {
      const [across, down] = AXES[this.name];
      paint.lineWidth = 1;
      paint.globalAlpha = 0.8;
      this.line(paint, LINES[across], left + (this.place[across] + 0.5) * scale, top, 0, rows * bin * scale);
      this.line(paint, LINES[down], left, top + (this.place[down] + 0.5) * scale, columns * bin * scale, 0);
    }
    if (this.name !== "sinogram") this.scaleBar(paint, left + 10, height - Math.max(10, height - top - rows * bin * scale + 10), scale);
  }

  line(paint, colour, x, y, width, height) {
    paint.strokeStyle = colour;
    paint.beginPath();
    paint.moveTo(x, y);
    paint.lineTo(x + width, y + height);
    paint.stroke();
  }

  scaleBar(paint, x, y, scale) {
    const micron = this.header.pixel_size_m ? this.header.pixel_size_m * 1e6 : 1;
    const wanted = (this.stage.clientWidth / 4 / scale) * micron, power = 10 ** Math.floor(Math.log10(wanted));
    const length = [5, 2, 1].map((n) => n * power).find((n) => n <= wanted) ?? power;
    const words = !this.header.pixel_size_m ? `${length} px` : length >= 1000 ? `${length / 1000} mm` : `${Number(length.toPrecision(2))} µm`;
    paint.globalAlpha = 1;
    paint.font = "13px system-ui, sans-serif";
    paint.lineWidth = 3;
    paint.strokeStyle = "#000";
    paint.strokeText(words, x, y - 7);
    paint.fillStyle = "#000";
    paint.fillRect(x - 1, y - 4, (length / micron) * scale + 2, 5);
    paint.fillStyle = "#fff";
    paint.fillText(words, x, y - 7);
    paint.fillRect(x, y - 3, (length / micron) * scale, 3);
  }

  // The voxel (column, row of the plane) under the pointer.
  at(event) {
    const box = this.stage.getBoundingClientRect(), { left, top, scale } = this.frame();
    return [Math.floor((event.clientX - box.left - left) / scale), Math.floor((event.clientY - box.top - top) / scale)];
  }

  point(event = this.pointed) {
    this.pointed = event;
    if (!event || !this.header) return;
    const [column, row] = this.at(event), [rows, columns] = this.header.shape, bin = this.header.bin;
    const [c, r] = [Math.floor(column / bin), Math.floor(row / bin)];
    if (c < 0 || r < 0 || c >= columns || r >= rows) return void (this.read.textContent = "");
    const value = this.header.lo + ((this.header.hi - this.header.lo) * this.grey[r * columns + c]) / 255;
    const [across, down] = AXES[this.name] ?? ["column", "row"];
    this.read.textContent = `${across} ${column}  ${down} ${row}  ${value.toPrecision(3)} ${this.header.unit}`;
  }

  drag(event) {
    if (!this.movable || !this.header) return;
    if (this.name === "free") {
      const free = this.place?.free;
      if (!free || !this.from) return;
      const turned = free.azimuth_deg + (event.clientX - this.from[0]) / 2;
      this.moved({ free: {
        azimuth_deg: ((turned + 540) % 360) - 180,
        tilt_deg: Math.min(180, Math.max(0, free.tilt_deg + (event.clientY - this.from[1]) / 2)),
      } });
      this.from = [event.clientX, event.clientY];
    } else if (this.name in AXES) {
      const [across, down] = AXES[this.name], [column, row] = this.at(event);
      this.moved({ [across]: column, [down]: row });
    }
  }

  step(keys, far) {
    const free = this.place?.free;
    if (this.name === "free" && free) {
      const axis = { ArrowLeft: "azimuth_deg", ArrowRight: "azimuth_deg", ArrowUp: "tilt_deg", ArrowDown: "tilt_deg" }[keys] ?? "offset";
      return this.set(axis, free[axis] + (["ArrowLeft", "ArrowUp", "PageDown"].includes(keys) ? -far : far));
    }
    if (!(this.name in AXES) || !this.place) return undefined;
    const [across, down, own] = AXES[this.name];
    const [axis, by] = {
      ArrowLeft: [across, -1], ArrowRight: [across, 1], ArrowUp: [down, -1], ArrowDown: [down, 1], PageUp: [own, 1], PageDown: [own, -1],
    }[keys];
    return this.set(axis, this.place[axis] + by * far);
  }

  listen() {
    const stage = this.stage;
    stage.onpointerdown = (event) => {
      this.from = [event.clientX, event.clientY];
      stage.setPointerCapture(event.pointerId);
      this.drag(event);
    };
    stage.onpointermove = (event) => {
      this.point(event);
      if (event.buttons) this.drag(event);
    };
    stage.onpointerleave = () => {
      this.pointed = null;
      this.read.textContent = "";
    };
    stage.addEventListener("wheel", (event) => {
      if (!this.movable) return;
      event.preventDefault();
      this.step(event.deltaY > 0 ? "PageDown" : "PageUp", event.shiftKey ? 10 : 1);
    }, { passive: false });
    stage.onkeydown = (event) => {
      if (!this.movable || !/^(Arrow|Page)/.test(event.key)) return;
      event.preventDefault();
      this.step(event.key, event.shiftKey ? 10 : 1);
    };
  }
}
