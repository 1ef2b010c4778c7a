// What all kernels share. Compiled by NVRTC (CuPy), by nvcc and, for the tests, by g++ behind host_shim.hpp; therefore
// no header of the C++ library is included, and every function is good for the device and for the host.
#pragma once

#define BODY __host__ __device__ __forceinline__

// A ray that misses the outermost pixel centre by less than this many pixels still counts: EDGE of fbp.kernels.
#define EDGE 1e-3f

// Left pixel of linear interpolation and the weights of both neighbours.
struct Ray {
    int left;
    float first, second;
};

// Interpolation at column t of a line whose last pixel is `last`; false where the ray misses the line.
BODY bool ray_at(float t, int last, float weight, Ray &ray) {
    if (t < -EDGE || t > (float)last + EDGE) return false;
    ray.left = (int)fminf(fmaxf(t, 0.0f), (float)(last - 1));
    float f = t - (float)ray.left;
    ray.first = (1.0f - f) * weight;
    ray.second = f * weight;
    return true;
}

BODY int clamped(int value, int low, int high) {
    return value < low ? low : (value > high ? high : value);
}

// The numbers of all THREADS of a block, COUNT each, added up in a fixed tree, so that results repeat bit for bit: the
// sums are sums[...][0] afterwards.
template <int COUNT, int THREADS>
BODY void add_up(double (*sums)[THREADS], int thread) {
    for (int half = THREADS / 2; half > 0; half /= 2) {
        __syncthreads();
        if (thread < half) {
            for (int k = 0; k < COUNT; k++) sums[k][thread] += sums[k][thread + half];
        }
    }
    __syncthreads();
}
