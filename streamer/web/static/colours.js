// Colours of grey values. Each map is 16 colours, red, green and blue, between which others are mixed.

const STOPS = {
  grey: "000000ffffff",
  "grey inverted": "ffffff000000",
  viridis: "440154481a6c472f7d41448739568c31688e2a788e23888e1f988b22a88435b77954c5687ad151a5db36d2e21bfde725",
  inferno: "0000040c0826240c4f420a685d126e781c6d932667ae305cc73e4cdd513aed6925f8850ffca50afac62df2e661fcffa4",
  cividis: "00224e002e6c1e3a6f35456c47516c575d6d666970757575848279948e77a59c74b7a96ec8b866dbc75aeed649fee838",
};

export const MAPS = Object.keys(STOPS);

export function colour(map, share) {
  const stops = STOPS[map].match(/.{6}/g), at = Math.min(1, Math.max(0, share)) * (stops.length - 1);
  const low = Math.floor(at), high = Math.min(low + 1, stops.length - 1);
  return [0, 2, 4].map((n) => {
    const [a, b] = [stops[low], stops[high]].map((stop) => parseInt(stop.slice(n, n + 2), 16));
    return a + (b - a) * (at - low);
  });
}

// 256 pixels, as an ImageData holds them on a little-endian machine; low and high are shares of the picture's range.
export function lookup(map, low, high) {
  return Uint32Array.from({ length: 256 }, (_, grey) => {
    const [red, green, blue] = colour(map, (grey / 255 - low) / Math.max(high - low, 1e-3)).map(Math.round);
    return ((255 << 24) | (blue << 16) | (green << 8) | red) >>> 0;
  });
}
