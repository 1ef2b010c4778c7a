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

// Four pixels per thread, a block apart: four loads under way at once, each of them coalesced whatever the alignment
// of the frame. `dark` and `log_flat` hold one frame of `pixels`, raw and out blockIdx.y of them.
template <typename T>
BODY void attenuate_body(const T *raw, const float *dark, const float *log_flat, float low, float high,
                         long long pixels, float *out) {
    long long frame = (long long)blockIdx.y * pixels;
    long long first = (long long)blockIdx.x * blockDim.x * 4 + threadIdx.x;
#pragma unroll
    for (int k = 0; k < 4; k++) {
        long long i = first + (long long)k * blockDim.x;
        if (i < pixels) out[frame + i] = log_flat[i] - logf(net_signal(raw[frame + i], dark[i], low, high));
    }
}

extern "C" __global__ void __launch_bounds__(256)
attenuate_u8(const unsigned char *raw, const float *dark, const float *log_flat, float low, float high,
             long long pixels, float *out) {
    attenuate_body(raw, dark, log_flat, low, high, pixels, out);
}

extern "C" __global__ void __launch_bounds__(256)
attenuate_u16(const unsigned short *raw, const float *dark, const float *log_flat, float low, float high,
              long long pixels, float *out) {
    attenuate_body(raw, dark, log_flat, low, high, pixels, out);
}

extern "C" __global__ void __launch_bounds__(256)
attenuate_u32(const unsigned int *raw, const float *dark, const float *log_flat, float low, float high,
              long long pixels, float *out) {
    attenuate_body(raw, dark, log_flat, low, high, pixels, out);
}

extern "C" __global__ void __launch_bounds__(256)
attenuate_f32(const float *raw, const float *dark, const float *log_flat, float low, float high,
              long long pixels, float *out) {
    attenuate_body(raw, dark, log_flat, low, high, pixels, out);
}

// Listed pixels of an image (rows, cols) from their live neighbours left and right; left < 0: nothing to take from.
// No listed pixel is a neighbour of another, so the order does not matter.
extern "C" __global__ void __launch_bounds__(256)
fill_dead_pixels(float *image, int cols, const long long *row, const long long *col, const long long *left,
     const long long *right, const float *share, int count) {
    int k = blockIdx.x * blockDim.x + threadIdx.x;
    if (k >= count) return;
    float *line = image + row[k] * cols;
    if (left[k] < 0) {
        line[col[k]] = 0.0f;
    } else {
        float a = line[left[k]];
        line[col[k]] = a + share[k] * (line[right[k]] - a);
    }
}

// Attenuation of one pixel, dead ones included. A dead pixel carries NaN in log_flat; its place in the sorted list
// `dead` is found by bisection, which only the few threads that meet one pay for.
template <typename T>
BODY float attenuation_at(const T *raw, const float *dark, const float *log_flat, float low, float high, int cols,
                          int row, int col, const int *dead, const int *left, const int *right, const float *share,
                          int count) {
    long long line = (long long)row * cols;
    float level = log_flat[line + col];
    if (!isnan(level)) return level - logf(net_signal(raw[line + col], dark[line + col], low, high));
    int from = 0, to = count;
    while (from < to) {
        int middle = (from + to) / 2;
        if (dead[middle] < (int)(line + col)) from = middle + 1;
        else to = middle;
    }
    if (from >= count || left[from] < 0) return 0.0f;
    long long a = line + left[from], b = line + right[from];
    float first = log_flat[a] - logf(net_signal(raw[a], dark[a], low, high));
    float second = log_flat[b] - logf(net_signal(raw[b], dark[b], low, high));
    return first + share[from] * (second - first);
}

// The fused way in: one pass over the raw frames (frame = blockIdx.z) gives any of
//   plain (frames, rows, cols)  attenuation,
//   slope (frames, rows, cols)  its first difference along the row; entry c lies at column c + 1/2, the last is 0,
//   turned (frames, cols, rows) the attenuation with the rows contiguous.
// Null pointers are not written. A tile is 32 x 32 pixels and one column more for the difference; its pitch of 33 keeps
// both ways of reading it free of bank conflicts.
template <typename T>
BODY void prepare_body(float (*tile)[33], const T *raw, const float *dark, const float *log_flat, float low,
                       float high, int rows, int cols, const int *dead, const int *left, const int *right,
                       const float *share, int count, float *plain, float *slope, float *turned) {
    int r0 = blockIdx.y * 32, c0 = blockIdx.x * 32, tx = threadIdx.x, ty = threadIdx.y;
    long long frame = (long long)blockIdx.z * rows * cols;
    for (int k = ty; k < 32; k += 8) {
        for (int c = tx; c < 33; c += 32) {
            if (r0 + k < rows && c0 + c < cols)
                tile[k][c] = attenuation_at(raw + frame, dark, log_flat, low, high, cols, r0 + k, c0 + c, dead, left,
                                            right, share, count);
        }
    }
    __syncthreads();
    for (int k = ty; k < 32; k += 8) {
        int row = r0 + k, col = c0 + tx;
        if (row < rows && col < cols) {
            long long at = frame + (long long)row * cols + col;
            if (plain) plain[at] = tile[k][tx];
            if (slope) slope[at] = col + 1 < cols ? tile[k][tx + 1] - tile[k][tx] : 0.0f;
        }
        row = r0 + tx, col = c0 + k;
        if (turned && row < rows && col < cols) turned[frame + (long long)col * rows + row] = tile[tx][k];
    }
}

extern "C" __global__ void __launch_bounds__(256)
prepare_u8(const unsigned char *raw, const float *dark, const float *log_flat, float low, float high, int rows,
           int cols, const int *dead, const int *left, const int *right, const float *share, int count, float *plain,
           float *slope, float *turned) {
    __shared__ float tile[32][33];
    prepare_body(tile, raw, dark, log_flat, low, high, rows, cols, dead, left, right, share, count, plain, slope,
                 turned);
}

extern "C" __global__ void __launch_bounds__(256)
prepare_u16(const unsigned short *raw, const float *dark, const float *log_flat, float low, float high, int rows,
            int cols, const int *dead, const int *left, const int *right, const float *share, int count, float *plain,
            float *slope, float *turned) {
    __shared__ float tile[32][33];
    prepare_body(tile, raw, dark, log_flat, low, high, rows, cols, dead, left, right, share, count, plain, slope,
                 turned);
}

extern "C" __global__ void __launch_bounds__(256)
prepare_u32(const unsigned int *raw, const float *dark, const float *log_flat, float low, float high, int rows,
            int cols, const int *dead, const int *left, const int *right, const float *share, int count, float *plain,
            float *slope, float *turned) {
    __shared__ float tile[32][33];
    prepare_body(tile, raw, dark, log_flat, low, high, rows, cols, dead, left, right, share, count, plain, slope,
                 turned);
}

extern "C" __global__ void __launch_bounds__(256)
prepare_f32(const float *raw, const float *dark, const float *log_flat, float low, float high, int rows, int cols,
            const int *dead, const int *left, const int *right, const float *share, int count, float *plain,
            float *slope, float *turned) {
    __shared__ float tile[32][33];
    prepare_body(tile, raw, dark, log_flat, low, high, rows, cols, dead, left, right, share, count, plain, slope,
                 turned);
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

// Sums of every row of an image (rows, cols) for centres of mass, in float64: see kernels_cpu.row_moments. One block
// per row; the tree of additions is fixed, so the result repeats bit for bit.
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
    for (int half = 64; half > 0; half /= 2) {
        __syncthreads();
        if (thread < half) {
            for (int k = 0; k < 4; k++) sums[k][thread] += sums[k][thread + half];
        }
    }
    __syncthreads();
    if (thread < 4) out[(long long)blockIdx.x * 4 + thread] = sums[thread][0];
}
