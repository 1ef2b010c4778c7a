// The samples of the batch that runs: which are done, which is in the beam, which wait.

import { duration } from "./words.js";

const SIGNS = { waiting: "·", scanning: "▶", accept: "✔", reject: "✘" };

const tag = (name, properties = {}, ...children) => {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
};

export class Queue {
  // scans: the past scans, which have the thumbnails; open(scanId) shows one of them
  constructor(section, scans, open) {
    Object.assign(this, { section, scans, open, message: null, key: "" });
    this.list = section.querySelector("ol");
    this.said = section.querySelector("p");
  }

  set(message) {
    this.message = message;
    this.show();
  }

  show() {
    const message = this.message;
    if (!message) return;
    const entries = message.samples.map((sample) => [sample, this.scans.get(sample.scan_id)?.thumbnail ?? ""]);
    const key = JSON.stringify([message, entries]);
    if (key === this.key) return;
    this.key = key;
    this.section.hidden = false;
    const left = message.left_s === null ? "" : `, about ${duration(message.left_s)} left`;
    this.said.textContent = `${message.done} of ${message.samples.length} done${left}${message.note ? ` – ${message.note}` : ""}`;
    this.list.replaceChildren(...entries.map(([sample, picture]) => this.item(sample, picture)));
    // Only within the list: the page itself stays where it is.
    const now = this.list.children[message.samples.findIndex((sample) => sample.state === "scanning")];
    if (now) this.list.scrollLeft = now.offsetLeft - this.list.offsetLeft;
  }

  item(sample, picture) {
    const seen = picture ? tag("img", { src: picture, alt: "" }) : tag("span", { className: "blank" });
    const scans = sample.attempts > 1 ? `, ${sample.attempts} scans` : "";
    const parts = [
      seen,
      tag("strong", { textContent: `${SIGNS[sample.state] ?? "•"} ${sample.name}` }),
      tag("span", { textContent: `${sample.state}${sample.verdict ? `, ${sample.verdict}` : ""}` }),
      tag("small", { textContent: `slot ${sample.slot}${scans}` }),
    ];
    const item = tag("li", { className: sample.state === "scanning" ? "now" : "" });
    if (this.scans.get(sample.scan_id)) item.append(tag("button", { type: "button", onclick: () => this.open(sample.scan_id) }, ...parts));
    else item.append(tag("div", {}, ...parts));
    if (sample.state === "scanning") item.setAttribute("aria-current", "step");
    return item;
  }
}
