// What the detector sees: the newest frame, the newest prepared projection, a sinogram. They come while this is shown.

import { PlaneView } from "./plane.js";

const SUBJECTS = ["raw", "projection", "sinogram"];

export class Detector {
  constructor(grid, text, look, connection) {
    Object.assign(this, { text, connection, isVisible: false, why: {} });
    this.views = new Map(SUBJECTS.map((name) => [name, new PlaneView(name, look, () => {})]));
    grid.append(...[...this.views.values()].map((view) => view.figure));
  }

  visible(is) {
    this.isVisible = is;
    this.ask();
  }

  // Also when the connection is a new one, which knows nothing of this.
  ask() {
    this.connection.want({ do: "see", detector: this.isVisible });
  }

  async show(header, jpeg) {
    delete this.why[header.look];
    await this.views.get(header.look)?.show(header, jpeg);
    this.say();
  }

  unseen({ look, why }) {
    this.why[look] = why;
    this.say();
  }

  say() {
    const said = [...new Set(SUBJECTS.map((name) => this.why[name]).filter(Boolean))].join("; ");
    if (this.text.textContent !== said) this.text.textContent = said;
  }

  draw() {
    for (const view of this.views.values()) view.draw();
  }
}
