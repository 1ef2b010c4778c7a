// Runs the kernels on the CPU, one thread of a block after the other, so that their arithmetic, their indices and their
// barriers can be tested where there is no GPU. For tests only; nothing here is fast.
//
// Every CUDA thread is a fibre. __syncthreads() leaves the fibre; the block's loop comes back to it when all others
// have arrived. Some threads at a barrier while others have ended is an error. Memory of a block (__shared__) lies in a
// section of its own and is filled with NaN before each block. Threads and blocks run forwards or backwards: a kernel
// whose result depends on that has a race.
#pragma once
#include <math.h>
#include <setjmp.h>
#include <stdint.h>
#include <string.h>
#include <ucontext.h>

#include <memory>
#include <utility>
#include <vector>

#define __host__
#define __device__
#define __global__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __shared__ static __attribute__((section("shim_shared")))

struct dim3 {
    unsigned x, y, z;
};
struct float2 {
    float x, y;
};
struct alignas(16) float4 {
    float x, y, z, w;
};

static inline void sincospif(float x, float *sine, float *cosine) {
    *sine = (float)sin(M_PI * x);
    *cosine = (float)cos(M_PI * x);
}

static dim3 threadIdx, blockIdx, blockDim, gridDim;
extern char __start_shim_shared[], __stop_shim_shared[];

namespace shim {

struct Fibre {
    jmp_buf place;
    bool waiting = false;
    std::unique_ptr<char[]> stack;
};

constexpr size_t STACK = 64 * 1024;
static std::vector<Fibre> fibres;
static jmp_buf block_loop;
static ucontext_t home;
static Fibre *current;
static void (*work)(void *);
static void *work_data;

static void leave() {
    if (_setjmp(current->place) == 0) _longjmp(block_loop, 1);
}

static void fibre_main() {
    for (;;) {
        work(work_data);
        current->waiting = false;
        leave();
    }
}

// One turn of a fibre: until its kernel ends or reaches a barrier. The first turn of all gives it its stack.
static void resume(Fibre &fibre) {
    current = &fibre;
    if (_setjmp(block_loop) != 0) return;
    if (fibre.stack) _longjmp(fibre.place, 1);
    fibre.stack.reset(new char[STACK]);
    ucontext_t start;
    getcontext(&start);
    start.uc_stack.ss_sp = fibre.stack.get();
    start.uc_stack.ss_size = STACK;
    start.uc_link = &home;
    makecontext(&start, fibre_main, 0);
    setcontext(&start);
}

// 0, or 1 when threads of one block met different barriers.
static int run_block(bool backwards) {
    unsigned count = blockDim.x * blockDim.y * blockDim.z, waiting = 0;
    if (fibres.size() < count) fibres.resize(count);
    memset(__start_shim_shared, 0xFF, __stop_shim_shared - __start_shim_shared);
    do {
        waiting = 0;
        for (unsigned k = 0; k < count; k++) {
            unsigned t = backwards ? count - 1 - k : k;
            threadIdx = {t % blockDim.x, t / blockDim.x % blockDim.y, t / (blockDim.x * blockDim.y)};
            resume(fibres[t]);
            waiting += fibres[t].waiting;
        }
    } while (waiting == count);
    return waiting != 0;
}

template <typename F, typename... A, size_t... I>
static void call(F kernel, void **arguments, std::index_sequence<I...>, void (*)(A...)) {
    kernel(*(A *)arguments[I]...);
}

// A launch with the arguments as the CUDA driver takes them: one pointer to each.
template <typename... A>
static int launch(void (*kernel)(A...), const unsigned *grid, const unsigned *block, int backwards, void **arguments) {
    struct Launch {
        void (*kernel)(A...);
        void **arguments;
    } launch{kernel, arguments};
    work_data = &launch;
    work = [](void *data) {
        Launch *l = (Launch *)data;
        call(l->kernel, l->arguments, std::index_sequence_for<A...>(), l->kernel);
    };
    gridDim = {grid[0], grid[1], grid[2]};
    blockDim = {block[0], block[1], block[2]};
    unsigned long long blocks = 1ull * grid[0] * grid[1] * grid[2];
    for (unsigned long long k = 0; k < blocks; k++) {
        unsigned long long b = backwards ? blocks - 1 - k : k;
        blockIdx = {unsigned(b % grid[0]), unsigned(b / grid[0] % grid[1]), unsigned(b / grid[0] / grid[1])};
        if (run_block(backwards)) return 1;
    }
    return 0;
}

}  // namespace shim

static __attribute__((noinline)) void __syncthreads() {
    shim::current->waiting = true;
    shim::leave();
    shim::current->waiting = false;
}

#define SHIM_ENTRY(name)                                                                                          \
    extern "C" int shim_##name(const unsigned *grid, const unsigned *block, int backwards, void **arguments) {    \
        return shim::launch(name, grid, block, backwards, arguments);                                             \
    }
