// Direct backprojection into blocks of detector rows.
#include "common.cuh"

#define ANGLES 64 // angles in shared memory at a time: 768 bytes, one barrier per 64 angles
#define DEPTH 8   // detector rows per thread: two float4 loads per neighbour, eight sums in registers

// Eight consecutive detector rows of one column. PACKED: the address is a multiple of 16 bytes and `valid` of four.
template <bool PACKED>
BODY void add_rows(const float *source, int valid, float weight, float *sum) {
    if (PACKED) {
        const float4 a = *(const float4 *)source;
        sum[0] += weight * a.x;
        sum[1] += weight * a.y;
        sum[2] += weight * a.z;
        sum[3] += weight * a.w;
        if (valid > 4) {
            const float4 b = *(const float4 *)(source + 4);
            sum[4] += weight * b.x;
            sum[5] += weight * b.y;
            sum[6] += weight * b.z;
            sum[7] += weight * b.w;
        }
    } else {
#pragma unroll
        for (int z = 0; z < DEPTH; z++) {
            if (z < valid) sum[z] += weight * source[z];
        }
    }
}

// out[z, y, x] = Σ weight · p[angle, column, z] for 16 x 16 pixels and eight rows (blockIdx.z) per block. Column and
// weights of a ray are worked out once for the eight rows. Strides are in floats; of p (angles, cols, depth) they are
// angle_stride = cols·depth, column_stride = depth, pack_stride = 8.
template <bool PACKED>
BODY void backproject_rows_body(float (*table)[ANGLES], const float *p, long long angle_stride,
                                long long column_stride, long long pack_stride, const float *cosine,
                                const float *sine, const float *weight, int angles, int cols, int depth, float center,
                                int ny, int nx, float *out) {
    int x = blockIdx.x * 16 + threadIdx.x, y = blockIdx.y * 16 + threadIdx.y, z0 = blockIdx.z * DEPTH;
    int thread = threadIdx.y * 16 + threadIdx.x, valid = depth - z0 < DEPTH ? depth - z0 : DEPTH;
    bool inside = x < nx && y < ny;
    float dx = (float)x - (nx - 1) * 0.5f, dy = (float)y - (ny - 1) * 0.5f;
    float sum[DEPTH] = {0.0f};
    p += blockIdx.z * pack_stride;
    for (int first = 0; first < angles; first += ANGLES) {
        int n = angles - first < ANGLES ? angles - first : ANGLES;
        __syncthreads();
        if (thread < n) {
            table[0][thread] = cosine[first + thread];
            table[1][thread] = sine[first + thread];
            table[2][thread] = weight[first + thread];
        }
        __syncthreads();
        for (int k = 0; inside && k < n; k++) {
            Ray ray;
            if (!ray_at(center + (dx * table[0][k] + dy * table[1][k]), cols - 1, table[2][k], ray)) continue;
            const float *source = p + (first + k) * angle_stride + ray.left * column_stride;
            add_rows<PACKED>(source, valid, ray.first, sum);
            add_rows<PACKED>(source + column_stride, valid, ray.second, sum);
        }
    }
    if (!inside) return;
#pragma unroll
    for (int z = 0; z < DEPTH; z++) {
        if (z < valid) out[((long long)(z0 + z) * ny + y) * nx + x] = sum[z];
    }
}

extern "C" __global__ void __launch_bounds__(256)
backproject_rows_packed(const float *p, long long angle_stride, long long column_stride, long long pack_stride,
                        const float *cosine, const float *sine, const float *weight, int angles, int cols, int depth,
                        float center, int ny, int nx, float *out) {
    __shared__ float table[3][ANGLES];
    backproject_rows_body<true>(table, p, angle_stride, column_stride, pack_stride, cosine, sine, weight, angles, cols,
                                depth, center, ny, nx, out);
}

// The same for any depth and alignment, with single loads.
extern "C" __global__ void __launch_bounds__(256)
backproject_rows_any(const float *p, long long angle_stride, long long column_stride, long long pack_stride,
                     const float *cosine, const float *sine, const float *weight, int angles, int cols, int depth,
                     float center, int ny, int nx, float *out) {
    __shared__ float table[3][ANGLES];
    backproject_rows_body<false>(table, p, angle_stride, column_stride, pack_stride, cosine, sine, weight, angles,
                                 cols, depth, center, ny, nx, out);
}
