// From counts to attenuation, and from frames to the layouts that reconstruction reads.
#include "common.cuh"

// Counts of up to 16 bits and floats are exact in float32, so their difference is rounded once. 32-bit counts are not,
// and take the way over float64.
BODY float difference(float raw, float dark) { return raw - dark; }
BODY float difference(unsigned int raw, float dark) { return (float)((double)raw - (double)dark); }
BODY float difference(unsigned short raw, float dark) { return (float)raw - dark; }
BODY float difference(unsigned char raw, float dark) { return (float)raw - dark; }

// raw - dark between low and high; NaN becomes low.
template <typename T>
BODY float net_signal(T raw, float dark, float low, float high) {
    float net = difference(raw, dark);
    net = net > low ? net : low;
    return net < high ? net : high;
}

// Where a pixel is in the list of dead ones, -1 if it is alive. `first` (rows + 1) counts those before each row, and
// `column` holds their columns, ascending within a row: only rows that have dead pixels pay for the search.
BODY long long dead_at(const long long *first, const long long *column, int row, int col) {
    long long from = first[row], to = first[row + 1], last = to;
    while (from < to) {
        long long middle = (from + to) / 2;
        if (column[middle] < col) from = middle + 1;
        else to = middle;
    }
    return from < last && column[from] == col ? from : -1;
}

template <typename T>
BODY float attenuation_at(const T *raw, const float *dark, const float *log_flat, float low, float high, int col) {
    return log_flat[col] - logf(net_signal(raw[col], dark[col], low, high));
}

// out (frames, rows, cols) = log_flat - ln(clip(raw - dark, low, high)), row blockIdx.y of frame blockIdx.z. Dead
// pixels are interpolated: places (3, count) are their columns and the live ones left and right (-1: none), share
// (count) what the right one contributes; `first` is null without any. Four pixels per thread, a block apart: four
// loads under way at once, each of them coalesced whatever the alignment of the frame.
template <typename T>
BODY void prepare_body(const T *raw, const float *dark, const float *log_flat, float low, float high, int cols,
                       const long long *first, const long long *places, const float *share, long long count,
                       float *out) {
    int row = blockIdx.y;
    long long line = (long long)row * cols, frame = (long long)blockIdx.z * gridDim.y * cols + line;
    raw += frame, out += frame, dark += line, log_flat += line;
#pragma unroll
    for (int k = 0; k < 4; k++) {
        int col = (blockIdx.x * 4 + k) * blockDim.x + threadIdx.x;
        if (col >= cols) continue;
        long long n = first ? dead_at(first, places, row, col) : -1;
        float value;
        if (n < 0) {
            value = attenuation_at(raw, dark, log_flat, low, high, col);
        } else if (places[count + n] < 0) {
            value = 0.0f;
        } else {
            float a = attenuation_at(raw, dark, log_flat, low, high, (int)places[count + n]);
            float b = attenuation_at(raw, dark, log_flat, low, high, (int)places[2 * count + n]);
            value = a + share[n] * (b - a);
        }
        out[col] = value;
    }
}

extern "C" __global__ void __launch_bounds__(256)
prepare_u8(const unsigned char *raw, const float *dark, const float *log_flat, float low, float high, int cols,
           const long long *first, const long long *places, const float *share, long long count, float *out) {
    prepare_body(raw, dark, log_flat, low, high, cols, first, places, share, count, out);
}

extern "C" __global__ void __launch_bounds__(256)
prepare_u16(const unsigned short *raw, const float *dark, const float *log_flat, float low, float high, int cols,
            const long long *first, const long long *places, const float *share, long long count, float *out) {
    prepare_body(raw, dark, log_flat, low, high, cols, first, places, share, count, out);
}

extern "C" __global__ void __launch_bounds__(256)
prepare_u32(const unsigned int *raw, const float *dark, const float *log_flat, float low, float high, int cols,
            const long long *first, const long long *places, const float *share, long long count, float *out) {
    prepare_body(raw, dark, log_flat, low, high, cols, first, places, share, count, out);
}

extern "C" __global__ void __launch_bounds__(256)
prepare_f32(const float *raw, const float *dark, const float *log_flat, float low, float high, int cols,
            const long long *first, const long long *places, const float *share, long long count, float *out) {
    prepare_body(raw, dark, log_flat, low, high, cols, first, places, share, count, out);
}

// out[frame, col, row] = image[frame, row, col], through a tile so that both sides are coalesced; frame = blockIdx.z.
extern "C" __global__ void __launch_bounds__(256)
turn(const float *image, int rows, int cols, float *out) {
    __shared__ float tile[32][33];
    int r0 = blockIdx.y * 32, c0 = blockIdx.x * 32;
    long long frame = (long long)blockIdx.z * rows * cols;
    for (int k = threadIdx.y; k < 32; k += 8) {
        int row = r0 + k, col = c0 + threadIdx.x;
        if (row < rows && col < cols) tile[k][threadIdx.x] = image[frame + (long long)row * cols + col];
    }
    __syncthreads();
    for (int k = threadIdx.y; k < 32; k += 8) {
        int row = r0 + threadIdx.x, col = c0 + k;
        if (row < rows && col < cols) out[frame + (long long)col * rows + row] = tile[threadIdx.x][k];
    }
}

// Moments of every row of an image (rows, cols) in float64: see preprocessing.kernels.sum_row. One block per row.
extern "C" __global__ void __launch_bounds__(128)
row_moments(const float *image, int cols, int margin, double *out) {
    __shared__ double sums[4][128];
    const float *line = image + (long long)blockIdx.x * cols;
    int thread = threadIdx.x;
    double middle = (cols - 1) * 0.5, mass = 0.0, first = 0.0, left = 0.0, right = 0.0;
    for (int c = thread; c < cols; c += 128) {
        double value = line[c];
        mass += value;
        first += value * (c - middle);
        if (c < margin) left += value;
        if (c >= cols - margin) right += value;
    }
    sums[0][thread] = mass;
    sums[1][thread] = first;
    sums[2][thread] = left;
    sums[3][thread] = right;
    add_up<4, 128>(sums, thread);
    if (thread < 4) out[(long long)blockIdx.x * 4 + thread] = sums[thread][0];
}
