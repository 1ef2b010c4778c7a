// What is read of attenuation that stays on the device: some of its rows, means of bands of rows, late corrections.
// Images are (…, rows, cols). In every grid x are images, y rows or bands, z columns: of images there may be many.
#include "common.cuh"

// out (numbers, chosen, cols): of each image in the list `numbers` the rows in the list `chosen`.
extern "C" __global__ void __launch_bounds__(256)
pick_lines(const float *images, int rows, int cols, const int *numbers, const int *chosen, float *out) {
    int col = blockIdx.z * 256 + threadIdx.x;
    if (col >= cols) return;
    long long line = (long long)numbers[blockIdx.x] * rows + chosen[blockIdx.y];
    out[((long long)blockIdx.x * gridDim.y + blockIdx.y) * cols + col] = images[line * cols + col];
}

// out (images, bands, cols): means over the `height` rows from first[band] on, summed over `count` images that are
// `step` apart, of which the first is image blockIdx.x.
extern "C" __global__ void __launch_bounds__(256)
band_means(const float *images, int count, int step, int rows, int cols, const int *first, int height, float *out) {
    int col = blockIdx.z * 256 + threadIdx.x;
    if (col >= cols) return;
    double sum = 0.0;
    for (int k = 0; k < count; k++) {
        long long line = ((long long)blockIdx.x + (long long)k * step) * rows + first[blockIdx.y];
        for (int row = 0; row < height; row++) sum += images[(line + row) * cols + col];
    }
    out[((long long)blockIdx.x * gridDim.y + blockIdx.y) * cols + col] = (float)(sum / height);
}

// out = source + fixed + base[image] + ln(1 + share[image] · pattern): see preprocessing.flat_pair.add_late. Row 0 of
// source and out is row `top` of fixed and pattern, each of which is null where there is none.
extern "C" __global__ void __launch_bounds__(256)
add_late(const float *source, int cols, int top, const float *fixed, const float *pattern, const float *base,
         const float *share, float *out) {
    int col = blockIdx.z * 256 + threadIdx.x;
    if (col >= cols) return;
    long long at = ((long long)blockIdx.x * gridDim.y + blockIdx.y) * cols + col;
    long long there = (long long)(top + blockIdx.y) * cols + col;
    float value = base[blockIdx.x];
    if (fixed) value += fixed[there];
    value += source[at];
    if (pattern) value += log1pf(share[blockIdx.x] * pattern[there]);
    out[at] = value;
}

// Fills the dead pixels of images, in place: see DeadPixels. row (count) is the row of each, places (3, count) and
// share (count) as in prepare.cu. What is read is alive, so the order does not matter.
extern "C" __global__ void __launch_bounds__(256)
fill_dead(int rows, int cols, const int *row, const long long *places, const float *share, long long count,
          float *images) {
    long long n = (long long)blockIdx.z * 256 + threadIdx.x;
    if (n >= count) return;
    float *line = images + ((long long)blockIdx.x * rows + row[n]) * cols;
    long long a = places[count + n], b = places[2 * count + n];
    line[places[n]] = a < 0 ? 0.0f : line[a] + share[n] * (line[b] - line[a]);
}

// Weights of the pixels -1, 0, 1, 2 for a point at fraction f behind pixel 0: alignment.tilt._keys.
BODY void keys(float f, float *weight) {
    float g = 1.0f - f;
    weight[0] = -0.5f * f * g * g;
    weight[1] = 1.0f + f * f * (f + 0.5f * f - 2.5f);
    weight[2] = 1.0f + g * g * (g + 0.5f * g - 2.5f);
    weight[3] = -0.5f * g * f * f;
}

// The line's value at `place`, its pixels `pitch` apart; beyond its ends it goes on as they are.
BODY float cubic_at(const float *line, long long pitch, int count, double place) {
    double t = fmin(fmax(place, 0.0), count - 1.0);
    int i = (int)t, before = i > 0 ? i - 1 : 0, after = i + 1 < count ? i + 1 : count - 1;
    int last = i + 2 < count ? i + 2 : count - 1;
    float weight[4];
    keys((float)(t - i), weight);
    return weight[0] * line[before * pitch] + weight[1] * line[i * pitch] + weight[2] * line[after * pitch] +
           weight[3] * line[last * pitch];
}

// Two passes of alignment.tilt.rotate: out(r, c) = image(r, x), then out(r, c) = image(y, c). x and y are `start` for
// row `middle` and column 0, `down` more from row to row, and `along` more from column to column.
extern "C" __global__ void __launch_bounds__(256)
turn_columns(const float *image, int cols, double start, double down, double along, double middle, float *out) {
    int col = blockIdx.z * 256 + threadIdx.x, row = blockIdx.y;
    if (col >= cols) return;
    long long line = ((long long)blockIdx.x * gridDim.y + row) * cols;
    out[line + col] = cubic_at(image + line, 1, cols, start + (row - middle) * down + col * along);
}

extern "C" __global__ void __launch_bounds__(256)
turn_rows(const float *image, int cols, double start, double down, double along, double middle, float *out) {
    int col = blockIdx.z * 256 + threadIdx.x, row = blockIdx.y, rows = gridDim.y;
    if (col >= cols) return;
    const float *column = image + (long long)blockIdx.x * rows * cols + col;
    out[((long long)blockIdx.x * rows + row) * cols + col] =
        cubic_at(column, cols, rows, start + (row - middle) * down + col * along);
}

// out (images, rows, width): rows of `cols` columns times weight (cols), from column `first` on; 0 beside them.
extern "C" __global__ void __launch_bounds__(256)
widen(const float *images, const float *weight, int cols, int first, int width, float *out) {
    int to = blockIdx.z * 256 + threadIdx.x, col = to - first;
    if (to >= width) return;
    long long line = (long long)blockIdx.x * gridDim.y + blockIdx.y;
    out[line * width + to] = col >= 0 && col < cols ? images[line * cols + col] * weight[col] : 0.0f;
}
