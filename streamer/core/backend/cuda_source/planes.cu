// Live planes on a device: the sums of planes.kernels and planes.shear, from attenuation (frames, rows, cols).
//
// Every thread owns its outputs and goes on from the sum that is there, frame by frame: results repeat bit for bit,
// however frames are cut into calls. A block keeps the geometry of all frames of a call at hand. Where a ray meets a
// row is worked out in float64 once per block of 32 outputs, as a whole column and a rest; the rest goes on in float32.
#include "common.cuh"

#define MAX_FRAMES 8    // frames of a call
#define TAP_NEAR 1.3f // DERIVATIVE_TAPS of planes.kernels
#define TAP_FAR -0.1f
#define BEFORE 1.5 // DERIVATIVE_REACH - 1/2 of planes.kernels: column 0 of a row lies so far before derivative 0
#define FARTHEST 1e9
#define ROW_PAD 2 // CUBIC_PAD of planes.shear

// A row of attenuation between two detector rows, carried on beyond both ends by `taper` (side).
struct Row {
    const float *upper, *lower;
    float mix;
    int cols;
    const float *taper;
    int side;
};

BODY float pixel(const Row &row, int c) {
    float a = row.upper[c];
    return row.mix == 0.0f ? a : a + row.mix * (row.lower[c] - a);
}

// The value at place i, column 0 being at place `side`; 0 where the taper ends.
BODY float value_at(const Row &row, int i) {
    int c = i - row.side, beyond = c < 0 ? -1 - c : c - row.cols;
    if (c >= 0 && c < row.cols) return pixel(row, c);
    return beyond < row.side ? row.taper[beyond] * pixel(row, c < 0 ? 0 : row.cols - 1) : 0.0f;
}

// The row at a height between 0 and the last row's; `lower` is not read where the height is whole.
BODY Row row_at(const float *image, int cols, double height, const float *taper, int side) {
    int upper = (int)height;
    const float *row = image + (long long)upper * cols;
    return {row, row + cols, (float)(height - upper), cols, taper, side};
}

// A float64 place as a whole number and the rest.
BODY int split(double place, float &rest) {
    double near = fmin(fmax(place, -FARTHEST), FARTHEST), whole = floor(near);
    rest = (float)(near - whole);
    return (int)whole;
}

// sums (lines, samples) += the derivative of the frames' rows along the lines of planes, times sign and weight.
//
// rays (planes, frames, 4): see planes.kernels.ray_through_plane. Line n belongs to plane owner[n], is its number[n]-th
// and lies at detector row height[n], below 0 if outside. Blocks are 32 samples of 8 lines.
extern "C" __global__ void __launch_bounds__(256)
fold_lines(const float *image, int frames, int rows, int cols, const float *taper, int side, const double *rays,
           const int *owner, const int *number, const double *height, int lines, int samples, float *sums) {
    __shared__ int whole[MAX_FRAMES][8];
    __shared__ float rest[MAX_FRAMES][8], pitch[MAX_FRAMES][8], factor[MAX_FRAMES][8];
    int x = blockIdx.x * 32 + threadIdx.x, k = threadIdx.y, n = blockIdx.y * 8 + k;
    int thread = k * 32 + threadIdx.x, f = thread / 8, l = thread % 8, line = blockIdx.y * 8 + l;
    if (f < frames && line < lines) {
        const double *ray = rays + 4ll * (owner[line] * frames + f);
        whole[f][l] = split(ray[0] + number[line] * ray[3] + blockIdx.x * 32.0 * ray[1], rest[f][l]);
        pitch[f][l] = (float)ray[1];
        factor[f][l] = (float)ray[2];
    }
    __syncthreads();
    if (x >= samples || n >= lines || height[n] < 0.0) return;
    Row row = row_at(image, cols, height[n], taper, side);
    int last = cols + 2 * side - 4; // of the derivatives, each of which is made of four values
    long long place = (long long)n * samples + x, frame = (long long)rows * cols;
    float sum = sums[place];
    for (int m = 0; m < frames; m++, row.upper += frame, row.lower += frame) {
        float s = rest[m][k] + threadIdx.x * pitch[m][k], down = floorf(s), share = s - down;
        int i = whole[m][k] + (int)down;
        if (i < 0 || i > last || (i == last && share > 0.0f)) continue;
        float a, b, c, d, e;
        int left = i - side;
        if (left >= 0 && left + 4 < cols) {
            a = pixel(row, left), b = pixel(row, left + 1), c = pixel(row, left + 2);
            d = pixel(row, left + 3), e = pixel(row, left + 4);
        } else {
            a = value_at(row, i), b = value_at(row, i + 1), c = value_at(row, i + 2);
            d = value_at(row, i + 3), e = value_at(row, i + 4);
        }
        float here = TAP_NEAR * (c - b) + TAP_FAR * (d - a), next = TAP_NEAR * (d - c) + TAP_FAR * (e - b);
        sum += factor[m][k] * (here + share * (next - here));
    }
    sums[place] = sum;
}

// A row at a place, by linear interpolation, 0 outside.
BODY float between(const Row &row, double place) {
    int size = row.cols + 2 * row.side;
    if (!(place >= 0.0 && place <= size - 1)) return 0.0f;
    int i = (int)place < size - 2 ? (int)place : size - 2;
    float value = value_at(row, i);
    return value + (float)(place - i) * (value_at(row, i + 1) - value);
}

// tails (lines, bins) += the integral of the derivative over bins outside of the lines, whose edges (bins + 1) are
// numbers of samples: the difference of the row's values at the edges. The rest is as for fold_lines.
extern "C" __global__ void __launch_bounds__(256)
fold_tails(const float *image, int frames, int rows, int cols, const float *taper, int side, const double *rays,
           const int *owner, const int *number, const double *height, int lines, const double *edges, int bins,
           float *tails) {
    __shared__ double start[MAX_FRAMES][8], step[MAX_FRAMES][8];
    __shared__ float factor[MAX_FRAMES][8];
    int bin = blockIdx.x * 32 + threadIdx.x, k = threadIdx.y, n = blockIdx.y * 8 + k;
    int thread = k * 32 + threadIdx.x, f = thread / 8, l = thread % 8, line = blockIdx.y * 8 + l;
    if (f < frames && line < lines) {
        const double *ray = rays + 4ll * (owner[line] * frames + f);
        start[f][l] = ray[0] + number[line] * ray[3] + BEFORE;
        step[f][l] = ray[1];
        factor[f][l] = (float)(ray[2] / ray[1]);
    }
    __syncthreads();
    if (bin >= bins || n >= lines || height[n] < 0.0) return;
    Row row = row_at(image, cols, height[n], taper, side);
    long long frame = (long long)rows * cols;
    double from = edges[bin], to = edges[bin + 1];
    float sum = tails[(long long)n * bins + bin];
    for (int m = 0; m < frames; m++, row.upper += frame, row.lower += frame) {
        double s = start[m][k], ds = step[m][k];
        sum += factor[m][k] * (between(row, s + to * ds) - between(row, s + from * ds));
    }
    tails[(long long)n * bins + bin] = sum;
}

// The rows that horizontal planes see, at heights (planes): out (planes, frames, cols + 2·pad), carried on by `taper`
// and zeros. `pad` columns on both sides are at least as many as the taper is long.
extern "C" __global__ void __launch_bounds__(256)
pick_rows(const float *image, int frames, int rows, int cols, const double *height, const float *taper, int side,
          int pad, float *out) {
    int c = blockIdx.x * 256 + threadIdx.x, f = blockIdx.y, width = cols + 2 * pad;
    if (c >= width) return;
    Row row = row_at(image + (long long)f * rows * cols, cols, height[blockIdx.z], taper, side);
    int i = c - pad + side;
    out[((long long)blockIdx.z * frames + f) * width + c] = i < 0 ? 0.0f : value_at(row, i);
}

// Rows (gridDim.y, cols + 2·pad) filtered with the ramp as it is defined, as a sum over its odd lags (see shear):
// out (gridDim.y, cols + 4) float32 repeats the first and the last value twice, for the cubic. pad ≥ 2·lags.
extern "C" __global__ void __launch_bounds__(256)
filter_rows(const float *row, int cols, int pad, const float *lag, int lags, float *out) {
    int c = blockIdx.x * 256 + threadIdx.x;
    if (c >= cols + 2 * ROW_PAD) return;
    const float *here = row + (long long)blockIdx.y * (cols + 2 * pad) + pad + clamped(c - ROW_PAD, 0, cols - 1);
    float sum = 0.25f * here[0];
    for (int k = 0; k < lags; k++) sum += lag[k] * (here[-2 * k - 1] + here[2 * k + 1]);
    out[(long long)blockIdx.y * (cols + 2 * ROW_PAD) + c] = sum;
}

// A filtered row between its pixels i and i + 1, by Catmull-Rom (Keys, IEEE Trans. Acoust. 29, 1153, 1981, a = -1/2).
BODY float cubic(const float *row, int i, float f) {
    float a = row[i + 1], b = row[i + 2], c = row[i + 3], d = row[i + 4];
    return b + 0.5f * f * (c - a + f * (2.0f * a - 5.0f * b + 4.0f * c - d + f * (3.0f * (b - c) + d - a)));
}

// sums (height, width) += filtered rows (frames, cols + 4) at the places of the pixels of a horizontal plane.
//
// Pixel (i, j) lies at column g[0] + j·g[1] + i·g[2] of frame k, which weighs g[3], with g = geometry + 4·k.
extern "C" __global__ void __launch_bounds__(256)
fold_level(const float *filtered, int frames, int cols, const double *geometry, int height, int width, float *sums) {
    __shared__ int whole[MAX_FRAMES];
    __shared__ float rest[MAX_FRAMES], along[MAX_FRAMES], across[MAX_FRAMES], factor[MAX_FRAMES];
    int j = blockIdx.x * 32 + threadIdx.x, i = blockIdx.y * 8 + threadIdx.y, thread = threadIdx.y * 32 + threadIdx.x;
    if (thread < frames) {
        const double *g = geometry + 4 * thread;
        whole[thread] = split(g[0] + blockIdx.x * 32.0 * g[1] + blockIdx.y * 8.0 * g[2], rest[thread]);
        along[thread] = (float)g[1];
        across[thread] = (float)g[2];
        factor[thread] = (float)g[3];
    }
    __syncthreads();
    if (j >= width || i >= height) return;
    long long place = (long long)i * width + j;
    float sum = sums[place];
    for (int k = 0; k < frames; k++) {
        float t = rest[k] + (threadIdx.x * along[k] + threadIdx.y * across[k]), down = floorf(t), f = t - down;
        int c = whole[k] + (int)down;
        if ((float)c + f < -EDGE || (float)(c - (cols - 1)) + f > EDGE) continue;
        if (c < 0) c = 0, f = 0.0f;
        else if (c > cols - 2) c = cols > 1 ? cols - 2 : 0, f = 1.0f;
        sum += factor[k] * cubic(filtered + (long long)k * (cols + 2 * ROW_PAD), c, f);
    }
    sums[place] = sum;
}

// out += factor · source, both `count` floats.
extern "C" __global__ void __launch_bounds__(256)
add_scaled(const float *source, float factor, long long count, float *out) {
    long long i = (long long)blockIdx.x * 256 + threadIdx.x;
    if (i < count) out[i] += factor * source[i];
}
