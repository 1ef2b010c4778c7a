// Iterative reconstruction: the matched pair of projectors, and total variation. Volumes are (y, x, z) and projections
// (angle, column, z) with z, the detector row, last: neighbouring threads read runs of memory, and one set of weights
// serves all rows. The arithmetic is that of tv.kernels.
#include "common.cuh"

#define PHASES 256 // positions of a pixel within a column for which its footprint is tabulated
#define PAD 2      // columns beyond both edges of the detector; what falls there was not measured
#define MANY 4     // detector rows per thread where there are enough: a pixel's place is worked out once for them
#define ADDING 256 // threads of a block that adds up

// What is known of an angle: PER_ANGLE integers, all lengths in units of 2^-32 columns or pixels. Sums of integers are
// exact, so that projector and backprojector find the same place of a pixel, bit for bit, from whichever side they
// come; and no GPU is slow at them, as many are at float64.
// The rays of a column cross the pixels line by line: lines of constant y where the rays are UPRIGHT, else of constant
// x, so that they cross each line once and within few pixels.
enum {
    ORIGIN,    // column at which pixel (0, 0) is seen
    BY_Y,      // change of it with y
    BY_X,      // and with x
    MIDDLE,    // where in line 0 the middle of column 0 lies, in pixels
    BY_COLUMN, // change of it with the column
    BY_LINE,   // and with the line
    EXTENT,    // pixels further than this from the middle have no share in the column
    UPRIGHT,
    PER_ANGLE
};

// The column nearest to a place, and where in it the place lies: 0 at its left edge, PHASES at its right.
BODY int nearest_column(long long place, int &phase) {
    const unsigned long long one = (1ULL << 32) / PHASES;
    long long from_edge = place + (1LL << 31);
    phase = (int)(((unsigned)from_edge + one / 2) / one);
    return (int)(from_edge >> 32);
}

// out[a, PAD + c, z] = Σ over pixels of their share in column c times their value, less measured[a, PAD + c, z] unless
// that is null. Gathers: a thread goes along the rays of its column. table (angles, PHASES + 1, 3) holds the shares of
// a pixel in its nearest column and the two beside it. A block has blockDim.y columns and ROWS · blockDim.x rows.
template <int ROWS>
BODY void project_body(const float *image, int ny, int nx, int nz, const long long *angles, const float *table,
                       int columns, const float *measured, float *out) {
    int z = blockIdx.y * blockDim.x * ROWS + threadIdx.x, place_out = blockIdx.x * blockDim.y + threadIdx.y;
    int column = place_out - PAD, padded = columns + 2 * PAD;
    if (place_out >= padded || z >= nz) return;
    const long long *angle = angles + blockIdx.z * PER_ANGLE;
    const float *shares = table + (long long)blockIdx.z * (PHASES + 1) * 3;
    bool upright = angle[UPRIGHT] != 0;
    int lines = column < 0 || column >= columns ? 0 : (upright ? ny : nx), across = upright ? nx : ny;
    long long line_stride = upright ? (long long)nx * nz : nz, pixel_stride = upright ? nz : (long long)nx * nz;
    long long by_line = angle[upright ? BY_Y : BY_X], by_pixel = angle[upright ? BY_X : BY_Y];
    long long first_place = angle[ORIGIN], reach = angle[EXTENT], step = angle[BY_LINE];
    long long middle = angle[MIDDLE] + column * angle[BY_COLUMN];
    float sum[ROWS] = {0.0f};
    for (int line = 0; line < lines; line++) {
        int first = (int)((middle - reach) >> 32) + 1, last = (int)((middle + reach) >> 32);
        first = first < 0 ? 0 : first;
        last = last < across ? last : across - 1;
        const float *source = image + line * line_stride + z;
        for (int k = first; k <= last; k++) {
            int phase, nearest = nearest_column(first_place + k * by_pixel, phase);
            float share = shares[3 * phase + 1 + column - nearest];
            const float *pixel = source + k * pixel_stride;
#pragma unroll
            for (int r = 0; r < ROWS; r++) {
                int row = r * blockDim.x;
                if (z + row < nz) sum[r] += share * pixel[row];
            }
        }
        middle += step;
        first_place += by_line;
    }
    long long at = ((long long)blockIdx.z * padded + place_out) * nz + z;
#pragma unroll
    for (int r = 0; r < ROWS; r++) {
        int row = r * blockDim.x;
        if (z + row < nz) out[at + row] = measured ? sum[r] - measured[at + row] : sum[r];
    }
}

extern "C" __global__ void __launch_bounds__(256)
project_strips(const float *image, int ny, int nx, int nz, const long long *angles, const float *table, int columns,
               const float *measured, float *out) {
    project_body<1>(image, ny, nx, nz, angles, table, columns, measured, out);
}

extern "C" __global__ void __launch_bounds__(256)
project_strips_many(const float *image, int ny, int nx, int nz, const long long *angles, const float *table,
                    int columns, const float *measured, float *out) {
    project_body<MANY>(image, ny, nx, nz, angles, table, columns, measured, out);
}

// out = base + scale · transpose of the above, applied to p (count angles, columns + 2·PAD, nz), whose PAD columns are
// 0. base and out (ny, nx, nz) may be the same. A block has tile · (blockDim.y / tile) pixels and ROWS · blockDim.x
// rows.
template <int ROWS>
BODY void backproject_body(const float *p, int count, int columns, int nz, const long long *angles,
                           const float *table, float scale, int ny, int nx, int tile, const float *base,
                           float *out) {
    int z = blockIdx.z * blockDim.x * ROWS + threadIdx.x, in_tile = threadIdx.y;
    int x = blockIdx.x * tile + in_tile % tile, y = blockIdx.y * (blockDim.y / tile) + in_tile / tile;
    if (x >= nx || y >= ny || z >= nz) return;
    float sum[ROWS] = {0.0f};
    for (int a = 0; a < count; a++) {
        const long long *angle = angles + a * PER_ANGLE;
        int phase, nearest = nearest_column(angle[ORIGIN] + y * angle[BY_Y] + x * angle[BY_X], phase);
        if (nearest < -1 || nearest > columns) continue;
        const float *share = table + ((long long)a * (PHASES + 1) + phase) * 3;
        const float *left = p + ((long long)a * (columns + 2 * PAD) + nearest + PAD - 1) * nz + z;
        float before = share[0], middle = share[1], after = share[2];
#pragma unroll
        for (int r = 0; r < ROWS; r++) {
            int row = r * blockDim.x;
            if (z + row < nz) sum[r] += before * left[row] + middle * left[nz + row] + after * left[2 * nz + row];
        }
    }
    long long at = ((long long)y * nx + x) * nz + z;
#pragma unroll
    for (int r = 0; r < ROWS; r++) {
        int row = r * blockDim.x;
        if (z + row < nz) out[at + row] = base[at + row] + scale * sum[r];
    }
}

extern "C" __global__ void __launch_bounds__(256)
backproject_strips(const float *p, int count, int columns, int nz, const long long *angles, const float *table,
                   float scale, int ny, int nx, int tile, const float *base, float *out) {
    backproject_body<1>(p, count, columns, nz, angles, table, scale, ny, nx, tile, base, out);
}

extern "C" __global__ void __launch_bounds__(256)
backproject_strips_many(const float *p, int count, int columns, int nz, const long long *angles, const float *table,
                        float scale, int ny, int nx, int tile, const float *base, float *out) {
    backproject_body<MANY>(p, count, columns, nz, angles, table, scale, ny, nx, tile, base, out);
}

// The dual field of the prior (3, ny, nx, nz), its components along y, x and z. With AHEAD what counts is the field
// one looks ahead to, now + momentum · (now - before); it is worked out where it is needed and never stored.
template <bool AHEAD>
struct Field {
    const float *now, *before;
    float momentum;
    int nx, nz;
    long long voxels;

    BODY float at(int axis, long long voxel) const {
        long long i = axis * voxels + voxel;
        return AHEAD ? now[i] + momentum * (now[i] - before[i]) : now[i];
    }

    // max(low, noisy + weight · divergence) at a voxel.
    BODY float primal(const float *noisy, float weight, float low, int y, int x, int z) const {
        long long line = (long long)nx * nz, voxel = y * line + x * nz + z;
        float sum = at(0, voxel) + at(1, voxel);
        if (y > 0) sum -= at(0, voxel - line);
        if (x > 0) sum -= at(1, voxel - nz);
        if (nz > 1) sum += at(2, voxel);
        if (z > 0) sum -= at(2, voxel - 1);
        return fmaxf(noisy[voxel] + weight * sum, low);
    }
};

// One step of the prior: next = the field ahead of (before, now) + step · gradient of its primal image, cut to length 1
// in every voxel. The image is worked out for a voxel and its three neighbours instead of being stored: the step then
// moves 10 numbers per voxel from and to memory, not 18. Grid (line of nx · nz / 256, ny).
extern "C" __global__ void __launch_bounds__(256)
tv_step(const float *noisy, int ny, int nx, int nz, float weight, float low, float step, float momentum,
        const float *before, const float *now, float *next) {
    int i = blockIdx.x * 256 + threadIdx.x, y = blockIdx.y, x = i / nz, z = i % nz;
    if (x >= nx) return;
    long long voxels = (long long)ny * nx * nz, voxel = (long long)y * nx * nz + i;
    Field<true> field = {now, before, momentum, nx, nz, voxels};
    float here = field.primal(noisy, weight, low, y, x, z), down = 0.0f, right = 0.0f, above = 0.0f;
    if (y + 1 < ny) down = field.primal(noisy, weight, low, y + 1, x, z) - here;
    if (x + 1 < nx) right = field.primal(noisy, weight, low, y, x + 1, z) - here;
    if (z + 1 < nz) above = field.primal(noisy, weight, low, y, x, z + 1) - here;
    float a = field.at(0, voxel) + step * down, b = field.at(1, voxel) + step * right, c = 0.0f;
    if (nz > 1) c = field.at(2, voxel) + step * above;
    float shrink = 1.0f / fmaxf(1.0f, sqrtf(a * a + b * b + c * c));
    next[voxel] = a * shrink;
    next[voxels + voxel] = b * shrink;
    next[2 * voxels + voxel] = c * shrink;
}

// now = primal image of the field; without a field (null), max(low, noisy). And per block the sums over the voxels of
//   (ahead - now) · (now - before),   (now - before)²,   now²
// as partial (blocks, 3). Grid (line of nx · nz / 256, any), a block doing every gridDim.y-th y.
extern "C" __global__ void __launch_bounds__(256)
tv_image(const float *noisy, int ny, int nx, int nz, float weight, float low, const float *field, const float *ahead,
         const float *before, float *now, double *partial) {
    __shared__ double sums[3][ADDING];
    int thread = threadIdx.x, i = blockIdx.x * ADDING + thread, x = i / nz, z = i % nz;
    Field<false> dual = {field, nullptr, 0.0f, nx, nz, (long long)ny * nx * nz};
    double uphill = 0.0, moved = 0.0, size = 0.0;
    for (int y = blockIdx.y; x < nx && y < ny; y += gridDim.y) {
        long long voxel = (long long)y * nx * nz + i;
        float value = field ? dual.primal(noisy, weight, low, y, x, z) : fmaxf(noisy[voxel], low);
        now[voxel] = value;
        double step = (double)value - before[voxel];
        uphill += ((double)ahead[voxel] - value) * step;
        moved += step * step;
        size += (double)value * value;
    }
    sums[0][thread] = uphill;
    sums[1][thread] = moved;
    sums[2][thread] = size;
    add_up<3, ADDING>(sums, thread);
    __syncthreads();
    if (thread < 3) partial[3LL * (blockIdx.y * gridDim.x + blockIdx.x) + thread] = sums[thread][0];
}

// total (3) = sums over the blocks of partial (count, 3), by one block.
extern "C" __global__ void __launch_bounds__(256)
total_sums(const double *partial, int count, double *total) {
    __shared__ double sums[3][ADDING];
    int thread = threadIdx.x;
    for (int k = 0; k < 3; k++) {
        double sum = 0.0;
        for (int block = thread; block < count; block += ADDING) sum += partial[3LL * block + k];
        sums[k][thread] = sum;
    }
    add_up<3, ADDING>(sums, thread);
    __syncthreads();
    if (thread < 3) total[thread] = sums[thread][0];
}

// ahead = now + factor · (now - before), all of `count` voxels.
extern "C" __global__ void __launch_bounds__(256)
look_ahead(const float *now, const float *before, float factor, long long count, float *ahead) {
    long long i = (long long)blockIdx.x * 256 + threadIdx.x;
    if (i < count) ahead[i] = now[i] + factor * (now[i] - before[i]);
}
