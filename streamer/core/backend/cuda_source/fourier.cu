// Gridding into a Fourier volume that stays on the device. Two detector rows ride in one complex number, and PACKS of
// these share every position and weight, because in parallel beam all rows see the same angles.
#include "common.cuh"

#define PACKS 4    // complex numbers per thread: eight detector rows, eight sums in registers, two float4 per sample
#define SIDE 8     // a block owns SIDE x SIDE points of the grid
#define POINTS 64  // SIDE · SIDE, threads of a block and angles looked at together
#define REACH 2.0f // half width of the interpolation kernel, grid points
#define NUDGE 0x1p-16f // grid points by which samples are moved outwards: fourier.kernels says why
#define SEAM 1.0f  // grid points on either side of the seam over which the sign of a late shift changes
#define TERMS 9    // coefficients of the kernel's polynomial: its error is then that of float32

// Rows first … first + rows - 1 of attenuation (angles, pitch, cols) -> complex (angles, packs, length): of these, row
// 2p real, row 2p + 1 imaginary, zero-padded. With side > 0 the outermost values run on beyond both edges and fade as
// taper[0 … side): for truncated data. The left extension lies at the end of the period. Rows past the end are 0.
// Grid (length / 256, packs, angles).
extern "C" __global__ void __launch_bounds__(256)
pack_lines(const float *attenuation, int pitch, int first, int rows, int cols, const float *taper, int side,
           int length, float2 *out) {
    int j = blockIdx.x * 256 + threadIdx.x, row = 2 * blockIdx.y;
    if (j >= length) return;
    int column = j < cols ? j : -1;
    float gain = 1.0f;
    if (j >= cols && j < cols + side) {
        column = cols - 1;
        gain = taper[j - cols];
    } else if (j >= length - side) {
        column = 0;
        gain = taper[length - 1 - j];
    }
    const float *line = attenuation + ((long long)blockIdx.z * pitch + first + row) * cols;
    float2 value = {0.0f, 0.0f};
    if (column >= 0 && row < rows) value.x = gain * line[column];
    if (column >= 0 && row + 1 < rows) value.y = gain * line[cols + column];
    out[((long long)blockIdx.z * gridDim.y + blockIdx.y) * length + j] = value;
}

// spectrum (angles, packs, length) -> samples (angles, length, packs), times ramp[j] · weight[a] · exp(i ω_j shift[a]).
// shift (columns) brings the axis to the grid's origin; weight is the angle's share of the integral. The product of
// frequency and shift is reduced to one turn in float64: thousands of turns would cost float32 its last digits.
// A block (32 x 8 threads) turns 32 frequencies x 32 packs of one angle (blockIdx.z).
extern "C" __global__ void __launch_bounds__(256)
weigh_samples(const float2 *spectrum, int packs, int length, const float *ramp, const double *shift,
              const float *weight, float2 *out) {
    __shared__ float2 tile[32][33];
    __shared__ float2 factor[32];
    int j0 = blockIdx.x * 32, p0 = blockIdx.y * 32, tx = threadIdx.x;
    long long angle = blockIdx.z;
    if (threadIdx.y == 0 && j0 + tx < length) {
        int j = j0 + tx, frequency = 2 * j < length ? j : j - length;
        double turns = frequency * shift[angle] / length;
        float gain = ramp[frequency < 0 ? -frequency : frequency] * weight[angle], sine, cosine;
        sincospif(2.0f * (float)(turns - rint(turns)), &sine, &cosine);
        factor[tx] = {gain * cosine, gain * sine};
    }
    for (int k = threadIdx.y; k < 32; k += 8) {
        if (p0 + k < packs && j0 + tx < length) tile[k][tx] = spectrum[(angle * packs + p0 + k) * length + j0 + tx];
    }
    __syncthreads();
    for (int k = threadIdx.y; k < 32; k += 8) {
        if (j0 + k < length && p0 + tx < packs) {
            float2 a = tile[tx][k], b = factor[k];
            out[(angle * length + j0 + k) * packs + p0 + tx] = {a.x * b.x - a.y * b.y, a.x * b.y + a.y * b.x};
        }
    }
}

// Kaiser-Bessel kernel as a polynomial in the square of the distance, which it is to any accuracy: I0 is an even entire
// function of sqrt(1 - (d / REACH)²). No table, hence no table look-ups that lanes would have to queue for.
BODY float kaiser_bessel(float square, const float *coefficient) {
    float value = coefficient[TERMS - 1];
#pragma unroll
    for (int k = TERMS - 2; k >= 0; k--) value = value * square + coefficient[k];
    return value;
}

// Cuts [low, high] down to the radii j with |at - j·step| <= reach, given 1 / step.
BODY void within_reach(float at, float reach, float inverse, float &low, float &high) {
    float a = (at - reach) * inverse, b = (at + reach) * inverse;
    low = fmaxf(low, fminf(a, b));
    high = fminf(high, fmaxf(a, b));
}

// 1 / step, large but finite for a ray along an axis: its bounds are then far outside, or far on the wrong side.
BODY float inverse_of(float step) { return fabsf(step) > 1e-9f ? 1.0f / step : 1e9f; }

// grid (packs, size, size) += samples (angles, length, packs), each spread over 4 x 4 points.
//
// Written as a gather: a thread owns one grid point and PACKS packs, finds the samples that reach it by intersecting
// each ray with the kernel's square, and adds them in the order of the angles. So there are no atomics, the result
// repeats bit for bit, and the grid is read and written once per call however many samples fall on a point. The planes
// of the grid stay contiguous, as the Fourier transform wants them; what is shared are the positions and weights.
//
// blockIdx.x numbers the tiles. The block first lists the angles whose ray comes near its tile, then goes through the
// groups of packs from blockIdx.y · groups on: looking for angles is paid for once per tile, not once per group.
// direction (2, angles): cosines and sines times the radial step in grid points. packs is a multiple of PACKS. Samples
// |j| < radii count, whose 4 x 4 points all lie on the grid: it needs no wrapping around.
extern "C" __global__ void __launch_bounds__(64, 16)
grid_samples(const float2 *samples, const float *direction, int angles, int length, int radii, int packs,
             int groups, const float *coefficient, int size, float2 *grid) {
    __shared__ float step_u[POINTS], step_v[POINTS], inverse_u[POINTS], inverse_v[POINTS];
    __shared__ int near[POINTS], chosen[POINTS];
    int tiles = (size + SIDE - 1) / SIDE, thread = threadIdx.x;
    int u0 = (int)(blockIdx.x % tiles) * SIDE, v0 = (int)(blockIdx.x / tiles) * SIDE;
    int u = u0 + thread % SIDE, v = v0 + thread / SIDE;
    float limit = (float)(radii - 1);
    float shape[TERMS];
#pragma unroll
    for (int k = 0; k < TERMS; k++) shape[k] = coefficient[k];
    int begin = blockIdx.y * groups, end = begin + groups < packs / PACKS ? begin + groups : packs / PACKS;
    float at_u = (float)(u - size / 2), at_v = (float)(v - size / 2);
    float middle_u = at_u - thread % SIDE + (SIDE - 1) * 0.5f;
    float middle_v = at_v - thread / SIDE + (SIDE - 1) * 0.5f;
    for (int first = 0; first < angles; first += POINTS) {
        __syncthreads();
        near[thread] = 0;
        if (first + thread < angles) {
            float c = direction[first + thread], s = direction[angles + first + thread];
            float low = -limit, high = limit, reach = REACH + (SIDE - 1) * 0.5f + 0.01f;
            step_u[thread] = c;
            step_v[thread] = s;
            inverse_u[thread] = inverse_of(c);
            inverse_v[thread] = inverse_of(s);
            // The tile and the kernel's reach around it are a square, too; widened by a hundredth for rounding.
            within_reach(middle_u, reach, inverse_u[thread], low, high);
            within_reach(middle_v, reach, inverse_v[thread], low, high);
            near[thread] = ceilf(low - 0.01f) <= high + 0.01f;
        }
        __syncthreads();
        int before = 0, count = 0;
        for (int k = 0; k < POINTS; k++) {
            before += k < thread ? near[k] : 0;
            count += near[k];
        }
        if (near[thread]) chosen[before] = thread;
        __syncthreads();
        if (count == 0 || u >= size || v >= size) continue;
        for (int group = begin; group < end; group++) {
            float2 sum[PACKS] = {};
            bool touched = false;
            for (int k = 0; k < count; k++) {
                float c = step_u[chosen[k]], s = step_v[chosen[k]], low = -limit, high = limit;
                within_reach(at_u, REACH, inverse_u[chosen[k]], low, high);
                within_reach(at_v, REACH, inverse_v[chosen[k]], low, high);
                const float2 *ray = samples + (long long)(first + chosen[k]) * length * packs + group * PACKS;
                // The bounds may be off by rounding; the test inside decides, as it would for a scatter. Those of
                // a ray that passes by may be too large for an int.
                int begin_j = (int)fmaxf(-limit, fminf(ceilf(low - 0.01f), limit + 1.0f));
                int end_j = (int)fminf(limit, fmaxf(floorf(high + 0.01f), -limit - 1.0f));
                for (int j = begin_j; j <= end_j; j++) {
                    float nudge = j < 0 ? -NUDGE : (j > 0 ? NUDGE : 0.0f);
                    float du = at_u - (float)j * c - nudge, dv = at_v - (float)j * s - nudge;
                    if (fabsf(du) >= REACH || fabsf(dv) >= REACH) continue;
                    float weight = kaiser_bessel(du * du, shape) * kaiser_bessel(dv * dv, shape);
                    const float4 *pair = (const float4 *)(ray + (long long)(j < 0 ? j + length : j) * packs);
#pragma unroll
                    for (int p = 0; p < PACKS; p += 2) {
                        float4 value = pair[p / 2];
                        sum[p].x += weight * value.x;
                        sum[p].y += weight * value.y;
                        sum[p + 1].x += weight * value.z;
                        sum[p + 1].y += weight * value.w;
                    }
                    touched = true;
                }
            }
            if (!touched) continue;
#pragma unroll
            for (int p = 0; p < PACKS; p++) {
                float2 *point = grid + ((long long)(group * PACKS + p) * size + v) * size + u;
                float2 old = *point;
                *point = {old.x + sum[p].x, old.y + sum[p].y};
            }
        }
    }
}

// planes (packs, size, size) -> out, moved so that the axis lies elsewhere: a point at distance r from the middle times
// cos(pi turn r) ± i sin(pi turn r), + on the left of the direction (cosine, sine) and - on its right, with a sign that
// changes over SEAM points. See "Late centre" in fourier.volume. Grid (size / 32, size / 8, packs).
extern "C" __global__ void __launch_bounds__(256)
shift_planes(const float2 *planes, int size, float turn, float cosine, float sine, float2 *out) {
    int u = blockIdx.x * 32 + threadIdx.x, v = blockIdx.y * 8 + threadIdx.y;
    if (u >= size || v >= size) return;
    float x = (float)(u - size / 2), y = (float)(v - size / 2), real, imaginary;
    sincospif(turn * sqrtf(x * x + y * y), &imaginary, &real);
    imaginary *= fminf(fmaxf((y * cosine - x * sine) / SEAM, -1.0f), 1.0f);
    long long at = ((long long)blockIdx.z * size + v) * size + u;
    float2 value = planes[at];
    out[at] = {value.x * real - value.y * imaginary, value.x * imaginary + value.y * real};
}

// image planes (packs, size, size) after the inverse transform -> out (rows, side, side): the middle, each pixel times
// correction[y] · correction[x]. The correction undoes the kernel's envelope, and its sign the shift of the grid's
// origin by half its size. Grid (side / 32, side / 8, packs).
extern "C" __global__ void __launch_bounds__(256)
unpack_slices(const float2 *image, int size, const float *correction, int rows, int side, float *out) {
    int x = blockIdx.x * 32 + threadIdx.x, y = blockIdx.y * 8 + threadIdx.y, row = 2 * blockIdx.z, half = side / 2;
    if (x >= side || y >= side || row >= rows) return;
    int column = x < half ? x - half + size : x - half, line = y < half ? y - half + size : y - half;
    float2 value = image[((long long)blockIdx.z * size + line) * size + column];
    float factor = correction[x] * correction[y];
    out[((long long)row * side + y) * side + x] = value.x * factor;
    if (row + 1 < rows) out[((long long)(row + 1) * side + y) * side + x] = value.y * factor;
}
